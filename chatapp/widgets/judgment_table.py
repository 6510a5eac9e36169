"""Judgments as a table that grows as one goes down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.message import Message
from textual.widgets import DataTable

from chatapp.clean import one_line
from chatapp.judged import Line
from chatapp.times import shorter

#: cells of a time, and of one without its year
TIME, SHORT = 16, 11
WIDE = 120  #: cells from which the state is told with its detail


class JudgmentTable(DataTable[Text]):
    """Rows of lines; asks for more when its end comes near. It fits its columns to its width."""

    DEFAULT_CSS = "JudgmentTable { height: 1fr; overflow-x: hidden; }"
    NEAR: ClassVar[int] = 20  #: rows from the end

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Open", id="judgments.open", tooltip="Look at the judgment closely"),
    ]

    @dataclass
    class More(Message):
        """The end is near, and there is more."""

    def __init__(self, id: str) -> None:
        super().__init__(cursor_type="row", id=id)
        self.lines: list[Line] = []
        self.whole = True  #: there are no more than these
        self._fitted = 0

    @property
    def current(self) -> Line | None:
        """The line under the cursor."""
        return self.lines[self.cursor_row] if self.lines else None

    def show(self, lines: Sequence[Line], whole: bool, cursor: int = 0) -> None:
        """Replace all rows."""
        self.lines, self.whole = list(lines), whole
        self._fill(cursor)

    def add(self, lines: Sequence[Line], whole: bool) -> None:
        """Rows below those that are there."""
        self.lines += lines
        self.whole = whole
        self.add_rows(self._cells(line) for line in lines)

    def on_mount(self) -> None:
        self.watch(self, "scroll_y", self._look_ahead, init=False)
        self.watch(self, "cursor_coordinate", self._look_ahead, init=False)

    def on_resize(self, event: Resize) -> None:
        if event.size.width != self._fitted:
            self._fill(self.cursor_row)

    def _look_ahead(self) -> None:
        seen = max(self.cursor_row, round(self.scroll_y) + self.size.height)
        if self.lines and not self.whole and seen >= len(self.lines) - self.NEAR:
            self.post_message(self.More())

    # -- columns -----------------------------------------------------------------------------------------------------

    def _widths(self) -> dict[str, int]:
        """Cells by column; 0 leaves it out."""
        width = self._fitted = self.size.width
        narrow, asks = width < 56, width >= 70
        fixed = {
            "when": TIME if width >= WIDE else SHORT,
            "kind": 0 if narrow else 10,
            "state": 21 if width >= WIDE else 0 if narrow else 10,
        }
        columns = 1 + asks + sum(map(bool, fixed.values()))
        rest = max(8, width - 2 - sum(fixed.values()) - 2 * columns)
        said = max(min(18, rest // 2), rest * 4 // 10) if asks else rest
        return {**fixed, "said": said, "question": rest - said}

    def _fill(self, cursor: int) -> None:
        widths = self._widths()
        self.clear(columns=True)
        for name in ("when", "kind", "said", "question", "state"):
            if widths[name]:
                self.add_column(name, width=widths[name], key=name)
        self.add_rows(self._cells(line) for line in self.lines)
        if self.lines:
            self.move_cursor(row=min(cursor, len(self.lines) - 1))

    def _cells(self, line: Line) -> list[Text]:
        state = line.detail if self._fitted >= WIDE else line.state
        when = line.when if self._fitted >= WIDE else shorter(line.when)
        # the question and not the thread: a thread has many, and its title is the first of them
        texts = {"when": when, "kind": line.kind, "said": line.said, "question": line.question, "state": state}
        style = "dim" if line.reasons else ""
        # Text and no string: what stands in titles and answers is no markup
        return [
            Text(one_line(texts[str(key.value)], column.width), style, no_wrap=True, end="")
            for key, column in self.columns.items()
        ]
