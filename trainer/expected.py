"""What a version adds to an answer's log-probability, beyond what it adds to whatever might have come instead.

At each place of an answer, log pi - log base has a mean over the words that might have come there. Where the base drew
them it is minus a KL: a version that only drifted finds the answers less likely, long ones more so, and a user who
likes short ones seems to be served. With the mean of each place taken off, what is left of a version that knows nothing
of a taste is 0 on average for every answer, however long: the end of an answer is one of the words. It is the baseline
of a policy gradient (Williams 1992, section 4), taken place by place.

The distribution is the whole one of the version that drew the answer, at temperature 1 as everything that is tested;
what nobody drew (corrections, imports) counts as the base's. Answers are drawn from a narrower one (temperature, top-p,
min-p), so a little is left of a version that is more or less sure of its words than the base: that is what makes its
answers longer or shorter, and real wins are told best so (docs/experiments.md, 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.dataset import Turn
from trainer.logprobs import ROWS, Packed, TokenTurn, hidden_states, micro_batches
from trainer.lora import Lora


@dataclass(frozen=True, slots=True)
class Places:
    """The m places of one response, as last states before the output layer."""

    base: Tensor  # (m, D)
    drew: Tensor | None  # (m, D) of the version that drew the response, where it is not the base


#: by the turn's key and the response
Known = dict[tuple[str, tuple[int, ...]], Places]


@dataclass(frozen=True, slots=True)
class Ratios:
    """Of a turn's responses, under one version; nats."""

    plain: list[float]  #: log pi - log base
    expected: list[float]  #: the sum of that quantity's means at the places

    @property
    def beyond(self) -> list[float]:
        """What chance does not explain."""
        return [a - b for a, b in zip(self.plain, self.expected, strict=True)]


@torch.no_grad()
def look(
    lora: Lora,
    turns: Sequence[Turn],
    known: Known,
    *,
    budget: int,
    before: Callable[[], object],
    drawer: str | None = None,
) -> None:
    """Add the places of these turns' responses to `known`, where they are not there yet.

    drawer: the id of the version that lora holds: its own answers, and no others; None: all, as the base would draw
    them. budget: tokens that are computed at one time; before: runs before each batch.
    """

    def wanted(turn: Turn, at: int) -> bool:
        return (turn.key, tuple(turn.responses[at])) not in known and drawer in (None, turn.drawers.get(at))

    new = [t for t in turns if any(wanted(t, at) for at in range(len(t.responses)))]
    for batch, packed in _batches(lora, new, budget, before):
        with lora.disabled():
            base = hidden_states(lora.model, packed)
        drew = base if drawer is None else hidden_states(lora.model, packed)
        for turn, at, rows in _responses(batch):
            if wanted(turn, at):
                mine = None if drawer is None else drew[rows].to("cpu", copy=True)
                kept = base[rows].to("cpu", copy=True)  # of its own memory, not a view of the whole batch
                known[turn.key, tuple(turn.responses[at])] = Places(kept, mine)


@torch.no_grad()
def ratios(
    lora: Lora, turns: Sequence[Turn], known: Known, *, budget: int, before: Callable[[], object]
) -> list[Ratios]:
    """Those of each turn under what lora holds. All places must be known."""
    head: Any = lora.model.get_output_embeddings()
    found: list[Ratios] = []
    for batch, packed in _batches(lora, turns, budget, before):
        states = hidden_states(lora.model, packed)
        for turn, at, rows in _responses(batch):
            if at == 0:
                found.append(Ratios([], []))
            places = known[turn.key, tuple(turn.responses[at])]
            plain, expected = _sums(head, states[rows], packed.labels[rows], places)
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


def _sums(head: Any, states: Tensor, labels: Tensor, places: Places) -> tuple[float, float]:  # (m, D), (m,)
    """Over the places of a response: log pi - log base of its words, and of all words on average."""
    plain = expected = 0.0
    for at in range(0, len(labels), ROWS):
        rows = slice(at, at + ROWS)
        base = _logps(head, places.base[rows].to(states.device))  # (rows, V)
        drew = base if places.drew is None else _logps(head, places.drew[rows].to(states.device))
        ratio = _logps(head, states[rows]).sub_(base)
        plain += float(ratio.gather(1, labels[rows, None]).sum())
        expected += float((drew.exp() * ratio).sum())
    return plain, expected


def _logps(head: Any, states: Tensor) -> Tensor:  # (m, D) -> (m, V)
    return torch.log_softmax(F.linear(states, head.weight, head.bias).float(), -1)
