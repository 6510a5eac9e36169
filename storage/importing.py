"""Imports: what other people's files say, as judgments of the source "import:NAME".

An import is committed in small pieces, so that a chat can write all the while, and counts for nothing until it is
complete: killed in the middle, it goes on where it stopped when it is started again, or is taken back with `undo`.
The same record is taken in once, whatever the file, and never again after it was forgotten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from storage.errors import NotFound
from storage.formats import module
from storage.formats.canonical import dumps
from storage.formats.files import Skipped, Source
from storage.formats.turn import Turn
from storage.ids import new_id, now
from storage.splits import APART

if TYPE_CHECKING:
    from storage.store import Store

#: records a transaction: some tens of milliseconds, so that a chat hardly waits
PIECE = 200
_TITLE = 80


class Turns(Protocol):
    """A file of turns: `storage.formats.files.Source` with a format's parse, or labelled data."""

    skipped: Skipped

    @property
    def read(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[int, Turn]]: ...


@dataclass(slots=True)
class Summary:
    """What an import did."""

    name: str
    read: int = 0  #: records found in the file, good and bad
    added: int = 0
    already: int = 0  #: there before, from this file or another one
    forgotten: int = 0  #: not taken in, since the user forgot them once
    skipped: Skipped = field(default_factory=Skipped)
    kinds: dict[str, int] = field(default_factory=dict)  #: judgments added, by kind

    def as_json(self) -> dict[str, Any]:
        return {
            "name": f"import:{self.name}",
            "read": self.read,
            "added": self.added,
            "already": self.already,
            "forgotten": self.forgotten,
            "kinds": dict(sorted(self.kinds.items())),
            "skipped_count": self.skipped.count,
            "skipped": [{"line": line, "why": why} for line, why in self.skipped.reasons],
        }


class FormatTurns:
    """The turns of a file in one of the formats that are read record by record."""

    def __init__(
        self, path: Path, format: str, *, strict: bool = False, progress: Callable[[int], None] | None = None
    ) -> None:
        self._source = Source(path, strict=strict, progress=progress)
        self._parse: Callable[[Any], Iterable[Turn]] = module(format).parse
        self.skipped = self._source.skipped

    @property
    def read(self) -> int:
        return self._source.read

    def __iter__(self) -> Iterator[tuple[int, Turn]]:
        return self._source.turns(self._parse)


