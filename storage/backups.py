"""Backups: whole copies of the database, a file each, made while everything goes on.

SQLite's online backup on a snapshot: writers go on meanwhile, and the copy is of one instant. It is checked before it
gets its name, so a file with the name of a backup is a whole one. Some are made by themselves (before a step of the
schema, before a restore, once a week) and only those are cleared away again. Adapters are not copied: they can be
trained again from the judgments.
"""

from __future__ import annotations

import builtins
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from storage import health, paths
from storage.errors import (
    DatabaseCorrupt,
    DatabaseTooNew,
    DiskFull,
    HomeError,
    NotFound,
    StorageError,
    no_folder,
    translate,
)
from storage.ids import now
from storage.locks import FileLock
from storage.migrations import APPLICATION_ID, migrations

if TYPE_CHECKING:
    from storage.store import Store

WEEK = timedelta(days=7)
#: how many automatic ones stay: weekly ones, steps of the schema, ones from before a restore
KEEP = {"weekly": 4, "before-m": 3, "before-restore": 3}
#: pages copied at a time, 1 MB; between two, a stop is heard
PIECE = 256
#: bytes that have to stay free on the disk beside the copy
SPARE = 16_000_000
_NAME = re.compile(r"hone-(\d{8}T\d{6}Z)-(manual|weekly|before-restore|before-m\d+)(?:-\d+)?\.db")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Backup:
    """One copy in a home's backups folder."""

    path: Path
    made_at: datetime
    reason: str  #: manual, weekly, before-restore or before-m and the step
    bytes: int

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def when(self) -> str:
        return f"{self.made_at:%Y-%m-%d %H:%M} UTC"


class Stopped(Exception):
    """A backup was given up because somebody asked for it; nothing is left of it."""


def list(home: Path) -> builtins.list[Backup]:
    """The backups of a home, the newest first. The database is not opened."""
    found = []
    try:
        entries = sorted(paths.backups_dir(home).iterdir())
    except OSError:
        return []
    for path in entries:
        if (match := _NAME.fullmatch(path.name)) and path.is_file():
            made_at = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
            found.append((made_at, path.stat().st_mtime_ns, Backup(path, made_at, match[2], path.stat().st_size)))
    return [backup for *_, backup in sorted(found, key=lambda entry: entry[:2], reverse=True)]


def find(home: Path, name: str) -> Backup:
    """By name or unique beginning of a name, with or without `hone-`. Raises NotFound."""
    there = list(home)
    fits = [b for b in there if b.name == name] or [
        b for b in there if b.name.startswith(name) or b.name.removeprefix("hone-").startswith(name)
    ]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise NotFound(f"{name!r} fits {len(fits)} backups: write more of the name; `hone backup --list` shows them")
    raise NotFound(f"there is no backup {name!r}, and no file of that name; `hone backup --list` shows those there are")


def way_back(home: Path) -> str:
    """What to do about a damaged database, as the end of an error."""
    newest = next(iter(list(home)), None)
    if newest is None:
        return (
            f"There is no backup: `sqlite3 {paths.database(home).name} .recover` can save what is readable; "
            "move it away to start afresh."
        )
    return f"`hone restore` brings the backup of {newest.when} back and keeps the damaged file."


# making


def make(home: Path, reason: str = "manual", stop: threading.Event | None = None) -> Backup:
    """Copy the database of a home into its backups folder.

    Raises DatabaseCorrupt when it is damaged, DiskFull, HomeError, or Stopped; then nothing is left behind.
    """
    with lock(home):
        return make_locked(home, reason, stop)


@contextmanager
def lock(home: Path) -> Iterator[None]:
    """Held while copies are made, changed or put back: one at a time."""
    held = FileLock(paths.backup_lock(home))
    try:
        held.acquire()
    except OSError as error:
        raise _unwritable(home, error) from error
    try:
        yield
    finally:
        held.release()


