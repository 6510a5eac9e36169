"""The database: opening, refusing, writing from several places, and what survives."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from storage import paths
from storage.errors import DatabaseCorrupt, DatabaseTooNew, DiskFull, HomeError
from storage.ids import new_id
from storage.locks import FileLock
from storage.store import Store


def test_a_new_home_is_private_and_opens_again(home: Path) -> None:
    with Store.open(home) as store:
        store.threads.new("kept")
        assert store.value("PRAGMA journal_mode") == "wal"
    assert home.stat().st_mode & 0o777 == 0o700
    assert paths.database(home).stat().st_mode & 0o777 == 0o600
    with Store.open(home) as store:
        assert [t.title for t in store.threads.list()] == ["kept"]


def test_a_database_of_a_newer_hone_is_left_alone(home: Path) -> None:
    Store.open(home).close()
    with sqlite3.connect(paths.database(home)) as db:
        db.execute("INSERT INTO _sqlite_migrations(migration_set, name, applied_at) VALUES ('hone', 'm999_later', 'x')")
    db.close()
    before = paths.database(home).read_bytes()
    with pytest.raises(DatabaseTooNew, match="m999_later"):
        Store.open(home)
    assert paths.database(home).read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"this is no database, but a long enough text to look at" * 50, b"SQLite format 3\0junk"]
)
def test_a_broken_database_is_named_and_left_alone(home: Path, content: bytes) -> None:
    home.mkdir()
    paths.database(home).write_bytes(content)
    with pytest.raises(DatabaseCorrupt, match=r"hone\.db"):
        Store.open(home)
    assert paths.database(home).read_bytes() == content


def test_a_database_of_another_program_is_left_alone(home: Path) -> None:
    home.mkdir()
    with sqlite3.connect(paths.database(home)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    db.close()
    with pytest.raises(DatabaseCorrupt, match="another program"):
        Store.open(home)
    with sqlite3.connect(paths.database(home)) as db:
        assert [row[0] for row in db.execute("SELECT name FROM sqlite_master")] == ["bookmarks"]


def test_a_home_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="HONE_HOME"):
        Store.open(tmp_path / "file" / "home")


def test_a_full_disk_is_named_and_loses_nothing_that_was_saved(store: Store) -> None:
    thread = store.threads.new("before")
    store.db.execute(f"PRAGMA max_page_count = {store.value('PRAGMA page_count')}")
    with pytest.raises(DiskFull, match="Free some space"):
        store.threads.add_message(thread.id, None, "user", "x" * 1_000_000)
    assert store.threads.get(thread.id).title == "before"
    store.db.execute("PRAGMA max_page_count = 1000000")
    store.threads.add_message(thread.id, None, "user", "x" * 1_000_000)


def test_a_failed_change_leaves_nothing_behind(store: Store) -> None:
    def half() -> None:
        with store.write():
            store.threads.new("half")
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        half()
    assert store.threads.list() == []


def test_many_writers_at_once_lose_nothing(store: Store) -> None:
    """Each reads before it writes, which a deferred transaction would answer with SQLITE_BUSY_SNAPSHOT."""
    store.meta_set("count", "0")

    def add() -> None:
        with Store.open(store.home) as mine:
            for _ in range(20):
                with mine.write():
                    mine.meta_set("count", str(int(mine.meta_get("count") or 0) + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.meta_get("count") == "80"


def test_data_version_tells_of_changes_by_others(store: Store) -> None:
    before = store.data_version()
    store.meta_set("mine", "1")
    assert store.data_version() == before
    with Store.open(store.home) as other:
        other.meta_set("theirs", "1")
    assert store.data_version() != before


def test_kill_9_in_mid_write_leaves_no_half_judgment(home: Path) -> None:
    """A child records judgments and says so; it is killed; all that it said is there, and whole."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from storage.store import Store
        store = Store.open(Path(sys.argv[1]))
        thread = store.threads.new()
        while True:
            prompt = store.threads.add_message(thread.id, None, "user", "?")
            ids = [store.threads.add_message(thread.id, prompt.id, "assistant", str(i)).id for i in range(3)]
            print(store.judgments.rank(prompt.id, [[ids[2]], [ids[0]], [ids[1]]]).id, flush=True)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(home)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [child.stdout.readline().strip() for _ in range(25)]
    os.kill(child.pid, signal.SIGKILL)
    said += child.stdout.read().split()
    child.wait()
    child.stdout.close()
    with Store.open(home) as store:
        assert store.value("PRAGMA integrity_check") == "ok"
        kept = {judgment.id: judgment for judgment in store.judgments.live()}
        assert set(said) <= set(kept)
        assert all(len(judgment.items) == 3 for judgment in kept.values())


def test_ids_sort_in_the_order_in_which_they_were_made() -> None:
    made = [new_id() for _ in range(5000)]
    assert made == sorted(set(made))
    assert {id[14] for id in made} == {"7"}


def test_a_lock_is_held_by_one_and_freed_by_death(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = "import sys; from storage.locks import FileLock; from pathlib import Path\n"
    code += "lock = FileLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    lock = FileLock(path)
    assert not lock.acquire(blocking=False)
    assert lock.holder() == child.pid
    child.kill()
    child.communicate()
    assert lock.acquire(blocking=False)
    lock.release()
