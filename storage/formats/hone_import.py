"""Takes a file of the lossless format in.

What is not there yet is added, by id; a row that is there stays as it is. The threads come to be seen when all is read:
until then they hide behind the import's own origin (`import_threads` keeps the true one).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import RecordError, StorageError
from storage.formats.files import Source
from storage.formats.hone import COLUMNS, checked
from storage.ids import new_id, now
from storage.importing import PIECE, Summary, Undone, delete_judgments, delete_thread, learned
from storage.migrations import DEFAULT_RULES, RULES_SINCE

if TYPE_CHECKING:
    from storage.store import Store


def import_file(
    store: Store, path: Path, name: str, *, strict: bool = False, progress: Callable[[int], None] | None = None
) -> Summary:
    """Add what a file of this format holds and this home does not."""
    if strict:
        for _ in checked(Source(path, strict=True)):
            pass
    source = Source(path, progress=progress)
    reader: _Reader | None = None  # begun with the first row: a file that is none leaves no trace
    piece: list[tuple[int, dict[str, Any]]] = []
    for line, row in checked(source):
        reader = reader or _Reader(store, name, path.name)
        if piece and (len(piece) == PIECE or row["type"] != piece[0][1]["type"]):
            reader.commit(piece, source)
            piece.clear()
        piece.append((line, row))
    reader = reader or _Reader(store, name, path.name)
    reader.commit(piece, source)
    reader.summary.read, reader.summary.skipped = source.read - 1, source.skipped  # the header is no record
    reader.complete()
    return reader.summary


class _Reader:
    """Writes checked rows, a piece of one type at a time."""

    def __init__(self, store: Store, name: str, file: str) -> None:
        self._store, self.summary = store, Summary(name)
        self._origin = f"import:{name}"
        with store.write() as db:
            row = store.row("SELECT id, format FROM imports WHERE name = ?", [name])
            if row is not None and row["format"] != "hone":
                raise StorageError(
                    f"import:{name} is there already, in the format {row['format']}; give this one another --name"
                )
            self._id = row["id"] if row else new_id()
            if row is None:
                db.execute(
                    "INSERT INTO imports(id, name, format, file, state, created_at) "
                    "VALUES (?, ?, 'hone', ?, 'running', ?)",
                    [self._id, name, file, now()],
                )
            else:
                db.execute("UPDATE imports SET state = 'running' WHERE id = ?", [self._id])

    def commit(self, piece: Sequence[tuple[int, dict[str, Any]]], source: Source) -> None:
        if not piece:
            return
        add: Callable[[Any, dict[str, Any]], bool] = getattr(self, f"_{piece[0][1]['type']}")
        with self._store.write() as db:
            for line, row in piece:
                try:
                    added = add(db, row)
                except RecordError as error:
                    source.skip(line, str(error), error)
                    continue
                self.summary.added += added
                self.summary.already += not added
                if added and row["type"] == "judgment":
                    self.summary.kinds[row["kind"]] = self.summary.kinds.get(row["kind"], 0) + 1

    def complete(self) -> None:
        """Everything is seen from one instant on."""
        with self._store.write() as db:
            db.execute(
                "UPDATE threads SET origin = (SELECT x.origin FROM import_threads x WHERE x.thread_id = threads.id) "
                "WHERE id IN (SELECT thread_id FROM import_threads WHERE import_id = ?)",
                [self._id],
            )
            db.execute("DELETE FROM import_threads WHERE import_id = ?", [self._id])
            db.execute(
                "UPDATE imports SET state = 'complete', completed_at = ?, summary = ? WHERE id = ?",
                [now(), json.dumps({**self.summary.as_json(), "skipped": []}), self._id],
            )

    # a method for each type: True if the row was added, False if it is there

    def _model(self, db: Any, row: dict[str, Any]) -> bool:
        return self._insert(db, "models", {**_only(row, "model"), "path": ""})

    def _rule(self, db: Any, row: dict[str, Any]) -> bool:
        there = self._store.row(f"SELECT {', '.join(COLUMNS['rule'])} FROM rules WHERE id = ?", [row["id"]])
        values = _only(row, "rule")
        if there is not None:
            shipped = {f"rule-{id}": (name, text) for id, name, text in DEFAULT_RULES}.get(there["id"])
            untouched = (
                shipped == (there["name"], there["text"]) and there["active"] and there["created_at"] == RULES_SINCE
            )
            if not untouched or _only(there, "rule") == values:
                return False
            # a default that nobody changed here: the file's user did
            db.execute(
                "UPDATE rules SET name = ?, text = ?, active = ? WHERE id = ?",
                [row["name"], row["text"], row["active"], row["id"]],
            )
            return True
        if self._store.value("SELECT 1 FROM rules WHERE number = ?", [row["number"]]):
            values["number"] = int(self._store.value("SELECT max(number) + 1 FROM rules"))
        self._need(row["replaces"], "rules", "rule.replaces")
        return self._insert(db, "rules", values)

    def _import(self, db: Any, row: dict[str, Any]) -> bool:
        values = {**_only(row, "import"), "state": "complete", "summary": json.dumps(row["summary"])}
        there = self._store.row("SELECT id, state FROM imports WHERE name = ?", [row["name"]])
        if there is None:
            return self._insert(db, "imports", values)
        if there["state"] != "complete" and there["id"] != self._id:
            db.execute("UPDATE imports SET state = 'complete' WHERE id = ?", [there["id"]])
        return False

    def _thread(self, db: Any, row: dict[str, Any]) -> bool:
        values = {**_only(row, "thread"), "origin": self._origin}
        if self._forgotten("title", row):
            values["title"] = ""
        if self._forgotten("prompt", row):
            values["system_prompt"] = None
        if not self._insert(db, "threads", values):
            return False
        self._insert(db, "import_threads", {"thread_id": row["id"], "import_id": self._id, "origin": row["origin"]})
        self._key_of(db, f"thread:{row['id']}")
        return True

    def _message(self, db: Any, row: dict[str, Any]) -> bool:
        if self._store.value("SELECT 1 FROM messages WHERE id = ?", [row["id"]]):
            return False
        self._need(row["thread_id"], "threads", "message.thread_id")
        self._need(row["parent_id"], "messages", "message.parent_id")
        values = _only(row, "message")
        if row["key"] and self._store.value("SELECT 1 FROM messages WHERE key = ?", [row["key"]]):
            values["key"] = None  # the same text came by another way: only one of them is found by its key
        gone = self._forgotten("message", row)
        if gone:
            values |= {"content": None, "forgotten_at": row["forgotten_at"] or now()}
        self._insert(db, "messages", values)
        if row["generation"] is not None:
            made = row["generation"]
            self._need(made["model_hash"], "models", "generation.model_hash", "hash")
            texts = {name: _text(made[name]) for name in ("sampling", "timings", "token_ids")}
            texts["token_ids"] = None if gone else texts["token_ids"]
            self._insert(db, "generations", {"message_id": row["id"], **_only(made, "generation"), **texts})
        if not self._new_here(row["thread_id"]):
            self._key_of(db, f"message:{row['id']}")
        return True

    def _judgment(self, db: Any, row: dict[str, Any]) -> bool:
        if self._store.value("SELECT 1 FROM judgments WHERE id = ?", [row["id"]]):
            return False
        self._need(row["prompt_message_id"], "messages", "judgment.prompt_message_id")
        self._need(row["supersedes"], "judgments", "judgment.supersedes")
        for item in row["items"]:
            self._need(item["message_id"], "messages", "item.message_id")
        values = {**_only(row, "judgment"), "payload": _text(row["payload"])}
        if row["key"] and self._store.value("SELECT 1 FROM judgments WHERE key = ?", [row["key"]]):
            values["key"] = None
        gone = self._forgotten("judgment", row)
        if gone:
            time = row["forgotten_at"] or now()
            values |= {"payload": "{}", "retracted_at": row["retracted_at"] or time, "forgotten_at": time}
        self._insert(db, "judgments", values)
        for item in [] if gone else row["items"]:
            if not self._store.value(
                "SELECT 1 FROM messages WHERE id = ? AND forgotten_at IS NOT NULL", [item["message_id"]]
            ):
                self._insert(db, "judgment_items", {"judgment_id": row["id"], **item})
        thread = self._store.value("SELECT thread_id FROM messages WHERE id = ?", [row["prompt_message_id"]])
        if not self._new_here(str(thread)):
            self._key_of(db, f"judgment:{row['id']}")
        return True

    def _split(self, db: Any, row: dict[str, Any]) -> bool:
        return self._insert(db, "splits", _only(row, "split"))

    def _key(self, db: Any, row: dict[str, Any]) -> bool:
        owner = self._store.value("SELECT id FROM imports WHERE name = ?", [row["import"]])
        if owner is None:
            raise RecordError(f"key.import names {row['import']!r}, which is not among the imports")
        if self._insert(db, "import_keys", {"key": row["key"], "import_id": owner, "forgotten": row["forgotten"]}):
            return True
        if row["forgotten"]:
            db.execute("UPDATE import_keys SET forgotten = 1 WHERE key = ?", [row["key"]])
        return False

    def _forgotten(self, kind: str, row: dict[str, Any]) -> bool:
        """Whether it was here once, by a file of this format, and the user forgot it: then it comes back empty."""
        key = f"{kind}:{row['id']}"
        return self._store.value("SELECT 1 FROM import_keys WHERE key = ? AND forgotten = 1", [key]) is not None

    def _new_here(self, thread: str) -> bool:
        """Whether this import added the thread: then its rows need no keys of their own for `undo`."""
        return bool(self._store.value("SELECT 1 FROM import_threads WHERE thread_id = ?", [thread]))

    def _key_of(self, db: Any, key: str) -> None:
        self._insert(db, "import_keys", {"key": key, "import_id": self._id})

    def _need(self, id: str | None, table: str, name: str, column: str = "id") -> None:
        if id is not None and not self._store.value(f"SELECT 1 FROM {table} WHERE {column} = ?", [id]):
            raise RecordError(f"{name} is {id!r}, which stands neither before it in the file nor in this home")

    @staticmethod
    def _insert(db: Any, table: str, values: dict[str, Any]) -> bool:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        sql = f"INSERT OR IGNORE INTO {table}({names}) VALUES ({marks})"
        return bool(db.execute(sql, list(values.values())).rowcount)


def _only(row: dict[str, Any], type: str) -> dict[str, Any]:
    return {name: row[name] for name in COLUMNS[type]}


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)


def undo(store: Store, import_id: str, name: str, progress: Callable[[int], None] | None = None) -> Undone:
    """Take back the threads, messages and judgments that an import of this format added.

    A thread in which the user has written or judged since stays, with all that it holds.
    """
    completed = store.value("SELECT completed_at FROM imports WHERE id = ?", [import_id]) or now()
    adapters: list[str] = []
    counts = {"judgment": 0, "thread": 0, "kept": 0}
    for kind in ("judgment", "message", "thread"):
        after = f"{kind}:"
        while rows := store.rows(
            "SELECT key FROM import_keys WHERE import_id = ? AND key > ? AND key < ? ORDER BY key LIMIT ?",
            [import_id, after, f"{kind};", PIECE],
        ):
            after = rows[-1]["key"]
            ids = [row["key"].split(":", 1)[1] for row in rows]
            with store.write() as db:
                if kind == "judgment":
                    adapters += learned(store, ",".join("?" * len(ids)), ids)
                    delete_judgments(db, ids)
                    counts["judgment"] += len(ids)
                elif kind == "message":
                    for id in reversed(ids):
                        _delete_message(db, id)
                else:
                    for id in ids:
                        done, judgments = _delete_whole(store, db, id, str(completed), adapters)
                        counts["thread" if done else "kept"] += 1
                        counts["judgment"] += judgments
                db.execute(
                    f"DELETE FROM import_keys WHERE forgotten = 0 AND key IN ({','.join('?' * len(rows))})",
                    [r["key"] for r in rows],
                )
            if progress is not None:
                progress(len(rows))
    with store.write() as db:
        db.execute("DELETE FROM import_threads WHERE import_id = ?", [import_id])
    return Undone(name, counts["judgment"], counts["thread"], counts["kept"], sorted(set(adapters)))


def _delete_message(db: Any, id: str) -> None:
    used = (
        "SELECT 1 FROM messages WHERE parent_id = :id UNION ALL SELECT 1 FROM judgments WHERE prompt_message_id = :id "
        "UNION ALL SELECT 1 FROM judgment_items WHERE message_id = :id"
    )
    if db.execute(used, {"id": id}).fetchone():
        return  # the user went on from it
    db.execute("UPDATE threads SET tip_message_id = NULL WHERE tip_message_id = ?", [id])
    db.execute("DELETE FROM generations WHERE message_id = ?", [id])
    db.execute("DELETE FROM messages WHERE id = ?", [id])


def _delete_whole(store: Store, db: Any, thread: str, completed: str, adapters: list[str]) -> tuple[bool, int]:
    """(whether the thread was deleted, how many judgments went with it)."""
    since = (
        "SELECT 1 FROM messages WHERE thread_id = :id AND created_at > :time UNION ALL "
        "SELECT 1 FROM judgments j JOIN messages m ON m.id = j.prompt_message_id "
        "WHERE m.thread_id = :id AND j.created_at > :time"
    )
    if db.execute(since, {"id": thread, "time": completed}).fetchone():
        db.execute(
            "UPDATE threads SET origin = (SELECT x.origin FROM import_threads x WHERE x.thread_id = threads.id) "
            "WHERE id = ? AND id IN (SELECT thread_id FROM import_threads)",
            [thread],
        )
        return False, 0
    mine = "SELECT j.id FROM judgments j JOIN messages m ON m.id = j.prompt_message_id WHERE m.thread_id = ?"
    ids = [row["id"] for row in store.rows(mine, [thread])]
    adapters += learned(store, mine, [thread])
    for start in range(0, len(ids), PIECE):
        delete_judgments(db, ids[start : start + PIECE])
    delete_thread(db, thread)
    return True, len(ids)
