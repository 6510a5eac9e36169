"""Restoring: a backup takes the place of the database, whole or not at all, and what was there is kept beside it.

The backup is copied and made ready in a folder of its own: brought up to date, and all that was forgotten since is
forgotten in it again. Then it is put in place in one transaction of SQLite's, which commands that have the database
open at that moment live through. A damaged database cannot take part in that: it is moved aside and replaced.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from storage import backups, health, paths
from storage.adapters import GGUF
from storage.errors import DatabaseCorrupt, HomeError, NotFound, StorageError, translate
from storage.locks import FileLock

if TYPE_CHECKING:
    from storage.store import Store

#: how long another program's write is waited for
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    source: Path
    threads: int
    messages: int
    judgments: int
    latest: str | None  #: when the last message in it was written
    kept: Path | None  #: what was there before
    damaged: bool  #: whether that was damaged: then what was forgotten since the backup is not known
    forgotten: int  #: messages and judgments that were forgotten since the backup, and are again
    retired: tuple[str, ...]  #: versions that were live in the backup and whose files are gone


def choose(home: Path, name: str | None) -> Path:
    """The file that `name` means: a file, a backup or its beginning; None: the newest backup that is whole.

    Raises NotFound, DatabaseCorrupt or DatabaseTooNew.
    """
    if name is not None:
        path = Path(name).expanduser()
        if path.is_file():
            path = path.absolute()
            if paths.database(home).exists() and os.path.samefile(path, paths.database(home)):
                raise StorageError(f"{path} is the database itself: name a backup of it")
        else:
            path = backups.find(home, name).path
        backups.inspect(path)
        return path
    found = backups.list(home)
    for backup in found:
        try:
            backups.inspect(backup.path)
        except StorageError:
            continue
        return backup.path
    if found:
        raise DatabaseCorrupt(
            f"none of the {len(found)} backups in {paths.backups_dir(home)} is whole: name another file"
        )
    raise NotFound(f"there is no backup in {paths.backups_dir(home)}: name a file that `hone backup --to` wrote")


def restore(home: Path, source: Path) -> Restored:
    """Put a copy of `source` in the place of the database. Either all of it happens or nothing."""
    database = paths.database(home)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot(home, error) from error
    with _alone(home), backups.lock(home):
        backups.clean(home)
        contents = backups.inspect(source)
        staging = paths.restoring_dir(home)
        try:
            memory, kept, damaged = Memory(), None, False
            if database.is_file() and not database.stat().st_size and not health.log(database):
                database.unlink()  # a home that was never used
            elif os.path.lexists(database):
                try:
                    kept = backups.make_locked(home, "before-restore", spare=source).path
                    memory = remember(database)
                except DatabaseCorrupt:
                    damaged, kept = True, _aside(database)
            staging.mkdir(mode=0o700)
            ready = paths.database(staging)
            backups.copy(source, ready, alone=True)
            retired, forgotten = _make_ready(home, staging, memory)
            if backups.inspect(ready).messages != contents.messages:
                raise StorageError(f"{source} could not be made ready. Nothing was changed.")
            if kept is None or damaged:
                _replace(ready, database, kept)
            else:
                _write_over(ready, database)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise _cannot(home, error) from error
        except sqlite3.Error as error:
            raise translate(error, database) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return Restored(
        source,
        contents.threads,
        contents.messages,
        contents.judgments,
        contents.latest,
        kept,
        damaged,
        forgotten,
        retired,
    )


def _cannot(home: Path, error: OSError) -> HomeError:
    return HomeError(f"cannot restore into {home}: {error.strerror or error}. Check the folder's permissions.")


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep the chat and the trainer of this home out, or raise StorageError where one is there."""
    held = []
    try:
        for path, what, todo in (
            (paths.chat_lock(home), "the chat", "Quit it (Ctrl+Q)"),
            (paths.trainer_lock(home), "a training run", "Wait for it, or end it with `hone runs RUN --cancel`"),
        ):
            lock = FileLock(path)
            try:
                taken = lock.acquire(blocking=False)
            except OSError as error:
                raise _cannot(home, error) from error
            if not taken:
                who = f" (process {lock.holder()})" if lock.holder() else ""
                raise StorageError(f"{what} is open on {home}{who}. {todo}, then restore again. Nothing was changed.")
            held.append(lock)
        yield
    finally:
        for lock in held:
            lock.release()


# what the database knows and its backup must not lose


@dataclass(slots=True)
class Memory:
    """What was forgotten, and where copies lie."""

    messages: list[str] = field(default_factory=list)
    judgments: list[str] = field(default_factory=list)
    keys: list[tuple[str, str]] = field(default_factory=list)  #: forgotten records of imports: key, import
    imports: list[tuple[str, str, str, str, str]] = field(default_factory=list)  #: id, name, format, file, created_at
    copies: list[tuple[str, str]] = field(default_factory=list)
    store_id: str | None = None


