"""Questions as they were typed, to be called back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.store import Store


def asked(store: Store, limit: int = 300) -> list[str]:
    """The latest questions of the chat's threads, the newest first, each text once. Nothing deleted or forgotten."""
    rows = store.rows(
        "SELECT m.content FROM messages m JOIN threads t ON t.id = m.thread_id "
        "WHERE m.role = 'user' AND m.content IS NOT NULL AND t.deleted_at IS NULL AND t.origin = 'chat' "
        "ORDER BY m.id DESC LIMIT ?",
        [limit],
    )
    return list(dict.fromkeys(str(row["content"]) for row in rows))
