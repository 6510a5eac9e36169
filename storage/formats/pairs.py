"""The pairs that a file of any format says, without storing them: what `hone eval` reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.formats import module
from storage.formats.files import Skipped, Source
from storage.formats.turn import Conversation, Turn
from storage.preferences import Item, Judgment, derive


@dataclass(frozen=True, slots=True)
class Record:
    """chosen is the better answer to the conversation prompt; the record begins on this line of the file."""

    line: int
    prompt: Conversation
    chosen: str
    rejected: str
    margin: float = 0.0


def read(path: Path, format: str = "trl-preference", *, skipped: Skipped | None = None) -> Iterator[Record]:
    """The pairs of a file. Bad records go to `skipped`; without it the first raises RecordError."""
    source = Source(path, strict=skipped is None)
    if skipped is not None:
        source.skipped = skipped
    for line, turn in source.turns(module(format).parse):
        for chosen, rejected, margin in pairs(turn):
            yield Record(line, turn.prompt, chosen, rejected, margin)


def pairs(turn: Turn) -> Iterator[tuple[str, str, float]]:
    """(chosen, rejected, margin) of each pair that the turn's judgments give, by the same rules as one's own."""
    judgments = [
        Judgment(
            str(place),
            "prompt",
            said.kind,
            "",
            tuple(Item(f"{mark.answer:09}", mark.rank, mark.score, mark.value) for mark in said.marks),
            said.payload,
        )
        for place, said in enumerate(turn.said)
    ]
    for pair in derive(judgments).pairs:
        yield turn.answers[int(pair.chosen_id)], turn.answers[int(pair.rejected_id)], pair.margin
