"""The earlier turns of a thread. A window of them is live; what lies outside of it comes when it is scrolled to.

So a long thread costs no more than a short one. A turn is two widgets and no container, as each widget costs a
millisecond when it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from textual.containers import Vertical
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from chatapp.clean import clean
from chatapp.turn import PastTurn
from chatapp.view import Note
from chatapp.widgets.prose import Prose

STEP = 8  #: turns that come at once while one scrolls: a page up or down takes less than 50 ms with them
PIECE = 24  #: turns that come at once where one jumps to
LIVE = 32  #: turns that stay live; more only where so many are near to what is seen


class Question(Prose):
    """What the reader asked."""

    DEFAULT_CSS = """
    Question {
        padding: 0 1; margin: 1 0 0 0;
        border-left: outer $accent;
        background: $boost;
        &.-hidden { display: none; }
    }
    """

    def __init__(self, text: str = "", **kwargs: Any) -> None:
        super().__init__(text, markdown=False, **kwargs)


class Reply(Prose):
    """The answer that the chat went on from, beneath how it was chosen."""

    DEFAULT_CSS = """
    Reply {
        padding: 0 2;
        &.-marked { border-top: blank; border-title-color: $foreground 60%; border-title-style: none; }
    }
    """

    def __init__(self, turn: PastTurn) -> None:
        super().__init__(turn.answer, classes="-marked" if turn.mark else "")
        self.border_title = Content(turn.mark)


class Past(Question):
    """The question of an earlier turn; its `reply` stands below it, and what the chat said before it above."""

    @dataclass
    class Opened(Message):
        """It was clicked: its answers are wanted."""

        prompt_id: str

    def __init__(self, turn: PastTurn, said_before: Sequence[Note] = ()) -> None:
        super().__init__(turn.prompt)
        self.past_turn = turn
        self.reply = Reply(turn)
        self.lines = [Line(note) for note in said_before]

    def on_click(self, event: Click) -> None:
        event.stop()
        self.post_message(self.Opened(self.past_turn.prompt_id))

    @property
    def parts(self) -> list[Widget]:
        return [*self.lines, self, self.reply]


class Line(Static):
    """Something that the chat says by itself."""

    DEFAULT_CSS = """
    Line {
        height: auto; width: 1fr; padding: 0 1; margin: 1 0 0 0; color: $text-muted;
        &.-error { color: $text-error; }
    }
    """

    def __init__(self, note: Note) -> None:
        mark = "! " if note.error else "· "
        super().__init__(Content(mark + clean(note.text)), classes="-error" if note.error else "")
        self.note = note


class PastTurns(Vertical):
    """The turns from `start` to `stop` of `total`, the first of the thread being 0."""

    DEFAULT_CSS = """
    PastTurns { height: auto; width: 1fr; }
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = 0
        self.total = 0
        self.turns: list[Past] = []
        self._said: dict[int, list[Note]] = {}  # before the turn of that number

    @property
    def stop(self) -> int:
        return self.start + len(self.turns)

    @property
    def below(self) -> int:
        """How many turns lie between the window and the current turn."""
        return self.total - self.stop

    async def begin(self, turns: Sequence[PastTurn], hidden: int) -> None:
        """Another thread: its last turns, and how many come before them."""
        self._said, self.turns = {}, []
        self.total = hidden + len(turns)
        await self.put(turns, hidden)

    async def put(self, turns: Sequence[PastTurn], start: int) -> None:
        """Show turns, start being the number of the first. Those that are live stay if these are next to them."""
        stop, blocks = start + len(turns), [Past(t, self._said.get(n, ())) for n, t in enumerate(turns, start)]
        parts = [part for block in blocks for part in block.parts]
        if stop == self.start and self.turns:
            self.turns, self.start = [*blocks, *self.turns], start
            await self.mount_all(parts, before=0)
        elif start == self.stop and self.turns:
            self.turns += blocks
            await self.mount_all(parts)
        else:
            self.turns, self.start = blocks, start
            await self.remove_children()
            await self.mount_all(parts)

    async def grow(self, turns: Sequence[PastTurn], said: Sequence[Note]) -> None:
        """The current turn became an earlier one. said: what the chat said beneath it."""
        if self.below:  # the reader was far above, and is about to see the end
            await self.put((), self.total)
        self.total += len(turns)
        await self.put(turns, self.stop)
        await self.drop(self.turns[:-LIVE])
        self._said.setdefault(self.total, []).extend(said)

    @property
    def said(self) -> list[Note]:
        """What the chat said before the current turn."""
        return self._said.get(self.total, [])

    async def drop(self, blocks: Sequence[Past]) -> None:
        """Let go of turns at one end of the window."""
        if not blocks:
            return
        if blocks[0] is self.turns[0]:
            self.start += len(blocks)
        gone = set(blocks)
        self.turns = [block for block in self.turns if block not in gone]
        await self.remove_children([part for block in blocks for part in block.parts])
