"""Restoring: whole or not at all, what was there is kept, what was forgotten stays forgotten."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from storage import backups, health, paths, restoring
from storage.adapters import GGUF
from storage.errors import DatabaseCorrupt, DatabaseTooNew, DiskFull, NotFound, StorageError
from storage.forgetting import forget
from storage.locks import FileLock
from storage.migrations import migrations
from storage.store import Store
from tests.storage.older import older_home
from tests.storage.test_backups import names, turn
from tests.storage.test_health import DAMAGE, contents, fill


def everything(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the user's tables."""
    with health.reading(path, alone=True) as connection:
        tables = [
            row[0]
            for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
                "AND name NOT LIKE 'messages_fts%' AND name NOT IN ('meta', 'backups') ORDER BY name"
            )
        ]
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables}


def restored(home: Path, name: str | None = None) -> restoring.Restored:
    return restoring.restore(home, restoring.choose(home, name))


def test_there_and_back_again(home: Path) -> None:
    with Store.open(home) as store:
        turn(store)
        first = backups.make(home)
        turn(store)
    later = everything(paths.database(home))
    done = restored(home)
    assert (done.source, done.threads, done.messages, done.judgments) == (first.path, 1, 3, 1)
    assert everything(paths.database(home)) == everything(first.path)
    assert done.kept is not None
    assert not done.damaged
    assert everything(done.kept) == later
    assert restored(home, done.kept.name.removeprefix("hone-")[:24]).judgments == 2
    assert everything(paths.database(home)) == later
    assert not paths.restoring_dir(home).exists()
    with Store.open(home) as store:
        assert health.thorough(store).ok


@pytest.mark.parametrize("how", [*DAMAGE, "empty"])
def test_a_damaged_database_is_kept_and_its_backup_brought_back(home: Path, how: str) -> None:
    fill(home)
    made = backups.make(home)
    DAMAGE.get(how, lambda path: os.truncate(path, 0))(paths.database(home))
    before = contents(home)
    with pytest.raises(DatabaseCorrupt, match=f"`hone restore` brings the backup of {made.when} back"):
        Store.open(home)
    done = restored(home)
    assert (done.source, done.threads, done.messages) == (made.path, 60, 180)
    assert done.damaged is (how != "empty")
    if done.kept is not None:
        kept = {path.name.replace(done.kept.name, "hone.db"): path for path in home.glob(f"{done.kept.name}*")}
        for name, data in before.items():
            assert (kept[name].read_bytes() if data is not None else None) == data
    with Store.open(home) as store:
        assert len(store.threads.list()) == 60
        assert health.thorough(store).ok


def test_a_lost_home_comes_back_from_a_copy_elsewhere(home: Path, tmp_path: Path) -> None:
    with Store.open(home) as store:
        turn(store)
        copy = backups.make_at(store, tmp_path / "stick.db")
    shutil.rmtree(home)
    copy.chmod(0o400)
    done = restored(home, str(copy))
    assert done.kept is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "stick.db"]  # nothing was made beside it
    with Store.open(home) as store:
        assert len(store.judgments.live()) == 1
    assert paths.database(home).stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700


def test_who_has_the_database_open_sees_what_was_restored(store: Store) -> None:
    """A command may be under way: its next write goes into the restored database, not into a file that is gone."""
    turn(store)
    backups.make(store.home)
    turn(store)
    restored(store.home)
    assert len(store.judgments.live()) == 1
    turn(store)
    store.close()
    with Store.open(store.home) as again:
        assert len(again.judgments.live()) == 2
        assert health.thorough(again).ok


@pytest.mark.parametrize(("lock", "who"), [(paths.chat_lock, "the chat"), (paths.trainer_lock, "a training run")])
def test_nobody_may_be_at_work(home: Path, lock: object, who: str) -> None:
    with Store.open(home) as store:
        turn(store)
    made = backups.make(home)
    code = "import sys; from pathlib import Path; from storage.locks import FileLock\n"
    code += "lock = FileLock(Path(sys.argv[1])); lock.acquire(); print(1, flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(lock(home))],  # type: ignore[operator]
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    before = contents(home)
    with pytest.raises(StorageError, match=rf"{who} is open on .*process {child.pid}.*Nothing was changed"):
        restored(home)
    child.communicate()
    assert contents(home) == before
    assert names(home) == [made.name]
    restored(home)
    assert FileLock(lock(home)).acquire(blocking=False)  # type: ignore[operator]


