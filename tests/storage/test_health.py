"""Damage: seen when the database is opened, nothing changed by looking, and the way back said."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import backups, health, paths
from storage.errors import DatabaseCorrupt
from storage.store import Store

PAGE = 4096


def fill(home: Path, threads: int = 60) -> None:
    with Store.open(home) as store, store.write():
        for number in range(threads):
            thread = store.threads.new(f"thread {number}")
            for word in ("one", "two", "three"):
                store.threads.add_message(thread.id, None, "user", f"{word} {number} " * 60)


def contents(home: Path) -> dict[str, bytes | None]:
    """All that must not change; -shm is only an index of the log."""
    return {
        path.name: path.read_bytes() if path.is_file() else None
        for path in home.iterdir()
        if path.name.startswith("hone.db") and not path.name.endswith("-shm")
    }


def overwrite(path: Path, start: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(data)


def noise(count: int) -> bytes:
    return random.Random(1).randbytes(count)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def empty_beside_log(path: Path) -> None:
    shutil.copy(path, path.with_name("hone.db-wal"))
    os.truncate(path, 0)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut in the header": lambda path: os.truncate(path, 50),
    "cut after a page": lambda path: os.truncate(path, PAGE),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE + 100),
    "last page cut off": lambda path: os.truncate(path, path.stat().st_size - PAGE),
    "zeros in the middle": lambda path: overwrite(path, 20 * PAGE, bytes(8 * PAGE)),
    "zeros for the second page": lambda path: overwrite(path, PAGE, bytes(PAGE)),
    "noise in the middle": lambda path: overwrite(path, 20 * PAGE, noise(8 * PAGE)),
    "noise in the header": lambda path: overwrite(path, 0, noise(100)),
    "zeros for the header": lambda path: overwrite(path, 0, bytes(PAGE)),
    "text": lambda path: path.write_text("no database " * 1000),
    "empty beside a log": empty_beside_log,
    "a folder": folder,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_seen_nothing_is_changed_and_the_way_back_is_said(home: Path, how: str) -> None:
    fill(home)
    DAMAGE[how](paths.database(home))
    before = contents(home)
    with pytest.raises(
        DatabaseCorrupt, match=r"is damaged: .*\. Nothing was changed\. There is no backup: .*\.recover"
    ):
        Store.open(home)
    after = contents(home)
    assert {name: after.pop(name) for name in before} == before
    assert set(after.values()) <= {b""}  # an empty log, at most


def test_an_emptied_database_is_told_from_a_new_one(home: Path) -> None:
    fill(home)
    made = backups.make(home)
    os.truncate(paths.database(home), 0)
    with pytest.raises(DatabaseCorrupt, match=f"there were backups.* brings the backup of {made.when} back"):
        Store.open(home)


def test_the_log_of_another_database_is_not_written_into_this_one(home: Path, tmp_path: Path) -> None:
    """What SQLite itself would do: it takes any log whose own checksums are right."""
    fill(home)
    script = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from tests.storage.test_health import fill
        from storage.store import Store
        store = Store.open(Path(sys.argv[1]))
        fill(Path(sys.argv[1]), 30)
        os.kill(os.getpid(), 9)
        """
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "other")], check=False)
    shutil.copy(tmp_path / "other" / "hone.db-wal", home / "hone.db-wal")
    before = contents(home)
    with pytest.raises(DatabaseCorrupt, match="-wal belongs to another database"):
        Store.open(home)
    assert contents(home) == before


def test_noise_for_a_log_is_no_log(home: Path) -> None:
    fill(home)
    (home / "hone.db-wal").write_bytes(noise(50_000))
    with Store.open(home) as store:
        assert len(store.threads.list()) == 60


def test_a_database_of_another_program_is_not_even_made_a_wal_one(home: Path) -> None:
    home.mkdir()
    with sqlite3.connect(paths.database(home)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    db.close()
    before = contents(home)
    with pytest.raises(DatabaseCorrupt, match="another program"):
        Store.open(home)
    assert contents(home) == before


def test_opening_twice_in_one_process_keeps_the_locks_of_the_first(home: Path) -> None:
    """POSIX: closing any handle of the file lets go of them. A process that then closes would remove the log."""
    with Store.open(home) as first:
        first.meta_set("a", "1")
        Store.open(home).close()
        code = "import sys; from pathlib import Path; from storage.store import Store\n"
        code += "store = Store.open(Path(sys.argv[1])); store.meta_set('b', '1'); store.close()"
        subprocess.run([sys.executable, "-c", code, str(home)], check=True)
        assert (home / "hone.db-wal").stat().st_size > 0
        first.meta_set("c", "1")
    with Store.open(home) as store:
        assert [store.meta_get(key) for key in "abc"] == ["1", "1", "1"]


def test_a_check_ends_in_time_or_when_it_is_told_to(home: Path) -> None:
    fill(home)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with health.reading(paths.database(home)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="interrupted"), health.bounded(connection, 0.02):
            connection.execute(endless).fetchone()
        stop = threading.Event()
        stop.set()
        assert health.quick(connection, stop=stop) is None
        assert health.quick(connection, 10) is None


def test_a_thorough_check_tells_what_can_be_made_again(store: Store) -> None:
    fill(store.home, 3)
    assert health.thorough(store) == health.Findings()
    # an index that lost a row, as a damaged one does
    store.db.execute("PRAGMA writable_schema = 1")
    store.db.execute("UPDATE sqlite_master SET sql = sql || ' WHERE id IS NULL' WHERE name = 'messages_by_thread'")
    store.close()
    store.threads.add_message(store.threads.list()[0].id, None, "user", "not indexed")
    store.db.execute("PRAGMA writable_schema = 1")
    sql = "CREATE INDEX messages_by_thread ON messages(thread_id)"
    store.db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'messages_by_thread'", [sql])
    store.close()
    # and a full-text index that knows a word nobody said
    store.db.execute("INSERT INTO messages_fts(rowid, content) VALUES (1, 'never said')")
    found = health.thorough(store)
    assert found.repairable
    assert found.indexes
    assert "messages_by_thread" in str(found)
    assert "full-text" in str(found)
    health.repair(store)
    assert health.thorough(store).ok


def test_a_row_that_names_nothing_is_no_matter_of_an_index(store: Store) -> None:
    store.db.execute("PRAGMA foreign_keys = OFF")
    store.db.execute(
        "INSERT INTO messages(id, thread_id, role, content, created_at) VALUES ('m', 'gone', 'user', 'x', 'now')"
    )
    found = health.thorough(store)
    assert not found.repairable
    assert "rows of messages name rows of threads that are not there" in str(found)
    with pytest.raises(DatabaseCorrupt, match="rows of messages"):
        health.repair(store)


def test_damage_met_on_the_way_names_the_next_step(store: Store) -> None:
    fill(store.home, 20)
    backups.make(store.home)
    store.close()
    root = Store.open(store.home).value("SELECT rootpage FROM sqlite_master WHERE name = 'messages_fts_data'")
    overwrite(store.path, (int(root) - 1) * PAGE, bytes(PAGE))
    with pytest.raises(DatabaseCorrupt, match=r"`hone doctor` says .* `hone restore` brings"):
        store.threads.add_message(store.threads.list()[0].id, None, "user", "words " * 2000)
