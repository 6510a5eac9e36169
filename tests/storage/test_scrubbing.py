"""The files that forgetting cleans beside the rows: the log, backups, caches, what a training run holds."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage import paths, scrubbing
from storage.errors import StorageError
from storage.forgetting import PENDING, finish, forget, forget_again
from storage.store import Store
from tests.engine.waiting import wait_until
from tests.storage.forgettable import MODEL, World


def test_a_chat_beside_it_goes_on_and_sees_it(world: World) -> None:
    with Store.open(world.home) as chat:
        assert chat.threads.message(world.ids["a1"]).content
        forget(world.store, [world.ids["a1"]])
        assert chat.threads.message(world.ids["a1"]).content is None
        chat.meta_set("draft:new", "goes on")
        assert world.found("a1") == set()


def hold(home: Path) -> tuple[sqlite3.Connection, list[object]]:
    connection = sqlite3.connect(paths.database(home), isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN")
    return connection, connection.execute("SELECT count(*) FROM messages").fetchall()


def test_a_reader_of_the_old_state_is_waited_for(world: World) -> None:
    reader, _ = hold(world.home)
    ended = threading.Timer(0.5, lambda: reader.execute("ROLLBACK"))
    ended.start()
    said: list[str] = []
    forget(world.store, [world.ids["a1"]], progress=said.append)
    ended.join()
    assert "Waiting for another program that reads the database." in said
    assert world.found("a1") == set()
    reader.close()


def test_a_reader_that_never_ends_is_an_error_and_not_a_success(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "PATIENCE", 0.3)
    reader, _ = hold(world.home)
    with pytest.raises(StorageError, match=r"goes on reading an older state, so hone.db-wal still holds it: end that"):
        forget(world.store, [world.ids["a1"]])
    assert world.found("a1") == {"a1"}
    reader.close()
    done = forget(world.store, [world.ids["a1"]])
    assert done.messages == 0
    assert world.found("a1") == set()
    assert world.store.meta_get(PENDING) is None


def test_killed_before_the_files_are_clean_it_is_finished_later(world: World) -> None:
    copies = world.backups()
    world.store.close()
    code = (
        "import os, sys; from pathlib import Path; from storage import forgetting; from storage.store import Store\n"
        "forgetting._scrub = lambda *_: os.kill(os.getpid(), 9)\n"
        "with Store.open(Path(sys.argv[1])) as store: forgetting.forget(store, [sys.argv[2]])"
    )
    died = subprocess.run([sys.executable, "-c", code, str(world.home), world.ids["a1"]], check=False)
    assert died.returncode == -9
    with Store.open(world.home) as store:
        assert store.threads.message(world.ids["a1"]).content is None
        assert world.found("a1") == {"a1"}
        assert finish(store)
        assert world.found("a1") == set()
        assert not finish(store)
    world.intact()
    assert len(copies) == 2


def test_backups_that_cannot_be_cleaned(world: World) -> None:
    inside = paths.backups_dir(world.home)
    names = [f"hone-2026010{n}T000000Z-weekly.db" for n in range(1, 5)]
    whole, damaged, newer, readonly = (world.backup(inside / name) for name in names)
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with sqlite3.connect(newer) as db:
        db.execute("INSERT INTO _sqlite_migrations(migration_set, name, applied_at) VALUES ('hone', 'm999_later', 'x')")
    db.close()
    readonly.chmod(0o400)
    theirs = inside / "mine.db"
    with sqlite3.connect(theirs) as db:
        db.execute("CREATE TABLE t(x)")
    db.close()
    elsewhere = world.outside / "gone.db"
    world.note(elsewhere)
    left = inside / f".{names[0]}.part"
    left.write_text(world.text("a1"))
    (world.home / "hone.db.damaged-20260101T000000Z").write_text("something else")
    done = forget(world.store, [world.ids["a1"]]).files
    assert done.backups == [str(whole), str(readonly)]
    assert done.deleted == [str(damaged), str(newer)]
    assert [(u.path, u.why.split(";")[0].split(":")[0]) for u in done.unreached] == [
        (str(theirs), f"{theirs} is no database of Hone's"),
        (str(elsewhere), f"there is no file {elsewhere}"),
    ]
    assert done.damaged == [str(world.home / "hone.db.damaged-20260101T000000Z")]
    assert readonly.stat().st_mode & 0o777 == 0o400
    assert not damaged.exists()
    assert not left.exists()
    assert theirs.exists()
    assert world.found("a1") == set()


def test_a_backup_of_an_older_schema_is_cleaned(world: World) -> None:
    def age(db: sqlite3.Connection) -> None:
        for statement in (
            "ALTER TABLE judgments DROP COLUMN forgotten_at",
            "ALTER TABLE adapters DROP COLUMN forgotten",
            "ALTER TABLE import_keys DROP COLUMN forgotten",
            "DROP TABLE import_threads",
            "DROP TABLE backups",
            "DELETE FROM _sqlite_migrations WHERE name LIKE 'm002%'",
        ):
            db.execute(statement)

    old = world.backup(paths.backups_dir(world.home) / "hone-20260101T000000Z-before-m002.db", age)
    assert forget(world.store, [world.ids["thread"], world.ids["i1"]]).files.backups == [str(old)]
    assert world.found("a1", "note", "i1", "q2", "system") == set()
    assert world.found("i2", "c1") == {"i2", "c1"}
    world.intact()


def test_a_copy_that_comes_back_later_is_cleaned_then(world: World) -> None:
    path = world.backup(world.outside / "stick.db")
    world.note(path)
    away = path.rename(world.outside / "away.db")
    assert [u.path for u in forget(world.store, [world.ids["note"]]).files.unreached] == [str(path)]
    assert world.found("note") == {"note"}
    away.rename(path)
    assert forget(world.store, [world.ids["thumb"]]).files.backups == [str(path)]
    assert world.found("note") == set()


def test_an_older_copy_forgets_again(world: World, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    world.store.meta_set("draft:new", world.text("typed"))
    world.backup(paths.database(older))
    world.store.meta_set("draft:new", None)
    forget(world.store, [world.ids["b1"], world.ids["i1"], world.ids["s1 rank"]])
    gone = scrubbing.forgotten(world.store)
    with Store.open(older) as store:
        forget_again(store, gone.messages, gone.judgments)
        forget_again(store, ["nothing of this home"], [])
        assert store.threads.message(world.ids["b1"]).content is None
        assert store.threads.message(world.ids["b2"]).content
        assert store.judgments.get(world.ids["rank"]).forgotten_at is None
        assert store.judgments.get(world.ids["i1"]).forgotten_at
        assert [a.forgotten for a in store.adapters.list()] == [1, 2]
        assert store.meta_get("draft:new") is None
        size = os.path.getsize(f"{paths.database(older)}-wal")
    assert size == 0
    world.outside = older
    assert world.found("b1", "i1", "s1", "s1a", "typed") == set()


# the trainer


def test_a_run_that_reads_it_is_ended_and_its_version_counts_it(world: World) -> None:
    store = world.store
    run = store.runs.queue(model_hash=MODEL)
    store.runs.claim(run.id)
    ids = world.ids

    def work() -> None:
        with Store.open(world.home) as trainer:
            wait_until(lambda: trainer.runs.cancel_requested(run.id))
            (paths.cache_dir(world.home) / "late.tmp").write_text(world.word("late"))
            trainer.runs.record_judgments(run.id, [(ids["pick"], "train"), (ids["thumb"], "train")])
            world_late = trainer.adapters.register("late", model_hash=MODEL, files={}, run_id=run.id)
            assert world_late.forgotten == 1
            trainer.runs.finish(run.id, "cancelled")

    thread = threading.Thread(target=work)
    thread.start()
    done = forget(store, [ids["pick"]])
    thread.join()
    assert (done.files.run, done.files.run_ended) == (run.number, True)
    assert world.found("late") == set()
    assert store.adapters.get("late").forgotten == 1


def test_a_run_that_does_not_hear_is_said_and_looked_after_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "RUN_PATIENCE", 0.2)
    store = world.store
    run = store.runs.queue(model_hash=MODEL)
    store.runs.claim(run.id)
    # a message that nobody judged is in no run
    lone = store.threads.add_message(world.ids["thread"], world.ids["b2"], "user", world.text("lone"))
    assert forget(store, [lone.id]).files.run is None
    done = forget(store, [world.ids["pick"]])
    assert (done.files.run, done.files.run_ended) == (run.number, False)
    assert store.meta_get(PENDING)
    store.runs.finish(run.id, "cancelled")
    folder = paths.run_dir(world.home, run.id)
    folder.mkdir()
    (folder / "error.log").write_text(world.word("pick"))
    assert finish(store)
    assert world.found("pick") == set()
    assert store.meta_get(PENDING) is None


def test_files_of_a_run_without_a_row_go(world: World) -> None:
    orphan = paths.adapter_dir(world.home, "01890000-0000-7000-8000-000000000000")
    half = paths.adapters_dir(world.home) / ".tmp-half"
    theirs = paths.adapters_dir(world.home) / "notes"
    for folder in (orphan, half, theirs):
        folder.mkdir()
        (folder / "x").write_text("x")
    forget(world.store, [world.ids["pick"]])
    assert [orphan.exists(), half.exists(), theirs.exists()] == [False, False, True]
