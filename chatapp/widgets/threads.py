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
from chatapp.finding import pieces
from chatapp.widgets.fields import SafeInput

TEXT = 24  #: cells of a title with its marks
ALL, ARCHIVED = "Search threads", "Search archived threads"
#: what keys do there
AMONG_ARCHIVED = {"threads.archive": "Bring back", "threads.switch": "All"}


class Thread(Protocol):
    """What of a thread is shown."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def judged_count(self) -> int: ...
    @property
    def private(self) -> bool: ...
    @property
    def archived_at(self) -> str | None: ...


class Row(Protocol):
    """A thread, and where in it stands what was searched for."""

    @property
    def thread(self) -> Thread: ...
    @property
    def message_id(self) -> str | None: ...
    @property
    def snippet(self) -> str: ...


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
            text-wrap: nowrap; text-overflow: ellipsis;
        }
        & > #thread-heading { display: none; height: 1; padding: 0 1; margin: 1 0 0 0; text-style: bold; }
        &.-archived > #thread-heading { display: block; }
        & > #thread-hint { height: auto; padding: 0 1; color: $text-muted; }
        & > #thread-said { display: none; height: auto; max-height: 6; padding: 0 1; color: $text-success; }
        &.-over > #thread-said.-some { display: block; }
        & > #thread-said.-error { color: $text-error; }
        & > #thread-said.-quiet { color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="threads.leave", tooltip="Clear the search; back to the chat"),
        # of the field; the list has a ↓ of its own
        Binding("down", "to_rows", "To the threads", show=False, id="threads.rows", tooltip="From the search to them"),
    ]

    Wish = Literal["open", "rename", "archive", "delete", "new"]

    @dataclass
    class Wished(Message):
        """Something is to be done with a thread."""

        wish: ThreadList.Wish
        thread_id: str
        message_id: str | None = None  #: to be opened where this stands

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
        self._rows: Sequence[Row] = ()
        self._shown: tuple[str, bool] | None = None  # what the rows were searched by
        self._owed: ThreadList.Wish | None = None  # of the rows that are on their way
        self._to_current = False  # the next rows are to stand at the current thread

    def compose(self) -> ComposeResult:
        yield Static("Archived", id="thread-heading", markup=False)
        yield SafeInput(placeholder=ALL, id="thread-search", select_on_focus=False)
        yield Threads(id="thread-options")
        yield Static(markup=False, id="thread-hint")
        yield Static(markup=False, id="thread-said")

    @property
    def _wanted(self) -> tuple[str, bool]:
        return self.query_one(Input).value, self.archived

    def show(self, rows: Sequence[Row], current: str | None, query: str, archived: bool) -> None:
        """Replace the list by what fits; what comes after something else was typed is left alone."""
        if (query, archived) != self._wanted:
            return
        options = self.query_one(Threads)
        ids = [row.thread.id for row in rows]
        before, at = options.highlighted_id, options.highlighted
        fresh = self._shown != (query, archived) or self._to_current or at is None
        self._rows, self.current, self._shown, self._to_current = rows, current, (query, archived), False
        options.clear_options()
        options.add_options([Option(self._prompt(row), id=row.thread.id) for row in rows])
        if not fresh and before in ids:
            options.highlighted = ids.index(before)
        elif fresh:  # where one is; among what was searched for at the first
            options.highlighted = ids.index(current) if current in ids and not query else 0
        else:
            options.highlighted = at  # what stood there is gone: the next one, or the last
        what = "archived thread" if archived else "thread"
        hint = f"No {what} has “{one_line(query, 20)}”." if query and not rows else "" if rows else f"No {what} yet."
        self.query_one("#thread-hint", Static).update(Content(hint))
        owed, self._owed = self._owed, None
        if owed is not None:
            self.wish(owed)

    def _prompt(self, row: Row) -> Content:
        thread = row.thread
        marks = " private" if thread.private else ""
        marks += f" ✓{thread.judged_count}" if thread.judged_count else ""
        here = "▸ " if thread.id == self.current else "  "
        title = one_line(thread.title or "untitled", TEXT - len(marks))
        parts: list[tuple[str, str]] = [(here + title, ""), (marks, "$foreground 60%")]
        if row.snippet:
            parts.append(("\n  ", ""))
            parts += [(text, "bold underline" if sought else "dim") for text, sought in pieces(row.snippet, TEXT)]
        return Content.assemble(*parts)

    def refresh_rows(self) -> None:
        """Ask for the rows again."""
        self.post_message(self.Searched(*self._wanted))

    def opened(self) -> None:
        """It is shown: the cursor is at the current thread."""
        self._to_current = True
        self.tell("", "")
        self.refresh_rows()

    def closed(self) -> None:
        """It is hidden or left: who comes back later looks at all threads, and not at what was searched for then."""
        self._owed = None
        self.query_one(Input).value = ""
        if self.archived:
            self.switch()

    def tell(self, said: str | Content, classes: str) -> None:
        """What is said beneath the answers, which the list lies over in a narrow terminal."""
        line = self.query_one("#thread-said", Static)
        line.set_classes(f"{classes} -some" if said else "")
        line.update(said)

    def switch(self) -> None:
        """To the archived threads, or back to the others."""
        self.archived = not self.archived
        self.set_class(self.archived, "-archived")
        self.query_one(Input).placeholder = ARCHIVED if self.archived else ALL
        self.refresh_bindings()
        self.refresh_rows()

    def wish(self, wish: Wish) -> None:
        """Something of the highlighted thread. Keys that come before the rows that they are for wait for them."""
        if wish != "new" and self._shown != self._wanted:
            self._owed = wish
            return
        at = self.query_one(Threads).highlighted
        if wish == "new":
            self.post_message(self.Wished(wish, ""))
        elif at is not None:
            self.post_message(self.Wished(wish, self._rows[at].thread.id, self._rows[at].message_id))

    def action_leave(self) -> None:
        """From what was searched for back to all threads, from there to the chat."""
        field = self.query_one(Input)
        if field.has_focus and field.value:
            field.value = ""
        else:
            self.closed()
            self.post_message(self.Left())

    def action_to_rows(self) -> None:
        rows = self.query_one(Threads)
        rows.focus()
        if rows.option_count > 1:  # the first has been highlighted since it was found
            rows.action_cursor_down()

    @on(Input.Changed)
    def search_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.refresh_rows()

    @on(Input.Submitted)
    def search_done(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value:
            self.wish("open")
        else:
            self.query_one(Threads).focus()

    @on(OptionList.OptionSelected)
    def thread_chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.wish("open")


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
            "slash",
            "search",
            "Search",
            key_display="/",
            id="threads.search",
            tooltip="Search titles and messages; Enter opens the first that is found, where the words stand",
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

    def at_foot(self, binding: Binding) -> str:
        """Among the archived threads two keys do something else."""
        if self._list().archived and binding.id in AMONG_ARCHIVED:
            return AMONG_ARCHIVED[binding.id]
        return binding.description if binding.show else ""

    def action_wish(self, wish: ThreadList.Wish) -> None:
        self._list().wish(wish)

    def action_switch(self) -> None:
        self._list().switch()

    def action_search(self) -> None:
        self._list().query_one(Input).focus()
