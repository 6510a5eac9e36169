"""The versions: the lineage from the base to what answers now, what each learned from, and the keys between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from chatapp import lineage
from chatapp.clean import clean
from chatapp.lineage import Looked, Row
from chatapp.screens.dialogs import Confirm
from chatapp.screens.version_export import ExportActions, size
from chatapp.session import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.adapters import Adapter
    from storage.pruning import Usage

    #: makes another version live and returns it; its argument is the highlighted one
    Changing = Callable[[Row | None], Adapter | None]


class VersionsPage(ExportActions):
    """What your judgments made of the model, version by version: ● answers now, ✓ was in use, ✗ was not adopted.
    Up and down choose one, Enter shows what it learned from; Tab goes to its details, where they scroll."""

    NAME = "Versions"
    WIDE: ClassVar[int] = 100  #: columns from which the tree stands beside the details

    DEFAULT_CSS = """
    VersionsPage {
        & #page { layout: vertical; }
        & #versions, & #versions:focus { height: auto; max-height: 8; width: 1fr; border: none; padding: 0; }
        & #versions { text-wrap: nowrap; text-overflow: ellipsis; }
        & #version { height: 1fr; width: 1fr; padding: 0 1; border-top: solid $foreground 15%; }
        & #version:focus { border-top: solid $accent; }
        & #version > Static { height: auto; width: 1fr; margin: 0 0 1 0; }
        & #disk { color: $text-muted; }
        &.-wide #page { layout: horizontal; }
        &.-wide #versions { width: 44; height: 1fr; max-height: 100%; }
        &.-wide #version, &.-wide #version:focus {
            border-top: none; border-left: solid $foreground 15%; padding: 0 2;
        }
        &.-wide #version:focus { border-left: solid $accent; }
        &.-short #versions { max-height: 3; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "rollback", "Roll back", id="versions.rollback", tooltip="Answer with the version before"),
        Binding("f", "forward", "Forward", id="versions.forward", tooltip="Undo a rollback"),
        Binding("u", "use", "Use", id="versions.use", tooltip="Answer with the highlighted version"),
        Binding(
            "w",
            "compare",
            "Compare",
            id="versions.compare",
            tooltip="What did it learn? Your last questions, answered by the highlighted version and the one before it",
        ),
        Binding(  # not at the foot, where no more keys fit: the page says that Enter does it
            "o",
            "open",
            "Judgments",
            show=False,
            id="versions.open",
            tooltip="The judgments that made it; Enter too",
        ),
        Binding("x", "export", "Export", id="versions.export", tooltip="A version for PEFT, llama.cpp or Ollama"),
        Binding("p", "prune", "Free disk", id="versions.prune", tooltip="Delete the files that nobody goes back to"),
    ]

    def body(self) -> ComposeResult:
        yield OptionList(id="versions")
        with VerticalScroll(id="version"):
            yield Static(id="version-text", markup=False)
            yield Static(id="disk", markup=False)

    def on_mount(self) -> None:
        self._rows: dict[str, Row] = {}
        self._looked: Looked | None = None
        self.versions.focus()
        self.start(self._read(), "read")

    @property
    def versions(self) -> OptionList:
        return self.query_one("#versions", OptionList)

    @property
    def _model(self) -> str:
        return self.session.model.hash

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Everything again; the highlighted version stays so."""
        from storage import pruning

        rows = await self.call(lineage.rows, self.store, self._model)
        option = self.versions.highlighted_option
        wanted = option.id if option else next((row.id for row in rows if row.live), None)
        self._rows = {row.id: row for row in rows}
        with self.app.batch_update():
            self.versions.clear_options()
            self.versions.add_options([Option(_line(row), id=row.id) for row in rows])
            self.versions.highlighted = self.versions.get_option_index(wanted) if wanted in self._rows else 0
        live = next(row for row in rows if row.live)
        many = f"{len(rows) - 1} version{'s' if len(rows) != 2 else ''}"
        self.heading(f"Versions · {live.name} answers now · {many}")
        await self._look()
        self._tell_disk(await self.call(pruning.usage, self.store))

    @on(OptionList.OptionHighlighted)
    def chosen(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if self._looked is None or event.option.id != self._looked.row.id:
            self.query_one("#version", VerticalScroll).scroll_home(animate=False)
            self.start(self._look(), "look")

    def _row(self) -> Row | None:
        option = self.versions.highlighted_option
        return None if option is None else self._rows.get(option.id or "")

    async def _look(self) -> None:
        row = self._row()
        if row is None:
            return
        looked = await self.call(lineage.look, self.store, self._model, row)
        if self._row() == row:
            self._looked = looked
            self.query_one("#version-text", Static).update(_details(looked))

    def _tell_disk(self, usage: Usage) -> None:
        takes = f"On the disk: versions {size(usage.versions)}, caches {size(usage.caches + usage.held)}."
        if usage.freed:
            takes += f" p frees {size(usage.freed)}."
        self.query_one("#disk", Static).update(Content(takes))

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= self.WIDE, "-wide")
        self.set_class(event.size.height < 16, "-short")

    # -- going back and forth ----------------------------------------------------------------------------------------

    def action_rollback(self) -> None:
        self.start(self._change(self._roll_back), "store")

    def action_forward(self) -> None:
        self.start(self._change(self._go_forward), "store")

    def action_use(self) -> None:
        self.start(self._change(self._use), "store")

    def _roll_back(self, _: Row | None) -> Adapter | None:
        return self.store.adapters.rollback(self._model)

    def _go_forward(self, _: Row | None) -> Adapter | None:
        from storage.versions import way_forward

        forward = way_forward(self.store, self._model)
        if forward is None:
            raise SessionError("There is no version to go forward to: nothing newer was in use after this one.")
        return self.store.adapters.use(forward.id, self._model)

    def _use(self, row: Row | None) -> Adapter | None:
        if row is None or row.live:
            raise SessionError(f"{row.name if row and row.adapter else 'The base'} answers already.")
        return self.store.adapters.use(row.adapter.id if row.adapter else None, self._model)

    async def _change(self, change: Changing) -> None:
        """Have another version answer, and say which one and what undoes it."""
        row = self._row()
        self.say(await self.call(self._changed, change, row))
        await self._read()

    def _changed(self, change: Changing, row: Row | None) -> str:
        from storage.versions import way_forward

        adapters = self.store.adapters
        before = adapters.live(self._model)
        now = change(row)
        was, is_ = (before.name if before else "the base"), (now.name if now else "The base")
        if way_forward(self.store, self._model) == (before and adapters.get(before.id)):
            key = f"{was} is one key away: f"
        elif now is not None and adapters.way_back(self._model)[0] == (before and adapters.get(before.id)):
            key = f"{was} is one key away: b"
        else:
            key = f"{was} comes back with u"
        return f"{is_} answers from now on; {key}. No lesson changes that until you judge again."

    # -- what it learned ---------------------------------------------------------------------------------------------

    @on(OptionList.OptionSelected)
    def selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_open()

    def action_open(self) -> None:
        self.start(self._open(), "dialog")

    async def _open(self) -> None:
        from chatapp.screens.behind import Behind, tell

        await self._look()
        looked = self._looked
        if looked is None or not looked.learned:
            name = looked.row.name if looked and looked.row.adapter else "The base"
            raise SessionError(f"{name} learned from no judgment of yours.")
        told = await self.call(tell, self.store, looked.learned)
        await self.app.push_screen_wait(Behind(looked.row.name, told, len(looked.learned)))

    def action_compare(self) -> None:
        self.start(self._compare(), "dialog")

    async def _compare(self) -> None:
        from chatapp.comparing import Comparing, last_questions
        from chatapp.screens.compared import ComparedPage

        row = self._row()
        if row is None or row.adapter is None:
            raise SessionError("The base is where all began: choose a version, to see what it learned.")
        if self.session.busy:
            raise SessionError("The chat is still answering: wait for it, or go back and stop it with Esc.")
        await self.call(self.store.adapters.need, row.adapter)
        before, _ = await self.call(self.store.adapters.before, row.adapter)
        asked = await self.call(last_questions, self.store)
        if not asked:
            raise SessionError("There is no question of yours yet: ask something in the chat first.")
        await self.app.push_screen_wait(ComparedPage(self.chat, Comparing(self.session, row.adapter, before, asked)))

    # -- the disk ----------------------------------------------------------------------------------------------------

    def action_prune(self) -> None:
        self.start(self._prune(), "dialog")

    async def _prune(self) -> None:
        from storage import pruning

        found = await self.call(pruning.usage, self.store)
        if not found.freed:
            held = " A run under way reads the caches." if found.held else ""
            self.say(f"Nothing to free: every version's files are of use.{held}")
            return
        parts = []
        if found.prunable:
            names = ", ".join(one.adapter.name for one in found.prunable)
            freed = sum(one.bytes for one in found.prunable)
            parts.append(f"The files of {names} go ({size(freed)}); what was learned from stays listed.")
        if found.caches:
            parts.append(f"Caches go ({size(found.caches)}); the next lesson computes them again.")
        question = f"Free {size(found.freed)}? " + " ".join(parts)
        if await self.app.push_screen_wait(Confirm(question)) is None:
            return
        gone = await self.call(pruning.prune, self.store, [one.adapter.id for one in found.prunable])
        self.say(f"{size(gone.freed)} freed.")
        await self._read()


# -- in words ----------------------------------------------------------------------------------------------------------


def _line(row: Row) -> Content:
    when = row.adapter.created_at[5:16].replace("T", " ") if row.adapter else ""
    head = f"{row.branch}{row.sign} {row.name}"
    style = "bold" if row.live else "" if row.there else "$foreground 60%"
    return Content.assemble((f"{head:<10} ", style), f"{row.state:<18} ", (when, "$foreground 60%"))


def _details(looked: Looked) -> Content:
    row, adapter = looked.row, looked.row.adapter
    duels = "; ".join(lineage.record(other, found) for other, found in looked.duels)
    against = Content.assemble(("Duels ", "bold"), f"{duels}.") if duels else Content("No duels yet.")
    if adapter is None:
        about = Content.assemble(("The base", "bold"), f" · {row.state} · the model as it came, before any lesson")
        return Content("\n").join([about, Content(""), against])
    made = f"Made by {f'lesson {looked.run}' if looked.run else 'a lesson'}, after {looked.before}."
    head = [row.state, adapter.created_at[:16].replace("T", " ") + " UTC", size(looked.bytes)]
    parts = [
        Content.assemble((adapter.name, "bold"), " · " + " · ".join(head)),
        Content(made + (" Provisional: few prompts tested it." if adapter.provisional else "")),
        Content(""),
        Content.assemble(("Verdict: ", "bold"), clean(adapter.verdict) or "none was given"),
        Content(""),
    ]
    train = [one for one in looked.learned if one.split == "train"]
    tested = len(looked.learned) - len(train)
    many = f"{len(train)} judgment{'s' if len(train) != 1 else ''}"
    kinds = f": {lineage.by_kind(train)}" if train else ""
    parts.append(
        Content.assemble(("Learned from ", "bold"), f"{many}{kinds}. Tested on {tested} held out. Enter opens them.")
    )
    if adapter.forgotten:
        parts.append(Content(f"{adapter.forgotten} of these were forgotten since; it may still remember them."))
    return Content("\n").join([*parts, Content(""), against])
