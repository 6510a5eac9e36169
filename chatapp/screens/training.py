"""The lessons: all runs of the trainer, and one of them closely, live while it is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from chatapp import times, watching
from chatapp.clean import clean
from chatapp.gate_words import as_sentence
from chatapp.screens.dialogs import Confirm
from chatapp.screens.page import Page
from chatapp.session import SessionError
from chatapp.watching import Watched
from chatapp.widgets.metric_plots import MetricPlots
from chatapp.widgets.scroller import Scroller

if TYPE_CHECKING:
    from chatapp.lessons import Lessons
    from storage.runs import Run

BAR = 24  #: cells


class TrainingPage(Page):
    """The lessons, the newest first: what each learned from, how it went, and the verdict of the test that decides
    whether its version answers from then on. Up and down choose one; Tab goes to its details, where they scroll."""

    NAME = "Training"
    POLL: ClassVar[float] = 1.0  #: seconds between looks
    LISTED: ClassVar[int] = 200
    WIDE: ClassVar[int] = 120  #: columns from which the list stands beside the details

    DEFAULT_CSS = """
    TrainingPage {
        & #page { layout: vertical; }
        & #runs, & #runs:focus { height: auto; max-height: 6; width: 1fr; border: none; padding: 0; }
        & #runs { text-wrap: nowrap; text-overflow: ellipsis; }
        & #run { height: 1fr; width: 1fr; padding: 0 1; border-top: solid $foreground 15%; }
        & #run:focus { border-top: solid $accent; }
        & #run > Static { height: auto; width: 1fr; margin: 0 0 1 0; max-width: 110; }
        &.-wide #page { layout: horizontal; }
        &.-wide #runs { width: 46; height: 1fr; max-height: 100%; }
        &.-wide #run, &.-wide #run:focus { border-top: none; border-left: solid $foreground 15%; padding: 0 2; }
        &.-wide #run:focus { border-left: solid $accent; }
        &.-short #runs { max-height: 3; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "learn", "Learn now", id="training.learn", tooltip="Start a lesson with what was judged"),
        Binding("c", "cancel", "Cancel", id="training.cancel", tooltip="End the lesson under way; nothing is changed"),
    ]

    def body(self) -> ComposeResult:
        yield OptionList(id="runs")
        with Scroller(id="run"):
            yield Static(id="run-text", markup=False)
            yield MetricPlots()

    def on_mount(self) -> None:
        self._rows: list[tuple[str, str]] = []  # (id, line) as listed
        self._looking = False
        self._seen: Watched | None = None
        self.runs.focus()
        self.set_interval(self.POLL, self._look_again)
        self._look_again()

    @property
    def runs(self) -> OptionList:
        return self.query_one("#runs", OptionList)

    @property
    def _lessons(self) -> Lessons:
        if self.chat.opened is None:
            raise SessionError("Hone is still opening. One moment.")
        return self.chat.opened.lessons

    # -- looking -----------------------------------------------------------------------------------------------------

    def _look_again(self) -> None:
        if not self._looking and self.is_current:
            self._looking = True
            self.start("look", self._look)

    async def _look(self) -> None:
        try:
            self._list(await self.call(lambda: self.store.runs.list(self.LISTED)))
            await self._look_closely()
        finally:
            self._looking = False

    def _list(self, found: list[Run]) -> None:
        """Show the runs; the highlighted one stays so, whatever came."""
        rows = [(run.id, f"{run.state} {_line(run).plain}") for run in found]
        if rows == self._rows:
            return
        runs = self.runs
        if [id for id, _ in rows] == [id for id, _ in self._rows]:
            for run, row, old in zip(found, rows, self._rows, strict=True):
                if row != old:
                    runs.replace_option_prompt(run.id, _line(run))
        else:
            option = runs.highlighted_option
            newest = runs.highlighted == 0 or option is None
            with self.app.batch_update():
                runs.clear_options()
                runs.add_options([Option(_line(run), id=run.id) for run in found])
                known = {run.id for run in found}
                if found:
                    # who looks at the newest wants to see the one that begins
                    stays = option is not None and option.id in known and not newest
                    runs.highlighted = runs.get_option_index(str(option.id)) if stays and option else 0
        self._rows = rows
        going = [run for run in found if run.state == "running"]
        self.heading(
            f"Training · {_title(going[0])} under way"
            if going
            else f"Training · {len(found)} run{'s' if len(found) != 1 else ''}"
        )

    @on(OptionList.OptionHighlighted)
    def chosen(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if self._seen is None or event.option.id != self._seen.run.id:
            self.query_one("#run", Scroller).scroll_home(animate=False)
            self.start("closely", self._look_closely)

    async def _look_closely(self) -> None:
        option = self.runs.highlighted_option
        if option is None or option.id is None:
            self._text(Content("No lesson yet. Judge some answers in the chat: one then starts by itself, or with l."))
            return
        seen = await self.call(watching.watch, self.store, option.id)
        now = self.runs.highlighted_option
        if now is not None and now.id == seen.run.id and seen != self._seen:
            self._seen = seen
            self._show()

    def _text(self, text: Content) -> None:
        self.query_one("#run-text", Static).update(text)

    def _show(self) -> None:
        if self._seen is None:
            return
        roomy = self.query_one("#run").size.width - 4 >= MetricPlots.NEEDED
        plots = self.query_one(MetricPlots)
        plots.display = roomy and bool(self._seen.curves)
        self._text(_details(self._seen, figures=not roomy))
        plots.show(self._seen.curves)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= self.WIDE, "-wide")
        self.set_class(event.size.height < 16, "-short")
        self.call_after_refresh(self._show)

    # -- keys --------------------------------------------------------------------------------------------------------

    def action_learn(self) -> None:
        self.start("store", self._learn)

    async def _learn(self) -> None:
        self.note(await self.call(self._lessons.start))
        self._look_again()

    def action_cancel(self) -> None:
        self.start("dialog", self._cancel)

    async def _cancel(self) -> None:
        run = await self.call(self.store.runs.active)
        if run is None:
            self.say("No lesson is under way.")
            return
        question = f"End {_title(run)}? Its judgments wait for the next one, and the version in use stays."
        if await self.app.push_screen_wait(Confirm(question)) is not None:
            self.note(await self.call(self._lessons.cancel))
            self._look_again()


