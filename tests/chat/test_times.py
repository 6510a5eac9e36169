"""What a person reads is the time of their own clock; what is stored and what --json gives stays UTC."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatapp.conversation import read
from chatapp.markdown import document
from chatapp.screens.judgments import JudgmentsPage
from chatapp.screens.training import TrainingPage
from chatapp.screens.versions import VersionsPage
from chatapp.times import day, short, shorter, when
from storage.store import Store
from tests.chat.plain_talk import talk
from tests.chat.test_chat_lessons import adapter
from tests.chat.test_judgments_page import turn
from tests.commands.shell import Shell

Open = Callable[..., Any]
YEAR = time.strftime("%Y")  #: this one, which the pages leave out where there is little room
#: half an hour before midnight in UTC, which is the next day in Auckland: 12:30
STORED, THERE = f"{YEAR}-11-28T23:30:15.000001+00:00", f"{YEAR}-11-29 12:30"


@pytest.fixture
def auckland(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "NZDT-13")  # POSIX's own form, whatever zones are installed: 13 hours ahead
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def age(store: Store) -> None:
    """All of it was made at STORED."""
    with store.write() as db:
        for table in ("threads", "judgments", "runs", "adapters"):
            db.execute(f"UPDATE {table} SET created_at = ?", [STORED])
        db.execute("UPDATE threads SET updated_at = ?", [STORED])
        db.execute("UPDATE judgments SET retracted_at = ? WHERE retracted_at IS NOT NULL", [STORED])


def test_a_time_is_told_by_the_local_clock(auckland: None) -> None:
    assert when(STORED) == THERE
    assert day(STORED) == f"{YEAR}-11-29"
    assert when(f"{YEAR}-11-28T23:30:15") == THERE, "without a zone it is UTC, as all that is stored"
    assert when(f"{YEAR}-11-28T23:30:15Z") == THERE
    assert when("9999-12-31T23:30:00Z") == "9999-12-31 23:30", "a year that the clock cannot reach stays as it is"
    assert when("long ago") == "long ago"


def test_a_short_one_has_the_year_where_it_is_another(auckland: None) -> None:
    assert short(f"{YEAR}-06-28T23:30:15+00:00") == "06-29 12:30"
    assert shorter("1999-11-29 12:30") == "1999-11-29"


def text(chat: Any) -> str:
    return " ".join("\n".join(chat.drawn).split())


@pytest.mark.parametrize("width", [80, 100, 140])
async def test_the_pages_tell_local_times(open_chat: Open, auckland: None, width: int) -> None:
    async with open_chat((width, 40)) as chat:
        prompt, ids = turn(chat.store, "Why apples?", "They keep.", "They are red.")
        chat.store.judgments.pick(prompt, ids[0], ids)
        chat.store.runs.queue("dpo", {}, chat.screen.session.model.hash)
        adapter(chat, "It won.")
        age(chat.store)
        for key, page in (("f3", TrainingPage), ("f4", VersionsPage), ("f5", JudgmentsPage)):
            await chat.press(key)
            await chat.until(lambda page=page: isinstance(chat.app.screen, page) and "11-29 12:30" in text(chat))
            assert "UTC" not in text(chat)
            if key == "f5":
                assert any("Why apples?" in line and "A > B: 1 pair" in line for line in chat.drawn)
                await chat.press("enter")
                await chat.until(lambda: f", {THERE} · in “About apples”" in text(chat))
                await chat.press("escape")
                await chat.until(lambda: isinstance(chat.app.screen, JudgmentsPage))
            else:
                assert THERE in text(chat)
            await chat.press("escape")
            await chat.until(lambda: chat.app.screen is chat.screen)


def test_the_commands_tell_local_times_and_json_tells_utc(
    home: Path, capsys: pytest.CaptureFixture[str], auckland: None
) -> None:
    with Store.open(home) as store:
        prompt, ids = turn(store, "Why apples?", "They keep.", "They are red.")
        pick = store.judgments.pick(prompt, ids[0], ids)
        gone = store.judgments.thumb(prompt, ids[1], 1)
        store.judgments.retract(gone.id)
        store.runs.queue("dpo", {})
        age(store)
        thread = store.threads.list()[0]
        assert f"*{THERE}*" in document(read(store, thread))
    hone = Shell(capsys)
    lists = [("threads", "list"), ("judgments", "list"), ("runs",)]
    for command in [*lists, ("threads", "show", thread.id), ("judgments", "show", pick.id)]:
        assert THERE in hone(*command)
        assert "UTC" not in hone.out
    for command in lists:
        assert STORED in json.dumps(hone.json(*command))
    assert f"taken back on {YEAR}-11-29" in hone("judgments", "list", "--all")
    assert f"taken back on {YEAR}-11-29" in hone("judgments", "show", gone.id)
    assert f"it was taken back on {YEAR}-11-28" in json.dumps(hone.json("judgments", "show", gone.id))


def test_the_plain_chat_tells_local_times(tmp_path: Path, auckland: None) -> None:
    talk(tmp_path, "Why?", "n 1 too dull", "x")
    with Store.open(tmp_path / "home") as store:
        store.runs.queue("dpo", {})
        age(store)
    said = talk(tmp_path, "/judgments", "/judgment 1", "/training")
    assert f"1. {THERE}, all bad" in said
    assert f"of {THERE}:" in said
    assert f"Lesson 1, {THERE}: " in said
    assert "UTC" not in said
