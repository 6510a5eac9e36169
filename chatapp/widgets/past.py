"""The earlier turns of a thread. A window of them is laid out; what lies outside of it comes when it is scrolled to.

So a long thread costs no more than a short one. All that is laid out is one widget, drawn line by line: a widget for
each question and answer cost a millisecond when it came, and a part of every layout while answers grow.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

from rich.segment import Segment
from textual.content import Content
from textual.events import Click, MouseDown
from textual.geometry import Offset, Size
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget
from textual.widgets import Static

from chatapp.clean import clean
from chatapp.prose.wrapping import EMPTY, wrapped
from chatapp.prose.wrapping import Line as TextLine
from chatapp.turn import PastTurn
from chatapp.view import Note
from chatapp.widgets.prose import Prose, formatted

STEP = 12  #: turns that come at once while one scrolls: a page up or down takes less than 50 ms with them
PIECE = 24  #: turns that come at once where one jumps to
LIVE = 48  #: turns that stay laid out; more only where so many are near to what is seen


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


class Row(NamedTuple):
    """A line of the screen, and what it is part of: gap, note, error, question, mark or reply."""

    kind: str
    line: TextLine = TextLine(EMPTY)


#: cells before and after the text of a row
LEFT = {"gap": 0, "note": 1, "error": 1, "question": 2, "mark": 2, "reply": 2}
RIGHT = {"gap": 0, "note": 1, "error": 1, "question": 1, "mark": 2, "reply": 2}


class Past:
    """An earlier turn: what the chat said before it, the question, how the answer was chosen, and the answer."""

    def __init__(self, turn: PastTurn, said_before: Sequence[Note] = ()) -> None:
        self.turn = turn
        self.said_before = tuple(said_before)
        self.strips: dict[int, Strip] = {}  # of its rows, as they were drawn
        self._width = 0
        self._rows: list[Row] = []

    def rows(self, width: int) -> list[Row]:
        """Its lines for this width."""
        if width != self._width:
            self._width, self._rows = width, self._lay_out(width)
            self.strips.clear()
        return self._rows

    def _lay_out(self, width: int) -> list[Row]:
        rows: list[Row] = []
        for note in self.said_before:
            rows += [Row("gap"), *_plain("error" if note.error else "note", said(note), width)]
        rows += [Row("gap"), *_plain("question", self.turn.prompt, width)]
        if self.turn.mark:
            rows.append(Row("mark", TextLine(Content(self.turn.mark))))
        return rows + [Row("reply", line) for line in formatted(self.turn.answer).lines(room("reply", width))]

    def reply_at(self, width: int) -> int:
        """The number of the row where the answer begins, or how it was chosen."""
        return next((n for n, row in enumerate(self.rows(width)) if row.kind in ("mark", "reply")), 0)


def room(kind: str, width: int) -> int:
    return max(2, width - LEFT[kind] - RIGHT[kind])


def _plain(kind: str, text: str, width: int) -> list[Row]:
    """Text without formatting."""
    lines = clean(text).split("\n")
    return [Row(kind, line) for text in lines for line in wrapped(Content(text), room(kind, width))]


def said(note: Note) -> str:
    return ("! " if note.error else "· ") + note.text


class Line(Static):
    """Something that the chat says by itself."""

    DEFAULT_CSS = """
    Line {
        height: auto; width: 1fr; padding: 0 1; margin: 1 0 0 0; color: $text-muted;
        &.-error { color: $text-error; }
    }
    """

    def __init__(self, note: Note) -> None:
        super().__init__(Content(clean(said(note))), classes="-error" if note.error else "")
        self.note = note


class PastTurns(Widget):
    """The turns from `start` to `stop` of `total`, the first of the thread being 0."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"past--{part}" for part in ("bar", "question", "mark", "note", "error")}

    DEFAULT_CSS = """
    PastTurns {
        height: auto; width: 1fr;
        & > .past--bar { color: $accent; background: $boost; }
        & > .past--question { background: $boost; }
        & > .past--mark { color: $foreground 60%; }
        & > .past--note { color: $text-muted; }
        & > .past--error { color: $text-error; }
    }
    """

    @dataclass
    class Opened(Message):
        """A question was clicked: its answers are wanted."""

        prompt_id: str

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = 0
        self.total = 0
        self.turns: list[Past] = []
        self._said: dict[int, list[Note]] = {}  # before the turn of that number
        self._pressed = Offset(0, 0)  # where the mouse was
        self._styles: dict[str, Style] = {}  # as the theme has them
        self._tops: list[int] = []  # the first row of each turn, and the end, for a width
        self._tops_for = -1

    @property
    def stop(self) -> int:
        return self.start + len(self.turns)

    @property
    def below(self) -> int:
        """How many turns lie between the window and the current turn."""
        return self.total - self.stop

    def begin(self, turns: Sequence[PastTurn], hidden: int) -> None:
        """Another thread: its last turns, and how many come before them."""
        self._said, self.turns = {}, []
        self.total = hidden + len(turns)
        self.put(turns, hidden)

    def put(self, turns: Sequence[PastTurn], start: int) -> None:
        """Show turns, start being the number of the first. Those that are there stay if these are next to them."""
        stop, blocks = start + len(turns), [Past(t, self._said.get(n, ())) for n, t in enumerate(turns, start)]
        if stop == self.start and self.turns:
            self._shift(sum(len(block.rows(self.size.width)) for block in blocks))
            self.turns, self.start = [*blocks, *self.turns], start
        elif start == self.stop and self.turns:
            self.turns = [*self.turns, *blocks]
        else:
            if self.is_attached and self.text_selection is not None:
                self._mark(None)
            self.turns, self.start = blocks, start
        self._changed()

    def grow(self, turns: Sequence[PastTurn], said: Sequence[Note]) -> None:
        """The current turn became an earlier one. said: what the chat said beneath it."""
        if self.below:  # the reader was far above, and is about to see the end
            self.put((), self.total)
        self.total += len(turns)
        self.put(turns, self.stop)
        self.drop(self.turns[:-LIVE])
        self._said.setdefault(self.total, []).extend(said)

    @property
    def said(self) -> list[Note]:
        """What the chat said before the current turn."""
        return self._said.get(self.total, [])

    def drop(self, blocks: Sequence[Past]) -> None:
        """Let go of turns at one end of the window."""
        if not blocks:
            return
        if blocks[0] is self.turns[0]:
            self._shift(-sum(len(block.rows(self.size.width)) for block in blocks))
            self.start += len(blocks)
        gone = set(blocks)
        self.turns = [block for block in self.turns if block not in gone]
        self._changed()

    def _changed(self) -> None:
        self._tops_for = -1
        self.refresh(layout=True)

    # -- where they are ------------------------------------------------------------------------------------------------

    def _laid_out(self, width: int) -> list[int]:
        if width != self._tops_for:
            self._tops = list(accumulate((len(block.rows(width)) for block in self.turns), initial=0))
            self._tops_for = width
        return self._tops

    def span(self, block: Past) -> range:
        """The rows of a turn, from the top of this widget."""
        tops, at = self._laid_out(self.size.width), self.turns.index(block)
        return range(tops[at], tops[at + 1])

    def reply_of(self, block: Past) -> range:
        """The rows of its answer."""
        rows = self.span(block)
        return range(rows.start + block.reply_at(self.size.width), rows.stop)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return self._laid_out(width)[-1]

    def _at(self, y: int) -> tuple[Past, int] | None:
        """The turn that has row y, and which of its rows that is."""
        tops = self._laid_out(self.size.width)
        at = bisect_right(tops, y) - 1
        return (self.turns[at], y - tops[at]) if 0 <= y < tops[-1] else None

    def on_mouse_down(self, event: MouseDown) -> None:
        self._pressed = event.offset

    def on_click(self, event: Click) -> None:
        event.stop()
        found = self._at(event.y)
        if event.offset != self._pressed or event.chain > 1:
            return  # text was marked
        if found is not None and found[0].rows(self.size.width)[found[1]].kind == "question":
            self.post_message(self.Opened(found[0].turn.prompt_id))

    def text_select_all(self) -> None:
        """Mark the question or the answer that was clicked twice."""
        found = self._at(self._pressed.y)
        if found is None:
            return
        block, number = found
        rows, top = block.rows(self.size.width), self.span(block).start
        kinds = ("mark", "reply") if rows[number].kind in ("mark", "reply") else (rows[number].kind,)
        marked = [top + n for n, row in enumerate(rows) if row.kind in kinds]
        self._mark(Selection(Offset(0, marked[0]), Offset(self.size.width, marked[-1])))

    def _mark(self, selection: Selection | None) -> None:
        others = {widget: marked for widget, marked in self.screen.selections.items() if widget is not self}
        self.screen.selections = others if selection is None else {**others, self: selection}

    def _shift(self, rows: int) -> None:
        """Rows came at the top, or went: what is marked stays marked."""
        selection = self.text_selection if self.is_attached else None
        if selection is None or not rows:
            return
        ends = [None if end is None else Offset(end.x, end.y + rows) for end in selection]
        kept = all(end is None or end.y >= 0 for end in ends)
        self._mark(Selection(*ends) if kept else None)

    # -- drawing -------------------------------------------------------------------------------------------------------

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles = {}
        for block in self.turns:
            block.strips.clear()

    def render_line(self, y: int) -> Strip:
        found = self._at(y)
        if found is None:
            return Strip.blank(self.size.width, self.visual_style.rich_style)
        block, number = found
        row = block.rows(self.size.width)[number]
        selection = self.text_selection
        span = selection.get_span(y) if selection is not None else None
        if span is not None:
            return self._draw(row, span).apply_offsets(0, y)
        if number not in block.strips:
            block.strips[number] = self._draw(row)
        return block.strips[number].apply_offsets(0, y)

    def _draw(self, row: Row, span: tuple[int, int] | None = None) -> Strip:
        """A row in its colours. span: the cells that are selected; the end -1 is that of the row."""
        width, left = self.size.width, LEFT[row.kind]
        style, content = self._style(row.kind), row.line.content
        if span is not None and row.kind != "gap":
            start, end = span[0] - left, len(content) if span[1] == -1 else span[1] - left
            content = content.stylize(self._style("selection"), max(0, start), max(0, end))
        before = [Segment(" " * left, style.rich_style)]
        if row.kind == "question":
            before = [Segment("▌", self._style("bar").rich_style), Segment(" " * (left - 1), style.rich_style)]
        parts = content.render(style, end="", parse_style=self._style)
        text = [Segment(text, (style + own).rich_style) for text, own in parts]
        return Strip([*before, *text]).adjust_cell_length(width, style.rich_style)

    def _style(self, name: str | Style) -> Style:
        """Of a kind of row, or of a part of a text."""
        if isinstance(name, Style):
            return name
        if name not in self._styles:
            if name == "selection":
                style = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            elif f"past--{name}" in self.COMPONENT_CLASSES:
                style = self.get_visual_style(f"past--{name}")
            elif name in LEFT:
                style = self.visual_style
            else:
                style = Style.parse(name, self.app.theme_variables)
            self._styles[name] = style
        return self._styles[name]

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """What was written in the part that is selected."""
        parts: list[str] = []
        between = ""
        for y in range(self._laid_out(self.size.width)[-1]):
            span, found = selection.get_span(y), self._at(y)
            if span is None or found is None:
                continue
            row = found[0].rows(self.size.width)[found[1]]
            if row.kind == "mark":
                continue  # nobody wrote it
            plain, left = row.line.content.plain, LEFT[row.kind]
            start, end = max(span[0] - left, row.line.lead), len(plain) if span[1] == -1 else max(0, span[1] - left)
            parts += [between, plain[start:end].rstrip()]
            between = row.line.between
        return "".join(parts), "\n"
