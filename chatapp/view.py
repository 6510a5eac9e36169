"""What a session hands to the screen and the plain chat besides turns: a thread to show, and lines to say."""

from __future__ import annotations

from dataclasses import dataclass

from chatapp.turn import PastTurn, Turn


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
    system: str = ""  #: what the model is told before the first question
    later: int = 0  #: turns after this one, where an earlier one is looked at


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
