"""The chat's one screen: it opens the chat, follows the lessons, lists every key and action, and leaves.

It stands on what it does with threads and with the turn. Nothing here waits for the store or the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual import on
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.events import Key

from chatapp.config import Settings
from chatapp.opening import MakeEngine, open_chat
from chatapp.screens.forget_actions import ForgetActions
from chatapp.screens.help import Help
from chatapp.turn import label
from chatapp.view import Note
from chatapp.widgets.answers import Answers
from chatapp.widgets.prompt import Prompt
from chatapp.widgets.threads import ThreadList, Threads

if TYPE_CHECKING:
    from chatapp.screens.page import Page


class ChatScreen(ForgetActions):
    """Where one writes, reads and judges."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "Help", key_display="F1", id="chat.help", tooltip="All keys"),
        Binding("ctrl+n", "new_thread", "New", id="chat.new", tooltip="Begin a new thread"),
        Binding("ctrl+t", "threads", "Threads", id="chat.threads", tooltip="Show or hide the list of threads"),
        Binding("f2", "rename_thread", "Rename", show=False, id="chat.rename", tooltip="Rename this thread"),
        Binding(
            "ctrl+l", "learn", "Learn now", show=False, id="chat.learn", tooltip="Start a lesson with what was judged"
        ),
        Binding(
            "alt+pageup",
            "earlier_turns",
            "Show earlier turns",
            show=False,
            id="chat.earlier",
            tooltip="Go back by many turns at once; Home goes to the first",
        ),
        Binding("escape", "stop", "Stop", show=False, id="chat.stop", tooltip="Stop the answers; their text is kept"),
        Binding(
            "f3",
            "page('training')",
            "Training",
            show=False,
            id="chat.training",
            tooltip="The lessons, and the one under way",
        ),
        Binding(
            "f4",
            "page('versions')",
            "Versions",
            show=False,
            id="chat.versions",
            tooltip="What was learned, version by version; roll back and forward",
        ),
        Binding(
            "f5",
            "page('judgments')",
            "Judgments",
            show=False,
            id="chat.judgments",
            tooltip="Search, open, change and take back what was judged",
        ),
        Binding(
            "f6",
            "page('insights')",
            "Insights",
            show=False,
            id="chat.insights",
            tooltip="What your judgments show: who wins, how consistent they are",
        ),
    ]
    POLL: ClassVar[float] = 1.0  #: seconds between looks at what other processes wrote
    #: what has no key of its own: title, help, action
    KEYLESS: ClassVar[list[tuple[str, str, str]]] = [
        ("Make this thread private, or not", "A private thread is never learned from", "private_thread"),
        ("Archive this thread", "Put it away; the list can show archived threads", "archive_thread"),
        ("Delete this thread", "Its judgments are no longer learned from; can be undone", "delete_thread"),
        ("Bring back the deleted thread", "Undo the last deletion", "undelete_thread"),
        ("Forget this turn", "Remove the question, its answers and all that followed for good", "forget_turn"),
        ("Forget this thread", "Remove all its text for good, from the backups too", "forget_thread"),
        ("Pause learning, or go on", "Whether lessons start by themselves", "toggle_learning"),
        ("Stop the lesson", "Cancel the training run under way", "cancel_lesson"),
    ]

    def __init__(self, settings: Settings, make_engine: MakeEngine | None = None, **seams: Any) -> None:
        super().__init__(settings)
        self._make_engine = make_engine
        self._seams = seams
        self._last_key = monotonic()
        self._polling = False

    # -- opening ---------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        self.set_focus(self.prompt)
        # the first paint comes before the imports that opening needs
        self.call_after_refresh(self.jobs.start, self._open(), "open")

    async def _open(self) -> None:
        try:
            opened = await self.jobs.call(partial(open_chat, self.settings, self._make_engine, **self._seams))
        except RuntimeError as error:
            self.app.return_code_on_exit = 1  # type: ignore[attr-defined]
            self.status.model = "not open"
            self.note(Note(str(error), error=True))
            self.say("Hone could not open. Ctrl+Q quits.", error=True)
            return
        self.opened = opened
        self.status.model = opened.session.model.name if opened.session.engine else "no model"
        await self._take_theme()
        # who has just started is about to write: bare keys must not judge the turn of yesterday
        await self._show(opened.view, judge=False)
        self.set_interval(self.POLL, self._poll)
        for line in opened.notes:
            self.note(line)
        if opened.session.engine is not None:
            self.status.speed = "loading"
            self.run_worker(self._load, thread=True, group="engine", name="load", exit_on_error=False)
        if self._asked_early and self.prompt.text.strip():
            self.prompt.action_send()
        await self._poll_once()
        self.threads.refresh_rows()
        opened.upkeep.start()

    async def _take_theme(self) -> None:
        """Show the chat in the theme that was chosen in it, if there is one, and keep those chosen from here on."""
        chosen = await self.jobs.call(self.session.store.meta_get, "theme")
        if chosen in self.app.available_themes:
            self.app.theme = chosen
        self.watch(self.app, "theme", self._keep_theme, init=False)

    def _keep_theme(self, theme: str) -> None:
        self.jobs.start(self._store_theme(theme), "store")

    async def _store_theme(self, theme: str) -> None:
        # the one of the settings is not kept: who changes it there later wants to see it
        await self.jobs.call(self.session.store.meta_set, "theme", None if theme == self.settings.theme else theme)

    def _load(self) -> None:
        try:
            self.session.load()
        except RuntimeError as error:
            self.post_message(self.Failed(error, loading=True))
        else:
            self.app.call_later(self._loaded)

    def _loaded(self) -> None:
        self.status.speed = ""

    # -- learning --------------------------------------------------------------------------------------------------

    def on_key(self, event: Key) -> None:
        self._last_key = monotonic()

    @on(Prompt.Changed)
    def typed(self) -> None:
        self._last_key = monotonic()

    def _poll(self) -> None:
        if not self._polling:
            self.jobs.start(self._poll_once(), "poll")

    async def _poll_once(self) -> None:
        """Once a second: what changed in the database, what the lessons do, what is typed."""
        if self.opened is None or self.jobs.closed:
            return
        self._polling = True
        try:
            await self._save_draft()
            await self._show_what_is_left()
            idle = not self.generating and monotonic() - self._last_key >= self.settings.idle_seconds
            for line in [*await self.jobs.call(self.opened.lessons.tick, idle), *self.opened.upkeep.take()]:
                self.note(line)
            if not self.generating and not self.jobs.closed and self.opened.session.engine is not None:
                swapped = await asyncio.to_thread(self.session.sync_adapter)
                if swapped is not None:
                    self.note(swapped)
            await self._refresh_status()
        finally:
            self._polling = False

    def _lesson(self, what: str) -> None:
        if self.opened is not None:
            self.jobs.start(self._lesson_now(getattr(self.opened.lessons, what)), "store")

    async def _lesson_now(self, do: Callable[[], Note]) -> None:
        self.note(await self.jobs.call(do))
        await self._refresh_status()

    def action_learn(self) -> None:
        self._lesson("start")

    def action_cancel_lesson(self) -> None:
        self._lesson("cancel")

    def action_toggle_learning(self) -> None:
        self._lesson("toggle")

    # -- the rest --------------------------------------------------------------------------------------------------

    def key_sections(self) -> list[tuple[str, list[BindingType]]]:
        """What the help shows."""
        return [
            ("With the answers", Answers.BINDINGS),
            ("In the prompt", Prompt.BINDINGS),
            ("In the list of threads", [*Threads.BINDINGS, *ThreadList.BINDINGS]),
            (
                "Everywhere",
                [*ChatScreen.BINDINGS, Binding("ctrl+p", "", "Every command"), Binding("ctrl+q", "", "Quit")],
            ),
        ]

    def action_page(self, name: Literal["training", "versions", "judgments", "insights"]) -> None:
        """Lay a page over the chat, once there is something to read."""
        if self.opened is None:
            self.say("Hone is still opening. One moment.", quiet=True)
            return
        # each with what it needs, so that the first paint waits for none of it
        page: type[Page]
        if name == "training":
            from chatapp.screens.training import TrainingPage as page
        elif name == "versions":
            from chatapp.screens.versions import VersionsPage as page
        elif name == "judgments":
            from chatapp.screens.judgments import JudgmentsPage as page
        else:
            from chatapp.screens.insights import InsightsPage as page
        self.app.push_screen(page(self))

    def action_earlier_turns(self) -> None:
        if not self.transcript.show_earlier():
            self.say("Nothing comes before this.", quiet=True)

    def action_help(self) -> None:
        self.app.push_screen(Help(self.key_sections()))

    def commands(self) -> Iterable[SystemCommand]:
        """Every action, for the palette."""
        places = {
            "Answers": self.answers,
            "Prompt": self.prompt,
            "Threads": self.query_one(Threads),
            "Thread list": self.threads,
            "Chat": self,
        }
        for place, widget in places.items():
            for binding in type(widget).BINDINGS:
                assert isinstance(binding, Binding)
                title = binding.description
                if binding.id and binding.id.startswith("answers.pick."):
                    title = f"Pick {label(int(binding.id[-1]) - 1)}"
                    if int(binding.id[-1]) > self.settings.alternatives:
                        continue
                yield SystemCommand(
                    f"{place}: {title}", binding.tooltip, partial(self.app.run_action, binding.action, widget)
                )
        for title, about, action in self.KEYLESS:
            yield SystemCommand(f"Chat: {title}", about, partial(self.app.run_action, action, self))

    async def leave(self) -> None:
        """Before quitting: what was said and typed is kept."""
        if self.opened is None or self.jobs.closed:
            return
        session = self.opened.session
        session.stop()
        try:
            await self._commit_ranking()
            await self._save_draft()
        except RuntimeError:
            pass  # a full disk is no reason to be held here
        await self.jobs.close()
        await asyncio.to_thread(self.opened.upkeep.stop)
        await asyncio.to_thread(session.close)
