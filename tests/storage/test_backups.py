"""Backups: whole or not there, beside writers, of what is about to be migrated, and not more than are needed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage import backups, health, paths
from storage.errors import DatabaseCorrupt, DatabaseTooNew, DiskFull, HomeError, NotFound, StorageError
from storage.locks import FileLock
from storage.migrations import migrations
from storage.store import Store
from tests.storage.older import older_home


def turn(store: Store) -> str:
    """One judged turn; returns the judgment's id."""
    thread = store.threads.new("a thread")
    prompt = store.threads.add_message(thread.id, None, "user", "Why?")
    answers = [store.threads.add_message(thread.id, prompt.id, "assistant", text).id for text in ("a", "b")]
    return store.judgments.rank(prompt.id, [[answers[0]], [answers[1]]]).id


def names(home: Path) -> list[str]:
    return sorted(path.name for path in paths.backups_dir(home).iterdir())


def test_a_backup_is_one_private_file_that_stands_alone(store: Store, tmp_path: Path) -> None:
    turn(store)
    made = backups.make(store.home)
    assert names(store.home) == [made.name]
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert paths.backups_dir(store.home).stat().st_mode & 0o777 == 0o700
    assert made.path.read_bytes()[18:20] == b"\1\1"  # no write-ahead log: readable where nothing can be written
    alone = tmp_path / "alone.db"
    shutil.copy(made.path, alone)
    assert backups.inspect(alone) == backups.Contents(1, 3, 1, store.value("SELECT max(created_at) FROM messages"))
    assert list(tmp_path.glob("alone.db?*")) == []
    assert [backup.reason for backup in backups.list(store.home)] == ["manual"]


def test_the_list_needs_no_database_and_knows_only_backups(home: Path) -> None:
    assert backups.list(home) == []
    folder = paths.backups_dir(home)
    folder.mkdir(parents=True)
    for name in (
        "hone-20261121T140503Z-before-m002.db",
        "hone-20261122T000000Z-weekly.db",
        "hone-20261122T000000Z-weekly-1.db",
        "hone-20261001T000000Z-manual.db",
        "hone-20261121T140503Z-before-lunch.db",
        ".hone-20261121T140503Z-manual.db.part",
        "notes.txt",
    ):
        (folder / name).touch()
    found = backups.list(home)
    assert [(b.reason, b.when) for b in found[2:]] == [
        ("before-m002", "2026-11-21 14:05 UTC"),
        ("manual", "2026-10-01 00:00 UTC"),
    ]
    assert backups.find(home, "20261001").name == "hone-20261001T000000Z-manual.db"
    assert backups.find(home, "hone-20261122T000000Z-weekly.db").name.endswith("weekly.db")
    with pytest.raises(NotFound, match="fits 2 backups"):
        backups.find(home, "hone-20261122")
    with pytest.raises(NotFound, match="no backup 'x'"):
        backups.find(home, "x")


