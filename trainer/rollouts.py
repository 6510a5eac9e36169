"""What a policy of PPO drew, and what is known of it: its answers, their rewards, what it and the base make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from trainer import gate
from trainer.logprobs import TokenTurn

Metrics = dict[str, float]


@dataclass(slots=True)
class Rollout:
    """The answers that one policy drew to one prompt, with what is known of them before anything is learned.

    worth is of a reward that owes each word its share by what the word is, wherever it stands: worth @ embedding.
    """

    turn: TokenTurn
    scores: Tensor  # (K,) total reward
    parts: Mapping[str, Tensor] = field(default_factory=dict)  # (K,) each part of it, to be logged
    shares: Tensor = field(default_factory=lambda: torch.zeros(0))  # (M,) of the scores, that a token has earned
    worth: Tensor = field(default_factory=lambda: torch.zeros(0))  # (K, D) of each answer
    old: Tensor = field(default_factory=lambda: torch.zeros(0))  # (M,) under the policy that drew them
    reference: Tensor = field(default_factory=lambda: torch.zeros(0))  # (M,) under the base
    chance: Tensor = field(default_factory=lambda: torch.zeros(0))  # (M,) of a share, above its mean over all words
    values: Tensor = field(default_factory=lambda: torch.zeros(0))  # (M,)
    advantages: Tensor = field(default_factory=lambda: torch.zeros(0))  # (M,), of RLOO (K,)
    pull: Tensor = field(default_factory=lambda: torch.zeros(0))  # (K, D) the worth, in the unit of the advantages
    hold: float = 0.0  #: what a nat of KL to the base costs, in the same unit; 0: it is in the sampled rewards
    base: Tensor = field(default_factory=lambda: torch.zeros(0))  # (M, D) the base's last states
    returns: Tensor = field(default_factory=lambda: torch.zeros(0))  # (M,)
    states: Tensor = field(default_factory=lambda: torch.zeros(0))  # (M, D) what the critic sees

    @property
    def lengths(self) -> list[int]:
        return [len(response) for response in self.turn.responses]


class Critic:
    """V(state) of each token to be drawn: linear in a frozen layer's states, zero at first."""

    def __init__(self, width: int, device: torch.device) -> None:
        self.weight = torch.zeros(width, device=device, requires_grad=True)
        self.bias = torch.zeros((), device=device, requires_grad=True)
        self.centre = torch.zeros(width, device=device)
        self.scale = torch.ones(width, device=device)
        self.ready = False  #: whether it has looked at answers

    def parameters(self) -> list[Tensor]:
        return [self.weight, self.bias]

    def state(self) -> dict[str, Tensor]:
        """Everything of it, by name."""
        found = {"weight": self.weight, "bias": self.bias, "centre": self.centre, "scale": self.scale}
        return {name: tensor.detach().cpu().clone() for name, tensor in found.items()}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave, of one that has looked at answers."""
        for mine, name in (
            (self.weight, "weight"),
            (self.bias, "bias"),
            (self.centre, "centre"),
            (self.scale, "scale"),
        ):
            mine.copy_(state[name])
        self.ready = True

    def look(self, states: Tensor) -> None:  # (M, D)
        """Scale the inputs by what the first answers show."""
        self.centre = states.mean(0)
        self.scale = states.std(0).clamp(min=1e-6) * states.shape[1] ** 0.5
        self.ready = True

    def __call__(self, states: Tensor) -> Tensor:  # (M, D) -> (M,)
        return ((states - self.centre) / self.scale) @ self.weight + self.bias


def padded(flat: Tensor, lengths: Sequence[int]) -> Tensor:  # (M,) -> (N, T)
    """One row an answer, 0 after its end."""
    return torch.nn.utils.rnn.pad_sequence(list(flat.split(list(lengths))), batch_first=True)


def flattened(rows: Tensor, lengths: Sequence[int]) -> Tensor:  # (N, T) -> (M,)
    return torch.cat([row[:n] for row, n in zip(rows, lengths, strict=True)])


def ends(rollout: Rollout, count: int) -> Rollout:
    """The best and the worst `count` of its answers, in their order; half of them each."""
    if count >= len(rollout.lengths):
        return rollout
    order = rollout.scores.argsort(stable=True).tolist()
    kept = sorted([*order[: count // 2], *order[len(order) - (count - count // 2) :]])
    wanted = torch.tensor(kept)

    def of_tokens(flat: Tensor) -> Tensor:  # (M, ...)
        parts = flat.split(rollout.lengths) if len(flat) else ()
        return torch.cat([parts[i] for i in kept]) if parts else flat

    turn = replace(rollout.turn, responses=[rollout.turn.responses[i] for i in kept])
    names = ("shares", "chance", "old", "reference", "values", "states", "base")
    tokens: dict[str, Any] = {name: of_tokens(getattr(rollout, name)) for name in names}
    parts = {name: part[wanted] for name, part in rollout.parts.items()}
    worth = rollout.worth[wanted] if len(rollout.worth) else rollout.worth
    return Rollout(turn, rollout.scores[wanted], parts, worth=worth, **tokens)


def figures(rollouts: Sequence[Rollout], coefficient: float) -> Metrics:
    """Of a batch before it is learned from: means over its answers; kl in nats a token, by the estimate k1
    (0 where nobody looked, as the policy is the base)."""
    scores = torch.cat([rollout.scores for rollout in rollouts])
    lengths = [n for rollout in rollouts for n in rollout.lengths]
    seen = [(rollout.old - rollout.reference).cpu() for rollout in rollouts if len(rollout.old)]
    drift = torch.cat(seen) if seen else torch.zeros(0)
    found = {
        "reward": float(scores.mean()),
        "reward_best": float(scores.max()),
        "kl": float(drift.mean()) if len(drift) else 0.0,
        "kl_coefficient": coefficient,
        "length": sum(lengths) / len(lengths),
        "repetition": gate.describe_answers([r for rollout in rollouts for r in rollout.turn.responses]).repetition,
    }
    for name in {name for rollout in rollouts for name in rollout.parts}:
        found[name] = float(torch.cat([rollout.parts[name] for rollout in rollouts]).mean())
    return found
