"""The plain chat, by piped input."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from chatapp.engine.base import EngineCrashed
from chatapp.opening import lock_home
from chatapp.plain import run_plain
from tests.chat.fakes import TEXTS, FakeEngine, FakeSpawn, make_settings
from tests.chat.plain_talk import judgments, talk


def test_answers_are_printed_one_after_the_other(tmp_path: Path) -> None:
    said = talk(tmp_path, "Why?")
    assert said.splitlines() == [
        f"A: {TEXTS[0]}",
        f"B: {TEXTS[1]}",
        "C: The third answer.",
        "",
        "It has two paragraphs.",
        "End of the 3 answers. The number of the best one picks it; /help says what else can be written.",
    ]


@pytest.mark.parametrize(
    ("line", "said", "kind"),
    [
        ("2", "B > A, C: 2 pairs", "pick"),
        ("2>1=3", "B > A = C: 2 pairs", "ranking"),
        ("c > a", "C > A > B: 3 pairs", "ranking"),
        ("x", "all bad: 3 bad examples", "all_bad"),
        ("+1", "A good: 1 good example", "thumb"),
        ("- 2", "B bad: 1 bad example", "thumb"),
        ("s 1 6", "A 6/7", "rating"),
        ("n 2 too long, and flat", "note on B", "note"),
        ("f 1 3", "A breaks the rule 'insults': 1 rule label", "flag"),
        ("f3 12 kept", "C keeps the rule 'asked-for form': 1 rule label", "flag"),
    ],
)
def test_judging(tmp_path: Path, line: str, said: str, kind: str) -> None:
    assert said in talk(tmp_path, "Why?", line)
    assert judgments(tmp_path) == [(kind, True)]


def test_correcting_and_undoing(tmp_path: Path) -> None:
    said = talk(tmp_path, "Why?", "2", "e 1", "Better.", "", "Much.", ".", "u", "u", "u")
    assert "correction > A, B, C: 3 pairs" in said
    assert "Taken back: correction" in said
    assert "Taken back: B > A, C" in said
    assert "Nothing to undo" in said
    assert judgments(tmp_path) == [("pick", False), ("correction", False)]


def test_rules_are_listed_and_unknown_ones_named(tmp_path: Path) -> None:
    said = talk(tmp_path, "Why?", "/rules", "f 1 77", "n 1 x", "n 1 y", "u", "u", "u")
    assert "3. insults: Does not insult" in said
    assert "There is no rule 77 to flag" in said
    assert said.count("Taken back: note on A") == 2
    assert "Nothing to undo" in said


def test_a_correction_without_its_end_is_not_recorded(tmp_path: Path) -> None:
    assert "was not recorded" in talk(tmp_path, "Why?", "e 1", "Better.")
    assert judgments(tmp_path) == []


def test_going_on_and_branching(tmp_path: Path) -> None:
    engine = FakeEngine()
    talk(tmp_path, "One?", "2", "Two?", "/edit Deux?", "/text 2", engine=engine)
    asked = [[m["content"] for m in messages] for messages in engine.asked]
    assert asked == [
        ["One?"],
        ["One?", TEXTS[1], "Two?"],
        ["One?", TEXTS[1], "Deux?"],
        ["One?", TEXTS[1], "Deux?", TEXTS[0], "2"],
    ]


def test_a_number_out_of_range_is_no_question(tmp_path: Path) -> None:
    engine = FakeEngine()
    assert "There is no answer 7" in talk(tmp_path, "Why?", "7", engine=engine)
    assert len(engine.asked) == 1


def test_threads(tmp_path: Path) -> None:
    said = talk(
        tmp_path, "About apples", "/new", "About pears", "/rename Fruit", "/threads", "/find apples", "/open 1",
        "/delete", "/threads", "/undelete", "/open 9", "/nonsense",
    )  # fmt: skip
    assert "1. Fruit (this one)" in said
    assert "Thread: About apples" in said
    assert "no longer learned from" in said
    assert "Write /open and a number" in said
    assert "There is no command /nonsense" in said


def test_what_is_found_is_read_out_and_opens_at_its_turn(tmp_path: Path) -> None:
    said = talk(tmp_path, "About apples", "About pears", "/new", "About plums", "/find apples", "/open 1", "/status")
    assert "1. About apples\n   In it: About apples" in said
    assert "An earlier turn, 1 more after it. P goes on, /latest returns." in said
    assert "In it:" not in talk(tmp_path, "/threads")


def test_the_next_start_shows_where_one_was(tmp_path: Path) -> None:
    talk(tmp_path, "Why?", "2")
    said = talk(tmp_path, "Go on")
    assert "You: Why?" in said
    assert f"B: {TEXTS[1]}" in said


def test_errors_do_not_end_it(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.error = EngineCrashed("The engine died.")
    said = talk(tmp_path, "Why?", "2", "/status", engine=engine, code=1)
    assert "Error: The engine died." in said
    assert "Error: There are no answers to judge yet" in said
    assert "Fake" in said or "fake" in said


def test_untrusted_output(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.texts = ("\x1b[2Jboo\r\nnext",)
    said = talk(tmp_path, "Why?", engine=engine)
    assert "A: ␛[2Jboo" in said
    assert "\x1b" not in said
    assert "\r" not in said


def test_training_on_command(tmp_path: Path) -> None:
    spawn = FakeSpawn()
    assert "Lesson 1 begins" in talk(tmp_path, "Why?", "1", "/train", spawn=spawn)
    assert spawn.commands[0][-5:-1] != []


def test_training_by_itself(tmp_path: Path) -> None:
    spawn = FakeSpawn()
    assert "Lesson 1 begins" in talk(tmp_path, "Why?", "1", "Next?", spawn=spawn, auto_train=True, train_after=1)


def test_a_second_one_on_the_same_home_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = make_settings(tmp_path)
    with lock_home(settings):
        assert run_plain(settings, io.StringIO(), io.StringIO()) == 1
    assert "already running" in capsys.readouterr().err
