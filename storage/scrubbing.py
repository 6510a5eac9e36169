"""Makes what was erased from the rows unreadable in the files: the database, its log, caches, run folders, backups.

Deleting a row leaves its bytes in free pages, in the write-ahead log and in the full-text index. So the index is built
anew, the database is written anew (VACUUM) and the log is cut to nothing. Not reached: blocks that the file system
or an SSD has not overwritten yet, and file-system snapshots; what was exported; what other programs copied.

Cursors have to be closed before `compact`: a statement under way keeps an old state readable.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from storage import backups, health, paths
from storage.erasing import REMEMBERED, Asked, Erasure
from storage.errors import DiskFull, StorageError, translate
from storage.ids import now

if TYPE_CHECKING:
    from storage.store import Store

Say = Callable[[str], None]
#: bytes up to which VACUUM works in memory; above, in a temporary file that has no name
IN_MEMORY = 200_000_000
#: in `meta`, a JSON list: backups that were not where they had been written
_MISSING = "backups.missing"
#: seconds that readers of an old state are waited for
PATIENCE = 15.0
#: seconds that a training run gets to end
RUN_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Unreached:
    """A copy that still holds the text."""

    path: str
    made_at: str
    why: str
    told: bool = False  #: it is not there, and was not when something was forgotten before


@dataclass(slots=True)
class Scrubbed:
    """What was done beside the rows."""

    run: int | None = None  #: number of the training run that was asked to end
    run_ended: bool = True  #: and whether it did
    backups: list[str] = field(default_factory=list)  #: cleaned
    deleted: list[str] = field(default_factory=list)  #: backups in the home that could not be cleaned
    unreached: list[Unreached] = field(default_factory=list)  #: backups elsewhere that could not be cleaned
    damaged: list[str] = field(default_factory=list)  #: damaged databases that a restore kept: theirs to delete


def scrub(store: Store, learning: bool, say: Say) -> Scrubbed:
    """Everything beside the rows. learning: a run under way may have read the text. The caller holds the backups' lock.

    Raises StorageError when the database itself could not be cleaned; then all else is done.
    """
    done = Scrubbed()
    if learning:
        _end_run(store, done, say)
    _empty(paths.cache_dir(store.home))
    _clear_runs(store)
    if store.runs.latest(["running"]) is None:
        store.adapters.remove_orphans()  # of a run that was ended between its files and its row
    backups.clean(store.home)
    _scrub_backups(store, done, say)
    kept = sorted(store.home.glob(f"{store.path.name}.damaged-*"))
    done.damaged = [str(path) for path in kept if not path.name.endswith(("-wal", "-shm", "-journal"))]
    say("Writing the database anew.")
    compact(store.db.conn, store.path)
    cut_log(store, say)
    return done


# the database


def compact(connection: sqlite3.Connection, path: Path) -> None:
    """Build the full-text index and the whole file anew. Not in a transaction."""
    try:
        connection.execute("INSERT INTO messages_fts(messages_fts) VALUES ('rebuild')")
        pages, size = (connection.execute(f"PRAGMA page_{name}").fetchone()[0] for name in ("count", "size"))
        connection.execute(f"PRAGMA temp_store = {'MEMORY' if pages * size < IN_MEMORY else 'FILE'}")
        connection.execute("VACUUM")
    except sqlite3.Error as error:
        raise translate(error, path) from error


def cut_log(store: Store, say: Say) -> None:
    """Move all of the write-ahead log into the database and cut it to nothing, after those who read an old state."""
    connection = store.db.conn
    waited = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    give_up, told = time.monotonic() + PATIENCE, False
    connection.execute("PRAGMA busy_timeout = 100")
    try:
        while True:
            try:
                (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise translate(error, store.path) from error
                busy = 1
            if not busy and not health.log(store.path):
                return
            if time.monotonic() > give_up:
                raise StorageError(
                    f"the text is gone from {store.path}, but another program goes on reading an older state, so "
                    f"{store.path.name}-wal still holds it: end that program (a chat, `hone`, `sqlite3`), then give "
                    "the same command again"
                )
            if not told:
                say("Waiting for another program that reads the database.")
                told = True
            time.sleep(0.05)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {waited}")


# the trainer, caches, checkpoints


def _end_run(store: Store, done: Scrubbed, say: Say) -> None:
    """A run that read the text keeps it in memory, and would write caches and a version with it."""
    store.runs.recover(resume=False)
    for waiting in store.runs.interrupted():  # its checkpoint learned from it
        store.runs.request_cancel(waiting.id)
    run = store.runs.latest(["running"])
    if run is None:
        return
    say(f"Training run {run.number} is learning from it: waiting for its end.")
    store.runs.request_cancel(run.id)
    done.run = run.number
    give_up = time.monotonic() + RUN_PATIENCE
    while not store.runs.get(run.id).finished and time.monotonic() < give_up:
        time.sleep(0.1)
        store.runs.recover(resume=False)
    done.run_ended = store.runs.get(run.id).finished


def _clear_runs(store: Store) -> None:
    """The folders of ended runs that read a forgotten text, or that did not live to say what they had read."""
    for row in store.rows(
        "SELECT id FROM runs r WHERE state NOT IN ('queued', 'running') AND (EXISTS (SELECT 1 FROM run_judgments x "
        f"JOIN judgments j ON j.id = x.judgment_id WHERE x.run_id = r.id AND {REMEMBERED}) "
        "OR NOT EXISTS (SELECT 1 FROM run_judgments x WHERE x.run_id = r.id))"
    ):
        _empty(paths.run_dir(store.home, row["id"]))


def _empty(folder: Path) -> None:
    """Delete all that is in a folder."""
    try:
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot empty {folder}, which may hold what was computed from the text: {error.strerror or error}. "
            "Mend its permissions, then give the same command again"
        ) from error


# backups


def forgotten(store: Store) -> Asked:
    """All that was ever forgotten in a database, for its copies."""

    def ids(sql: str) -> list[str]:
        return [row[0] for row in store.tuples(sql)]

    return Asked(
        ids("SELECT id FROM messages WHERE forgotten_at IS NOT NULL"),
        ids(
            "SELECT id FROM threads t WHERE deleted_at IS NOT NULL AND title = '' AND system_prompt IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.thread_id = t.id AND m.content IS NOT NULL)"
        ),
        ids("SELECT id FROM judgments WHERE forgotten_at IS NOT NULL"),
        again=True,
    )


def known(store: Store) -> list[tuple[Path, str, bool]]:
    """(file, when it was made, whether it is Hone's to delete) of all copies that may hold forgotten text."""
    own = {backup.path: backup.when for backup in backups.list(store.home)}
    inside = [p for p in sorted(paths.backups_dir(store.home).glob("*.db")) if p.is_file()]
    found = [(path, own.get(path, "an unknown day"), path in own) for path in inside]
    for row in store.rows("SELECT path, created_at FROM backups ORDER BY path"):
        if Path(row["path"]) not in inside:
            found.append((Path(row["path"]), row["created_at"][:16].replace("T", " ") + " UTC", False))
    return found


def _scrub_backups(store: Store, done: Scrubbed, say: Say) -> None:
    gone = forgotten(store)
    copies = known(store)
    before = set(json.loads(store.meta_get(_MISSING) or "[]"))
    for number, (path, made_at, own) in enumerate(copies, 1):
        say(f"Cleaning backup {number} of {len(copies)}.")
        try:
            clean_copy(path, gone)
            done.backups.append(str(path))
        except DiskFull:
            raise
        except (StorageError, sqlite3.Error, OSError) as error:
            if own:
                for end in ("", "-wal", "-shm", "-journal"):
                    path.with_name(path.name + end).unlink(missing_ok=True)
                done.deleted.append(str(path))
            else:
                told = not path.exists() and str(path) in before
                done.unreached.append(Unreached(str(path), made_at, str(error), told))
    missing = [copy.path for copy in done.unreached if not Path(copy.path).exists()]
    # it stays known: a disk that is put in again has it still
    store.meta_set(_MISSING, json.dumps(missing) if missing else None)


def clean_copy(path: Path, gone: Asked) -> None:
    """Forget in a backup what was forgotten in its home, and what was typed and not sent at its time.

    Raises StorageError where it is not there, damaged, newer than this Hone or cannot be written.
    """
    backups.inspect(path)
    mode = path.stat().st_mode
    if not mode & 0o200:
        path.chmod(mode | 0o200)
    try:
        uri = f"file:{quote(str(path))}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=5, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("BEGIN IMMEDIATE")
            erasure = Erasure(connection, gone)
            erasure.apply(now())
            erasure.close()
            connection.execute("DELETE FROM meta WHERE key LIKE 'draft:%'")
            connection.execute("COMMIT")
            compact(connection, path)
    except sqlite3.Error as error:
        raise translate(error, path) from error
    finally:
        path.chmod(mode)
