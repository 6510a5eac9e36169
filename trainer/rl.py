"""Reinforcement learning, as pure functions: numbers of rollouts in, advantages, losses and coefficients out.

No model, no engine, no I/O: ppo.py generates, scores and steps. Shapes: B answers of at most T tokens; `mask` is 1
where an answer has a token. All logarithms are natural.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Metrics = dict[str, float]


def token_rewards(
    score: Tensor,  # (B,) of each whole answer
    logps: Tensor,  # (B, T) under the policy that drew it
    ref_logps: Tensor,  # (B, T) under the base
    mask: Tensor,  # (B, T)
    coefficient: float,
    shares: Tensor | None = None,  # (B, T) of the score that belong to a token
) -> Tensor:  # (B, T)
    """The score at an answer's last token, less coefficient * (log pi - log ref) at each: Ziegler et al. 2019
    (arXiv 1909.08593) eq. 2, by tokens as in Stiennon et al. 2020 (arXiv 2009.01325) section 3.4. With shares each
    token earns its own and the last one what is left of the score: the sum is the same, and what is told of a token no
    longer holds what was earned before it (Chan et al. 2024, arXiv 2402.00782).
    """
    found = -coefficient * (logps - ref_logps) * mask
    last = mask.sum(1).long() - 1
    if bool((last < 0).any()):
        raise ValueError("an answer without tokens cannot be rewarded")
    rows = torch.arange(len(mask), device=mask.device)
    if shares is not None:
        found += shares * mask
        score = score - (shares * mask).sum(1)
    found[rows, last] += score
    return found


def gae(
    rewards: Tensor,  # (B, T)
    values: Tensor,  # (B, T) of the state that each token was drawn in
    mask: Tensor,  # (B, T)
    *,
    discount: float = 1.0,
    decay: float = 0.95,
) -> tuple[Tensor, Tensor]:  # (B, T), (B, T)
    """Generalised advantages and the returns that the values should predict: Schulman et al. 2016 (arXiv 1506.02438)
    eq. 16, A_t = sum_l (discount * decay)^l delta_{t+l} with delta_t = r_t + discount * V_{t+1} - V_t. An answer ends
    with its last token, whether it was cut off there or not: nothing is expected after it.
    """
    after = torch.cat([values[:, 1:] * mask[:, 1:], values.new_zeros(len(values), 1)], 1)
    delta = (rewards + discount * after - values) * mask
    found = torch.zeros_like(delta)
    running = values.new_zeros(len(values))
    for t in range(delta.shape[1] - 1, -1, -1):
        running = delta[:, t] + discount * decay * running
        found[:, t] = running
    found = found * mask
    return found, (found + values) * mask


def rloo(scores: Tensor) -> Tensor:  # (B, K) of K answers to each prompt -> (B, K)
    """Each score less the mean of the others of its prompt: REINFORCE leave-one-out, Ahmadian et al. 2024
    (arXiv 2402.14740) eq. 7 (Kool et al. 2019).
    """
    if scores.dim() != 2 or scores.shape[1] < 2:
        raise ValueError(f"leaving one out needs at least two answers to a prompt, got {tuple(scores.shape)}")
    count = scores.shape[1]
    return (scores - scores.mean(1, keepdim=True)) * count / (count - 1)


def deviation(values: Tensor, mask: Tensor) -> Tensor:  # (B, T) -> ()
    """The standard deviation over the tokens, never 0."""
    count = mask.sum().clamp(min=1)
    mean = (values * mask).sum() / count
    found: Tensor = (((values - mean) ** 2 * mask).sum() / count + 1e-8).sqrt()
    return found


def whiten(values: Tensor, mask: Tensor, *, centre: bool = True, unit: Tensor | None = None) -> Tensor:  # (B, T)
    """Mean 0 and variance 1 over the tokens; centre False leaves the mean where it was; unit: another standard
    deviation than the values' own to divide by. Outside the mask 0."""
    mean = (values * mask).sum() / mask.sum().clamp(min=1)
    found = (values - mean) / (deviation(values, mask) if unit is None else unit)
    return (found if centre else found + mean) * mask


def policy_loss(
    logps: Tensor,  # (N,) of tokens, or of whole answers
    old: Tensor,  # (N,) under the policy that drew them
    advantages: Tensor,  # (N,)
    *,
    clip: float = 0.2,
) -> tuple[Tensor, Metrics]:  # (N,)
    """The clipped surrogate, to be made small: Schulman et al. 2017 (arXiv 1707.06347) eq. 7, with its sign turned."""
    ratio = torch.exp(logps - old)
    loss = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))
    with torch.no_grad():
        change = logps - old
        metrics = {
            "clipped": float(((ratio - 1).abs() > clip).float().mean()) if len(ratio) else float("nan"),
            # of the policy that drew the answers to this one: the estimate k3 of `kl`
            "moved": float((ratio - 1 - change).mean()) if len(ratio) else float("nan"),
        }
    return loss, metrics


def value_loss(
    values: Tensor,  # (N,)
    old: Tensor,  # (N,) when the answers were drawn
    returns: Tensor,  # (N,)
    *,
    clip: float = 0.2,
) -> tuple[Tensor, Metrics]:  # (N,)
    """Half of the squared error, the larger of plain and clipped: "The 37 Implementation Details of PPO" (Huang et al.
    2022) detail 9, and Huang et al. 2024 (arXiv 2403.17031).
    """
    near = old + (values - old).clamp(-clip, clip)
    plain, clipped = (values - returns) ** 2, (near - returns) ** 2
    loss = 0.5 * torch.maximum(plain, clipped)
    share = float((clipped > plain).float().mean()) if len(values) else float("nan")
    return loss, {"value_clipped": share}


def kl(logps: Tensor, ref_logps: Tensor, kind: str = "k3") -> Tensor:  # (N,), (N,) -> (N,)
    """Estimates of KL(pi || ref) from what pi drew (Schulman 2020, "Approximating KL divergence"). With d = log pi -
    log ref: k1 = d is unbiased, k2 = d^2 / 2 is not but varies less, k3 = exp(-d) - 1 + d is unbiased and never
    negative.
    """
    d = logps - ref_logps
    if kind == "k1":
        return d
    if kind == "k2":
        return 0.5 * d**2
    if kind == "k3":
        return torch.expm1(-d) + d
    raise ValueError(f"there is no KL estimate {kind!r}; there are k1, k2 and k3")


@dataclass(slots=True)
class AdaptiveKL:
    """The coefficient of the KL penalty, led to a target: Ziegler et al. 2019 (arXiv 1909.08593) section 2.2."""

    coefficient: float
    target: float  #: nats, in the unit of what `update` is given
    horizon: float  #: answers in which it can grow by a factor of about e^0.2

    def update(self, observed: float, answers: int) -> float:
        """After a batch: more where it drifted beyond the target, less where there is room."""
        error = min(max(observed / self.target - 1, -0.2), 0.2)
        self.coefficient *= 1 + error * answers / self.horizon
        return self.coefficient
