"""The store: opens and migrates the database, and groups its tables.

One connection a thread; every change goes through `write()`, which begins IMMEDIATE: a deferred transaction that
reads and then writes fails at once with SQLITE_BUSY_SNAPSHOT, whatever the timeout.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage import health, paths
from storage.errors import DatabaseTooNew, StorageError, translate, unusable_home
from storage.ids import new_id, now
from storage.light import Database
from storage.locks import FileLock
from storage.migrations import migrations

if TYPE_CHECKING:
    from storage.adapters import Adapters
    from storage.judgments import Judgments
    from storage.rules import Rules
    from storage.runs import Runs
    from storage.splits import Splits
    from storage.threads import Threads

#: seconds that a write waits for those of other processes
BUSY_SECONDS = 30.0
#: and between two looks. SQLite's own are up to 0.1 s apart, in which an import would begin its next piece
LOOK_SECONDS = 0.001
#: a change that took longer (seconds) lets others in before the next one begins: for so long
LONG_SECONDS, PAUSE_SECONDS = 0.01, 0.003


class Store:
    """The user's data in one home folder. Open it with `Store.open`; it may be used from any thread."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = paths.database(home)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._guard = threading.Lock()

    @classmethod
    def open(cls, home: Path) -> Store:
        """Create or open the database of a home folder and bring its schema up to date, after a backup.

        Raises HomeError, DatabaseTooNew, DatabaseCorrupt or DiskFull; none of them changes the file.
        """
        home = Path(home).expanduser().absolute()
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (paths.adapters_dir(home), paths.logs_dir(home), paths.cache_dir(home)):
                folder.mkdir(mode=0o700, exist_ok=True)
            health.look(paths.database(home))
            try:
                # created here, so that no moment exists at which others could read it. One that is there is not opened:
                # closing it again would let go of the locks that SQLite may hold on it in this process
                os.close(os.open(paths.database(home), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                pass
        except OSError as error:
            raise _unusable(home, error) from error
        store = cls(home)
        try:
            store._migrate()
        except sqlite3.Error as error:
            store.close()
            raise translate(error, store.path) from error
        except OSError as error:
            store.close()
            raise _unusable(home, error) from error
        except BaseException:
            store.close()
            raise
        return store

    def _migrate(self) -> None:
        db = self.db
        if not migrations.pending(db) and not self._unknown(db):
            return
        with FileLock(paths.migration_lock(self.home)):
            if unknown := self._unknown(db):
                raise DatabaseTooNew(
                    f"{self.path} was written by a newer Hone (it has the step {unknown[-1]!r}, unknown here). "
                    "Update Hone, or point --home to another folder; the file was left untouched."
                )
            pending = migrations.pending(db)
            if pending and migrations.applied(db):
                from storage import backups  # not needed by most

                backups.before_migration(self, pending[0].name)
            with self.write():  # all steps or none, and no other writer between them
                migrations.apply(db)
        with self.write() as db:
            db.execute("INSERT OR IGNORE INTO meta(key, value) VALUES ('store_id', ?)", [new_id()])

    @staticmethod
    def _unknown(db: Database) -> list[str]:
        known = {m.name for m in migrations._migrations}
        return [m.name for m in migrations.applied(db) if m.name not in known]

    @property
    def db(self) -> Database:
        """This thread's connection."""
        db: Database | None = getattr(self._local, "db", None)
        if db is None:
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA foreign_keys = ON")
            # FULL: what was acknowledged survives a power cut too; a judgment is worth one fsync
            connection.execute("PRAGMA synchronous = FULL")
            # KiB, taken as needed: with SQLite's own 2 MB a long import waits for pages of its indexes
            connection.execute("PRAGMA cache_size = -65536")
            try:
                mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
                if mode != "wal":
                    _patiently(connection, "PRAGMA journal_mode = WAL")  # others may be making the same home
            except BaseException:
                connection.close()
                raise
            db = Database(connection, execute_plugins=False)
            self._local.db = db
            with self._guard:
                self._connections.append(connection)
        return db

    @contextmanager
    def write(self) -> Iterator[Database]:
        """One atomic change. A nested call joins the outer one. sqlite3 errors come out as StorageError."""
        db = self.db
        if db.conn.in_transaction:
            yield db
            return
        try:
            _patiently(db.conn, "BEGIN IMMEDIATE")
            began = time.monotonic()
            try:
                yield db
            except BaseException:
                if db.conn.in_transaction:
                    db.conn.execute("ROLLBACK")
                raise
            try:
                db.conn.execute("COMMIT")
            except BaseException:
                if db.conn.in_transaction:
                    db.conn.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        if time.monotonic() - began > LONG_SECONDS:
            time.sleep(PAUSE_SECONDS)

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """All rows of a query as dicts, read at once so that no read transaction stays open."""
        try:
            cursor = self.db.conn.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def tuples(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """`rows` without the names, for many."""
        try:
            return self.db.conn.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def row(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> dict[str, Any] | None:
        rows = self.rows(sql, parameters)
        return rows[0] if rows else None

    def value(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.row(sql, parameters)
        return next(iter(row.values())) if row else None

    def data_version(self) -> int:
        """A number that changes when another connection has committed: cheap enough to poll."""
        return int(self.value("PRAGMA data_version"))

    def meta_get(self, key: str) -> str | None:
        value = self.value("SELECT value FROM meta WHERE key = ?", [key])
        return None if value is None else str(value)

    def meta_set(self, key: str, value: str | None) -> None:
        with self.write() as db:
            if value is None:
                db.execute("DELETE FROM meta WHERE key = ?", [key])
            else:
                db.execute(
                    "INSERT INTO meta(key, value) VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
                    [key, value],
                )

    def add_model(self, hash: str, name: str, architecture: str, template_hash: str, path: str) -> None:
        """Register the model file that generations refer to; a moved file gets its new path."""
        with self.write() as db:
            db.execute(
                "INSERT INTO models(hash, name, architecture, template_hash, path, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT(hash) DO UPDATE SET path = excluded.path "
                "WHERE path <> excluded.path",
                [hash, name, architecture, template_hash, path, now()],
            )

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._guard:
            for connection in self._connections:
                try:
                    connection.close()
                except sqlite3.Error:
                    pass
            self._connections.clear()
        self._local = threading.local()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def threads(self) -> Threads:
        from storage.threads import Threads

        return Threads(self)

    @cached_property
    def judgments(self) -> Judgments:
        from storage.judgments import Judgments

        return Judgments(self)

    @cached_property
    def rules(self) -> Rules:
        from storage.rules import Rules

        return Rules(self)

    @cached_property
    def splits(self) -> Splits:
        from storage.splits import Splits

        return Splits(self)

    @cached_property
    def runs(self) -> Runs:
        from storage.runs import Runs

        return Runs(self)

    @cached_property
    def adapters(self) -> Adapters:
        from storage.adapters import Adapters

        return Adapters(self)


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Run what needs a lock that others may hold for a moment."""
    give_up = time.monotonic() + BUSY_SECONDS
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute(statement)
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > give_up:
                    raise
            time.sleep(LOOK_SECONDS)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")


def _unusable(home: Path, error: OSError) -> StorageError:
    if isinstance(error, StorageError):
        return error
    return unusable_home(home, error)


__all__ = ["StorageError", "Store"]
