"""Threads and their messages: an immutable tree in which only a thread's tip moves.

Regenerating or editing adds a sibling. Deleting a thread hides it and keeps its judgments from training; it can be
brought back.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from storage.errors import NotFound, StorageError
from storage.ids import new_id, now

if TYPE_CHECKING:
    from storage.store import Store

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Thread:
    """One conversation. `origin` is "chat", "judge" or "import:NAME"; lists show those of the chat."""

    id: str
    title: str
    system_prompt: str | None
    origin: str
    private: bool
    archived_at: str | None
    deleted_at: str | None
    tip_message_id: str | None
    created_at: str
    updated_at: str
    message_count: int = 0
    judgment_count: int = 0  #: judgments in force
    judged_count: int = 0  #: turns that hold one


@dataclass(frozen=True, slots=True)
class Message:
    """One message; content is None once it was forgotten."""

    id: str
    thread_id: str
    parent_id: str | None
    role: str
    content: str | None
    created_at: str
    forgotten_at: str | None = None

    @property
    def text(self) -> str:
        return self.content or ""


@dataclass(frozen=True, slots=True)
class Node:
    """A message's place in its thread, without its text."""

    id: str
    parent_id: str | None
    role: str
    batch_id: str | None  #: the answers that were shown together; None: nobody generated it
    corrects: str | None  #: the answer that this message is a correction of
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """How an answer came to be: everything needed to make it again."""

    message_id: str
    batch_id: str  #: the answers that were shown together
    position: int  #: 0-based place at which it was shown
    model_hash: str
    adapter_id: str | None  #: None: the base
    sampling: dict[str, Any]
    seed: int
    token_ids: list[int] | None
    prompt_tokens: int
    answer_tokens: int
    finish_reason: str
    timings: dict[str, float]
    created_at: str


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """An answer about to be stored, with its provenance."""

    content: str
    position: int
    model_hash: str
    adapter_id: str | None
    sampling: Mapping[str, Any]
    seed: int
    token_ids: Sequence[int] | None
    prompt_tokens: int
    finish_reason: str
    timings: Mapping[str, float] = field(default_factory=dict)


_JUDGED = """
FROM messages m JOIN judgments j ON j.prompt_message_id = m.id WHERE m.thread_id = t.id AND m.content IS NOT NULL
AND j.retracted_at IS NULL AND j.forgotten_at IS NULL
AND NOT EXISTS (SELECT 1 FROM judgments s WHERE s.supersedes = j.id AND s.retracted_at IS NULL)
"""
_THREAD = f"""
SELECT t.*, (SELECT count(*) FROM messages m WHERE m.thread_id = t.id) AS message_count,
  (SELECT count(*) {_JUDGED}) AS judgment_count, (SELECT count(DISTINCT m.id) {_JUDGED}) AS judged_count
FROM threads t
"""
#: of a thread t: of no import that is under way or was taken back
COMPLETE = (
    "t.id NOT IN (SELECT thread_id FROM import_threads) AND (t.origin NOT LIKE 'import:%' OR "
    "substr(t.origin, 8) IN (SELECT name FROM imports WHERE state = 'complete'))"
)
_MESSAGE = "SELECT id, thread_id, parent_id, role, content, created_at, forgotten_at FROM messages"
_UPWARDS = f"""
UNION SELECT m.parent_id FROM up JOIN messages m ON m.id = up.id WHERE m.parent_id IS NOT NULL)
{_MESSAGE} WHERE id IN up
"""


def _thread(row: Mapping[str, Any]) -> Thread:
    return Thread(**{**row, "private": bool(row["private"])})


