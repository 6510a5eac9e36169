"""Finding messages by their words, the newest first.

No ranking: the index gives its rows by number, backwards, so that the first hits are there at once however many there
are; sorting a million hits by how well they fit would take seconds, and in a chat the newest is mostly the one meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.errors import StorageError
from storage.threads import COMPLETE, fts_query

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
    # what no database can hold (half of a surrogate pair, from a broken command line) can be in no message
    text = " ".join(words).encode("utf-8", "replace").decode().replace("\0", " ")
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
