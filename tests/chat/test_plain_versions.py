"""Versions, duels and models in the plain chat."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from chatapp.engine.base import EngineError
from chatapp.plain import run_plain
from chatapp.plain.commands import COMMANDS, Command
from storage.store import Store
from tests.chat.fakes import TEXTS, FakeEngine, FakeSpawn, make_settings
from tests.chat.plain_talk import add_version, judgments, talk


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    """A home with a live v2 that came after v1."""
    talk(tmp_path, "Why?", "1")
    add_version(tmp_path)
    add_version(tmp_path)
    return tmp_path


def live(tmp_path: Path) -> str:
    with Store.open(tmp_path / "home") as store:
        return str(store.value("SELECT coalesce(max('v' || number), 'base') FROM adapters WHERE state = 'live'"))


def test_versions_are_listed_and_told_of(learned: Path) -> None:
    said = talk(learned, "/versions", "/version v2", "/version base")
    assert "base: the model itself." in said
    assert "v1: was in use, " in said
    assert "v2: answers now, " in said
    assert "Made by a lesson, after v1." in said
    assert "Verdict: It won." in said
    assert "the model as it came, before any lesson" in said


def test_back_forth_and_use(learned: Path) -> None:
    said = talk(learned, "/rollback", "Why?", "/forward", "/use base", "/use base", "/use v1")
    assert "v1 answers from now on; /forward brings v2 back. Learning waits for a new judgment." in said
    assert "v2 answers from now on; /rollback brings v1 back." in said
    assert "The base answers from now on; " in said
    assert "Error: The base answers already." in said
    assert live(learned) == "v1"


def test_after_the_base_it_is_a_rollback_that_brings_it_back(tmp_path: Path) -> None:
    talk(tmp_path, "Why?")
    add_version(tmp_path)
    said = talk(tmp_path, "/rollback", "/forward")
    assert "The base answers from now on; /forward brings v1 back." in said
    assert "v1 answers from now on; /rollback brings the base back." in said


def test_a_version_is_compared_with_the_one_before_it(learned: Path) -> None:
    engine = FakeEngine()
    said = talk(learned, "/compare", "/compare v1", engine=engine)
    assert f"Question: Why?\nV1: {TEXTS[0]}\nv2: the same answer" in said
    assert f"The base: {TEXTS[0]}\nv1: the same answer" in said
    assert said.count("0 of 1 answers changed. The chat has its own version back.") == 2


def test_a_duel_is_blind_until_the_choice_and_counted(learned: Path) -> None:
    class Two(FakeEngine):
        def generate(self, *arguments: Any, **named: Any) -> Any:
            self.texts = (f"By {self.swaps[-1].parent.name if self.swaps and self.swaps[-1] else 'v2'}",)
            return super().generate(*arguments, **named)

    said = talk(learned, "/duel", "/duel 1", "/status", "Who?", "/read", "1", "u", "/duel", "Next?", engine=Two())
    assert "1. v2 against v1\n2. v2 against base" in said
    assert "Duel: v2 against v1. Each question gets one answer of each, in places by chance" in said
    blind, _, seen = said.partition("A > B: 1 pair, weight 1; ")
    assert "from v" not in blind
    assert "Answering in the duel of v2 against v1.\nA: By " in blind
    assert "End of the 2 answers of the duel. " in blind
    assert " won over v" in seen
    assert "v2: 1 of 1 so far (21 to 100 %). A is" in seen or "v2: 0 of 1 so far (0 to 79 %). A is" in seen
    assert "A is from v" in seen
    assert "Taken back: A > B" in seen
    assert "The duel of v2 against v1 has ended: the live version answers." in seen
    assert "End of the 3 answers." in seen
    assert judgments(learned)[-2:] == [("pick", False), ("duel", False)]


def test_with_one_to_meet_a_duel_begins_at_once(tmp_path: Path) -> None:
    talk(tmp_path, "Why?")
    add_version(tmp_path)
    said = talk(tmp_path, "v", "v")
    assert "Duel: v1 against base." in said
    assert "The duel of v1 against base has ended" in said


def test_a_version_that_came_meanwhile_is_told_and_answers(tmp_path: Path) -> None:
    talk(tmp_path, "Why?")
    add_version(tmp_path)
    engine = FakeEngine()
    said = talk(tmp_path, "Why?", "2", engine=engine)
    assert "All are from v1." in said


def test_lessons_are_listed_paused_and_ended(tmp_path: Path) -> None:
    spawn = FakeSpawn()
    said = talk(tmp_path, "/training", "/pause", "/pause", "Why?", "1", "/train", "/training", "/cancel", spawn=spawn)
    assert "No lesson yet." in said
    assert "Lessons start by themselves again" in said
    assert "Lessons no longer start by themselves." in said
    assert "Lesson 1, " in said
    assert "waiting for its turn." in said
    assert "Lesson 1 will stop at its next step." in said


def test_another_model_answers_in_the_same_thread(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(40))
    said = talk(tmp_path, "One?", f"/model {other}", "Two?", "/status")
    assert "other.gguf answers until the chat ends" in said
    assert "The base answers; the model is other" in said
    with Store.open(tmp_path / "home") as store:
        assert store.value("SELECT count(DISTINCT model_hash) FROM generations") == 2
        assert store.value("SELECT count(*) FROM threads") == 1


def test_a_model_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    said = talk(tmp_path, f"/model {tmp_path / 'none.gguf'}", "Why?", "2")
    assert "The model before goes on answering." in said
    assert "B > A, C" in said


def test_models_are_listed(tmp_path: Path) -> None:
    said = talk(tmp_path, "/model")
    assert "/model and a number, a file or ollama:NAME answers with another one" in said


def other_model(tmp_path: Path) -> Path:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(40))
    return other


def test_a_duel_of_the_model_before_is_not_begun(learned: Path) -> None:
    said = talk(learned, "/duel", f"/model {other_model(learned)}", "/duel 1", "Who?", "1")
    assert "Duel: " not in said
    assert judgments(learned)[-1] == ("pick", True)


def test_a_version_whose_files_went_is_not_met(learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(talk: Any, rest: str) -> None:
        for file in (learned / "home" / "adapters").glob("*/adapter.gguf"):
            if talk.session.adapter.id not in str(file):
                file.unlink()

    monkeypatch.setitem(COMMANDS, "/gone", Command("", "", gone))
    said = talk(learned, "/duel", "/gone", "/duel 1", "/duel 2")
    assert "v1 is not there any more: /duel lists those that can meet." in said
    assert "Duel: v2 against base." in said


def test_what_is_said_of_who_answers_is_true_in_a_duel(learned: Path) -> None:
    said = talk(learned, "/duel", "/duel 1", "/use v1", "/status", "/often")
    assert "v1 is live now, but the duel goes on; " in said
    assert "answers from now on" not in said
    assert said.count("In the duel each question gets one answer of each version.") == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, EngineError("It broke.")])
def test_where_another_model_cannot_be_opened_the_one_before_goes_on(tmp_path: Path, error: Any) -> None:
    class Broken(FakeEngine):
        @property
        def info(self) -> Any:
            raise error

    engines = [FakeEngine(), Broken(), FakeEngine()]
    made = iter(engines)
    out = io.StringIO()
    lines = io.StringIO(f"One?\n/model {other_model(tmp_path)}\nTwo?\n/status\n")
    run_plain(make_settings(tmp_path), lines, out, lambda config: next(made), FakeSpawn())
    said = out.getvalue()
    assert "The model before goes on answering." in said
    assert "answers until the chat ends" not in said
    assert [m["content"] for m in engines[2].asked[0]] == ["One?", TEXTS[0], "Two?"]
    assert "the model is other" not in said
    assert all(engine.closed for engine in engines)


def test_a_chat_that_lost_both_models_says_that_it_ends(tmp_path: Path) -> None:
    engines = iter([FakeEngine()])

    def make(config: Any) -> FakeEngine:
        engine = next(engines, None)
        if engine is None:
            raise EngineError("No memory.")
        return engine

    out = io.StringIO()
    lines = io.StringIO(f"One?\n/model {other_model(tmp_path)}\nTwo?\n")
    assert run_plain(make_settings(tmp_path), lines, out, make, FakeSpawn()) == 1
    assert "The chat ends: the model before cannot be opened again. No memory." in out.getvalue()


def test_a_question_without_an_answer_is_not_of_the_last_session(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.error = EngineError("No.")
    said = talk(tmp_path, "One?", f"/model {other_model(tmp_path)}", "d", engine=engine, code=1)
    assert "The last session ended" not in said
    assert "There is no answer yet: r asks again." in said


def test_comparing_does_not_tell_who_is_who_in_a_duel(learned: Path) -> None:
    said = talk(learned, "/duel", "/duel 1", "Who?", "When?", "p", "/compare", "1", "/compare")
    first, second = said.split("Your last questions, ")[1:]
    assert "Question: Why?" in first
    assert "Question: Who?" not in first
    assert "Question: When?" not in first
    assert "Question: Who?" in second
    assert "Question: When?" not in second
