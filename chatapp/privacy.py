"""Threads that are never learned from: made so before the first question or later, and marked with a word.

The choice for a thread that is not there yet lies beside its draft, and as long: who quits with a secret half written
finds both again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatapp.session import ChatSession
    from storage.store import Store
    from storage.threads import Thread

#: behind a title
MARK = " (private)"
#: of a private thread's text in a file, or wherever the output goes
UNPROTECTED = "private, and the copy is not protected: delete it when you need it no longer."
_NEXT = "private:new"


def next_is_private(store: Store) -> bool:
    """Whether the thread that the next question begins will be private."""
    return store.meta_get(_NEXT) is not None


def take(store: Store) -> bool:
    """The same for the thread that begins now; the one after it is like any other. Inside the transaction of both."""
    private = next_is_private(store)
    if private:
        store.meta_set(_NEXT, None)
    return private


def withdraw(store: Store, id: str, before: Thread | None) -> None:
    """Take back a question that cannot be asked. before: the thread as it was; None: the question began it, so it goes,
    and the next one is private if that was."""
    from storage import asked

    with store.write():
        if before is None and store.threads.get(store.threads.message(id).thread_id).private:
            store.meta_set(_NEXT, "1")
        asked.withdraw(store, id, before.tip_message_id if before else None)
        store.meta_set("chat.thread", before.id if before else None)


def heading(store: Store, thread: Thread | None) -> str:
    """A thread's title with the mark; empty for a new one that is like any other."""
    if thread is None:
        return f"New thread{MARK}" if next_is_private(store) else ""
    return f"{thread.title or 'untitled'}{MARK}" if thread.private else thread.title


def toggle(store: Store, id: str | None) -> str:
    """Make a thread (None: the one that begins with the next question) private, or no longer; a sentence on it."""
    if id is None:
        private = not next_is_private(store)
        store.meta_set(_NEXT, "1" if private else None)
        if private:
            return "The new thread is private from its first question on: never learned from, left out of hone export."
        return "The new thread is no longer private: it will be learned from, as any other."
    private = not store.threads.get(id).private
    store.threads.set_private(id, private)
    if private:
        return "This thread is private: never learned from, and left out of hone export."
    return "This thread is no longer private: it is learned from again, and part of hone export."


def toggle_open(session: ChatSession) -> str:
    """The same for what the chat shows."""
    said = toggle(session.store, session.thread.id if session.thread else None)
    if session.thread is not None:
        session.thread = session.store.threads.get(session.thread.id)
    return said
