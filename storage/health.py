"""Is the database whole? A look at every open, a check a day, a thorough one for `hone doctor`.

Everything here reads through SQLite. A database file is never opened by hand: closing it again would let go of the
locks that SQLite holds on it in this process (POSIX), and another process could then pull the log from under us.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from storage import paths
from storage.errors import DatabaseCorrupt, translate
from storage.ids import now
from storage.migrations import APPLICATION_ID

if TYPE_CHECKING:
    from storage.store import Store

#: seconds for the look at every open: enough for some 10 MB, and nobody sees them; all of it is read once a day
LOOK_SECONDS = 0.015
#: where the log is older than the database beside it: it may be another database's, and its first use would destroy
#: this one
DOUBT_SECONDS = 1.0
#: `thorough` on a database that is in memory already; from a slow disk it takes longer
SECONDS_PER_GB = 7.0
BUSY_SECONDS = 30.0
DAY = timedelta(days=1)
#: in `meta`: when all pages were last found whole
CHECKED = "checked_at"
#: what is wrong with an index alone, in SQLite's words
_INDEX = re.compile(r"missing from index|wrong # of entries in index|non-unique entry in index|in index \w+$")
#: with rank 1, or it looks at the full-text index alone and not at whether it fits the messages
_SEARCH = "INSERT INTO messages_fts(messages_fts, rank) VALUES ('integrity-check', 1)"


@contextmanager
def reading(path: Path, *, alone: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that changes neither the file nor its log, whatever is in them.

    alone: a copy that nobody writes to, so that nothing is made beside it either.
    """
    journal = path.with_name(path.name + "-journal").exists()  # left by a killed process: only a writer may undo it
    mode = "rw" if journal else "ro"
    uri = f"file:{quote(os.fsencode(path))}?mode={mode}"
    if alone and not journal and not log(path):
        uri += "&immutable=1"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        yield connection
    finally:
        connection.close()


