"""The chat without a full screen: for screen readers, pipes and the smallest terminals. One line in, lines out.

Answers stream one after the other, in whole lines: A as it comes, then B, then C. It is the same session as the
full-screen chat, so everything said here is found there.
"""

from __future__ import annotations

import queue
import re
import signal
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import TextIO

from chatapp.clean import clean, one_line
from chatapp.config import Settings
from chatapp.engine.base import EngineError
from chatapp.opening import AlreadyRunning, MakeEngine, Opened, lock_home, open_chat
from chatapp.session import Note, NotSaved, Outcome, SessionError, View
from chatapp.trainer_process import Spawn
from chatapp.turn import label, parse_ranking
from chatapp.view import Said

HELP = """\
Write a question; the answers are called A, B, C (or 1, 2, 3).
  2            B is the best one
  2>1=3        a ranking: B, then A and C as equals
  x            all of them are bad
  +1  -2       A is good, B is bad
  s 1 6        A gets 6 of 7 points
  n 1 TEXT     a note on A
  f 1 3        A breaks rule 3; f 1 3 kept: it keeps it; /rules lists them
  e 1          correct A: write the better answer, end with a line of a single dot
  u            take the newest judgment of this turn back
  r            ask the same question again
  /edit TEXT   ask TEXT in the place of the last question, in a branch of its own
  /new  /threads  /open N  /rename TITLE  /delete  /undelete  /find WORDS
  /rules  /train  /status  /text TEXT (a question that looks like a command)  /help  /quit
Going on without a choice follows A and records nothing."""

_JUDGING = re.compile(
    r"(?P<thumb>[+-]) ?(?P<answer>[1-9])|(?P<pick>[1-9])|e ?(?P<correct>[1-9])|s ?(?P<score>[1-9]) (?P<points>\d+)"
    r"|n (?P<note>[1-9]) (?P<remark>.+)|f ?(?P<flag>[1-9]) (?P<rule>\d+)(?: (?P<how>broken|kept))?"
)


