"""Commands that are typed where a question would be: their words, and what those do that need no screen.

The full-screen chat and the plain one take the same words. `chatapp.screens.slash` and `chatapp.plain.commands` read
them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from chatapp.privacy import UNPROTECTED
from chatapp.reading import system_prompt
from chatapp.switching import HELD
from chatapp.verdicts import SessionError

if TYPE_CHECKING:
    from chatapp.session import ChatSession
    from storage.store import Store
    from storage.threads import Thread

#: command -> what follows it, what it does
COMMANDS: dict[str, tuple[str, str]] = {
    "/help": ("", "all keys and commands"),
    "/new": ("", "a new thread"),
    "/clear": ("", "the same"),
    "/system": ("TEXT", "begin a thread in which the model is told this first; without TEXT, show it"),
    "/again": ("", "other answers to the same question"),
    "/train": ("", "learn from the judgments now"),
    "/rollback": ("", "answer with the version before the live one"),
    "/duel": ("", "two versions answer blind; again, or /duel end: no longer"),
    "/model": ("[NAME]", "answer with another model: one of a list, a file, ollama:NAME"),
    "/settings": ("", "how answers are drawn"),
    "/export": ("[FILE]", "this thread as Markdown"),
    "/rename": ("TITLE", "rename this thread"),
    "/private": ("", "never learn from this thread, or learn from it again; before its first question too"),
    "/threads": ("", "the list of threads"),
    "/training": ("", "the lessons"),
    "/versions": ("", "what was learned, version by version"),
    "/judgments": ("", "what was judged"),
    "/insights": ("", "what the judgments show"),
    "/quit": ("", "leave"),
}

NO_THREAD = "There is no thread yet: ask something first."
NO_TITLE = "Write the title behind /rename."


def unknown(word: str, known: Iterable[str]) -> str:
    """What is said of a command that does not exist, so that a misspelt one is not asked as a question."""
    names = list(known)
    begun = [name for name in names if name.startswith(word)]
    near = begun if len(begun) == 1 else difflib.get_close_matches(word, names, 1)
    hint = f"Did you mean {near[0]}?" if near else "/help lists them."
    return f"There is no command {word}. {hint} With // it is asked as a question."


def completed(text: str) -> str | None:
    """What a command that is begun becomes, as far as all agree that begin so; None: nothing is to be completed."""
    found = [name for name in COMMANDS if name.startswith(text)] if text.startswith("/") else []
    if len(found) == 1:
        whole = found[0] + (" " if COMMANDS[found[0]][0] else "")
        return whole if whole != text else None
    if not found:
        return None
    first, last = min(found), max(found)
    agreed = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:agreed]


def nothing_behind(word: str) -> str:
    return f"{word} takes nothing {'but `end` ' if word == '/duel' else ''}behind it."


def told_first(session: ChatSession) -> str:
    """The system prompt, in a sentence."""
    said = system_prompt(session.store, session.thread) if session.thread else session.system_prompt
    return f"The model is told first: {said}" if said else "The model is told nothing before your questions."


def tell_first(session: ChatSession, text: str, empty: bool) -> str:
    """Set the system prompt of the thread that begins now; empty: it had begun already, and nothing was asked."""
    session.system_prompt = text
    return f"{'This' if empty else 'A new'} thread: the model is told this before your first question."


def save(store: Store, thread: Thread | None, file: str) -> str:
    """Write a thread as Markdown; the file ("": one of a name of its own) must not be there yet."""
    from chatapp.conversation import read
    from chatapp.markdown import document
    from chatapp.times import day
    from storage.ids import now

    if thread is None:
        raise SessionError(NO_THREAD)
    path = Path(file or f"hone-{day(now())}-{thread.id[-6:]}.md")
    thread = store.threads.get(thread.id)  # another program may have made it private
    text = document(read(store, thread))
    try:
        path = path.expanduser() if file else path
        with open(path, "x", encoding="utf-8") as new:
            try:
                new.write(text)
                new.flush()
            except BaseException:
                path.unlink(missing_ok=True)  # a half of it would pass for the whole
                raise
    except FileExistsError:
        raise SessionError(f"{path} is there already. Name another: /export FILE") from None
    except (OSError, ValueError, RuntimeError) as error:  # a name with a null in it; the home of nobody
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise SessionError(f"{path} cannot be written: {why}. Name another: /export FILE") from None
    return f"This thread was saved as {path.absolute()}" + (f". It is {UNPROTECTED}" if thread.private else "")


def rename(store: Store, id: str, title: str) -> None:
    if not title:
        raise SessionError(NO_TITLE)
    store.threads.rename(id, title)


def roll_back(store: Store, model_hash: str) -> str:
    before = store.adapters.rollback(model_hash)
    name = before.name if before is not None else "the base model"
    return f"Rolled back: {name} answers from the next question on. {HELD[0].upper()}{HELD[1:]}."