def log(path: Path) -> int:
    """The size of the write-ahead log beside a database; 0 without one."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _changed(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def quick(
    connection: sqlite3.Connection, seconds: float | None = None, stop: threading.Event | None = None
) -> str | None:
    """What is wrong with the pages, or None; None too when the time ended or `stop` was set before that was known."""
    if stop is not None:
        connection.set_progress_handler(lambda: int(stop.is_set()), 10_000)
    try:
        with bounded(connection, seconds):
            return _said(connection.execute("PRAGMA quick_check(1)").fetchall())
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return None
        raise
    finally:
        if stop is not None:
            connection.set_progress_handler(None, 0)


@contextmanager
def bounded(connection: sqlite3.Connection, seconds: float | None) -> Iterator[None]:
    """Interrupt what the connection does when the time has passed. A progress handler would not: it waits for a check
    of all pages to end."""
    if seconds is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(seconds):
            connection.interrupt()

    watcher = threading.Thread(target=watch, name="look", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _said(rows: list[tuple[str]]) -> str | None:
    """The first line that tells something."""
    lines = [line for (text,) in rows for line in text.splitlines() if not line.startswith("***")]
    return None if lines in ([], ["ok"]) else lines[0]


def look(path: Path) -> None:
    """Before a database is opened for writing: raises DatabaseCorrupt where it is not ours or is seen to be damaged.

    Nothing is changed: SQLite itself would throw away the log beside an empty file, and write the log of another
    database into this one.
    """
    kept, changed = log(path), _changed(path)  # before the file's own: whoever makes both makes the file first
    try:
        info = path.stat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(info.st_mode):
        raise corrupt(path, "it is a folder, not a file")
    if info.st_size == 0:
        if kept:
            raise corrupt(path, f"it is empty, although {path.name}-wal holds changes to it")
        if paths.backups_dir(path.parent).exists():
            raise corrupt(path, "it is empty, although there were backups of it")
        return
    doubtful = kept and info.st_mtime_ns > changed
    try:
        with reading(path) as connection:
            whose = connection.execute("PRAGMA application_id").fetchone()[0]
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if whose not in (0, APPLICATION_ID) or (whose == 0 and tables and "_sqlite_migrations" not in tables):
                raise DatabaseCorrupt(
                    f"{path} is a database of another program. It was left untouched; "
                    "choose another folder with --home or HONE_HOME."
                )
            if kept and "meta" in tables:
                beneath, above = _beneath(path), _store_id(connection)
                if beneath and above and beneath != above:
                    raise corrupt(path, f"{path.name}-wal belongs to another database")
            problem = quick(connection, DOUBT_SECONDS if doubtful else LOOK_SECONDS)
    except sqlite3.Error as error:
        found = translate(error, path)
        raise corrupt(path, str(error)) if isinstance(found, DatabaseCorrupt) else found from error
    if problem is not None:
        raise corrupt(path, problem)


def _store_id(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()
    return None if row is None else str(row[0])


def _beneath(path: Path) -> str | None:
    """Whose database the file is without its log; None where the file alone does not say."""
    try:
        connection = sqlite3.connect(f"file:{quote(os.fsencode(path))}?immutable=1", uri=True, isolation_level=None)
        try:
            return _store_id(connection)
        finally:
            connection.close()
    except sqlite3.Error:
        return None  # most of it may be in the log still


def corrupt(path: Path, what: str) -> DatabaseCorrupt:
    """The error that names the damage and the way back."""
    from storage.backups import way_back

    return DatabaseCorrupt(f"{path} is damaged: {what}. Nothing was changed. {way_back(path.parent)}")


def damage(path: Path, stop: threading.Event | None = None) -> str | None:
    """`quick` on the whole database, on a connection of its own that disturbs nobody."""
    try:
        with reading(path) as connection:
            return quick(connection, stop=stop)
    except sqlite3.DatabaseError as error:
        found = translate(error, path)
        if isinstance(found, DatabaseCorrupt):
            return str(error)
        raise found from error


def daily(store: Store, stop: threading.Event | None = None) -> str | None:
    """`damage`, if the last check that found none is a day old. What is wrong is found again until it is mended."""
    last = store.meta_get(CHECKED)
    if last is not None and abs(datetime.now(UTC) - datetime.fromisoformat(last)) < DAY:
        return None
    found = damage(store.path, stop)
    if found is None and not (stop is not None and stop.is_set()):
        store.meta_set(CHECKED, now())
    return found


@dataclass(frozen=True, slots=True)
class Findings:
    """What a thorough check found; empty where all is well."""

    pages: tuple[str, ...] = ()  #: only a backup helps
    indexes: tuple[str, ...] = ()  #: can be made again from the tables
    search: str | None = None  #: so can the full-text index
    references: tuple[str, ...] = ()  #: rows that name rows which are not there

    @property
    def ok(self) -> bool:
        return not (self.pages or self.indexes or self.search or self.references)

    @property
    def repairable(self) -> bool:
        """Whether no word of the user's is in doubt: `repair` is enough."""
        return not self.ok and not self.pages and not self.references

    def __str__(self) -> str:
        said = [*self.pages[:1], *self.references[:1], *self.indexes[:1], *([self.search] if self.search else [])]
        return "; ".join(said)


def thorough(store: Store) -> Findings:
    """Every page, index, reference and the full-text index. Takes about SECONDS_PER_GB, writers wait for a part."""
    try:
        rows = store.tuples("PRAGMA integrity_check(20)")
        lines = [line for (text,) in rows for line in text.splitlines() if not line.startswith("***") and line != "ok"]
        orphans = store.tuples('SELECT DISTINCT "table", parent FROM pragma_foreign_key_check LIMIT 20')
        return Findings(
            pages=tuple(line for line in lines if not _INDEX.search(line)),
            indexes=tuple(line for line in lines if _INDEX.search(line)),
            search=_search(store),
            references=tuple(f"rows of {table} name rows of {parent} that are not there" for table, parent in orphans),
        )
    except DatabaseCorrupt as error:
        return Findings(pages=(str(error.__cause__ or error),))


def _search(store: Store) -> str | None:
    try:
        with store.write() as db:
            db.execute(_SEARCH)
    except DatabaseCorrupt:
        return "the full-text index does not fit the messages"
    return None


def repair(store: Store) -> None:
    """Make the indexes and the full-text index again from the tables, or change nothing and raise DatabaseCorrupt."""
    with store.write() as db:
        db.execute("REINDEX")
        db.execute("INSERT INTO messages_fts(messages_fts) VALUES ('rebuild')")
        found = thorough(store)
        if not found.ok:
            raise corrupt(store.path, str(found))
