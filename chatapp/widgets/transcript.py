"""The conversation: earlier turns, the current question, its answers, and what the chat says by itself.

It follows the growing answers until the question reaches the top, then stands still so that they can be read; it never
moves once the reader has scrolled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from chatapp.clean import clean
from chatapp.session import SHOWN_TURNS
from chatapp.turn import PastTurn
from chatapp.view import Note, View
from chatapp.widgets.answers import Answers
from chatapp.widgets.prose import Prose

EMPTY = (
    "Ask something below. Hone answers in {count}.",
    "Say which answer you like best: press its number. Or rank them, correct one, or say that all are bad.",
    "When enough judgments wait, Hone learns from them in the background, and answers with what it learned.",
    "All of it stays on this machine.",
    "F1 shows the keys, Ctrl+P every command.",
)
NUMBERS = ("no ways", "one way", "two ways", "three ways", "four ways", "five ways", "six ways")


def ways(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else f"{count} ways"


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


class Past(Vertical):
    """An earlier turn."""

    DEFAULT_CSS = """
    Past {
        height: auto; width: 1fr;
        & > .mark { color: $text-muted; height: 1; padding: 0 2; margin: 0; }
        & > .answer { padding: 0 2; }
    }
    """

    @dataclass
    class Opened(Message):
        """It was clicked: its answers are wanted."""

        prompt_id: str

    def __init__(self, turn: PastTurn) -> None:
        super().__init__()
        self.past_turn = turn

    def on_click(self, event: Click) -> None:
        event.stop()
        self.post_message(self.Opened(self.past_turn.prompt_id))

    def compose(self) -> ComposeResult:
        yield Question(self.past_turn.prompt)
        if self.past_turn.mark:
            yield Static(Content(self.past_turn.mark), classes="mark")
        yield Prose(self.past_turn.answer, classes="answer")


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


class Transcript(VerticalScroll, can_focus=False):
    """Scrolls by the keys of whatever has the focus inside it."""

    DEFAULT_CSS = """
    Transcript {
        height: 1fr;
        width: 1fr;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        & > Vertical { height: auto; width: 1fr; }
        & > #empty { height: auto; width: 1fr; max-width: 76; padding: 1 2; color: $text-muted; display: none; }
        &.-blank > #empty { display: block; }
    }
    """

    def __init__(self, alternatives: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._alternatives = alternatives
        self.question = Question(classes="-hidden", id="question")
        self.answers = Answers(id="answers")
        self._expected: float | None = None

    def compose(self) -> ComposeResult:
        yield Static(Content("\n\n".join(EMPTY).format(count=ways(self._alternatives))), id="empty")
        yield Vertical(id="past")
        yield self.question
        yield self.answers
        yield Vertical(id="notes")

    async def show(self, view: View) -> None:
        """Show a thread from its (shown) beginning."""
        past = self.query_one("#past", Vertical)
        notes = self.query_one("#notes", Vertical)
        with self.app.batch_update():
            await past.remove_children()
            await notes.remove_children()
            blocks: list[Static | Past] = []
            if view.hidden:
                blocks.append(Line(Note(f"{view.hidden} earlier turns are kept and not shown here.")))
            blocks += [Past(turn) for turn in view.past]
            await past.mount_all(blocks)
            self.ask(view.turn.prompt if view.turn else None)
            self.answers.show(view.turn)
            self._blank()
        self.follow(start=True)

    async def leave_behind(self, turns: Sequence[PastTurn]) -> None:
        """Earlier turns grew by the current one: add it, drop the oldest blocks."""
        past = self.query_one("#past", Vertical)
        notes = self.query_one("#notes", Vertical)
        with self.app.batch_update():
            lines = [Line(line.note) for line in notes.query(Line)]
            await notes.remove_children()
            await past.mount_all([*(Past(turn) for turn in turns), *lines])
            for block in past.query(Past)[:-SHOWN_TURNS]:
                await block.remove()

    def ask(self, text: str | None) -> None:
        """Show the current question."""
        self.question.set_class(text is None, "-hidden")
        self.question.show(text or "")
        self._blank()

    def _blank(self) -> None:
        nothing = self.question.has_class("-hidden") and not self.query(Past)
        self.set_class(nothing, "-blank")

    def say(self, note: Note) -> None:
        """Add a line beneath everything."""
        line = Line(note)
        self.query_one("#notes", Vertical).mount(line)
        self.call_after_refresh(self.follow)

    def follow(self, start: bool = False) -> None:
        """Scroll to the end, but never so far that the question leaves the top. start: whatever the reader did."""
        if start:
            self._expected = None
        self.call_after_refresh(self._follow)

    def _follow(self) -> None:
        if self._expected is not None and abs(self.scroll_y - self._expected) > 1:
            return  # the reader scrolled
        target = 0.0 if self.has_class("-blank") else float(self.max_scroll_y)
        if not self.question.has_class("-hidden"):
            target = min(target, float(self.question.virtual_region.y))
        self._expected = target
        self.scroll_to(y=target, animate=False)
