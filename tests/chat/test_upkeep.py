"""The data's safety in the chat: damage is said, backups are made beside everything, and neither holds anybody up."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatapp import plain
from chatapp.upkeep import Upkeep
from storage import backups, health, paths
from storage.ids import now
from storage.store import Store
from tests.chat.fakes import FakeEngine, FakeSpawn, make_settings
from tests.storage.test_backups import turn
from tests.storage.test_health import fill, overwrite


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Upkeep, "DELAY", 0.0)


@pytest.fixture
def chat_home(tmp_path: Path) -> Path:
    return make_settings(tmp_path).home


@pytest.mark.usefixtures("at_once")
async def test_the_chat_makes_the_weeks_backup_and_the_days_check(open_chat: Any, chat_home: Path) -> None:
    with Store.open(chat_home) as store:
        turn(store)
    async with open_chat(wait=False) as chat:
        await chat.until(lambda: backups.list(chat_home))
        assert chat.store.meta_get(health.CHECKED) is not None
    assert [backup.reason for backup in backups.list(chat_home)] == ["weekly"]


@pytest.mark.usefixtures("at_once")
async def test_damage_found_by_the_days_check_is_said(
    open_chat: Any, chat_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further back than the look at the opening sees."""
    with Store.open(chat_home) as store:
        turn(store)
    backups.make(chat_home)
    async with open_chat(wait=False) as chat:
        await chat.until(lambda: chat.screen.is_open and chat.store.meta_get(health.CHECKED))
    with Store.open(chat_home) as store:
        store.meta_set(health.CHECKED, "2020-01-01T00:00:00+00:00")
    monkeypatch.setattr(health, "damage", lambda path, stop: "Page 7: it is all wrong")
    async with open_chat(wait=False) as chat:
        await chat.says("Page 7: it is all wrong. Nothing was changed. `hone restore` brings")
        assert (chat.store.meta_get(health.CHECKED) or "").startswith("2020")


def test_what_is_found_while_the_chat_asks_is_not_lost(chat_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a moment to put damage into words, in which the chat asks what there is to say."""
    monkeypatch.setattr(Upkeep, "DELAY", 0.0)
    monkeypatch.setattr(health, "damage", lambda path, stop: "Page 7: it is all wrong")
    corrupt = health.corrupt
    with Store.open(chat_home) as store:
        upkeep = Upkeep(store)
        said: list[Any] = []

        def slow(*arguments: Any) -> Any:
            said.extend(upkeep.take())
            return corrupt(*arguments)

        monkeypatch.setattr(health, "corrupt", slow)
        upkeep.start()
        upkeep._thread.join(10)
        said += upkeep.take()
        assert [note.error for note in said] == [True]
        assert upkeep.take() == []


async def test_a_damaged_database_is_shown_as_an_error_with_the_next_step(open_chat: Any, chat_home: Path) -> None:
    fill(chat_home)
    made = backups.make(chat_home)
    overwrite(paths.database(chat_home), 20 * 4096, bytes(8 * 4096))
    async with open_chat(wait=False) as chat:
        await chat.says("Hone could not open")
        await chat.says(f"`hone restore` brings the backup of {made.when} back")
        assert chat.app.return_code_on_exit == 1


async def test_damage_met_on_the_way_is_told_whole_and_once(open_chat: Any) -> None:
    async with open_chat() as chat:
        met = []

        def tick(idle: bool) -> None:
            met.append(idle)
            raise health.corrupt(chat.store.path, "it is all wrong")

        chat.screen.opened.lessons.tick = tick
        await chat.until(lambda: len(met) > 3)
        assert len([note for note in chat.notes if "There is no backup: `sqlite3" in note]) == 1


def test_a_check_is_made_once_a_day(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str | None] = ["bad", "bad", None]
    monkeypatch.setattr(health, "damage", lambda path, stop: found.pop(0))
    assert [health.daily(store) for _ in range(5)] == ["bad", "bad", None, None, None]
    assert found == []
    store.meta_set(health.CHECKED, "2020-01-01T00:00:00+00:00")
    found.append(None)
    health.daily(store)
    assert (store.meta_get(health.CHECKED) or "") > now()[:10]


@pytest.mark.usefixtures("at_once")
def test_what_fails_is_logged_and_disturbs_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    turn(store)
    monkeypatch.setattr(backups, "SPARE", 1 << 62)
    upkeep = Upkeep(store)
    upkeep.start()
    upkeep._thread.join()
    assert upkeep.take() == []
    assert "DiskFull: a copy of" in (paths.logs_dir(store.home) / "upkeep.log").read_text()


@pytest.mark.usefixtures("at_once")
def test_quitting_does_not_wait_for_a_backup(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up between two pieces, and nothing is left of it."""
    with store.write():
        for _ in range(300):
            turn(store)
    monkeypatch.setattr(backups, "PIECE", 1)
    upkeep = Upkeep(store)
    copy: Callable[..., None] = backups.copy

    def slow(source: Path, target: Path, stop: Any) -> None:
        upkeep._stop.set()
        copy(source, target, stop)

    monkeypatch.setattr(backups, "copy", slow)
    upkeep.start()
    upkeep._thread.join()
    assert os.listdir(paths.backups_dir(store.home)) == []
    assert not (paths.logs_dir(store.home) / "upkeep.log").exists()


@pytest.mark.usefixtures("at_once")
def test_the_plain_chat_does_it_too(tmp_path: Path, chat_home: Path) -> None:
    with Store.open(chat_home) as store:
        turn(store)
    reading, writing = os.pipe()
    out = io.StringIO()
    with os.fdopen(reading) as stdin:

        def quit_when_done() -> None:
            while not backups.list(chat_home):
                threading.Event().wait(0.01)
            os.write(writing, b"/quit\n")
            os.close(writing)

        threading.Thread(target=quit_when_done).start()
        code = plain.run_plain(make_settings(tmp_path), stdin, out, lambda config: FakeEngine(), FakeSpawn())
    assert code == 0
    assert [backup.reason for backup in backups.list(chat_home)] == ["weekly"]
