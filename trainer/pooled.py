"""What the frozen base makes of an answer, as one vector: the means of its tokens' states, and how long it is.

The reward model is linear in them. Means, not the last token: from eighty rankings a head on the last token's state
tells hardly more than chance which of two unseen answers is better, and one on these means more than words alone do
(docs/experiments.md, 2026-11-28). They are of two depths: the token embeddings, which say what words there are, and the
states that enter the adapted layers, which say what they are there for. Both lie below every adapter, so they are the
same under any version, and a fit or a rollout that computes the lower layers has them for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from chatapp.engine.vocab import Vocab
from trainer.logprobs import Packed, TokenTurn, hidden_states, micro_batches
from trainer.trunk import Trunk

LENGTHS = 3  #: features of an answer's length: its logarithm, its tokens by the hundred, whether it ended by itself
HELD = 40  #: tokens of an answer whose words say half of what a long one's do (docs/experiments.md, 2026-11-29)


def apart(features: Tensor, centre: Tensor) -> Tensor:  # (R, F), (F,) -> (R, F) in fp64
    """What sets answers apart from the mean one. Of an answer of n tokens the words count for n / (n + HELD): the mean
    of few embeddings lies far out by chance, and a model of long answers would be sure of a curt one for nothing. That
    is the mean of n tokens and of HELD more of a mean answer, so it is a sum over tokens still."""
    away = features.double() - centre.double()
    words, count = (away.shape[1] - LENGTHS) // 2, features[:, -LENGTHS].double().exp()
    away[:, :words] *= (count / (count + HELD))[:, None]
    return away


@dataclass(frozen=True, slots=True)
class Pooler:
    """Of one model, with the trunk that computes its lower layers."""

    trunk: Trunk
    ends: Collection[int]  #: tokens that end a turn

    @classmethod
    def of(cls, trunk: Trunk, vocab: Vocab) -> Pooler:
        return cls(trunk, frozenset(t for t in range(vocab.n_tokens) if vocab.is_eog(t)))

    @property
    def width(self) -> int:
        """Features of an answer's embeddings, which come first, and of its states, as many."""
        return int(self.trunk.model.get_input_embeddings().weight.shape[1])

    @property
    def size(self) -> int:
        """Features of an answer: of its embeddings, of its states, of its length."""
        return 2 * self.width + LENGTHS

    def text(self, ids: Sequence[int]) -> Tensor:  # (D,)
        """The mean of a text's embeddings; fp32 on the CPU."""
        embeddings = self.trunk.model.get_input_embeddings().weight
        found: Tensor = embeddings[torch.tensor(ids, device=embeddings.device)].detach().float().mean(0).cpu()
        return found

    @torch.no_grad()
    def pool(self, turns: Sequence[TokenTurn], packed: Packed) -> list[Tensor]:  # (R, F) of each turn, fp32 on the CPU
        """packed: the trunk's, of the same turns. Where the model cannot be parted the last layer's states stand in,
        and they have to be the base's."""
        states = self._states(packed)
        responses = [r for turn in turns for r in turn.responses]
        rows = []
        for response, mine in zip(responses, states.split([len(r) for r in responses]), strict=True):
            # the first state is the prompt's; an answer of one token has no other, as its last token is not fed
            read = mine[1:] if len(response) > 1 else mine
            length = [math.log(len(response)), len(response) / 100, float(response[-1] in self.ends)]
            rows.append(torch.cat([self.text(response), read.float().mean(0).cpu(), torch.tensor(length)]))
        return list(torch.stack(rows).split([len(turn.responses) for turn in turns]))

    def _states(self, packed: Packed) -> Tensor:  # (M, D) where each token of a response is predicted
        if packed.states is None:
            return hidden_states(self.trunk.model, replace(packed, sharpness=None))  # whatever they were drawn at
        return packed.states[0].index_select(0, packed.predictor)

    @torch.no_grad()
    def shares(
        self,
        turns: Sequence[TokenTurn],
        slope: Tensor,
        centre: Tensor,  # (F,), (F,)
        *,
        budget: int,
        before: Callable[[], object] = lambda: None,
    ) -> list[Tensor]:  # (M,) of each turn, fp32 on the CPU
        """What each token has in slope @ apart(features, centre), the length's features left out. As means are of
        tokens, that is exact: an answer's shares add up to it."""
        wide = self.width
        words, states = slope[:wide].float(), slope[wide : 2 * wide].float()
        level = float(slope[:wide] @ centre[:wide]), float(slope[wide : 2 * wide] @ centre[wide : 2 * wide])
        embeddings = self.trunk.model.get_input_embeddings().weight
        found: list[Tensor] = []
        for group in micro_batches([turn.tokens for turn in turns], budget):
            before()
            mine = [turns[i] for i in group]
            packed = self.trunk.pack(mine)
            inside = self._states(packed).float().cpu() @ states - level[1]
            responses = [r for turn in mine for r in turn.responses]
            rows = []
            for response, seen in zip(responses, inside.split([len(r) for r in responses]), strict=True):
                said = embeddings[torch.tensor(response, device=embeddings.device)].float().cpu() @ words - level[0]
                share = said / (len(response) + HELD)
                if len(response) > 1:  # a state is of the token that was read last
                    share[:-1] += seen[1:] / (len(response) - 1)
                else:
                    share += seen
                rows.append(share)
            at = 0
            for turn in mine:
                found.append(torch.cat(rows[at : at + len(turn.responses)]))
                at += len(turn.responses)
        return found

    def see(
        self, turns: Sequence[TokenTurn], *, budget: int, before: Callable[[], object] = lambda: None
    ) -> list[Tensor]:  # (R, F) of each turn
        """`pool` of turns that are not packed yet, at most `budget` tokens at a time; before: run before each batch."""
        found: list[Tensor] = []
        for group in micro_batches([turn.tokens for turn in turns], budget):
            before()
            mine = [turns[i] for i in group]
            found += self.pool(mine, self.trunk.pack(mine))
        return found