class Threads:
    """Reads and writes threads, messages and generations."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # threads

    def new(
        self, title: str = "", system_prompt: str | None = None, private: bool = False, origin: str = "chat"
    ) -> Thread:
        id, time = new_id(), now()
        with self._store.write() as db:
            db.execute(
                "INSERT INTO threads(id, title, system_prompt, origin, private, created_at, updated_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [id, title, system_prompt, origin, int(private), time, time],
            )
        return self.get(id)

    def get(self, id: str) -> Thread:
        row = self._store.row(_THREAD + "WHERE t.id = ?", [id])
        if row is None:
            raise NotFound(f"there is no thread {id}")
        return _thread(row)

    def list(
        self,
        archived: bool = False,
        among: Iterable[str] | None = None,
        limit: int | None = None,
        deleted: bool = False,
        all: bool = False,
    ) -> builtins.list[Thread]:
        """Threads of the chat, the latest first; all: of the shell and of imports too; among: of these ids alone."""
        where = [
            COMPLETE if all else "t.origin = 'chat'",
            "t.deleted_at IS NOT NULL" if deleted else "t.deleted_at IS NULL",
        ]
        parameters: builtins.list[Any] = []
        if not deleted:
            where.append("t.archived_at IS NOT NULL" if archived else "t.archived_at IS NULL")
        else:  # of what was forgotten there is nothing to bring back
            where.append(
                "(NOT EXISTS (SELECT 1 FROM messages m WHERE m.thread_id = t.id AND m.forgotten_at IS NOT NULL) "
                "OR EXISTS (SELECT 1 FROM messages m WHERE m.thread_id = t.id AND m.content IS NOT NULL))"
            )
        if among is not None:
            where.append("t.id IN (SELECT value FROM json_each(?))")
            parameters.append(json.dumps(list(among)))
        sql = _THREAD + "WHERE " + " AND ".join(where) + " ORDER BY t.updated_at DESC, t.id DESC"
        if limit is not None:
            sql += f" LIMIT {int(limit)}"
        return [_thread(row) for row in self._store.rows(sql, parameters)]

    def rename(self, id: str, title: str) -> None:
        self._update(id, "title = ?", [title.strip()])

    def set_private(self, id: str, private: bool = True) -> None:
        """A private thread is never learned from, nor exported as training data."""
        self._update(id, "private = ?", [int(private)])

    def archive(self, id: str, archived: bool = True) -> None:
        self._update(id, "archived_at = ?", [now() if archived else None])

    def delete(self, id: str) -> None:
        """Hide a thread; its judgments are no longer learned from."""
        self._update(id, "deleted_at = ?", [now()])

    def undelete(self, id: str) -> None:
        self._update(id, "deleted_at = NULL", [])

    def set_tip(self, thread_id: str, message_id: str | None) -> None:
        """Where the conversation goes on from."""
        self._update(thread_id, "tip_message_id = ?, updated_at = ?", [message_id, now()])

    def _update(self, id: str, change: str, values: Sequence[Any]) -> None:
        with self._store.write() as db:
            if not db.execute(f"UPDATE threads SET {change} WHERE id = ?", [*values, id]).rowcount:
                raise NotFound(f"there is no thread {id}")

    # messages

    def add_message(
        self,
        thread_id: str,
        parent_id: str | None,
        role: str,
        content: str,
        *,
        tip: bool = False,
        key: str | None = None,
    ) -> Message:
        """Add a message below parent_id. A thread's first user message gets the system prompt above it."""
        if role not in ROLES:
            raise StorageError(f"a message has the role {role!r}; it must be one of {', '.join(ROLES)}")
        with self._store.write() as db:
            thread = db.execute("SELECT system_prompt FROM threads WHERE id = ?", [thread_id]).fetchone()
            if thread is None:
                raise NotFound(f"there is no thread {thread_id}")
            if parent_id is not None and self.message(parent_id).forgotten_at:
                raise StorageError(
                    f"message {parent_id} was forgotten: nothing can be written below it; go on from another one"
                )
            if parent_id is None and role != "system" and thread[0]:
                parent_id = self.add_message(thread_id, None, "system", thread[0]).id
            id, time = new_id(), now()
            db.execute(
                "INSERT INTO messages(id, thread_id, parent_id, role, content, key, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [id, thread_id, parent_id, role, content, key, time],
            )
            if tip:
                self.set_tip(thread_id, id)
        return Message(id, thread_id, parent_id, role, content, time)

    def add_answers(self, thread_id: str, prompt_id: str, answers: Sequence[NewAnswer]) -> builtins.list[Message]:
        """Store answers that were shown together, with their provenance, in one transaction."""
        batch, messages = new_id(), []
        with self._store.write() as db:
            for answer in answers:
                message = self.add_message(thread_id, prompt_id, "assistant", answer.content)
                ids = None if answer.token_ids is None else json.dumps(list(answer.token_ids), separators=(",", ":"))
                db.execute(
                    "INSERT INTO generations(message_id, batch_id, position, model_hash, adapter_id, sampling, seed, "
                    "token_ids, prompt_tokens, answer_tokens, finish_reason, timings, created_at) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        message.id,
                        batch,
                        answer.position,
                        answer.model_hash,
                        answer.adapter_id,
                        json.dumps(dict(answer.sampling), sort_keys=True),
                        answer.seed,
                        ids,
                        answer.prompt_tokens,
                        len(answer.token_ids or ()),
                        answer.finish_reason,
                        json.dumps(dict(answer.timings), sort_keys=True),
                        message.created_at,
                    ],
                )
                messages.append(message)
        return messages

    def message(self, id: str) -> Message:
        row = self._store.row(_MESSAGE + " WHERE id = ?", [id])
        if row is None:
            raise NotFound(f"there is no message {id}")
        return Message(**row)

    def messages(self, ids: Iterable[str]) -> dict[str, Message]:
        """Many messages by id; unknown ids are left out."""
        return {row["id"]: Message(**row) for row in self._in(_MESSAGE + " WHERE id IN ", ids)}

    def contents(self, ids: Iterable[str]) -> dict[str, str | None]:
        """The texts of many messages by id; None: forgotten."""
        return {row["id"]: row["content"] for row in self._in("SELECT id, content FROM messages WHERE id IN ", ids)}

    def keys(self, ids: Iterable[str]) -> dict[str, str]:
        """The keys of messages from outside; others are left out."""
        rows = self._in("SELECT id, key FROM messages WHERE id IN ", ids)
        return {row["id"]: row["key"] for row in rows if row["key"] is not None}

    def by_key(self, key: str) -> Message | None:
        row = self._store.row(_MESSAGE + " WHERE key = ?", [key])
        return Message(**row) if row else None

    def generation(self, message_id: str) -> Generation | None:
        return self.generations([message_id]).get(message_id)

    def generations(self, ids: Iterable[str]) -> dict[str, Generation]:
        """Many generations by message id; messages that nobody generated are left out."""
        found = {}
        for row in self._in("SELECT * FROM generations WHERE message_id IN ", ids):
            for name in ("sampling", "timings"):
                row[name] = json.loads(row[name])
            row["token_ids"] = None if row["token_ids"] is None else json.loads(row["token_ids"])
            found[row["message_id"]] = Generation(**row)
        return found

    def children(self, message_id: str | None, role: str | None = None) -> builtins.list[Message]:
        """The messages below one, oldest first."""
        sql, parameters = _MESSAGE + " WHERE parent_id = ?", [message_id]
        if role is not None:
            sql, parameters = sql + " AND role = ?", [message_id, role]
        return [Message(**row) for row in self._store.rows(sql + " ORDER BY seq", parameters)]

    def tree(self, thread_id: str) -> builtins.list[Node]:
        """All messages of a thread with how they hang together, oldest first. Corrections that were undone stay."""
        corrected = {
            row["message_id"]: row["corrects"]
            for row in self._store.rows(
                "SELECT i.message_id, json_extract(j.payload, '$.of') AS corrects FROM judgments j "
                "JOIN judgment_items i ON i.judgment_id = j.id JOIN messages m ON m.id = i.message_id "
                "WHERE m.thread_id = ? AND j.kind = 'correction' AND i.rank = 0",
                [thread_id],
            )
        }
        rows = self._store.rows(
            "SELECT m.id, m.parent_id, m.role, g.batch_id, m.forgotten_at IS NOT NULL AS forgotten FROM messages m "
            "LEFT JOIN generations g ON g.message_id = m.id WHERE m.thread_id = ? ORDER BY m.seq",
            [thread_id],
        )
        return [Node(**row, corrects=corrected.get(row["id"])) for row in rows]

    def path(self, message_id: str) -> builtins.list[Message]:
        """From the first message of the thread to this one."""
        return self.paths([message_id]).get(message_id, [])

    def paths(self, message_ids: Iterable[str]) -> dict[str, builtins.list[Message]]:
        """`path` of many messages, in few queries."""
        wanted = list(dict.fromkeys(message_ids))
        # upwards inside SQLite: a query a generation took longer than everything else when a long thread was opened
        rows = self._in("WITH RECURSIVE up(id) AS (SELECT id FROM messages WHERE id IN ", wanted, _UPWARDS)
        known = {row["id"]: Message(**row) for row in rows}
        result = {}
        for id in wanted:
            path, current = [], known.get(id)
            while current is not None:
                path.append(current)
                current = known.get(current.parent_id) if current.parent_id else None
            if path:
                result[id] = path[::-1]
        return result

    def conversation(self, message_id: str) -> builtins.list[dict[str, str]]:
        """The path as chat templates take it: [{role, content}], system prompt first."""
        return self.conversations([message_id]).get(message_id, [])

    def conversations(self, message_ids: Iterable[str]) -> dict[str, builtins.list[dict[str, str]]]:
        """`conversation` of many messages. One with a forgotten message in its path is left out."""
        return {
            id: [{"role": m.role, "content": m.text} for m in path]
            for id, path in self.paths(message_ids).items()
            if all(m.content is not None for m in path)
        }

    def _in(self, sql: str, ids: Iterable[str], rest: str = "") -> builtins.list[dict[str, Any]]:
        unique, rows = list(dict.fromkeys(ids)), []
        for start in range(0, len(unique), 500):  # SQLite's oldest limit on parameters is 999
            chunk = unique[start : start + 500]
            rows += self._store.rows(f"{sql} ({','.join('?' * len(chunk))}) {rest}", chunk)
        return rows


#: letters from which the last word may be a beginning: one letter begins so many words that to merge them takes seconds
BEGINNING = 3


def fts_query(text: str) -> str:
    """What a person typed, as an FTS5 query: all words, operators are plain text.

    The last word may be a beginning, if it has BEGINNING letters or is in no Latin script.
    """
    words = [word.replace('"', '""') for word in text.split()]
    if not words:
        return '""'
    beginning = "*" if len(words[-1]) >= BEGINNING or not words[-1].isascii() else ""
    return " ".join(f'"{word}"' for word in words) + beginning


def like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
