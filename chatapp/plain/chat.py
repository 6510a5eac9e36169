"""The plain chat's loop: a line is read, and is a command, a judgment or a question."""

from __future__ import annotations

import os
import sys
from time import monotonic
from typing import TextIO

from chatapp.clean import clean
from chatapp.config import Settings
from chatapp.engine.base import EngineError
from chatapp.opening import AlreadyRunning, MakeEngine, Opened, lock_home, open_chat
from chatapp.plain.answering import ask, show
from chatapp.plain.commands import carry_out
from chatapp.plain.judging import judged
from chatapp.plain.lines import Breaks
from chatapp.plain.talk import Talk
from chatapp.session import Note, NotSaved, SessionError
from chatapp.trainer_process import Spawn


def run(talk: Talk) -> None:
    """Until /quit or the end of the input."""
    interrupted = False
    while not talk.over:
        asked = monotonic()
        try:
            line = talk.read("> ")
        except KeyboardInterrupt:
            talk.out("")
            if interrupted or not talk.at_terminal:
                return
            # one that came just after the last word was meant for the answer
            interrupted = True
            talk.say("Ctrl+C once more ends the chat; so does /quit.")
            continue
        interrupted = False
        if line is None:
            return
        # a reader who took that long was idle until now, and the lesson yields to the next answer anyway
        _guarded(talk, line, idle=monotonic() - asked >= talk.settings.idle_seconds)


def _guarded(talk: Talk, line: str, idle: bool) -> None:
    """Carry a line out; what session, engine or storage refuse is said, and the chat goes on."""
    from storage.errors import InvalidJudgment, StorageError

    try:
        news = _news(talk, idle)
        if line.strip():
            _line(talk, line)
        elif talk.at_terminal and not news:
            talk.say(f"{talk.lessons.progress().words}.")
        _forgotten(talk)  # of a thread that was just opened, what is gone from then on is told
    except KeyboardInterrupt:
        talk.out("")
        talk.say("Stopped.")
    except SessionError as error:
        talk.failed |= talk.session.engine is None or isinstance(error, NotSaved)
        talk.note(Note(str(error), error=True))
    except InvalidJudgment as error:  # refused as what SessionError refuses
        talk.note(Note(str(error), error=True))
    except (EngineError, StorageError) as error:
        talk.failed = True
        talk.note(Note(str(error), error=True))


def _news(talk: Talk, idle: bool) -> bool:
    """Say what came meanwhile; whether there was anything."""
    notes = [*talk.lessons.tick(idle), *talk.upkeep.take()]
    if (swapped := talk.session.sync_adapter()) is not None:
        notes.append(swapped)
    for note in notes:
        talk.note(note)
    return _forgotten(talk) or bool(notes)


def _forgotten(talk: Talk) -> bool:
    """Say it where another program took a part of what is open."""
    view = talk.open_thread.elsewhere()
    if view is not None:
        talk.note(Note("A part of this thread was forgotten by another program."))
        show(talk, view)
    return view is not None


def _line(talk: Talk, line: str) -> None:
    text = line.strip()
    talk.session.reread()
    if text.startswith("//"):
        ask(talk, text[1:])
    elif text.startswith("/"):
        carry_out(talk, text)
    elif not judged(talk, text):
        ask(talk, line)


def _columns(stdout: TextIO) -> int | None:
    """How wide the terminal is now; None: it is none, or does not say."""
    try:
        return (os.get_terminal_size(stdout.fileno()).columns or None) if stdout.isatty() else None
    except (OSError, ValueError):
        return None


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

    breaks = Breaks(lambda: _columns(stdout))

    def out(line: str) -> None:
        for part in breaks(clean(line)):  # whoever wrote it, and whether or not it was cleaned before
            stdout.write(part + "\n")
        stdout.flush()

    def reopen(changed: Settings) -> Opened:
        return open_chat(changed, make_engine, spawn)

    try:
        lock = lock_home(settings)
    except (AlreadyRunning, OSError) as error:
        print(f"hone: {clean(str(error))}", file=sys.stderr)
        return 1
    with lock:
        opened = open_chat(settings, make_engine, spawn, thread)
        talk = Talk(opened, settings, stdin, out, reopen)
        try:
            talk.open_thread.elsewhere()
            show(talk, opened.view)
            for note in opened.notes:
                talk.note(note)
            talk.upkeep.start()
            if talk.at_terminal:
                talk.say("Ask something. /help lists what else can be written; /quit ends.")
            run(talk)
        except KeyboardInterrupt:
            out("")
        finally:
            talk.upkeep.stop()
            talk.session.close()
    return 1 if talk.failed and not talk.at_terminal else 0
