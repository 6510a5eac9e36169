"""Several processes on one database at once: nothing is lost, nobody is told that it is locked, nobody waits long."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from storage import backups, health, paths
from storage.migrations import migrations
from storage.store import Store
from tests.storage.older import older_home

WRITERS = 2
TURNS = 60  #: of each writer
#: seconds that a chat may wait for a write while a file is imported; seen: 0.09 (where SQLite does the waiting: 0.84)
WAIT = 0.5

WRITE = """
import sys; from pathlib import Path; from storage.store import Store
from tests.storage.test_backups import turn
with Store.open(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(int(sys.argv[2])):
        with store.write():  # reads before it writes, as the chat does
            store.meta_set("count", str(int(store.meta_get("count") or 0) + 1))
            turn(store)
"""
OPEN = """
import sys; from pathlib import Path; from storage.store import Store
print("ready", flush=True)
sys.stdin.readline()
with Store.open(Path(sys.argv[1])) as store:
    store.threads.new("opened")
"""
IMPORT = """
import sys; from pathlib import Path; from storage.store import Store; from storage.importing import import_file
with Store.open(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    import_file(store, Path(sys.argv[2]), "trl-preference", "beside")
"""


def at_once(*commands: tuple[str, ...]) -> list[subprocess.Popen[str]]:
    """Start processes, and let all of them go on when the last one is ready."""
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen([sys.executable, "-c", *command], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for command in commands
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return children


def all_well(children: list[subprocess.Popen[str]]) -> None:
    said = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0] * len(children), said
    assert not any(error for _, error in said), said


def test_two_writers_lose_nothing(home: Path) -> None:
    with Store.open(home) as store:
        all_well(at_once(*[(WRITE, str(home), str(TURNS))] * WRITERS))
        assert store.meta_get("count") == str(WRITERS * TURNS)
        assert len(store.judgments.live()) == WRITERS * TURNS
        assert health.thorough(store).ok


def test_two_processes_that_open_an_older_database_migrate_it_once(home: Path, tmp_path: Path) -> None:
    """And one copy of it is made."""
    for number in range(3):
        old = tmp_path / f"old{number}"
        older_home(old, turns=300)
        all_well(at_once(*[(OPEN, str(old))] * 2))
        with Store.open(old) as store:
            assert not migrations.pending(store.db)
            assert len(store.threads.list()) == 300 + 2
            assert health.thorough(store).ok
        assert [backup.reason for backup in backups.list(old)] == ["before-m002"]
        assert backups.inspect(backups.list(old)[0].path).judgments == 300


def test_two_processes_that_open_a_new_home_share_it(tmp_path: Path) -> None:
    for number in range(3):
        new = tmp_path / f"new{number}"
        all_well(at_once(*[(OPEN, str(new))] * 2))
        with Store.open(new) as store:
            assert len(store.threads.list()) == 2
            assert not paths.backups_dir(new).exists()


def test_a_writer_beside_an_import_waits_for_no_more_than_a_piece_of_it(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    with open(file, "w") as lines:
        for number in range(8000):
            texts = {name: f"{name} {number} " + "word " * 60 for name in ("prompt", "chosen", "rejected")}
            lines.write(json.dumps(texts) + "\n")
    waits = []
    with Store.open(home) as store:
        (child,) = at_once((IMPORT, str(home), str(file)))
        while child.poll() is None:
            start = time.perf_counter()
            store.meta_set("draft", str(start))
            waits.append(time.perf_counter() - start)
            time.sleep(0.002)
        all_well([child])
        assert len(store.judgments.live(["import:beside"])) == 8000
    assert len(waits) > 20
    assert max(waits) < WAIT, f"the longest of {len(waits)} writes took {max(waits):.2f} s"
