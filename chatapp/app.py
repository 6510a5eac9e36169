"""The Textual app: one screen, the themes, the palette. It paints before anything is opened or loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import SystemCommand
from textual.dom import DOMNode
from textual.events import DeliveryFailed, Event, Key, MouseEvent, Paste
from textual.screen import Screen
from textual.worker import WorkerFailed

from chatapp.clean import clean
from chatapp.config import Settings
from chatapp.copying import through_screen
from chatapp.keys_in_turn import KeysInTurn
from chatapp.mistakes import Mistakes, in_words, kept
from chatapp.opening import AlreadyRunning, MakeEngine, lock_home
from chatapp.screens.chat import ChatScreen
from chatapp.themes import THEMES
from chatapp.tidying import Tidying

if TYPE_CHECKING:
    from textual.command import Provider


def _palette() -> type[Provider]:
    from chatapp.palette import InOrder  # when it is opened first

    return InOrder


class HoneApp(KeysInTurn):
    """The chat. thread: the one to open; None: that of the last session. The seams are for tests."""

    TITLE = "Hone"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_palette}
    LOOK: ClassVar[float] = 1.0  #: seconds between looks at whether the terminal is still there

    def __init__(
        self, settings: Settings, make_engine: MakeEngine | None = None, thread: str | None = None, **seams: Any
    ) -> None:
        super().__init__()
        self.settings = settings
        self.return_code_on_exit = 0
        self.chat = ChatScreen(settings, make_engine, thread=thread, **seams)
        for theme in THEMES:
            self.register_theme(theme)
        self._tidying = Tidying(lambda: 0.0 if self.chat.generating else self.chat.rested)
        self._mistakes = Mistakes()
        self._done: list[Key] = []  # keys that took effect and are still on their way through the widgets

    def get_default_screen(self) -> Screen[None]:
        return self.chat

    def on_mount(self) -> None:
        if not self.is_headless and _has_terminal():
            self.set_interval(self.LOOK, self._follow_terminal)
            self.set_interval(self.LOOK, self._tidying.tick)
            self.call_after_refresh(self._tidying.begin)
        if self.settings.keys:
            from chatapp.keys import known  # with every screen

            ids = known()
            self.set_keymap({id: keys for id, keys in self.settings.keys.items() if id in ids})
        if self.settings.theme in self.available_themes:
            self.theme = self.settings.theme
        if self.settings.keys or self.settings.theme not in self.available_themes:
            from chatapp.own_keys import amiss

            for line in amiss(self.settings):
                self.notify(line, severity="warning", markup=False, timeout=15)

    async def on_event(self, event: Event) -> None:
        if isinstance(event, Key | Paste | MouseEvent):
            self.chat.touched()
        await super().on_event(event)

    async def take(self, event: Key | Paste) -> bool:
        """Keys on the answers take effect here, each before the next one is looked at.

        Textual runs a binding when the key has come back through all widgets. Until then the keys behind an `i` in the
        same burst would go to the answers too, and judge, though they were meant for the prompt.
        """
        if isinstance(event, Paste):
            self.chat.make_way_for_paste()
            return await super().take(event)
        if not self.chat.answers_have_focus:
            return await super().take(event)
        if self.chat.answers.blocked and self._is_for_answers(event):
            return True
        await super().take(event)
        active = self.screen.active_bindings.get(event.key) if event.is_forwarded else None
        tried = active is not None and active.enabled
        if active is not None and tried and not await self.run_action(active.binding.action, active.node):
            return False  # there was nothing for it to do: the next binding has its turn when the key comes back
        if event.is_forwarded:
            self._done.append(event)
        return True

    def _is_for_answers(self, key: Key) -> bool:
        active = self.screen.active_bindings.get(key.key)
        return key.is_printable or (active is not None and active.node is self.chat.answers)

    def on_key(self, event: Key) -> None:
        if any(event is done for done in self._done):
            self._done = [done for done in self._done if done is not event]
            event.prevent_default()

    async def run_action(
        self,
        action: str | tuple[str, str, tuple[object, ...]],
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """As Textual has it, but what one key does wrong does not end the chat."""
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except Exception as error:
            self.mistook(error)
            return True

    def mistook(self, error: Exception) -> None:
        """Say that something of Hone's own went wrong, over whatever screen is open."""
        said = self._mistakes.told(error)
        if said is not None:
            self.notify(said, severity="error", markup=False, timeout=30)

    def _handle_exception(self, error: Exception) -> None:
        """What nothing else caught ends the chat, as Textual has it: by a sentence, not by a traceback which shows
        the variables, and with them the conversation."""
        if self.is_headless:
            super()._handle_exception(error)  # to whoever drives it
            return
        self._end_by(error.error if isinstance(error, WorkerFailed) else error)

    def _end_by(self, cause: BaseException) -> None:
        try:
            details = f"The details are in {kept(cause)}"
        except OSError as refused:
            details = f"The details could not be written: {in_words(refused)}"
        said = f"hone: the chat ended by a defect of its own, {in_words(cause)}. Nothing that was recorded is lost: "
        self.exit(return_code=1, message=Text(f"{said}`hone -c` goes on with this thread. {details}"))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        if screen is self.chat:
            yield from self.chat.commands()
        for command in super().get_system_commands(screen):
            if command.callback == screen.action_maximize:
                yield command._replace(callback=partial(self._maximize, screen))
            else:
                yield command
        if screen is self.chat:
            yield from self.chat.commands_of_parts()

    def _maximize(self, screen: Screen[Any]) -> None:
        """As Textual does it, with the way back."""
        screen.action_maximize()
        if screen.maximized is not None:
            self.notify("Esc brings the rest back.")

    def deliver_screenshot(
        self, filename: str | None = None, path: str | None = None, time_format: str | None = None
    ) -> str | None:
        """Into the folder of downloads, and where there is none into the one where Hone was started."""
        from platformdirs import user_downloads_path

        downloads = user_downloads_path()
        return super().deliver_screenshot(
            filename, path or str(downloads if downloads.is_dir() else Path.cwd()), time_format
        )

    @on(DeliveryFailed)
    def say_why_not_saved(self, event: DeliveryFailed) -> None:
        event.prevent_default()  # Textual's own line gives no reason
        error = event.exception
        why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        self.notify(f"The screenshot was not saved: {clean(why)}", severity="error", markup=False, timeout=15)

    async def _follow_terminal(self) -> None:
        """Quit when the terminal was closed. SIGHUP does not say it to everybody: of a window that runs `make chat`
        only make gets it, and waits; Textual would read the end of the file as fast as it can."""
        if not _has_terminal():
            await self.action_quit()

    def copy_to_clipboard(self, text: str) -> None:
        """By OSC 52, and so that GNU screen hands it on."""
        if self._driver is not None and (handed := through_screen(text, os.environ)):
            self._clipboard = text
            self._driver.write(handed)  # and nothing else: screen prints a sequence that is too long for it
        else:
            super().copy_to_clipboard(text)

    def action_help_quit(self) -> None:
        """Ctrl+C with nothing selected that it would copy. A dialog has its own keys alone, and never gets here."""
        if interrupted := getattr(self.screen, "interrupted", None):
            interrupted()

    async def action_quit(self) -> None:
        try:
            await self.chat.leave()
        except Exception as error:  # who wants to go goes
            self._end_by(error)
        else:
            self.exit(self.return_code_on_exit)


def _has_terminal() -> bool:
    try:
        return sys.__stdin__ is not None and os.isatty(sys.__stdin__.fileno())
    except (OSError, ValueError):  # closed
        return False


def run_chat(settings: Settings, thread: str | None = None) -> int:
    """The full-screen chat, with that thread or the one of the last session.

    Returns the exit code; 1 when this home cannot be opened.
    """
    try:
        lock = lock_home(settings)
    except (AlreadyRunning, OSError) as error:
        from chatapp.cli import complain

        complain(str(error))
        return 1
    with lock:
        code = HoneApp(settings, thread=thread).run()
    return 1 if code is None else code


if __name__ == "__main__":
    sys.exit(run_chat(Settings.load()))
