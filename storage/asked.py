"""Questions as they were typed, to be called back; and one that could not be asked, taken back."""

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


def withdraw(store: Store, id: str, tip: str | None) -> None:
    """Remove a question that has no answer; its thread goes on from tip again, and goes too if it began with it."""
    thread = store.threads.message(id).thread_id
    with store.write() as db:
        db.execute("DELETE FROM messages WHERE id = ?", [id])
        db.execute("UPDATE threads SET tip_message_id = ? WHERE id = ?", [tip, thread])
        if not db.execute("SELECT 1 FROM messages WHERE thread_id = ? AND role != 'system'", [thread]).fetchone():
            db.execute("DELETE FROM messages WHERE thread_id = ?", [thread])
            db.execute("DELETE FROM threads WHERE id = ?", [thread])
            db.execute("DELETE FROM meta WHERE key = ?", [f"draft:{thread}"])
