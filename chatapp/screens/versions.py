"""The versions: the lineage from the base to what answers now, what each learned from, and the keys between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from chatapp import lineage, switching, times
from chatapp.clean import clean
from chatapp.lineage import Looked, Row, size
from chatapp.screens.dialogs import Confirm
from chatapp.screens.version_export import ExportActions
from chatapp.session import SessionError
from chatapp.widgets.scroller import Scroller

if TYPE_CHECKING:
    from storage.pruning import Usage


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
        & #version > Static { height: auto; width: 1fr; max-width: 110; margin: 0 0 1 0; }
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
        with Scroller(id="version"):
            yield Static(id="version-text", markup=False)
            yield Static(id="disk", markup=False)

    def on_mount(self) -> None:
        self._rows: dict[str, Row] = {}
        self._looked: Looked | None = None
        self.versions.focus()
        self.start("read", self._read)

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
            self.query_one("#version", Scroller).scroll_home(animate=False)
            self.start("look", self._look)

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
        self.start("store", self._change, switching.back)

    def action_forward(self) -> None:
        self.start("store", self._change, switching.forward)

    def action_use(self) -> None:
        row = self._row()
        if row is not None:
            self.start("store", self._change, switching.use(row.adapter))

    async def _change(self, change: switching.Changing) -> None:
        """Have another version answer, and say which one and what undoes it."""
        done = await self.call(switching.switch, self.store, self._model, change)
        key = {"forward": "is one key away: f", "back": "is one key away: b", "use": "comes back with u"}[done.undo]
        self.say(done.words(f"{done.before} {key}"))
        await self._read()

    # -- what it learned ---------------------------------------------------------------------------------------------

    @on(OptionList.OptionSelected)
    def selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.action_open()

    def action_open(self) -> None:
        self.start("dialog", self._open)

    async def _open(self) -> None:
        from chatapp.screens.behind import Behind, tell

        await self._look()
        looked = self._looked
        if looked is None or not looked.learned:
            name = looked.row.name if looked and looked.row.adapter else "The base"
            raise SessionError(f"{name} learned from no judgment of yours.")
        told = await self.call(tell, self.store, looked.learned)
        held_out = sum(one.split == "held_out" for one in looked.learned)
        await self.app.push_screen_wait(Behind(looked.row.name, told, len(looked.learned), held_out))

    def action_compare(self) -> None:
        self.start("dialog", self._compare)

    async def _compare(self) -> None:
        from chatapp.comparing import begin
        from chatapp.screens.compared import ComparedPage

        row = self._row()
        comparing = await self.call(begin, self.session, row.adapter if row else None)
        await self.app.push_screen_wait(ComparedPage(self.chat, comparing))

    # -- the disk ----------------------------------------------------------------------------------------------------

    def action_prune(self) -> None:
        self.start("dialog", self._prune)

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
    when = times.short(row.adapter.created_at) if row.adapter else ""
    head = f"{row.branch}{row.sign} {row.name}"
    style = "bold" if row.live else "" if row.there else "$foreground 60%"
    return Content.assemble((f"{head:<10} ", style), f"{row.state:<18} ", (when, "$foreground 60%"))


def _details(looked: Looked) -> Content:
    said = lineage.details(looked, opens="Enter opens them.")
    return Content("\n").join(Content.assemble((head, "bold"), clean(text)) for head, text in said)
