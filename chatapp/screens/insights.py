"""The page of insights: what the judgments show, counted in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from chatapp.insights import NO_PAIR, Panel, in_all, outcome, panels, waits, weeks
from chatapp.screens.page import Page
from chatapp.screens.reask import Reask
from chatapp.widgets.insight import Insight
from chatapp.widgets.scroller import Scroller

if TYPE_CHECKING:
    from storage.reasking import Pair
    from storage.store import Store

#: cells from which the panels stand in two columns, and below which there is no plot
WIDE, NARROW = 110, 50
WEEKS = 26


class Left(RuntimeError):
    """The page was left while it counted."""


class InsightsPage(Page):
    """What your judgments show. ● is a share, ├─┤ where it may be in truth (95%), ┊ where it is without a preference.
    Counted are judgments that teach. The pairs of one ranking hang together: their intervals are a bit too narrow."""

    NAME = "Insights"

    DEFAULT_CSS = """
    InsightsPage {
        & #counting { height: 1fr; padding: 1; color: $text-muted; }
        & #waiting { display: none; height: auto; padding: 0 1; margin: 0 0 1 0; color: $text-success; }
        & #waiting.-shown { display: block; }
        & #panels { display: none; height: 1fr; }
        &.-counted #panels { display: block; }
        &.-counted #counting { display: none; }
        & #weeks {
            height: auto; padding: 0 1; margin: 0 0 1 0;
            border: round $foreground 25%; border-title-color: $text-accent; border-title-style: bold;
        }
        & #weeks Static { height: auto; }
        & #columns { height: auto; layout: vertical; }
        & #columns > Vertical { height: auto; width: 1fr; }
        &.-wide #columns { layout: horizontal; }
        &.-wide #left { margin: 0 1 0 0; }
        &.-narrow Weeks { display: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "again", "Judge again", id="insights.again", tooltip="Judge the pair that waits a second time"),
        Binding("r", "recount", "Count", id="insights.recount", tooltip="Count again"),
    ]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._report: dict[str, Any] | None = None
        self._pair: Pair | None = None
        self._rng = Random()
        self._left = threading.Event()
        self._counting = False

    def body(self) -> ComposeResult:
        yield Static(id="waiting", markup=False)
        yield Static(Content("Counting…"), id="counting")
        with Scroller(id="panels"):
            with Vertical(id="weeks") as by_week:
                by_week.border_title = "By week"
                yield Static(id="in-all", markup=False)
            with Horizontal(id="columns"):
                yield Vertical(id="left")
                yield Vertical(id="right")

    def on_mount(self) -> None:
        self.query_one("#panels").focus()
        self.start("pair", self._look_for_pair)
        self.start("count", self._count)

    def on_unmount(self) -> None:
        self._left.set()

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= WIDE, "-wide")
        self.set_class(event.size.width < NARROW, "-narrow")

    # -- counting ----------------------------------------------------------------------------------------------------

    def action_recount(self) -> None:
        if not self._counting:
            self.remove_class("-counted")
            self.query_one("#counting", Static).update(Content("Counting…"))
            self.start("count", self._count)

    async def _count(self) -> None:
        self._counting = True
        try:
            # not in the store's thread: the chat beneath goes on
            self._report = await asyncio.to_thread(self._counted, self.store)
        except Left:
            return
        finally:
            self._counting = False
        await self._show(self._report)

    def _counted(self, store: Store) -> dict[str, Any]:
        import chatapp.widgets.weeks  # noqa: F401  (numpy is imported here, where nobody waits for it)
        from storage.statistics import statistics
        from storage.store import Store as Own

        # a connection of its own, so that nobody who leaves closes it under the counting
        with Own(store.home) as own:
            return statistics(own, progress=self._progress)

    def _progress(self, counted: int) -> None:
        if self._left.is_set() or self.chat.jobs.closed:
            raise Left
        self.app.call_later(self._say_counted, counted)

    def _say_counted(self, counted: int) -> None:
        if self.is_mounted:
            self.query_one("#counting", Static).update(Content(f"Counting… {counted:,} judgments so far. Esc leaves."))

    async def _show(self, report: dict[str, Any]) -> None:
        from chatapp.widgets.weeks import Weeks

        self.query_one("#in-all", Static).update(Content(in_all(report)))
        await self.query(Weeks).remove()
        by_week = weeks(report, WEEKS)
        if by_week:
            await self.query_one("#weeks").mount(Weeks(by_week))
        found = panels(report)
        self.heading(f"{self.NAME} · {report['judgments']['total']:,} judgments")
        if self.query(Insight):
            self._update(found)
        else:
            half = (len(found) + 1) // 2
            await self.query_one("#left").mount(*(Insight(panel) for panel in found[:half]))
            await self.query_one("#right").mount(*(Insight(panel) for panel in found[half:]))
        self.add_class("-counted")
        self.query_one("#panels").focus()

    def _update(self, found: list[Panel]) -> None:
        for panel in found:
            self.query_one(f"#insight-{panel.id}", Insight).show(panel)

    # -- a pair again ------------------------------------------------------------------------------------------------

    async def _look_for_pair(self) -> None:
        from storage.reasking import due

        now = datetime.now(UTC)
        self._pair = pair = await self.call(due, self.store, now, self._rng)
        waiting = self.query_one("#waiting", Static)
        waiting.set_class(pair is not None, "-shown")
        if pair is not None:
            waiting.update(Content(f"{waits(pair.judged_at, now)}: press a to judge it again."))

    def action_again(self) -> None:
        if self._pair is None:
            self.say(NO_PAIR)
        else:
            self.start("dialog", self._again, self._pair)

    async def _again(self, pair: Pair) -> None:
        from storage import reasking

        better = await self.app.push_screen_wait(Reask(pair))
        if better is None:
            return
        await self.call(reasking.answer, self.store, pair, better)
        self.say(outcome(pair.first, better, "F5 in the chat"))
        await self._look_for_pair()
        if self._report is not None:
            self._report["asked_again"] = await self.call(reasking.agreed, self.store)
            self._update(panels(self._report))
