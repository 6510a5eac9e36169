"""`hone backup`, `hone restore`, and what `hone doctor` says of the data."""

from __future__ import annotations

import io
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from chatapp.commands import doctor
from storage import backups, paths
from storage.locks import FileLock
from storage.store import Store
from tests.commands.shell import Shell
from tests.storage.test_backups import turn


@pytest.fixture
def judged(home: Path) -> Path:
    """A home with one judged turn."""
    with Store.open(home) as store:
        turn(store)
    return home


class Terminal(io.StringIO):
    """A stdin that is a terminal, at which something is typed."""

    def isatty(self) -> bool:
        return True


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


def test_backup_list_and_restore(hone: Shell, judged: Path) -> None:
    assert "no backup yet" in hone("backup", "--list")
    assert hone.json("backup", "--list") == []
    made = hone.json("backup")
    assert (made["threads"], made["messages"], made["judgments"]) == (1, 3, 1)
    assert "1 thread, 3 messages" in hone("backup")
    listed = hone.json("backup", "--list")
    assert made["file"] in [row["file"] for row in listed]
    assert {row["reason"] for row in listed} == {"manual"}
    assert all(row["name"] in hone("backup", "--list") for row in listed)
    with Store.open(judged) as store:
        turn(store)
    done = hone.json("restore", "-y")
    assert (done["judgments"], done["damaged"], done["forgotten"], done["retired"]) == (1, False, 0, [])
    assert backups.inspect(Path(done["kept"])).judgments == 2
    assert f"kept: {paths.backups_dir(judged)}" in hone("restore", Path(done["kept"]).name, "-y")
    with Store.open(judged) as store:
        assert len(store.judgments.live()) == 2


def test_a_file_of_ones_choice(hone: Shell, judged: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    assert hone.json("backup", "--to", target)["file"] == str(target)
    before = target.read_bytes()
    assert "overwrites nothing" in hone("backup", "--to", target, code=1)
    assert target.read_bytes() == before
    assert "no folder" in hone("backup", "--to", tmp_path / "nowhere" / "copy.db", code=1)
    assert "give one of them" in hone("backup", "--to", target, "--list", code=1)
    assert hone.json("restore", target, "-y")["judgments"] == 1


def test_restore_asks_a_person_and_nobody_else(hone: Shell, judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hone("backup")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert "hone restore -y" in hone("restore", code=1)
    for typed in ("n\n", "\n", ""):
        with monkeypatch.context() as patch:
            at_a_terminal(patch, typed)
            assert "nothing was changed" in hone("restore", code=1)
    assert len(backups.list(judged)) == 1
    with monkeypatch.context() as patch:
        at_a_terminal(patch, "y\n")
        assert "Restored" in hone("restore")


@pytest.mark.parametrize(("name", "why"), [("nope", "no backup 'nope'"), (None, "no backup in")])
def test_without_a_backup_restore_says_what_to_do(hone: Shell, judged: Path, name: str | None, why: str) -> None:
    assert why in hone("restore", *([name] if name else []), "-y", code=1)
    assert len(hone.err.splitlines()) == 1


def test_restore_waits_for_nobody(hone: Shell, judged: Path) -> None:
    hone("backup")
    lock = FileLock(paths.chat_lock(judged))
    with lock:
        assert "Quit it (Ctrl+Q)" in hone("restore", "-y", code=1)


def test_every_command_says_the_way_back_from_damage(hone: Shell, judged: Path) -> None:
    hone("backup")
    os.truncate(paths.database(judged), 5000)
    for command in (["runs"], ["adapters", "list"], ["backup"], ["judge", "--file", os.devnull]):
        said = hone(*command, code=1)
        assert "is damaged" in said
        assert "hone restore" in said
        assert len(said.splitlines()) == 1
    said = hone("restore", "-y")
    assert "damaged-" in said
    assert "forget it again" in said
    assert "no runs yet" in hone("runs")


def findings(hone: Shell, *arguments: str, code: int) -> dict[str, dict]:
    hone("doctor", "--json", *arguments, code=code)
    import json

    return {check["check"]: check for check in json.loads(hone.out)["checks"]}


@pytest.fixture
def only_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks that need no model."""
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in ("data", "backups")})


@pytest.mark.usefixtures("only_data")
def test_doctor_tells_damage_from_an_index_that_can_be_made_again(hone: Shell, judged: Path) -> None:
    assert findings(hone, code=0)["backups"]["backups"] == 0
    hone("backup")
    assert findings(hone, code=0)["backups"]["backups"] == 1
    with sqlite3.connect(paths.database(judged)) as db:
        db.execute("INSERT INTO messages_fts(rowid, content) VALUES (1, 'never said')")
    db.close()
    data = findings(hone, code=1)["data"]
    assert data["repairable"] is True
    assert "hone doctor --repair" in data["message"]
    assert findings(hone, "--repair", code=0)["data"]["state"] == "ok"
    with sqlite3.connect(paths.database(judged)) as db:
        db.execute("UPDATE messages SET thread_id = 'gone' WHERE seq = 1")
    db.close()
    data = findings(hone, code=1)["data"]
    assert "hone restore" in data["message"]
    assert "hone restore" in hone("doctor", "--repair", code=1)
    os.truncate(paths.database(judged), 5000)
    assert "hone restore" in findings(hone, code=1)["data"]["message"]


@pytest.mark.usefixtures("only_data")
def test_doctor_says_how_long_much_data_takes(hone: Shell, judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hone("doctor")
    assert "takes about" not in hone.err
    monkeypatch.setattr("storage.health.SECONDS_PER_GB", 1e6)
    hone("doctor")
    assert "takes about" in hone.err
    backups.make(judged).path.write_bytes(b"SQLite format 3\0 and no more")
    assert "damaged" in findings(hone, code=1)["backups"]["message"]
