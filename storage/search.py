"""Finding messages, and threads, by their words, the newest first.

No ranking: the index gives its rows by number, backwards, so that the first hits are there at once however many there
are; sorting a million hits by how well they fit would take seconds, and in a chat the newest is mostly the one meant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.errors import StorageError
from storage.threads import COMPLETE, Thread, fts_query, like

if TYPE_CHECKING:
    from storage.store import Store

#: words of a snippet
AROUND = 16
#: CROSS JOIN: the index first, then its rows one by one, until there are enough
HITS = f"""
SELECT m.id AS message_id, m.role, m.created_at, t.id AS thread_id, t.title, t.private, t.archived_at, t.origin,
  snippet(messages_fts, 0, '[', ']', '…', {AROUND}) AS snippet
FROM messages_fts f CROSS JOIN messages m ON m.seq = f.rowid CROSS JOIN threads t ON t.id = m.thread_id
WHERE messages_fts MATCH ? AND t.deleted_at IS NULL AND {COMPLETE}
ORDER BY f.rowid DESC LIMIT ?
"""
#: the newest message with the words of each thread comes first among its hits: ids alone, so that many are read at once
IN_THREADS = """
SELECT f.rowid, m.thread_id
FROM messages_fts f CROSS JOIN messages m ON m.seq = f.rowid CROSS JOIN threads t ON t.id = m.thread_id
WHERE messages_fts MATCH ? AND f.rowid < ? AND {which} ORDER BY f.rowid DESC LIMIT ?
"""
_TITLED = """
SELECT t.id FROM threads t WHERE t.title LIKE ? ESCAPE '\\' AND {which} ORDER BY t.updated_at DESC LIMIT ?
"""
#: one walk over the hits, from the oldest that is wanted: asked for one by one, each would look up the words again
_SNIPPETS = f"""
SELECT m.thread_id, m.id, snippet(messages_fts, 0, ?, ?, '…', {AROUND})
FROM messages_fts f CROSS JOIN messages m ON m.seq = f.rowid
WHERE messages_fts MATCH ? AND f.rowid >= ? AND +f.rowid IN (SELECT value FROM json_each(?))
"""
PIECE = 1000  #: hits that are read first; then more at a time
#: around a word that was looked for, in `Found.snippet`: no text of people's has them
MARKS = "\x02", "\x03"


@dataclass(frozen=True, slots=True)
class Found:
    """A thread of the chat, and where in it the words stand."""

    thread: Thread
    message_id: str | None = None  #: the newest message that has them; None: they stand in the title
    snippet: str = ""  #: its text around the first of the words; they stand between MARKS


@dataclass(frozen=True, slots=True)
class Hit:
    """One message with the words."""

    message_id: str
    thread_id: str
    role: str
    created_at: str
    title: str  #: of the thread
    snippet: str  #: the text around the first of the words; they stand in [brackets]
    private: bool
    archived: bool
    origin: str


def search(store: Store, words: Sequence[str], limit: int = 20) -> list[Hit]:
    """Messages that hold all words, the newest first. Operators are plain text.

    The last word may be a beginning (`fts_query`). Raises StorageError for no words or a limit below 1.
    """
    text = _storable(" ".join(words))
    if not text.strip():
        raise StorageError("there is nothing to search for: name a word, or several")
    if limit < 1:
        raise StorageError(f"the limit is {limit}; it must be at least 1")
    return [
        Hit(
            row["message_id"],
            row["thread_id"],
            row["role"],
            row["created_at"],
            row["title"],
            row["snippet"] or "",
            bool(row["private"]),
            row["archived_at"] is not None,
            row["origin"],
        )
        for row in store.rows(HITS, [fts_query(text), limit])
    ]


def threads(store: Store, query: str = "", archived: bool = False, limit: int = 200) -> list[Found]:
    """Threads of the chat whose title holds the query, or a message all its words, the latest first; without, all."""
    query = _storable(query).strip()
    if not query:
        return [Found(thread) for thread in store.threads.list(archived=archived, limit=limit)]
    which = f"t.origin = 'chat' AND t.deleted_at IS NULL AND t.archived_at IS {'NOT ' if archived else ''}NULL"
    newest = _newest(store, query, which, limit)
    titled = store.tuples(_TITLED.format(which=which), [f"%{like(query)}%", limit])
    found = store.threads.list(archived=archived, among=[*newest, *(id for (id,) in titled)], limit=limit)
    rows = [newest[thread.id] for thread in found if thread.id in newest]
    texts = store.tuples(_SNIPPETS, [*MARKS, fts_query(query), min(rows, default=1 << 62), json.dumps(rows)])
    hits = {thread_id: (message_id, snippet) for thread_id, message_id, snippet in texts}
    return [Found(thread, *hits.get(thread.id, (None, ""))) for thread in found]


def _newest(store: Store, query: str, which: str, limit: int) -> dict[str, int]:
    """Thread -> the number of its newest hit, of so many threads; read in pieces, as a few hold most hits of a word."""
    newest: dict[str, int] = {}
    before, piece = 1 << 62, PIECE
    while len(newest) < limit:
        rows = store.tuples(IN_THREADS.format(which=which), [fts_query(query), before, piece])
        for seq, thread_id in rows:
            newest.setdefault(thread_id, seq)
        if len(rows) < piece:
            break
        before, piece = rows[-1][0], 4 * piece
    return newest


def _storable(text: str) -> str:
    """What no database can hold (half of a surrogate pair, from a broken command line) can be in no message."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")