def test_what_cannot_be_restored_changes_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="no backup in"):
        restored(home)
    with Store.open(home) as store:
        turn(store)
    made = backups.make(home).path
    before = contents(home)
    with pytest.raises(NotFound, match="no backup 'other'"):
        restored(home, "other")
    with pytest.raises(StorageError, match="the database itself"):
        restored(home, str(paths.database(home)))
    text = tmp_path / "text.db"
    text.write_text("hello " * 1000)
    with pytest.raises(DatabaseCorrupt, match="damaged or no database"):
        restored(home, str(text))
    with monkeypatch.context() as patch:
        patch.setattr(backups, "SPARE", 1 << 62)
        with pytest.raises(DiskFull, match="does not fit"):
            restored(home)
    with sqlite3.connect(made) as db:
        db.execute("INSERT INTO _sqlite_migrations(migration_set, name, applied_at) VALUES ('hone', 'm999_later', 'x')")
    db.close()
    with pytest.raises(DatabaseTooNew, match="m999_later"):
        restored(home, made.name)
    with pytest.raises(DatabaseCorrupt, match="none of the 1 backups"):
        restored(home)
    assert contents(home) == before


def test_the_newest_backup_that_is_whole_is_taken(home: Path) -> None:
    with Store.open(home) as store:
        turn(store)
    whole = backups.make(home).path
    broken = whole.with_name("hone-20990101T000000Z-manual.db")
    broken.write_bytes(whole.read_bytes()[:5000])
    assert restored(home).source == whole


def test_a_backup_of_an_older_hone_is_brought_up_to_date(home: Path, tmp_path: Path) -> None:
    with Store.open(home) as store:
        turn(store)
    older = older_home(tmp_path / "older", turns=7)
    assert restored(home, str(older)).judgments == 7
    with Store.open(home) as store:
        assert not migrations.pending(store.db)
        assert len(store.judgments.live()) == 7
        assert store.rules.list()


def test_what_was_forgotten_stays_forgotten(home: Path, tmp_path: Path) -> None:
    with Store.open(home) as store:
        thread = store.threads.new("a thread")
        prompt = store.threads.add_message(thread.id, None, "user", "the secret word")
        answer = store.threads.add_message(thread.id, prompt.id, "assistant", "not so secret")
        note = store.judgments.note(prompt.id, answer.id, "an embarrassing note")
        outside = tmp_path / "stick.db"
        backups.copy(store.path, outside)  # a copy that nobody knows of
        forget(store, [prompt.id])
        assert store.threads.message(prompt.id).content is None
        backups.make_at(store, tmp_path / "noted.db")
    done = restored(home, str(outside))
    assert done.forgotten == 3
    with Store.open(home) as store:
        assert store.threads.message(prompt.id).content is None
        assert store.threads.message(answer.id).content is None
        assert store.judgments.get(note.id).payload == {}
        assert [row["path"] for row in store.rows("SELECT path FROM backups")] == [str(tmp_path / "noted.db")]
        assert health.thorough(store).ok
    for path in [paths.database(home), *paths.backups_dir(home).iterdir()]:
        assert b"secret word" not in path.read_bytes()
        assert b"embarrassing" not in path.read_bytes()


def test_a_forgotten_record_of_an_import_that_the_backup_does_not_know_is_not_taken_in_again(
    home: Path, tmp_path: Path
) -> None:
    from storage.importing import import_file

    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "q", "chosen": "the secret word", "rejected": "b"}\n')
    with Store.open(home) as store:
        turn(store)
        made = backups.make(home)
        import_file(store, file, "trl-preference", "pairs")
        (judgment,) = store.judgments.live(["import:pairs"])[1:]
        forget(store, [judgment.id])
        assert import_file(store, file, "trl-preference", "pairs").added == 0
    restored(home, made.name)
    with Store.open(home) as store:
        done = import_file(store, file, "trl-preference", "pairs")
        assert (done.added, done.forgotten) == (0, 1)


def test_a_version_whose_files_are_gone_no_longer_answers(store: Store) -> None:
    store.add_model("model", "m", "llama", "t", "/m.gguf")
    for id in ("first", "second"):
        folder = paths.adapter_dir(store.home, id)
        folder.mkdir()
        (folder / GGUF).touch()
        store.adapters.register(id, model_hash="model", files={})
    store.adapters.promote("first", None)
    backups.make(store.home)
    assert restored(store.home).retired == ()
    shutil.rmtree(paths.adapter_dir(store.home, "first"))
    newest = backups.list(store.home)[0]
    assert restored(store.home, newest.name).retired == ("v1",)
    assert store.adapters.live("model") is None
    assert store.adapters.get("first").state == "retired"


def test_the_backup_of_another_home_becomes_this_homes(home: Path, tmp_path: Path) -> None:
    with Store.open(tmp_path / "other") as other:
        turn(other)
        turn(other)
        copy = backups.make_at(other, tmp_path / "copy.db")
    with Store.open(home) as store:
        turn(store)
        mine = store.meta_get("store_id")
        restored(home, str(copy))
        assert store.meta_get("store_id") == mine
        Store.open(home).close()  # the log and the file beneath it agree on whose they are
        assert len(store.judgments.live()) == 2
