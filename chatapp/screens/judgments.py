"""The page of judgments: a table of what was judged, and a field that looks for words in it."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from chatapp.clean import one_line
from chatapp.judged import Line, lines_of
from chatapp.looking import view
from chatapp.screens.judgment import JudgmentPanel
from chatapp.screens.judgment_actions import JudgmentActions
from chatapp.widgets.fields import SafeInput
from chatapp.widgets.judgment_table import JudgmentTable

#: judgments read at a time, and at most after a change
PIECE, MOST = 200, 2000
#: seconds after the last letter
QUIET = 0.15


class JudgmentsPage(JudgmentActions):
    """Everything that you judged, the newest first; more is read as you go down. Enter opens one.
    What is dim teaches nothing; its last column says why."""

    NAME = "Judgments"

    DEFAULT_CSS = """
    JudgmentsPage {
        & #search, & #search:focus { border: none; height: 1; padding: 0 1; margin: 0 0 1 0; background: $boost; }
        & #search:focus { background: $accent 20%; }
        & #search:focus:ansi { background: ansi_default; text-style: underline; }
        & #about { height: 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; padding: 0 1; }
        & #none { display: none; height: 1fr; color: $text-muted; padding: 1; }
        &.-none #none { display: block; }
        &.-none JudgmentTable { display: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", key_display="/", id="judgments.search", tooltip="Look for words"),
        Binding("a", "all", "All", id="judgments.all", tooltip="Show what was taken back or replaced too, or hide it"),
        Binding("e", "do('edit')", "Edit", id="judgments.edit", tooltip="Say it anew; the old one is kept and hidden"),
        Binding("x", "do('retract')", "Take back", id="judgments.retract", tooltip="It teaches nothing any more"),
        Binding("F,delete", "do('forget')", "Forget", key_display="F", id="judgments.forget", tooltip="For good"),
        Binding("g", "do('go')", "Thread", id="judgments.go", tooltip="Open its thread in the chat"),
    ]

    def body(self) -> ComposeResult:
        yield SafeInput(placeholder="Search questions, answers, notes, kinds and titles", id="search")
        yield JudgmentTable(id="judgments")
        yield Static(id="none", markup=False)
        yield Static(id="about", markup=False)

    def on_mount(self) -> None:
        self.table = self.query_one(JudgmentTable)
        self.field = self.query_one("#search", Input)
        self.all = False
        self._query = ""
        self._asked = 0  # searches, so that a late answer does not replace a later one
        self._reading = False
        self._typing: Timer | None = None
        self.set_focus(self.table)
        self.start("list", self._read)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, least: int = 0, cursor: int = 0) -> None:
        """Replace the table by what fits now."""
        self._asked += 1
        limit = min(max(PIECE, least), MOST)
        asked, query, all = self._asked, self._query, self.all
        lines = await self.call(lines_of, self.store, limit, None, query, all)
        if asked != self._asked:
            return
        self.table.show(lines, whole=len(lines) < limit, cursor=cursor)
        if not lines:
            self.query_one("#none", Static).update(Content(self._nothing()))
            self.query_one("#about", Static).update("")
        self.set_class(not lines, "-none")
        if self.focused is not self.field:  # what is hidden hears no key
            self.set_focus(self.table if lines else None)
        self._head()

    @on(JudgmentTable.More)
    def more(self) -> None:
        if not self._reading and not self.table.whole:
            self._reading = True
            self.start("list", self._more)

    async def _more(self) -> None:
        asked, before = self._asked, self.table.lines[-1].seq
        try:
            lines = await self.call(lines_of, self.store, PIECE, before, self._query, self.all)
            if asked == self._asked:
                self.table.add(lines, whole=len(lines) < PIECE)
                self._head()
        finally:
            self._reading = False

    async def _reload(self) -> None:
        loaded = len(self.table.lines)
        await self._read(loaded + 1, self.table.cursor_row)

    def _head(self) -> None:
        shown = f"{len(self.table.lines):,}{'' if self.table.whole else ' and more'}"
        which = "all, with those taken back or replaced" if self.all else "in force"
        words = f" · with “{one_line(self._query, 30)}”" if self._query.strip() else ""
        self.heading(f"{self.NAME} · {shown} · {which}{words}")

    def _nothing(self) -> str:
        hidden = "" if self.all else " Press a to look among those taken back or replaced too."
        if self._query.strip():
            return f"No judgment has “{one_line(self._query, 40)}”.{hidden}"
        return f"Nothing is judged yet. Esc goes to the chat: a key there says which answer is the best.{hidden}"

    @on(DataTable.RowHighlighted)
    def highlighted(self) -> None:
        line = self.table.current
        if line is not None:
            reasons = f" · {line.reasons}" if line.reasons else ""
            about = f"“{line.question}” · in “{line.title}”{reasons}"
            self.query_one("#about", Static).update(Content(one_line(about, 400)))

    # -- searching ---------------------------------------------------------------------------------------------------

    def action_search(self) -> None:
        self.set_focus(self.field)

    @on(Input.Changed, "#search")
    def typed(self) -> None:
        if self._typing is not None:
            self._typing.stop()
        self._typing = self.set_timer(QUIET, self._search)

    @on(Input.Submitted, "#search")
    def searched(self, event: Input.Submitted) -> None:
        event.stop()
        self._search()
        self.set_focus(self.table if self.table.lines else self.field)

    def _search(self) -> None:
        if self.field.value != self._query:
            self._query = self.field.value
            self.start("list", self._read)

    def action_back(self) -> None:
        """From the field back to the table, from there to the chat."""
        if self.focused is not self.field and not (self._query and not self.table.lines):
            super().action_back()
            return
        self.field.value = ""
        self._search()
        self.set_focus(self.table if self.table.lines else None)

    def action_all(self) -> None:
        self.all = not self.all
        self.start("list", self._read)

    # -- doing -------------------------------------------------------------------------------------------------------

    @on(DataTable.RowSelected)
    def open(self, event: DataTable.RowSelected) -> None:
        event.stop()
        line = self.table.current
        if line is not None:
            self.start("dialog", self._open, line)

    async def _open(self, line: Line) -> None:
        found = await self.call(lambda: view(self.store, self.store.judgments.get(line.id)))
        wish = await self.app.push_screen_wait(JudgmentPanel(found))
        if wish is not None:
            await self._do(wish, line)

    def action_do(self, wish: str) -> None:
        line = self.table.current
        if line is not None:
            self.start("dialog", self._do, wish, line)

    async def _do(self, wish: str, line: Line) -> None:
        if wish == "edit":
            await self._edit(line.id)
        elif wish == "retract":
            await self._retract(line.id)
        elif wish == "forget":
            await self._forget(line.id)
        else:
            await self._go(line.thread_id)
