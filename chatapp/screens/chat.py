"""The chat's one screen: it opens the chat, follows the lessons, lists every key and action, and leaves.

It stands on what it does with threads and with the turn. Nothing here waits for the store or the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.widget import Widget

from chatapp.config import Settings
from chatapp.keys import EVERYWHERE, key_rows, keys_of
from chatapp.opening import MakeEngine, Opened, open_chat
from chatapp.screens.chat_keys import CHAT_KEYS, KEYLESS
from chatapp.screens.help import Help
from chatapp.screens.slash import SlashActions
from chatapp.slash import COMMANDS
from chatapp.tidying import undisturbed
from chatapp.turn import label
from chatapp.view import Note
from chatapp.widgets.answers import Answers
from chatapp.widgets.fields import SafeTextArea
from chatapp.widgets.prompt import Prompt
from chatapp.widgets.threads import ThreadList, Threads

if TYPE_CHECKING:
    from chatapp.screens.page import PageName

TYPED = "Typed in the prompt"


class ChatScreen(SlashActions):
    """Where one writes, reads and judges."""

    BINDINGS: ClassVar[list[BindingType]] = [*CHAT_KEYS]
    POLL: ClassVar[float] = 1.0  #: seconds between looks at what other processes wrote

    def __init__(self, settings: Settings, make_engine: MakeEngine | None = None, **seams: Any) -> None:
        super().__init__(settings)
        self._make_engine = make_engine
        self._seams = seams
        self._last_key = monotonic()
        self._polling = False
        self._page_early: PageName | None = None  #: wished before there was anything to read
        self._news: list[Note] = []  # to be said beneath the answers
        self._opened_before = False  # with another model

    # -- opening ---------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        self.set_focus(self.prompt)
        # the first paint comes before the imports that opening needs
        self.call_after_refresh(self.jobs.start, "open", self._open)

    async def _open(self) -> None:
        try:
            opened = await self.jobs.call(partial(open_chat, self.settings, self._make_engine, **self._seams))
        except RuntimeError as error:
            self.app.return_code_on_exit = 1  # type: ignore[attr-defined]
            self.status.model = "not open"
            self.note(Note(str(error), error=True))
            self.say("Hone could not open. Ctrl+Q quits.", error=True)
            return
        self._seams.pop("thread", None)  # with another model one stays where one is
        self.opened = opened
        self.status.model = opened.session.model.name if opened.session.engine else "no model"
        if not self._opened_before:
            await self._take_theme()
        # who has just started is about to write: bare keys must not judge the turn of yesterday
        await self._show(opened.view, judge=False)
        if not self._opened_before:
            self.set_interval(self.POLL, self._poll)
        self._opened_before = True
        for line in opened.notes:
            self.note(line)
        if opened.session.engine is not None:
            self.status.speed = "loading"
            self.run_worker(self._load, thread=True, group="engine", name="load", exit_on_error=False)
        early, self._asked_early = self._asked_early, False
        if early and self.prompt.text.strip():
            self.prompt.action_send()
        if self._page_early is not None:
            page, self._page_early = self._page_early, None
            self.action_page(page)
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
        self.jobs.start("store", self._store_theme, theme)

    async def _store_theme(self, theme: str) -> None:
        # the one of the settings is not kept: who changes it there later wants to see it
        await self.jobs.call(self.session.store.meta_set, "theme", None if theme == self.settings.theme else theme)

    def _load(self) -> None:
        opened = self.opened
        if opened is None:
            return
        try:
            opened.session.load()
        except RuntimeError as error:
            if self.opened is opened:  # not of a model that was left while it loaded
                self.post_message(self.Failed(error, loading=True))
        else:
            self.app.call_later(self._loaded, opened)

    def _loaded(self, opened: Opened) -> None:
        if self.opened is not opened:
            return
        self.status.speed = ""
        if self.about_model is not None:
            self.note(self.about_model)
            self.about_model = None

    # -- learning --------------------------------------------------------------------------------------------------

    @property
    def rested(self) -> float:
        """Seconds since the last key."""
        return monotonic() - self._last_key

    def touched(self) -> None:
        """A key or the mouse, on whatever screen."""
        self._last_key = monotonic()

    def _poll(self) -> None:
        if not self._polling:
            self.jobs.start("poll", self._poll_once)

    async def _poll_once(self) -> None:
        """Once a second: what changed in the database, what the lessons do, what is typed."""
        opened = self.opened
        if opened is None or self.jobs.closed:
            return
        self._polling = True
        try:
            await self._save_draft()
            await self._show_what_is_left()
            idle = not self.generating and self.rested >= self.settings.idle_seconds
            if self.opened is not opened:
                return  # another model was asked for meanwhile
            news = list(await self.jobs.call(opened.lessons.tick, idle))
            for line in [*news, *opened.upkeep.take()]:
                self.note(line)
            if self.opened is opened and not self.generating and not self.jobs.closed and opened.session.engine:
                swapped = await asyncio.to_thread(opened.session.sync_adapter)
                if swapped is not None:
                    self.note(swapped)
                    news.append(swapped)
            self._tell_news(news)
            await self._refresh_status()
        finally:
            self._polling = False

    def _tell_news(self, news: Sequence[Note]) -> None:
        """What is new, beneath the answers too: where they are tall the conversation is not seen to its end. It waits
        while that line says what the next key does."""
        self._news += news
        if not self._news or self.generating or self.answers.draft is not None or self.answers.rating:
            return
        told, self._news = self._news, []
        self._tell_here(told)

    def _lesson(self, what: str) -> None:
        if self.opened is not None:
            self.jobs.start("store", self._lesson_now, getattr(self.opened.lessons, what))

    async def _lesson_now(self, do: Callable[[], Note]) -> None:
        self.tell(await self.jobs.call(do))
        await self._refresh_status()

    def action_learn(self) -> None:
        self._lesson("start")

    def action_cancel_lesson(self) -> None:
        self._lesson("cancel")

    def action_toggle_learning(self) -> None:
        self._lesson("toggle")

    # -- the rest --------------------------------------------------------------------------------------------------

    def key_sections(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """What the help shows: first the keys that work right now in what has the focus, then all."""
        own = self.settings.keys
        places: list[tuple[str, list[BindingType], type[Widget]]] = [
            ("with the answers", [*Answers.BINDINGS], Answers),
            ("in the prompt", [*Prompt.BINDINGS, *SafeTextArea.BINDINGS], Prompt),
            ("in the list of threads", [*Threads.BINDINGS, *ThreadList.BINDINGS], ThreadList),
        ]
        works = {active.binding.id for active in self.active_bindings.values() if active.enabled}
        focus = [self.focused, *self.focused.ancestors] if self.focused is not None else []
        sections: list[tuple[str, list[tuple[str, str, str]]]] = []
        for where, bindings, kind in places:
            if any(isinstance(one, kind) for one in focus):
                now = [b for b in bindings if isinstance(b, Binding) and b.id in works]
                sections.insert(0, (f"Now, {where}", key_rows(now, own)))
            else:
                sections.append((where.capitalize(), key_rows(bindings, own)))
        sections.append(("Everywhere", key_rows([*CHAT_KEYS, *EVERYWHERE], own)))
        commands = [(f"{name} {follows}".strip(), "", about) for name, (follows, about) in COMMANDS.items()]
        return [*sections, (TYPED, commands)]

    def action_page(self, name: PageName) -> None:
        """Lay a page over the chat, once there is something to read."""
        if self.opened is None:
            self._page_early = name
            self.say("Hone is still opening. The page comes in a moment.", quiet=True)
            return
        with undisturbed():  # plots come with numpy
            from chatapp.screens.page import page_named

            page = page_named(name)
        self.app.push_screen(page(self))

    def action_earlier_turns(self) -> None:
        if not self.transcript.show_earlier():
            self.say("Nothing comes before this.", quiet=True)

    def action_help(self, what: str = "") -> None:
        """What: "typed" for the commands, which stand behind all the keys."""
        self.app.push_screen(Help(self.key_sections(), begin=TYPED if what == "typed" else ""))

    def commands(self) -> Iterable[SystemCommand]:
        """Every action of the chat and its pages, for the palette."""
        yield from self._commands("Chat", self)
        for title, about, action in KEYLESS:
            yield SystemCommand(f"Chat: {title}", about, partial(self.app.run_action, action, self))

    def commands_of_parts(self) -> Iterable[SystemCommand]:
        """Every action of what is in the chat; of the list only while one sees which thread it stands at."""
        yield from self._commands("Prompt", self.prompt)
        if self.threads.display:
            yield from self._commands("Threads", self.query_one(Threads))
            yield from self._commands("Thread list", self.threads)
        yield from self._commands("Answers", self.answers)

    def _commands(self, place: str, widget: Widget) -> Iterable[SystemCommand]:
        for binding in type(widget).BINDINGS:
            assert isinstance(binding, Binding)
            title = binding.description
            if binding.id and binding.id.startswith("answers.pick."):
                title = f"Pick {label(int(binding.id[-1]) - 1)}"
                if int(binding.id[-1]) > self.settings.alternatives:
                    continue
            if binding.id == "threads.new":
                continue  # the chat's own does the same
            keys = keys_of(binding, self.settings.keys)
            yield SystemCommand(
                f"{place}: {title}",
                f"{keys} · {binding.tooltip}",
                partial(self.app.run_action, binding.action, widget),
            )

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
