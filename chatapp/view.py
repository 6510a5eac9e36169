"""What a session hands to the screen and the plain chat besides turns: a thread to show, lines to say, errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatapp.turn import PastTurn, Turn


class SessionError(RuntimeError):
    """Something that cannot be done now; the text says why."""


class NotSaved(SessionError, OSError):
    """The answers came and could not be stored. They are kept in memory; asking again tries to store them."""

    def __init__(self, reason: str, texts: Sequence[str]) -> None:
        super().__init__(f"{reason} The answers are kept here; press r to try to save them again.")
        self.texts = list(texts)


@dataclass(frozen=True, slots=True)
class Model:
    """The file that answers."""

    hash: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Note:
    """A line that the chat says by itself."""

    text: str
    error: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is needed to show a thread."""

    thread_id: str | None
    title: str
    past: tuple[PastTurn, ...] = ()
    hidden: int = 0  #: earlier turns that are not in past
    turn: Turn | None = None  #: without answers: asked and not answered
    draft: str = ""  #: typed and not sent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking the engine."""

    turn: Turn
    notes: tuple[Note, ...]
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class Said:
    """A judgment, as one line, and the turn as it is now."""

    line: str
    turn: Turn