def import_file(
    store: Store,
    path: Path,
    format: str,
    name: str,
    *,
    strict: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Take in a file of one of `formats.BOTH` or `formats.READ_ONLY`. progress gets the bytes of each read.

    Raises RecordError for the first bad record with strict, before anything is written; StorageError for a file that
    cannot be read.
    """
    if strict:
        for _ in FormatTurns(path, format, strict=True):
            pass
    return take_in(store, FormatTurns(path, format, progress=progress), format, path.name, name)


def take_in(store: Store, turns: Turns, format: str, file: str, name: str) -> Summary:
    """Store turns as the import NAME, which may have been begun before."""
    work: _Import | None = None  # begun with the first record: a file that cannot be read leaves no trace
    piece: list[Turn] = []
    for _, turn in turns:
        piece.append(turn)
        if len(piece) == PIECE:
            work = work or _Import(store, format, file, name)
            work.commit(piece)
            piece.clear()
    work = work or _Import(store, format, file, name)
    work.commit(piece)
    work.summary.read, work.summary.skipped = turns.read, turns.skipped
    work.complete()
    return work.summary


class _Import:
    """One import under way."""

    def __init__(self, store: Store, format: str, file: str, name: str) -> None:
        self._store = store
        self.summary = Summary(name)
        self._source = f"import:{name}"
        with store.write() as db:
            row = store.row("SELECT id, state FROM imports WHERE name = ?", [name])
            self._id = row["id"] if row else new_id()
            self._running = row is not None and row["state"] == "running"
            if row is None:
                db.execute(
                    "INSERT INTO imports(id, name, format, file, state, created_at) VALUES (?, ?, ?, ?, 'running', ?)",
                    [self._id, name, format, file, now()],
                )
                self._running = True

    def commit(self, piece: Sequence[Turn]) -> None:
        """One transaction. What can be computed is computed before it begins."""
        if not piece:
            return
        keyed = list({turn.key: turn for turn in piece}.items())
        self.summary.already += len(piece) - len(keyed)
        paths = [_keys(self._source, turn, key) for key, turn in keyed]
        answers = [
            [_chained(path[-1], "assistant", text) for text in turn.answers]
            for path, (_, turn) in zip(paths, keyed, strict=True)
        ]
        with self._store.write() as db:
            there = {
                row["key"]: row["forgotten"]
                for row in self._in("SELECT key, forgotten FROM import_keys WHERE key IN", [key for key, _ in keyed])
            }
            own = {turn.judgment for _, turn in keyed if turn.judgment}
            own &= {row["id"] for row in self._in("SELECT id FROM judgments WHERE id IN", own)} if own else set()
            known: dict[str, tuple[str, str]] = {}
            gone: set[str] = set()
            for row in self._in(
                "SELECT key, id, thread_id, forgotten_at FROM messages WHERE key IN",
                (key for keys in (*paths, *answers) for key in keys),
            ):
                known[row["key"]] = row["id"], row["thread_id"]
                if row["forgotten_at"]:
                    gone.add(row["key"])
            rows = _Rows(self._source, known)
            for (key, turn), path, last in zip(keyed, paths, answers, strict=True):
                if key in there or turn.judgment in own:
                    self.summary.forgotten += bool(there.get(key))
                    self.summary.already += not there.get(key)
                    continue
                if not gone.isdisjoint((*path, *last)):  # a text in it was forgotten: that holds for later records too
                    rows.forgotten.append((key, self._id))
                    self.summary.forgotten += 1
                    continue
                rows.add(turn, key, path, last)
                rows.keys.append((key, self._id))
                self.summary.added += 1
                for said in turn.said:
                    self.summary.kinds[said.kind] = self.summary.kinds.get(said.kind, 0) + 1
            if rows.keys and not self._running:
                # a file that adds something to what was complete hides it until it is complete again
                db.execute("UPDATE imports SET state = 'running' WHERE id = ?", [self._id])
                self._running = True
            rows.write(db.conn)

    def complete(self) -> None:
        with self._store.write() as db:
            if not self._store.value("SELECT EXISTS (SELECT 1 FROM import_keys WHERE import_id = ?)", [self._id]):
                db.execute("DELETE FROM imports WHERE id = ?", [self._id])  # nothing of the file was taken in
                return
            db.execute(
                "UPDATE imports SET state = 'complete', completed_at = ?, summary = ? WHERE id = ?",
                [now(), json.dumps({**self.summary.as_json(), "skipped": []}), self._id],
            )

    def _in(self, sql: str, values: Iterable[str | None]) -> Iterator[dict[str, Any]]:
        unique = [value for value in dict.fromkeys(values) if value is not None]
        for start in range(0, len(unique), 500):
            chunk = unique[start : start + 500]
            yield from self._store.rows(f"{sql} ({','.join('?' * len(chunk))})", chunk)


class _Rows:
    """The rows of one piece."""

    def __init__(self, source: str, known: dict[str, tuple[str, str]]) -> None:
        self._source, self._known, self._time = source, known, now()
        self.threads: list[tuple[Any, ...]] = []
        self.messages: list[tuple[Any, ...]] = []
        self.judgments: list[tuple[Any, ...]] = []
        self.items: list[tuple[Any, ...]] = []
        self.keys: list[tuple[str, str]] = []
        self.forgotten: list[tuple[str, str]] = []

    def add(self, turn: Turn, key: str, path: Sequence[str], answers: Sequence[str]) -> None:
        parent: tuple[str, str] | None = None
        for message_key, message in zip(path, turn.prompt, strict=True):
            parent = self._message(message_key, parent, message["role"], message["content"], turn.prompt)
        assert parent is not None  # turns have a prompt
        ids = [
            self._message(message_key, parent, "assistant", text, turn.prompt)[0]
            for message_key, text in zip(answers, turn.answers, strict=True)
        ]
        for place, said in enumerate(turn.said):
            id = new_id()
            payload = dumps(dict(said.payload)) if said.payload else "{}"
            own_key = f"{key}:{place}" if place else key
            self.judgments.append((id, parent[0], said.kind, payload, self._source, own_key, now()))
            self.items += ((id, ids[mark.answer], mark.rank, mark.score, mark.value) for mark in said.marks)

    def _message(
        self, key: str, parent: tuple[str, str] | None, role: str, content: str, prompt: Sequence[Mapping[str, str]]
    ) -> tuple[str, str]:
        found = self._known.get(key)
        if found is None:
            if parent is None:
                title = next((m["content"] for m in prompt if m["role"] == "user"), "")[:_TITLE]
                thread = new_id()
                self.threads.append((thread, title, self._source, self._time, self._time))
            else:
                thread = parent[1]
            found = self._known[key] = (new_id(), thread)
            self.messages.append((found[0], thread, parent and parent[0], role, content, key, self._time))
        return found

    def write(self, connection: Any) -> None:
        for sql, rows in (
            ("threads(id, title, origin, created_at, updated_at) VALUES (?, ?, ?, ?, ?)", self.threads),
            (
                "messages(id, thread_id, parent_id, role, content, key, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                self.messages,
            ),
            (
                "judgments(id, prompt_message_id, kind, payload, source, key, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                self.judgments,
            ),
            ("judgment_items(judgment_id, message_id, rank, score, value) VALUES (?, ?, ?, ?, ?)", self.items),
            ("import_keys(key, import_id) VALUES (?, ?)", self.keys),
            ("import_keys(key, import_id, forgotten) VALUES (?, ?, 1)", self.forgotten),
        ):
            connection.executemany(f"INSERT INTO {sql}", rows)


def _keys(source: str, turn: Turn, record: str) -> list[str]:
    """A key for each beginning of a conversation: the same beginning is stored once an import, unless it is apart."""
    found, key = [], f"{source}:{record}" if turn.apart else source
    for message in turn.prompt:
        key = _chained(key, message["role"], message["content"])
        found.append(key)
    if turn.apart:
        found[-1] = APART + found[-1]
    return found


def _chained(key: str, role: str, content: str) -> str:
    return hashlib.sha256(f"{key}\n{role}\n{content}".encode()).hexdigest()[:32]


def imports(store: Store) -> list[dict[str, Any]]:
    """All imports, the oldest first, with how many records each holds."""
    return store.rows(
        "SELECT i.name, i.format, i.file, i.state, i.created_at, i.completed_at, "
        "(SELECT count(*) FROM import_keys k WHERE k.import_id = i.id) AS records FROM imports i ORDER BY i.created_at"
    )


@dataclass(frozen=True, slots=True)
class Undone:
    """What taking an import back did."""

    name: str
    judgments: int
    threads: int
    kept_threads: int  #: with messages or judgments of the user's own, so they stay
    adapters: list[str]  #: versions that learned from it


def undo(store: Store, name: str, progress: Callable[[int], None] | None = None) -> Undone:
    """Take an import back: invisible at once, then deleted in small pieces. Forgotten records keep their keys."""
    row = store.row("SELECT id, format FROM imports WHERE name = ?", [name.removeprefix("import:")])
    if row is None:
        raise NotFound(f"there is no import {name!r}; `hone import --list` shows those there are")
    name = name.removeprefix("import:")
    source = f"import:{name}"
    with store.write() as db:
        db.execute("UPDATE imports SET state = 'undone' WHERE id = ?", [row["id"]])
    if row["format"] == "hone":
        from storage.formats import hone_import

        return hone_import.undo(store, str(row["id"]), name, progress)
    adapters = learned(store, "SELECT id FROM judgments WHERE source = ?", [source])
    judgments = int(store.value("SELECT count(*) FROM judgments WHERE source = ?", [source]))
    # what a run learned from keeps its row, empty, so that the run's history stays true
    seq = 0
    while found := store.rows(
        "SELECT id, seq FROM judgments WHERE source = ? AND seq > ? ORDER BY seq LIMIT ?", [source, seq, PIECE]
    ):
        seq = found[-1]["seq"]
        piece = [r["id"] for r in found]
        with store.write() as db:
            delete_judgments(db, piece)
        if progress is not None:
            progress(len(piece))
    threads = kept = 0
    after = ""
    while piece := [
        r["id"]
        for r in store.rows(
            "SELECT id FROM threads WHERE origin = ? AND deleted_at IS NULL AND id > ? ORDER BY id LIMIT ?",
            [source, after, PIECE],
        )
    ]:
        after = piece[-1]
        with store.write() as db:
            for thread in piece:
                kept += not delete_thread(db, thread)
        threads += len(piece)
    with store.write() as db:
        db.execute("DELETE FROM import_keys WHERE import_id = ? AND forgotten = 0", [row["id"]])
    return Undone(name, judgments, threads - kept, kept, adapters)


def learned(store: Store, judgments: str, parameters: Sequence[Any]) -> list[str]:
    """Versions (v1, v2) of runs that learned from any of the judgments that a query gives."""
    rows = store.rows(
        "SELECT DISTINCT a.number FROM adapters a JOIN run_judgments rj ON rj.run_id = a.run_id "
        f"WHERE rj.split = 'train' AND rj.judgment_id IN ({judgments}) ORDER BY a.number",
        parameters,
    )
    return [f"v{row['number']}" for row in rows]


def delete_judgments(db: Any, ids: Sequence[str]) -> None:
    """Delete judgments; those that a run knows, or a forgotten one, keep an empty, retracted row."""
    marks = ",".join("?" * len(ids))
    db.execute(f"DELETE FROM judgment_items WHERE judgment_id IN ({marks})", list(ids))
    stays = "(forgotten_at IS NOT NULL OR id IN (SELECT judgment_id FROM run_judgments))"
    db.execute(
        f"UPDATE judgments SET retracted_at = coalesce(retracted_at, ?), payload = '{{}}', key = "
        f"CASE WHEN forgotten_at IS NULL THEN NULL ELSE key END WHERE id IN ({marks}) AND {stays}",
        [now(), *ids],
    )
    db.execute(f"UPDATE judgments SET supersedes = NULL WHERE supersedes IN ({marks}) AND NOT {stays}", list(ids))
    db.execute(f"DELETE FROM judgments WHERE id IN ({marks}) AND NOT {stays}", list(ids))


def delete_thread(db: Any, id: str) -> bool:
    """Delete a thread with its messages. False where judgments still refer to it: then its text goes, its rows stay.

    A thread with live judgments, which can only be the user's own, is left as it is.
    """
    refers = "JOIN messages m ON m.id = j.prompt_message_id WHERE m.thread_id = ?"
    if db.execute(f"SELECT 1 FROM judgments j {refers} AND j.retracted_at IS NULL LIMIT 1", [id]).fetchone():
        return False
    db.execute("DELETE FROM generations WHERE message_id IN (SELECT id FROM messages WHERE thread_id = ?)", [id])
    db.execute("UPDATE threads SET tip_message_id = NULL WHERE id = ?", [id])
    if db.execute(f"SELECT 1 FROM judgments j {refers} LIMIT 1", [id]).fetchone():
        db.execute("UPDATE messages SET content = NULL, key = NULL WHERE thread_id = ? AND content IS NOT NULL", [id])
        db.execute("UPDATE threads SET title = '', deleted_at = coalesce(deleted_at, ?) WHERE id = ?", [now(), id])
        return True
    db.execute("DELETE FROM judgment_items WHERE message_id IN (SELECT id FROM messages WHERE thread_id = ?)", [id])
    db.execute("DELETE FROM messages WHERE thread_id = ?", [id])
    db.execute("DELETE FROM import_threads WHERE thread_id = ?", [id])
    db.execute("DELETE FROM threads WHERE id = ?", [id])
    return True