def make_locked(home: Path, reason: str, stop: threading.Event | None = None, spare: Path | None = None) -> Backup:
    """`make` for who holds the lock. spare: a backup that is not to be cleared away now."""
    folder = paths.backups_dir(home)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    clean(home)
    made_at = datetime.now(UTC).replace(microsecond=0)
    stem = f"hone-{made_at.strftime(_TIME)}-{reason}"
    target = next(
        path for path in (folder / (f"{stem}-{n}.db" if n else f"{stem}.db") for n in count()) if not path.exists()
    )
    copy(paths.database(home), target, stop)
    _prune(home, {target, spare})
    return Backup(target, made_at, reason, target.stat().st_size)


def make_at(store: Store, file: Path) -> Path:
    """Copy the database to a file of the user's choice, or into a folder, and note where: forgetting has to reach it.

    A file that is there already is never overwritten.
    """
    target = file.expanduser().absolute()
    if target.is_dir():
        target = target / f"hone-{datetime.now(UTC).strftime(_TIME)}-manual.db"
    if os.path.lexists(target):
        raise StorageError(f"there is a file {target} already, and a backup overwrites nothing: choose another name")
    if not target.parent.is_dir():
        raise HomeError(no_folder(target.parent))
    with lock(store.home):
        clean(store.home)
        with store.write() as db:  # before there is a copy, so that none is ever unknown
            db.execute("INSERT OR REPLACE INTO backups(path, created_at) VALUES (?, ?)", [str(target), now()])
        try:
            copy(store.path, target)
        except BaseException:
            with store.write() as db:
                db.execute("DELETE FROM backups WHERE path = ?", [str(target)])
            raise
    return target


def part(target: Path) -> Path:
    """The name of a copy while it is made."""
    return target.with_name(f".{target.name}.part")


def copy(source: Path, target: Path, stop: threading.Event | None = None, *, alone: bool = False) -> None:
    """A copy of a database as one self-contained file, whole or not at all. alone: nobody writes to the source."""
    making = part(target)
    try:
        _remove(making)
        # SQLite would take an empty file for a new database, and throw away the log beside it
        if not source.is_file() or not source.stat().st_size:
            raise health.corrupt(source, "it is not a file with anything in it")
        size = source.stat().st_size + health.log(source)
        free = shutil.disk_usage(target.parent).free
        if free < size + SPARE:
            raise DiskFull(
                f"a copy of {size / 1e6:.0f} MB does not fit into {target.parent}, where {free / 1e6:.0f} MB are free: "
                "free some space and try again"
            )
        os.close(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with health.reading(source, alone=alone) as connection:
            _copy_pages(connection, source, making, stop)
        sync(making)
        if os.path.lexists(target):
            raise StorageError(f"there is a file {target} already, and a backup overwrites nothing")
        os.rename(making, target)
        sync(target.parent)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise _unwritable(target.parent, error) from error
    except sqlite3.Error as error:
        raise translate(error, source) from error
    finally:
        try:
            _remove(making)
        except OSError:
            pass  # said already


def _copy_pages(connection: sqlite3.Connection, source: Path, making: Path, stop: threading.Event | None) -> None:
    def heard(*_: int) -> None:
        if stop is not None and stop.is_set():
            raise Stopped

    copied = sqlite3.connect(making, isolation_level=None, check_same_thread=False)
    try:
        copied.execute("PRAGMA synchronous = OFF")  # it is synced as a whole
        try:
            # one snapshot: without it, the copy would begin again with every write of another process
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            raise translate(error, source) from error
        try:
            connection.backup(copied, pages=PIECE, progress=heard)
            connection.execute("ROLLBACK")
            # a single file, which is readable where nothing can be written beside it
            copied.execute("PRAGMA journal_mode = DELETE")
            problem = health.quick(copied, stop=stop)
        except sqlite3.Error as error:
            found = translate(error, source)
            raise found if isinstance(found, DatabaseCorrupt) else translate(error, making) from error
        heard()
        if problem is not None:
            raise health.corrupt(source, problem)
    finally:
        copied.close()


def _unwritable(folder: Path, error: OSError) -> StorageError:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"cannot write a backup into {folder}: {error.strerror}. Free some space and try again")
    return HomeError(f"cannot write a backup into {folder}: {error.strerror or error}. Check the folder's permissions")


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk itself."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    for end in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


# clearing away