class Plain:
    """One plain chat. `out` gets whole lines."""

    def __init__(self, opened: Opened, settings: Settings, stdin: TextIO, out: Callable[[str], None]) -> None:
        self.session = opened.session
        self.lessons = opened.lessons
        self.upkeep = opened.upkeep
        self.settings = settings
        self.stdin = stdin
        self.out = out
        self.listed: list[str] = []
        self.deleted: str | None = None
        self.failed = False  #: something could not be answered or stored

    def note(self, note: Note) -> None:
        self.out(("! " if note.error else "* ") + clean(note.text))

    def run(self) -> None:
        """Until /quit or the end of the input."""
        while True:
            asked = monotonic()
            line = self._read("> ")
            if line is None:
                return
            if line.strip() in ("/quit", "/exit"):
                return
            try:
                # a reader who took that long was idle until now, and the lesson yields to the next answer anyway
                self._news(monotonic() - asked >= self.settings.idle_seconds)
                self._line(line.rstrip("\n"))
            except SessionError as error:
                self.failed |= self.session.engine is None or isinstance(error, NotSaved)
                self.note(Note(str(error), error=True))
            except EngineError as error:
                self.failed = True
                self.note(Note(str(error), error=True))
            except RuntimeError as error:
                from storage.errors import StorageError

                if not isinstance(error, StorageError):
                    raise
                self.failed = True
                self.note(Note(str(error), error=True))

    def _read(self, prompt: str) -> str | None:
        if self.stdin.isatty():
            sys.stdout.write(prompt)
            sys.stdout.flush()
        line = self.stdin.readline()
        return line if line else None

    def _news(self, idle: bool) -> None:
        for note in [*self.lessons.tick(idle), *self.upkeep.take()]:
            self.note(note)
        if (swapped := self.session.sync_adapter()) is not None:
            self.note(swapped)

    def _line(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if not word:
            return
        if word.startswith("/"):
            self._command(word, rest, line)
        elif self.session.turn is not None and self._judgment(line.strip()):
            pass
        else:
            self.session.ask(line)
            self._answer()

    # -- judgments -------------------------------------------------------------------------------------------------

    def _judgment(self, text: str) -> bool:
        """Whether text was a judgment (or r, u) and not a question."""
        turn = self.session.turn
        assert turn is not None
        if text == "r":
            self._answer(again=True)
            return True
        if text in ("u", "x"):
            self._said(self.session.undo() if text == "u" else self.session.all_bad())
            return True
        if turn.answers and (">" in text or "=" in text) and (groups := parse_ranking(text, len(turn.answers))):
            self._said(self.session.rank(groups))
            return True
        match = _JUDGING.fullmatch(text)
        if match is None:
            return False
        number = next(match[n] for n in ("answer", "pick", "correct", "score", "note", "flag") if match[n])
        index = int(number) - 1
        if not turn.answers:
            raise SessionError(f"There are no answers to judge yet: r asks again, /text {text} asks this.")
        if index >= len(turn.answers):
            raise SessionError(f"There is no answer {number}. A question that is a number: /text {text}")
        if match["thumb"]:
            self._said(self.session.thumb(index, 1 if match["thumb"] == "+" else -1))
        elif match["pick"]:
            self._said(self.session.pick(index))
        elif match["score"]:
            self._said(self.session.rate(index, int(match["points"])))
        elif match["note"]:
            self._said(self.session.note(index, match["remark"]))
        elif match["flag"]:
            rule = next((r for r in self.session.store.rules.list() if r.number == int(match["rule"])), None)
            if rule is None:
                raise SessionError(f"There is no rule {match['rule']} to flag; /rules lists those there are.")
            self._said(self.session.flag(index, rule.id, match["how"] != "kept"))
        else:
            self._correct(index)
        return True

    def _correct(self, index: int) -> None:
        self.out(f"What should {label(index)} have said? End with a line of a single dot.")
        lines: list[str] = []
        while (line := self._read(". ")) is not None:
            if line.rstrip("\n") == ".":
                self._said(self.session.correct(index, "\n".join(lines)))
                return
            lines.append(line.rstrip("\n"))
        self.note(Note("The correction had no end (a line of a single dot): it was not recorded.", error=True))

    def _said(self, said: Said) -> None:
        self.lessons.recount()
        waiting = self.lessons.progress()
        self.out(f"{said.line} ({waiting.text})")

    # -- answers ---------------------------------------------------------------------------------------------------

    def _answer(self, again: bool = False) -> None:
        """Ask the engine, and print each answer as it grows, one after the other. again: alternatives are asked for."""
        count = self.session.how_many(again)
        fed: queue.Queue[tuple[int, str] | None] = queue.Queue()
        result: list[Outcome | Exception] = []

        def work() -> None:
            try:
                result.append(self.session.answer(lambda index, text: fed.put((index, text)), count))
            except Exception as error:  # told below, in the thread that prints
                result.append(error)
            finally:
                fed.put(None)

        worker = threading.Thread(target=work, name="answer", daemon=True)
        before = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
        if before is not None:
            # Ctrl+C ends the answer, not the chat; what was said so far is kept
            signal.signal(signal.SIGINT, lambda *_: self.session.stop())
        try:
            worker.start()
            first = _Lines(self.out, "A: ")
            while (item := fed.get()) is not None:
                if item[0] == 0:
                    first.add(item[1])
            worker.join()
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)
        outcome = result[0]
        if isinstance(outcome, NotSaved):
            first.end()
            self._rest(outcome.texts)
            raise outcome
        if isinstance(outcome, Exception):
            first.end()
            raise outcome
        if first.started:
            first.end()
            self._rest([answer.text for answer in outcome.turn.answers])
        else:
            self._rest([answer.text for answer in outcome.turn.answers], start=0)
        for index, answer in enumerate(outcome.turn.answers):
            if answer.finish_reason != "stop":
                how = "was cut at the limit" if answer.finish_reason == "length" else "was stopped"
                self.note(Note(f"{label(index)} {how}."))
        if outcome.turn.preferred is not None:
            self.out(f"{label(outcome.turn.preferred)} is the reward model's choice.")
        for note in outcome.notes:
            self.note(note)

    def _rest(self, texts: list[str], start: int = 1) -> None:
        for index, text in enumerate(texts[start:], start):
            lines = _Lines(self.out, f"{label(index)}: ")
            lines.add(text)
            lines.end()

    # -- commands --------------------------------------------------------------------------------------------------

    def _command(self, word: str, rest: str, line: str) -> None:
        threads = self.session.store.threads
        if word == "/text":
            self.session.ask(rest)
            self._answer()
        elif word == "/edit":
            if self.session.turn is None or not rest:
                raise SessionError("Write /edit and the new question, after one was asked.")
            self.session.edit(self.session.turn.prompt_id, rest)
            self._answer()
        elif word == "/new":
            self.session.new()
            self.out("A new thread. Ask something.")
        elif word in ("/threads", "/find"):
            found = threads.list(query=rest or None, limit=30)
            self.listed = [thread.id for thread in found]
            for number, thread in enumerate(found, 1):
                here = " (this one)" if self.session.thread and thread.id == self.session.thread.id else ""
                self.out(f"{number}. {one_line(thread.title or 'untitled')}{here}")
            self.out("/open N opens one." if found else "No thread.")
        elif word == "/open":
            if not rest.isdigit() or not 1 <= int(rest) <= len(self.listed):
                raise SessionError("Write /open and a number that /threads has listed.")
            self.show(self.session.open(self.listed[int(rest) - 1]))
        elif word == "/rename":
            threads.rename(self._thread_id(), rest)
            self.out("Renamed.")
        elif word == "/delete":
            self.deleted = self._thread_id()
            threads.delete(self.deleted)
            self.session.new()
            self.lessons.recount()
            self.out("Deleted; its judgments are no longer learned from. /undelete brings it back.")
        elif word == "/undelete":
            if self.deleted is None:
                raise SessionError("No thread was deleted here.")
            threads.undelete(self.deleted)
            self.lessons.recount()
            self.show(self.session.open(self.deleted))
            self.deleted = None
        elif word == "/rules":
            for rule in self.session.store.rules.list():
                self.out(f"{rule.number}. {rule.name}: {rule.text}")
        elif word == "/train":
            self.note(self.lessons.start())
        elif word == "/status":
            adapter = f"v{self.session.adapter.number}" if self.session.adapter else "base"
            self.out(f"{self.session.model.name} · {adapter} · {self.lessons.progress().text}")
        elif word == "/help":
            self.out(HELP)
        else:
            raise SessionError(
                f"There is no command {word}. /help lists them; /text {line.strip()} asks it as a question."
            )

    def _thread_id(self) -> str:
        if self.session.thread is None:
            raise SessionError("There is no thread yet: ask something first.")
        return self.session.thread.id

    def show(self, view: View) -> None:
        """Say where a thread stands."""
        if view.thread_id is None:
            return
        self.out(f"Thread: {one_line(view.title or 'untitled')}")
        for turn in view.past[-2:]:
            self.out(f"You: {clean(turn.prompt)}")
            self.out(f"{turn.mark or 'Answer'}: {clean(turn.answer)}")
        if view.turn is not None:
            self.out(f"You: {clean(view.turn.prompt)}")
            self._rest([view.turn.text_of(index) for index in range(len(view.turn.answers))], start=0)


