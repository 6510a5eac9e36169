"""Threads that were searched for: the line of text that has the words, and the way to the turn in which it stands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.cells import cell_len

from chatapp.clean import clean
from chatapp.reading import way_to

if TYPE_CHECKING:
    from chatapp.session import ChatSession
    from chatapp.view import View

LEAST = 10  #: cells before the first word that was looked for, where there is more on both sides


def pieces(snippet: str, width: int) -> list[tuple[str, bool]]:
    """A snippet of `storage.search.threads` on one line, in pieces, with whether each was looked for.

    Its beginning is cut so far that the first of them is within width cells; its end is left to be cut.
    """
    from storage.search import MARKS  # the first paint waits for nothing of the store

    found = []
    for at, text in enumerate(re.split("{}(.*?){}".format(*MARKS), snippet, flags=re.S)):
        text = re.sub(r"\s+", " ", clean(text))
        if text:
            found.append((text, at % 2 == 1))
    if not found or found[0][1]:
        return found
    before, after = found[0][0].lstrip(), sum(cell_len(text) for text, _ in found[2:])
    word = cell_len(found[1][0]) if len(found) > 1 else 0
    return [(_end_of(before, max(LEAST, width - word - after)), False), *found[1:]]


def _end_of(text: str, width: int) -> str:
    """The last words of a text that take at most width cells, or what there is room for of the last one."""
    if cell_len(text) <= width:
        return text
    rest = text
    while cell_len(rest) > width - 1:
        rest = rest[1:]
    begun = rest.find(" ", 0, len(rest) - 1)
    return "…" + (rest[begun + 1 :] if begun >= 0 and not text[-len(rest) - 1].isspace() else rest.lstrip())


def open_at(session: ChatSession, thread_id: str, message_id: str | None) -> View:
    """Open a thread at the turn of a message; where that is on another branch, the thread goes on from there."""
    view = session.open(thread_id)
    found = way_to(session.store, session.store.threads.get(thread_id), message_id) if message_id else None
    if found is None:
        return view
    prompt_id, tip = found
    if tip is not None:
        session.store.threads.set_tip(thread_id, tip)
        session.open(thread_id)
    return session.visit(prompt_id)
