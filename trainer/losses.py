"""The objectives, as pure functions: summed log-probabilities in, one loss per example and metrics out.

No model, no weights of judgments, no I/O: fit.py weighs and adds. All log-probabilities are natural logarithms of
whole responses, fp32. "Implicit reward" is DPO's r(x, y) = beta * log(pi(y|x) / ref(y|x)), up to a constant of x.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import PairLoss

Metrics = dict[str, float]


def dpo(
    chosen: Tensor,  # (P,) log pi(y_w | x)
    rejected: Tensor,  # (P,) log pi(y_l | x)
    ref_chosen: Tensor,  # (P,)
    ref_rejected: Tensor,  # (P,)
    *,
    beta: float = 0.1,
    kind: PairLoss = "sigmoid",
    label_smoothing: float = 0.0,
    margin: Tensor | None = None,  # (P,) 0..1
    margin_scale: float = 0.0,
    lengths: tuple[Tensor, Tensor] | None = None,  # (P,), (P,): tokens of chosen and rejected
    dpop: float = 0.0,
) -> tuple[Tensor, Metrics]:  # (P,)
    """Preference loss of each pair.

    sigmoid: Rafailov et al. 2023 (arXiv 2305.18290) eq. 7, -log sigmoid(beta * h), h = log-ratio of chosen minus
        that of rejected. label_smoothing e: Mitchell's cDPO note eq. 3, (1 - e) * L(h) + e * L(-h).
    ipo: Azar et al. 2023 (arXiv 2310.12036) eq. 17, (h - 1 / (2 beta))^2. The paper writes summed log-ratios; with
        lengths it is what TRL calls ipo. It has its own margin, so smoothing, margins and DPOP are refused.
    lengths: log-ratios per token, the length-normalised DPO of Tulu 3 (arXiv 2411.15124) eq. 6. beta then wants
        to be larger by about the length of an answer.
    margin: the reward gap asked for is margin_scale * margin, as in Touvron et al. 2023 (arXiv 2307.09288) eq. 2.
    dpop: Pal et al. 2024 (arXiv 2402.13228) eq. 3: beta * (h - lambda * max(0, log ref(y_w) - log pi(y_w))), which
        keeps the chosen answer from becoming less likely when the two answers are nearly the same.
    """
    if not chosen.shape == rejected.shape == ref_chosen.shape == ref_rejected.shape or chosen.dim() != 1:
        raise ValueError(f"log-probabilities must be four vectors of one length, got {chosen.shape}, {rejected.shape}")
    chosen_ratio, rejected_ratio = chosen - ref_chosen, rejected - ref_rejected
    fallen = torch.relu(-chosen_ratio)
    if lengths is not None:
        chosen_ratio, rejected_ratio = chosen_ratio / lengths[0], rejected_ratio / lengths[1]
        fallen = fallen / lengths[0]
    h = chosen_ratio - rejected_ratio
    if kind == "ipo":
        if label_smoothing or margin_scale or dpop:
            raise ValueError("ipo takes no label_smoothing, margin_scale or dpop")
        loss = (h - 1 / (2 * beta)) ** 2
    else:
        logits = beta * (h - dpop * fallen)
        if margin is not None and margin_scale:
            logits = logits - margin_scale * margin
        loss = -(1 - label_smoothing) * F.logsigmoid(logits) - label_smoothing * F.logsigmoid(-logits)
    with torch.no_grad():
        metrics = {
            "accuracy": float((h > 0).float().mean()) if len(h) else float("nan"),
            "margin": float(beta * h.mean()) if len(h) else float("nan"),
            # both falling is likelihood displacement: watch this one
            "chosen_ratio": float(chosen_ratio.mean()) if len(h) else float("nan"),
        }
    return loss, metrics


def nll(logps: Tensor, lengths: Tensor) -> Tensor:  # (N,), (N,) -> (N,)
    """Negative log-likelihood per token of each demonstration, the term that Pang et al. 2024 (arXiv 2404.19733) eq. 1
    set beside the preference loss. Each demonstration counts the same, however long it is.
    """
    return -logps / lengths


def sft(logps: Tensor, lengths: Tensor) -> Tensor:  # (N,), (N,) -> ()
    """Negative log-likelihood per token of a batch of demonstrations: supervised fine-tuning, Ouyang et al. 2022
    (arXiv 2203.02155) section 3.5. Each token counts the same, as in TRL's SFTTrainer, so long ones count more.
    """
    return -logps.sum() / lengths.sum()


def kto(
    logps: Tensor,  # (N,) log pi(y | x)
    ref_logps: Tensor,  # (N,)
    good: Tensor,  # (N,) bool
    baseline: Tensor | float = 0.0,  # scalar, the estimate of KL(pi || ref)
    *,
    beta: float = 0.1,
    good_weight: float = 1.0,
    bad_weight: float = 1.0,
) -> tuple[Tensor, Metrics]:  # (N,)
    """Loss of single answers, good or bad: Ethayarajh et al. 2024 (arXiv 2402.01306) eq. 8.

    lambda_y - v(x, y) with v = lambda_D sigmoid(beta (r - z0)) or lambda_U sigmoid(beta (z0 - r)), r the log-ratio.
    z0 (`baseline`) is the mean log-ratio of answers to other prompts, at least 0, without gradient.
    """
    ratio = logps - ref_logps
    z0 = torch.as_tensor(baseline, dtype=ratio.dtype, device=ratio.device).detach().clamp(min=0)
    sign = torch.where(good, 1.0, -1.0)
    weight = torch.where(good, good_weight, bad_weight)
    loss = weight * (1 - torch.sigmoid(sign * beta * (ratio - z0)))
    right = float(((ratio - z0) * sign > 0).float().mean()) if len(ratio) else float("nan")
    return loss, {"unpaired_accuracy": right, "kto_baseline": float(z0)}


def bradley_terry(
    chosen: Tensor,  # (..., P) r(x, y_w), of one or several reward models
    rejected: Tensor,  # (..., P) r(x, y_l)
    *,
    margin: Tensor | None = None,  # (P,) 0..1
    margin_scale: float = 0.0,
    centring: float = 0.0,
) -> Tensor:  # (..., P)
    """Loss of a reward model: Ouyang et al. 2022 (arXiv 2203.02155) eq. 1, -log sigmoid(r_w - r_l); with the margin of
    Touvron et al. 2023 (arXiv 2307.09288) eq. 2 taken off the difference, margin_scale * margin.

    centring: Eisenstein et al. 2023 (arXiv 2312.09244) eq. 2, times (r_w + r_l)^2: preferences say nothing of a
    reward's zero, so this does.
    """
    h = chosen - rejected
    if margin is not None and margin_scale:
        h = h - margin_scale * margin
    loss = -F.logsigmoid(h)
    return loss + centring * (chosen + rejected) ** 2 if centring else loss


def log_loss(h: Tensor, beta: float) -> Tensor:  # (N,) -> (N,)
    """-log sigmoid(beta * h): what the gate and eval measure. The base itself scores log 2 = 0.693 on every pair."""
    return -F.logsigmoid(beta * h)