def test_a_backup_is_of_one_instant_while_another_process_writes(store: Store) -> None:
    """Without a snapshot, the copy would begin again with every write and never end."""
    with store.write():
        for _ in range(300):
            turn(store)
    code = (
        "import sys; from pathlib import Path; from storage.store import Store\n"
        "from tests.storage.test_backups import turn\n"
        "with Store.open(Path(sys.argv[1])) as store:\n"
        "    print('writing', flush=True)\n"
        "    while True: turn(store)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(store.home)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        made = [backups.make(store.home) for _ in range(5)]
    finally:
        child.kill()
        child.communicate()
    for backup in made:
        with health.reading(backup.path, alone=True) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            halves = "SELECT count(*) FROM judgments WHERE id NOT IN (SELECT judgment_id FROM judgment_items)"
            assert connection.execute(halves).fetchone() == (0,)


def test_a_file_of_ones_choice_is_noted_and_nothing_is_overwritten(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "copy.db"
    with pytest.raises(HomeError, match=r"no folder .*elsewhere"):
        backups.make_at(store, target)
    target.parent.mkdir()
    assert backups.make_at(store, target) == target
    with pytest.raises(StorageError, match="overwrites nothing"):
        backups.make_at(store, target)
    inside = backups.make_at(store, target.parent)
    assert inside.parent == target.parent
    assert {row["path"] for row in store.rows("SELECT path FROM backups")} == {str(target), str(inside)}
    assert [path.stat().st_mode & 0o777 for path in (target, inside)] == [0o600, 0o600]


def test_a_backup_that_does_not_fit_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn(store)
    monkeypatch.setattr(backups, "SPARE", 1 << 62)
    with pytest.raises(DiskFull, match=r"does not fit into .*, where \d+ MB are free"):
        backups.make(store.home)
    with pytest.raises(DiskFull, match="does not fit"):
        backups.make_at(store, tmp_path / "copy.db")
    assert names(store.home) == []
    assert list(tmp_path.glob("*copy*")) == []
    assert store.rows("SELECT path FROM backups") == []


def test_a_disk_that_fills_up_while_copying_leaves_nothing(home: Path) -> None:
    """A limit on the size of files, in a process of its own, stands for the full disk."""
    with Store.open(home) as store, store.write():
        for _ in range(500):
            turn(store)
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from storage import backups; from storage.errors import DiskFull\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: backups.make(Path(sys.argv[1]))\n"
        "except DiskFull as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)
    assert "Free some space" in done.stdout
    assert names(home) == []


def test_a_damaged_database_gives_no_backup(store: Store) -> None:
    with store.write():
        for _ in range(100):
            turn(store)
    store.close()
    with open(store.path, "r+b") as file:
        file.seek(10 * 4096)
        file.write(bytes(8 * 4096))
    with pytest.raises(DatabaseCorrupt, match="is damaged"):
        backups.make(store.home)
    assert names(store.home) == []


def test_what_a_killed_backup_left_is_cleared_away_by_the_next(store: Store, tmp_path: Path) -> None:
    backups.make_at(store, tmp_path / "copy.db")
    backups.make(store.home)
    left = [paths.backups_dir(store.home) / ".hone-20261121T140503Z-manual.db.part", tmp_path / ".copy.db.part"]
    for path in left:
        path.write_bytes(b"half of it")
    paths.restoring_dir(store.home).mkdir()
    backups.make(store.home)
    assert not any(path.exists() for path in [*left, paths.restoring_dir(store.home)])
    assert len(names(store.home)) == 2


def test_a_stop_is_heard_and_leaves_nothing(store: Store) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(backups.Stopped):
        backups.make(store.home, "weekly", stop)
    assert names(store.home) == []


def test_one_backup_at_a_time(store: Store) -> None:
    held = FileLock(paths.backup_lock(store.home))
    held.acquire()
    thread = threading.Thread(target=backups.make, args=(store.home,))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    assert backups.list(store.home) == []
    held.release()
    thread.join()
    assert len(backups.list(store.home)) == 1


# by themselves


def test_an_older_database_is_copied_before_it_is_migrated(home: Path) -> None:
    older_home(home)
    with Store.open(home) as store:
        assert not migrations.pending(store.db)
        assert len(store.judgments.live()) == 5
    assert [backup.reason for backup in backups.list(home)] == ["before-m002"]
    assert backups.inspect(backups.list(home)[0].path).judgments == 5
    with health.reading(backups.list(home)[0].path, alone=True) as connection:
        steps = [row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations")]
    assert steps == ["m001_first"]
    Store.open(home).close()
    assert len(backups.list(home)) == 1


def test_a_new_home_needs_no_backup(home: Path) -> None:
    Store.open(home).close()
    assert not paths.backups_dir(home).exists()


def test_without_a_backup_there_is_no_migration(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = older_home(home)
    before = path.read_bytes()
    monkeypatch.setattr(backups, "SPARE", 1 << 62)
    with pytest.raises(DiskFull, match=r"no backup of it could be made first: .* does not fit .* Nothing was changed"):
        Store.open(home)
    assert path.read_bytes() == before
    monkeypatch.undo()
    monkeypatch.setenv("HONE_HOME", str(home))
    with Store.open(home) as store:
        assert len(store.judgments.live()) == 5


def test_a_step_that_fails_leaves_the_schema_as_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps or none: here the second of two fails."""
    older_home(home)
    later = [
        *migrations._migrations,
        migrations._Migration("m999_fails", lambda db: db.execute("SELECT missing FROM meta")),
    ]
    monkeypatch.setattr(migrations, "_migrations", later)
    with pytest.raises(StorageError, match="no such column: missing"):
        Store.open(home)
    with health.reading(paths.database(home)) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM _sqlite_migrations")] == ["m001_first"]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_week_after_the_last_backup_there_is_another(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert backups.weekly(store) is None  # nothing to lose yet
    turn(store)
    made = backups.weekly(store)
    assert made is not None
    assert made.reason == "weekly"
    assert backups.weekly(store) is None
    for age, due in ((6.9, False), (7.1, True), (-30, True)):
        time = datetime.now(UTC) - timedelta(days=age)
        for backup in backups.list(store.home):
            backup.path.rename(backup.path.with_name(f"hone-{time:%Y%m%dT%H%M%SZ}-manual.db"))
        assert backups.due(store) is due


def test_automatic_backups_are_cleared_away_and_no_others(store: Store) -> None:
    folder = paths.backups_dir(store.home)
    folder.mkdir()
    kept = [f"hone-202601{day:02}T000000Z-manual.db" for day in range(1, 10)]
    kept += [f"hone-202602{day:02}T000000Z-weekly.db" for day in range(4, 7)]
    kept += [f"hone-202603{day:02}T000000Z-before-restore.db" for day in range(3, 6)]
    kept += [f"hone-202604{day:02}T000000Z-before-m{step:03}.db" for day in (1, 2) for step in (9, 10, 11)]
    gone = [f"hone-202602{day:02}T000000Z-weekly.db" for day in range(1, 4)]
    gone += [f"hone-202603{day:02}T000000Z-before-restore.db" for day in range(1, 3)]
    gone += [f"hone-202604{day:02}T000000Z-before-m{step:03}.db" for day in (5, 6) for step in (7, 8)]
    for name in (*kept, *gone, "notes.txt"):
        (folder / name).touch()
    made = backups.make(store.home, "weekly")
    assert names(store.home) == sorted([*kept, "notes.txt", made.name])


# looking inside


def test_what_is_no_backup_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        backups.inspect(tmp_path / "nowhere.db")
    text = tmp_path / "text.db"
    text.write_text("hello " * 1000)
    with pytest.raises(DatabaseCorrupt, match="damaged or no database"):
        backups.inspect(text)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    db.close()
    with pytest.raises(DatabaseCorrupt, match="no database of Hone's"):
        backups.inspect(other)
    made = backups.make(store.home).path
    with sqlite3.connect(made) as db:
        db.execute("INSERT INTO _sqlite_migrations(migration_set, name, applied_at) VALUES ('hone', 'm999_later', 'x')")
    db.close()
    with pytest.raises(DatabaseTooNew, match="m999_later"):
        backups.inspect(made)
