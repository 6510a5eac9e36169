"""The list of threads: beside the chat where there is room, over it where there is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from chatapp.clean import one_line
from chatapp.widgets.fields import SafeInput


class Row(Protocol):
    """What of a thread is shown."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def judgment_count(self) -> int: ...
    @property
    def private(self) -> bool: ...
    @property
    def archived_at(self) -> str | None: ...


class ThreadList(Vertical):
    """Search field and list; posts what is wanted, reads nothing by itself."""

    DEFAULT_CSS = """
    ThreadList {
        width: 30;
        height: 1fr;
        background: $surface;
        border-right: solid $foreground 15%;
        display: none;
        &.-shown { display: block; }
        &.-over { layer: over; dock: left; width: 34; max-width: 90%; background: $panel; }
        & > Input { border: none; height: 1; padding: 0 1; margin: 1 0 0 0; background: $boost; }
        & > Input:focus { border: none; background: $accent 20%; }
        & > Input:focus:ansi { background: ansi_default; text-style: underline; }
        & > OptionList, & > OptionList:focus {
            border: none; height: 1fr; padding: 0; background: transparent; margin: 1 0 0 0;
        }
        & > #thread-hint { height: auto; padding: 0 1; color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="threads.leave", tooltip="Back to the chat"),
    ]

    Wish = Literal["open", "rename", "archive", "delete", "new"]

    @dataclass
    class Wished(Message):
        """Something is to be done with a thread."""

        wish: ThreadList.Wish
        thread_id: str

    @dataclass
    class Searched(Message):
        """The list should hold what fits query."""

        query: str
        archived: bool

    @dataclass
    class Left(Message):
        """Esc was pressed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.archived = False
        self.current: str | None = None

    def compose(self) -> ComposeResult:
        yield SafeInput(placeholder="Search threads", id="thread-search", select_on_focus=False)
        yield Threads(id="thread-options")
        yield Static(markup=False, id="thread-hint")

    def show(self, rows: Sequence[Row], current: str | None) -> None:
        """Replace the list."""
        options = self.query_one(Threads)
        highlighted = options.highlighted_id
        self.current = current
        options.clear_options()
        options.add_options([Option(self._prompt(row), id=row.id) for row in rows])
        wanted = highlighted if highlighted and any(row.id == highlighted for row in rows) else current
        if wanted is not None and any(row.id == wanted for row in rows):
            options.highlighted = options.get_option_index(wanted)
        query = self.query_one(Input).value
        what = "archived thread" if self.archived else "thread"
        hint = f"No {what} has “{one_line(query, 20)}”." if query and not rows else "" if rows else f"No {what} yet."
        self.query_one("#thread-hint", Static).update(Content(hint))

    def _prompt(self, row: Row) -> Content:
        marks = " private" if row.private else ""
        marks += f" ✓{row.judgment_count}" if row.judgment_count else ""
        here = "▸ " if row.id == self.current else "  "
        title = one_line(row.title or "untitled", 24 - len(marks))
        return Content.assemble(here, title, (marks, "$foreground 60%"))

    def refresh_rows(self) -> None:
        """Ask for the rows again."""
        self.post_message(self.Searched(self.query_one(Input).value, self.archived))

    def action_leave(self) -> None:
        self.post_message(self.Left())

    @on(Input.Changed)
    def search_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.refresh_rows()

    @on(Input.Submitted)
    def search_done(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one(Threads).focus()

    @on(OptionList.OptionSelected)
    def thread_chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option.id is not None:
            self.post_message(self.Wished("open", event.option.id))


class Threads(OptionList):
    """The rows; its keys are those of a list that has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "wish('new')", "New", id="threads.new", tooltip="Begin a new thread"),
        Binding("r", "wish('rename')", "Rename", id="threads.rename", tooltip="Rename the highlighted thread"),
        Binding(
            "a", "wish('archive')", "Archive", id="threads.archive", tooltip="Archive the thread, or bring it back"
        ),
        Binding("d", "wish('delete')", "Delete", id="threads.delete", tooltip="Delete the highlighted thread"),
        Binding("v", "switch", "Archived", id="threads.switch", tooltip="Show the archived threads, or the others"),
        Binding(
            "slash", "search", "Search", key_display="/", id="threads.search", tooltip="Search titles and messages"
        ),
    ]

    @property
    def highlighted_id(self) -> str | None:
        option = self.highlighted_option
        return option.id if option else None

    def _list(self) -> ThreadList:
        parent = self.parent
        assert isinstance(parent, ThreadList)
        return parent

    def action_wish(self, wish: ThreadList.Wish) -> None:
        id = self.highlighted_id
        if id is not None or wish == "new":
            self.post_message(ThreadList.Wished(wish, id or ""))

    def action_switch(self) -> None:
        threads = self._list()
        threads.archived = not threads.archived
        threads.refresh_rows()

    def action_search(self) -> None:
        self._list().query_one(Input).focus()
