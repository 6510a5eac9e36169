"""What words are worth to a policy, and the KL penalty under which the best policy lies where it is wanted.

Where each word is worth u, whatever follows, the policy that is best under a penalty of beta a nat is known:
p exp(u / beta) at every place, p the base's (Levine 2018, arXiv 1805.00909; Rafailov et al. 2023, arXiv 2305.18290,
eq. 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.logprobs import Scores
from trainer.rollouts import Rollout

AT_ONCE = 8192  #: words
PLACES = 512  #: of a batch's, on which the distance is measured
ROUNDS = 30  #: of halving
LEAST, MOST = 1e-6, 1e6  #: of beta, in rewards a nat


def distance(logps: Tensor, worth: Tensor, beta: float) -> float:  # (P, W), (P, W) -> nats
    """Mean KL(p exp(u / beta) / Z || p) over places."""
    gain = worth / beta
    best = torch.log_softmax(logps + gain, -1)
    return float((best.exp() * (best - logps)).sum(-1).mean())


def beta_for(logps: Tensor, worth: Tensor, aim: float) -> float:  # (P, W), (P, W)
    """The penalty at which the best policy lies `aim` nats a token from the base; LEAST where no word is worth more
    than another. The distance falls with it, so it is found by halving."""
    low, high = LEAST, MOST
    for _ in range(ROUNDS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if distance(logps, worth, middle) > aim else (low, middle)
    return high


def some(tensors: Sequence[Tensor], count: int = PLACES) -> Tensor:  # (M_i, ...) -> (<= count, ...)
    """Rows at even distances."""
    rows = torch.cat(list(tensors))
    return rows[:: max(1, -(-len(rows) // count))]


@dataclass(frozen=True, slots=True)
class Output:
    """The words that count for a batch."""

    scores: Scores
    embeddings: Tensor  # (W, D) of these words where they enter the model

    def values(self, worth: Tensor) -> Tensor:  # (R, D) -> (R, W)
        """What each word is worth in each answer."""
        worth = worth.to(self.embeddings.device)  # in parts: no copy of a whole table in another precision
        return torch.cat([worth @ part.to(worth).T for part in self.embeddings.split(AT_ONCE)], 1)

    @torch.no_grad()
    def beta(self, rollouts: Sequence[Rollout], aim: float) -> float:
        """The penalty, in rewards a nat, at which what is best by what words are worth lies `aim` nats a token from
        the base."""
        states = some([rollout.base for rollout in rollouts])
        owned = [rollout.worth.repeat_interleave(torch.tensor(rollout.lengths), 0) for rollout in rollouts]
        logits = F.linear(states, self.scores.weight, self.scores.bias).float()
        return beta_for(torch.log_softmax(logits, -1), self.values(some(owned)), aim)