class _Lines:
    """Streamed text as whole lines behind a name, with what is harmful made visible."""

    def __init__(self, out: Callable[[str], None], name: str) -> None:
        self._out = out
        self._name = name
        self._rest = ""
        self.started = False

    def add(self, text: str) -> None:
        self.started = True
        self._rest += text
        # a lone \r at the end may be half of a line break
        *lines, self._rest = self._rest.split("\n")
        for line in lines:
            self._say(line)

    def end(self) -> None:
        if self._rest:
            self._say(self._rest)
        self._rest = ""

    def _say(self, line: str) -> None:
        for part in clean(line).split("\n"):
            self._out(self._name + part)
            self._name = ""


def run_plain(
    settings: Settings,
    stdin: TextIO,
    stdout: TextIO,
    make_engine: MakeEngine | None = None,
    spawn: Spawn | None = None,
    thread: str | None = None,
) -> int:
    """`hone chat --plain`. Returns the exit code: 1 when it could not open or, in a pipe, when a line failed.

    thread: the one to open; None: that of the last session.
    """

    def out(line: str) -> None:
        stdout.write(clean(line) + "\n")  # whoever wrote it, and whether or not it was cleaned before
        stdout.flush()

    try:
        lock = lock_home(settings)
    except (AlreadyRunning, OSError) as error:
        print(f"hone: {clean(str(error))}", file=sys.stderr)
        return 1
    with lock:
        opened = open_chat(settings, make_engine, spawn, thread)
        plain = Plain(opened, settings, stdin, out)
        try:
            plain.show(opened.view)
            for note in opened.notes:
                plain.note(note)
            plain.upkeep.start()
            if stdin.isatty():
                out("Ask something. /help lists what else can be written; /quit ends.")
            plain.run()
        except KeyboardInterrupt:
            out("")
        finally:
            opened.upkeep.stop()
            opened.session.close()
    return 1 if plain.failed and not stdin.isatty() else 0