def remember(database: Path) -> Memory:
    """What a restored backup has to be told of the present database."""
    memory = Memory()
    with health.reading(database) as connection:

        def rows(sql: str) -> list[tuple[str, ...]]:
            try:
                return connection.execute(sql).fetchall()
            except sqlite3.OperationalError as error:
                if "no such" in str(error):
                    return []  # an older schema, which had nothing of the kind
                raise translate(error, database) from error

        memory.messages = [row[0] for row in rows("SELECT id FROM messages WHERE forgotten_at IS NOT NULL")]
        memory.judgments = [row[0] for row in rows("SELECT id FROM judgments WHERE forgotten_at IS NOT NULL")]
        memory.keys = [(row[0], row[1]) for row in rows("SELECT key, import_id FROM import_keys WHERE forgotten = 1")]
        if memory.keys:
            for row in rows("SELECT id, name, format, file, created_at FROM imports"):
                memory.imports.append((row[0], row[1], row[2], row[3], row[4]))
        memory.store_id = next((row[0] for row in rows("SELECT value FROM meta WHERE key = 'store_id'")), None)
        memory.copies = [(row[0], row[1]) for row in rows("SELECT path, created_at FROM backups")]
    return memory


def _make_ready(home: Path, staging: Path, memory: Memory) -> tuple[tuple[str, ...], int]:
    """Bring the copy up to date and tell it what must not come back.

    Returns the versions that had to be retired, and how much had to be forgotten again.
    """
    from storage.store import Store  # it imports parts of this package

    with Store.open(staging) as store:
        messages = _known(store, "messages", memory.messages)
        judgments = _known(store, "judgments", memory.judgments)
        if messages or judgments:
            from storage.forgetting import forget_again

            forget_again(store, messages, judgments)
        _carry(store, memory)
        gone = [
            adapter
            for adapter in store.adapters.list()
            if adapter.state == "live" and not (paths.adapter_dir(home, adapter.path) / GGUF).exists()
        ]
        for adapter in gone:
            store.adapters.update(adapter.id, state="retired")
    return tuple(adapter.name for adapter in gone), len(messages) + len(judgments)


def _known(store: Store, table: str, ids: list[str]) -> list[str]:
    """Those that the copy still has, unforgotten."""
    found: list[str] = []
    for start in range(0, len(ids), 500):
        piece = ids[start : start + 500]
        sql = f"SELECT id FROM {table} WHERE forgotten_at IS NULL AND id IN ({','.join('?' * len(piece))})"
        found += [str(row[0]) for row in store.tuples(sql, piece)]
    return found


def _carry(store: Store, memory: Memory) -> None:
    """Records that no import may bring back, also of imports that the backup does not know; and where copies lie."""
    with store.write() as db:
        used = {import_id for _, import_id in memory.keys}
        ids = {}
        for id, name, format, file, created_at in memory.imports:
            if id not in used:
                continue
            db.execute(
                "INSERT OR IGNORE INTO imports(id, name, format, file, state, created_at) "
                "VALUES (?, ?, ?, ?, 'undone', ?)",
                [id, name, format, file, created_at],
            )
            ids[id] = db.execute("SELECT id FROM imports WHERE id = ? OR name = ?", [id, name]).fetchone()[0]
        db.conn.executemany(
            "INSERT INTO import_keys(key, import_id, forgotten) VALUES (?, ?, 1) "
            "ON CONFLICT(key) DO UPDATE SET forgotten = 1",
            [(key, ids[id]) for key, id in memory.keys],
        )
        db.conn.executemany("INSERT OR IGNORE INTO backups(path, created_at) VALUES (?, ?)", memory.copies)
        if memory.store_id:  # whosever backup it is, it is this home's database now: `health.look` compares
            store.meta_set("store_id", memory.store_id)


# putting it in place


def _write_over(ready: Path, database: Path) -> None:
    """All pages in one transaction: readers see the one or the other, and so does who opens it after a power cut."""
    give_up = time.monotonic() + PATIENCE

    def patient(*_: int) -> None:
        if time.monotonic() > give_up:
            raise StorageError(
                f"{database} was busy for {PATIENCE:.0f} s: another program is writing to it. Try again."
            )

    with health.reading(ready, alone=True) as source:
        target = sqlite3.connect(database, timeout=1, isolation_level=None)
        try:
            target.execute("PRAGMA synchronous = FULL")
            source.backup(target, pages=-1, progress=patient, sleep=0.1)
            target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise translate(error, database) from error
        finally:
            target.close()


def _replace(ready: Path, database: Path, kept: Path | None) -> None:
    """Put the copy in the place of what is there; that goes to `kept`, with its log."""
    if kept is not None:
        for end in ("-wal", "-shm", "-journal"):
            beside = database.with_name(database.name + end)
            if beside.exists():
                os.rename(beside, kept.with_name(kept.name + end))
        try:
            os.link(database, kept)  # so that there is a database at every instant: else one would be made anew
        except OSError:
            os.rename(database, kept)
    backups.sync(ready)
    os.replace(ready, database)
    backups.sync(database.parent)


def _aside(database: Path) -> Path:
    """A free name beside the database."""
    first = database.with_name(f"{database.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    names = (first.with_name(f"{first.name}-{n}") if n else first for n in count())
    return next(path for path in names if not os.path.lexists(path))
