"""What a version adds to an answer's log-probability, beyond what it adds to whatever might have come instead.

At each place of an answer, log pi - log base has a mean over the words that might have come there. Where the base drew
them it is minus a KL: a version that only drifted finds the answers less likely, long ones more so, and a user who
likes short ones seems to be served. With the mean of each place taken off, what is left is 0 on average over answers
drawn from that distribution, however long they get: the end of an answer is one of the words. It is the baseline of a
policy gradient (Williams 1992, section 4), taken place by place.

The distribution is the whole one of the version that drew the answer, at temperature 1 as everything that is tested;
what no version drew whose files are there (corrections, imports, other models' answers) counts as the base's. Answers
are drawn from a narrower one (temperature, top-p, min-p), so a little is left of a version that is more or less sure of
its words than the base: that is what makes its answers longer or shorter, and real wins are told best so
(docs/experiments.md, 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.dataset import Turn
from trainer.logprobs import Packed, TokenTurn, hidden_states, micro_batches
from trainer.lora import Lora
from trainer.softmax import ROWS

#: (m, D) last states of the version that drew a response, by the turn's key and the response; none: the base's
Drew = dict[tuple[str, tuple[int, ...]], Tensor]


@dataclass(frozen=True, slots=True)
class Ratios:
    """Of a turn's responses, under one version; nats."""

    plain: list[float]  #: log pi - log base
    expected: list[float]  #: the sum of that quantity's means at the places

    @property
    def beyond(self) -> list[float]:
        """What chance does not explain."""
        return [a - b for a, b in zip(self.plain, self.expected, strict=True)]

    @classmethod
    def of_base(cls, count: int) -> Ratios:
        """The base's own, of so many responses."""
        return cls([0.0] * count, [0.0] * count)


@torch.no_grad()
def look(
    lora: Lora, drawer: str, turns: Sequence[Turn], drew: Drew, *, budget: int, before: Callable[[], object]
) -> None:
    """Note the states at the responses that `drawer`, the version that lora holds, drew.

    budget: tokens that are computed at one time; before: runs before each batch.
    """
    mine = [t for t in turns if drawer in t.drawers.values()]
    for batch, packed in _batches(lora, mine, budget, before):
        states = hidden_states(lora.model, packed)
        for turn, at, rows in _responses(batch):
            if turn.drawers.get(at) == drawer:
                # of its own memory, not a view of the whole batch
                drew[turn.key, tuple(turn.responses[at])] = states[rows].to("cpu", copy=True)


@torch.no_grad()
def ratios(
    lora: Lora,
    turns: Sequence[Turn],
    drew: Drew,
    *,
    drawer: str | None = None,
    budget: int,
    before: Callable[[], object],
) -> list[Ratios]:
    """Those of each turn under what lora holds. drawer: which version that is, where it may have drawn some: noted."""
    head: Any = lora.model.get_output_embeddings()
    found: list[Ratios] = []
    for batch, packed in _batches(lora, turns, budget, before):
        new = hidden_states(lora.model, packed)
        with lora.disabled():
            base = hidden_states(lora.model, packed)
        for turn, at, rows in _responses(batch):
            if at == 0:
                found.append(Ratios([], []))
            key, mine = (turn.key, tuple(turn.responses[at])), new[rows]
            drawn = drew.get(key)
            if drawer is not None and turn.drawers.get(at) == drawer:
                drawn, drew[key] = mine, mine.to("cpu", copy=True)
            plain, expected = _sums(head, mine, base[rows], drawn, packed.labels[rows])
            found[-1].plain.append(plain)
            found[-1].expected.append(expected)
    return found


def _batches(
    lora: Lora, turns: Sequence[Turn], budget: int, before: Callable[[], object]
) -> Iterator[tuple[list[Turn], Packed]]:
    """In the order of turns, at temperature 1."""
    tokens = [TokenTurn(t.prompt, t.responses) for t in turns]
    for group in micro_batches([t.tokens for t in tokens], budget):
        before()
        yield [turns[i] for i in group], lora.pack([tokens[i] for i in group])


def _responses(batch: Sequence[Turn]) -> Iterator[tuple[Turn, int, slice]]:
    """Each response of a batch: its turn, its index there, and its rows among the predicted tokens."""
    end = 0
    for turn in batch:
        for at, response in enumerate(turn.responses):
            start, end = end, end + len(response)
            yield turn, at, slice(start, end)


def _sums(head: Any, new: Tensor, base: Tensor, drew: Tensor | None, labels: Tensor) -> tuple[float, float]:
    """Over the m places of a response, from (m, D) states: log pi - log base of its words, and of all on average."""
    plain = expected = 0.0
    for at in range(0, len(labels), ROWS):
        rows = slice(at, at + ROWS)
        reference, mine = _logps(head, base[rows]), _logps(head, new[rows])  # (rows, V)
        chance = reference if drew is None else mine if drew is new else _logps(head, drew[rows].to(base.device))
        chance = chance.exp()
        ratio = mine.sub_(reference)
        plain += float(ratio.gather(1, labels[rows, None]).sum())
        expected += float((chance * ratio).sum())
    return plain, expected


def _logps(head: Any, states: Tensor) -> Tensor:  # (m, D) -> (m, V)
    return torch.log_softmax(F.linear(states, head.weight, head.bias).float(), -1)