def clean(home: Path) -> None:
    """Remove what a killed backup or restore left. Only for who holds the lock."""
    for left in paths.backups_dir(home).glob(".*.part*"):
        left.unlink(missing_ok=True)
    shutil.rmtree(paths.restoring_dir(home), ignore_errors=True)
    path = paths.database(home)
    try:
        if not path.is_file() or not path.stat().st_size:
            return
        with health.reading(path) as connection:
            outside = [row[0] for row in connection.execute("SELECT path FROM backups")]
    except (sqlite3.Error, OSError):
        return  # none are known yet, or the database is damaged, which whoever copies it will say
    for name in outside:
        try:
            _remove(part(Path(name)))
        except OSError:
            pass  # a disk that is not there, or not ours to write


def _prune(home: Path, keep: set[Path | None]) -> None:
    """Clear away automatic backups beyond KEEP. Of a step of the schema all stay, as long as one does."""
    groups: dict[str, dict[str, builtins.list[Backup]]] = {kind: {} for kind in KEEP}
    for backup in list(home):
        for kind, group in groups.items():
            if backup.reason.startswith(kind):
                group.setdefault(backup.reason if kind == "before-m" else backup.name, []).append(backup)
    for kind, group in groups.items():
        # by name, which begins with the time; steps by their number
        for old in sorted(group, key=lambda name: (len(name), name) if kind == "before-m" else name)[: -KEEP[kind]]:
            for backup in group[old]:
                if backup.path not in keep:
                    backup.path.unlink(missing_ok=True)


# by themselves


def due(store: Store) -> bool:
    """Whether the newest backup is older than a week (or of a future that never came) and there is what to lose."""
    newest = next(iter(list(store.home)), None)
    if newest is not None and abs(datetime.now(UTC) - newest.made_at) <= WEEK:
        return False
    return store.value("SELECT 1 FROM judgments LIMIT 1") is not None


def weekly(store: Store, stop: threading.Event | None = None) -> Backup | None:
    """Make the week's backup if it is due."""
    return make(store.home, "weekly", stop) if due(store) else None


def before_migration(store: Store, step: str) -> Backup:
    """The backup without which a step of the schema is not taken."""
    try:
        return make(store.home, f"before-{step.partition('_')[0]}")
    except DatabaseCorrupt:
        raise
    except StorageError as error:
        raise type(error)(
            f"{store.path} has to be brought up to date, and no backup of it could be made first: {error}. "
            "Nothing was changed."
        ) from error


# looking inside


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a database file."""

    threads: int
    messages: int
    judgments: int
    latest: str | None  #: when the last message was written
    others: int = 0  #: of the threads, those of the shell and of imports, which lists leave out


def inspect(path: Path) -> Contents:
    """Check a backup as a whole and count what is in it.

    Raises DatabaseCorrupt when it is damaged or not Hone's, DatabaseTooNew, or NotFound.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    try:
        with health.reading(path, alone=True) as connection:
            if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise DatabaseCorrupt(f"{path} is no database of Hone's; `hone backup --list` shows the backups")
            known = {migration.name for migration in migrations._migrations}
            steps = [row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations ORDER BY rowid")]
            if unknown := [step for step in steps if step not in known]:
                raise DatabaseTooNew(
                    f"{path} was written by a newer Hone (it has the step {unknown[-1]!r}, unknown here). Update Hone."
                )
            problem = health.quick(connection)
            if problem is not None:
                raise DatabaseCorrupt(f"the backup {path} is damaged: {problem}. `hone backup --list` shows others")
            threads, messages, judgments, latest, others = connection.execute(
                "SELECT (SELECT count(*) FROM threads WHERE deleted_at IS NULL), (SELECT count(*) FROM messages), "
                "(SELECT count(*) FROM judgments WHERE retracted_at IS NULL), (SELECT max(created_at) FROM messages), "
                "(SELECT count(*) FROM threads WHERE deleted_at IS NULL AND origin <> 'chat')"
            ).fetchone()
    except sqlite3.Error as error:
        raise DatabaseCorrupt(
            f"{path} is damaged or no database ({error}); `hone backup --list` shows the backups"
        ) from error
    return Contents(threads, messages, judgments, latest, others)