# -- in words ----------------------------------------------------------------------------------------------------------


def _title(run: Run) -> str:
    return f"{watching.kind(run)} {run.number}"


def _line(run: Run) -> Content:
    sign = watching.SIGNS.get(run.state, " ")
    when = times.short(run.created_at)
    head = f"{sign} {run.number:>3}  {watching.kind(run):<13} "
    style = "bold" if run.state == "running" else ""
    return Content.assemble((head, style), f"{watching.state(run):<12} ", (when, "$foreground 60%"))


def _details(seen: Watched, figures: bool) -> Content:
    """figures: say what the curves would show."""
    run = seen.run
    title = _title(run)
    about = [seen.state, times.when(run.created_at)]
    if taken := watching.took(run):
        about.append(f"took {taken}")
    parts = [Content.assemble((title[0].upper() + title[1:], "bold"), " · " + " · ".join(about))]
    if seen.share is not None:
        filled = round(BAR * seen.share)
        done, rest = ("━" * filled, "$accent"), ("╌" * (BAR - filled), "$foreground 60%")
        parts.append(Content.assemble(done, rest, f" {seen.share:.0%}", f" · {seen.left}" if seen.left else ""))
    if run.cancel_requested_at and not run.finished:
        parts.append(Content("It was asked to stop, and will at its next step."))
    said = run.error or str(run.result.get("verdict") or "")
    if said:
        name = {"failed": "What went wrong", "cancelled": "Cancelled"}.get(run.state, "Verdict")
        parts.append(Content.assemble((f"{name}: ", "bold"), clean(as_sentence(said))))
    if seen.learned:
        parts.append(Content(seen.learned))
    parts += [Content(line) for line in seen.figures]
    if figures:
        parts += [Content(curve.words) for curve in seen.curves[: MetricPlots.MOST]]
    return Content("\n").join(parts)
