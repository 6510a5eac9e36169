"""The part of the vocabulary that a run's texts are about, for the steps of a fit on a CPU.

Of 49k words a model gives 99 % of its probability, at the places of one user's answers, to some 8k. A step computes
the logits of those alone, policy and reference alike: log p(y | y among these words). What the ratio of the two loses
is log((1 - t) / (1 - t')), t and t' the policy's and the base's tails. Everything that is measured (the gate, eval,
prequential accuracy) uses the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.softmax import ROWS, chosen_and_means, chosen_logps

#: of the places, those whose distribution says which words are likely
SAMPLED = 4


class Words:
    """Some words' rows of the output layer."""

    def __init__(self, head: Any, ids: Tensor) -> None:
        """ids: (W,) in order, without repetition."""
        self.ids = ids
        self.weight: Tensor = head.weight.detach()[ids].contiguous()
        self.bias: Tensor | None = head.bias.detach()[ids] if head.bias is not None else None
        self._place = torch.full((len(head.weight),), -1, dtype=torch.long)
        self._place[ids] = torch.arange(len(ids))

    def __len__(self) -> int:
        return len(self.weight)

    @classmethod
    @torch.no_grad()
    def likely(cls, head: Any, states: Sequence[Tensor], wanted: Tensor, count: int) -> Words:
        """The `count` words that the base finds likeliest at these places, and those that must be among them.

        states: (M, D) of a text each, before the output layer. wanted: ids that occur as labels.
        """
        mass = torch.zeros(len(head.weight))
        for text in states:
            for rows in text[::SAMPLED].split(ROWS):
                mass += torch.softmax(F.linear(rows, head.weight, head.bias).float(), -1).sum(0)
        mass[wanted] = float("inf")
        return cls(head, mass.topk(min(len(mass), max(count, len(wanted)))).indices.sort().values)

    def logps(self, states: Tensor, labels: Tensor) -> Tensor:  # (M, D), (M,) -> (M,)
        """Log-probability of each label among these words."""
        return chosen_logps(states, self.weight, self.bias, self._place[labels])

    def means(
        self,
        states: Tensor,
        labels: Tensor,
        values: Tensor,
        owner: Tensor,
        anchor: Tensor | None = None,
        hold: float = 0.0,
    ) -> tuple[Tensor, Tensor]:  # (M, D), (M,), (R, W), (M,) -> (M,), (M,)
        """The same, and what a word drawn among these is worth on average, less `hold` times the KL to the words of
        the anchors (M, D)."""
        return chosen_and_means(states, self.weight, self.bias, self._place[labels], values, owner, anchor, hold)
