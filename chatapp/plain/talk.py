"""What every part of the plain chat stands on: the open chat, the lines that go out, the lines that come in."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from chatapp.clean import clean, newlines
from chatapp.config import Settings
from chatapp.dueling import Duel
from chatapp.forgetting import OpenThread
from chatapp.lessons import Lessons
from chatapp.opening import Opened
from chatapp.session import ChatSession, Note, SessionError
from chatapp.turn import Turn
from chatapp.upkeep import Upkeep

#: what the full-screen chat's sentences name by a key, in words that no name and no path has by chance
_HERE = {
    "Esc in the chat": "Ctrl+C",
    "stop it with Esc": "stop it with Ctrl+C",
    "Esc stops it": "Ctrl+C stops it",
    "Ctrl+R draws others": "r draws others",
    "Ctrl+N begins a new thread": "/new begins a new thread",
    "`hone adapters list`": "/versions",
}


def spoken(text: str) -> str:
    """A sentence of Hone's own as it is said here."""
    for there, here in _HERE.items():
        text = text.replace(there, here)
    return text


def for_the_ear(text: str) -> str:
    """The same without dots between its parts; not for what may have a name or a path in it."""
    return spoken(text).replace(" · ", "; ")


class Talk:
    """One plain chat. `out` gets whole lines."""

    def __init__(
        self,
        opened: Opened,
        settings: Settings,
        stdin: TextIO,
        out: Callable[[str], None],
        reopen: Callable[[Settings], Opened],
    ) -> None:
        self.opened = opened
        self.settings = settings
        self.stdin = stdin
        self.out = out
        self.reopen = reopen  #: opens the chat with other settings, once it is closed
        self.failed = False  #: something could not be answered or stored
        self.over = False  #: it was asked to end
        self.hinted = False  #: what can be said of answers was said
        self.deleted: str | None = None
        # what the numbers of the last lists stand for
        self.threads: list[str] = []
        self.found: dict[str, str | None] = {}  # the message that each of them was found by
        self.judgments: list[str] = []
        self.models: list[str] = []
        self.duels: list[Duel] = []
        self.questions: list[str] = []
        self._open_thread = OpenThread(opened.session)

    @property
    def session(self) -> ChatSession:
        return self.opened.session

    @property
    def lessons(self) -> Lessons:
        return self.opened.lessons

    @property
    def upkeep(self) -> Upkeep:
        return self.opened.upkeep

    @property
    def open_thread(self) -> OpenThread:
        if self._open_thread.session is not self.session:  # another model was opened
            self._open_thread = OpenThread(self.session)
        return self._open_thread

    @property
    def at_terminal(self) -> bool:
        return self.stdin.isatty()

    def turn(self) -> Turn:
        """The one that is looked at. Raises SessionError without any."""
        if self.session.turn is None:
            raise SessionError("There is no question yet: ask something first.")
        return self.session.turn

    # -- out -------------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A sentence of Hone's own."""
        self.out(for_the_ear(clean(text)))

    def note(self, note: Note) -> None:
        """A line that the chat says by itself, or an error."""
        self.out(spoken(clean(("Error: " if note.error else "Note: ") + note.text)))

    # -- in --------------------------------------------------------------------------------------------------------

    def read(self, prompt: str) -> str | None:
        """A line without its end; None: there is no more."""
        if self.at_terminal:
            sys.stdout.write(prompt)
            sys.stdout.flush()
        line = self.stdin.readline()
        # bytes that are no text come as lone surrogates, which nothing could store
        line = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return newlines(line).rstrip("\n") if line else None

    def ask(self, question: str) -> str | None:
        """The line that answers a question; None: none came, or Ctrl+C."""
        self.say(question)
        try:
            line = self.read(": ")
        except KeyboardInterrupt:
            self.out("")
            return None
        return None if line is None else line.strip()

    def agreed(self, question: str) -> bool:
        """Whether a question was answered with yes. If not, that is said."""
        answer = self.ask(f"{question} Write y for yes, n for no.")
        if answer is not None and answer.casefold() in ("y", "yes"):
            return True
        self.say("It is left as it is.")
        return False


def numbered(rest: str, listed: list[str], command: str, lists: str) -> str:
    """What a number of a list stands for."""
    at = place(rest, len(listed))
    if at is None:
        raise SessionError(f"Write {command} and a number that {lists} has listed.")
    return listed[at]


def place(number: str, count: int) -> int | None:
    """Where in a list of `count` a number from 1 on points; None: nowhere."""
    # Python refuses to read numbers of thousands of digits
    if not re.fullmatch("[0-9]{1,6}", number) or not 1 <= int(number) <= count:
        return None
    return int(number) - 1


@contextmanager
def stoppable(stop: Callable[[], object]) -> Iterator[None]:
    """Within it Ctrl+C stops what is under way, and not the chat."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
