"""Lines and surroundings that the plain chat must stand, and what another program changes under it."""

from __future__ import annotations

import argparse
import io
import signal
from pathlib import Path
from typing import Any

import pytest

from chatapp.commands import chat
from chatapp.plain import run_plain
from storage.forgetting import forget
from storage.store import Store
from tests.chat.fakes import FakeEngine, FakeSpawn, make_settings
from tests.chat.plain_talk import judgments, talk

# -- what must not end the chat, nor be misunderstood ------------------------------------------------------------------


def test_bytes_that_are_no_text_do_not_end_it(tmp_path: Path) -> None:
    engine, out = FakeEngine(), io.StringIO()
    stdin = io.TextIOWrapper(io.BytesIO(b"caf\xe9 au lait?\n2\n"), encoding="utf-8", errors="surrogateescape")
    assert run_plain(make_settings(tmp_path), stdin, out, lambda config: engine, FakeSpawn()) == 0
    assert engine.asked[0][-1]["content"] == "caf\ufffd au lait?"
    assert "B > A, C" in out.getvalue()


def test_the_command_takes_any_byte_and_prints_what_the_terminal_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, written = FakeEngine(), io.BytesIO()
    engine.texts = ("Yes 🙂", "No", "Perhaps")

    def plain(settings: Any, stdin: Any, stdout: Any, thread: str | None) -> int:
        return run_plain(settings, stdin, stdout, lambda config: engine, FakeSpawn(), thread)

    monkeypatch.setattr("chatapp.plain.run_plain", plain)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9?\n2\n"), encoding="utf-8"))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="latin-1"))
    assert chat.run(make_settings(tmp_path), argparse.Namespace(plain=True, resume=None, newest=False)) == 0
    assert b"A: Yes ?" in written.getvalue()
    assert b"B > A, C" in written.getvalue()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/export ~nobody-has-this-name/x.md", "cannot be written"),
        ("/model ~nobody-has-this-name/x.gguf", "The model before goes on answering."),
        ("/model /nowhere/\0x", "is no name of a file"),
        ("/open " + "9" * 5000, "Write /open and a number"),
        ("/duel " + "9" * 5000, "There is no version yet"),
        ("r 1 " + "9" * 5000, "is no judgment"),
        ("f 1 " + "9" * 5000, "is no judgment"),
        ("r 1", "Write the points behind the answer: r 1 6."),
        ("f 1 3 broke", "Write broken or kept behind the rule: f 1 3 kept."),
        ("e 1 2", "e 1 2 is no judgment"),
        ("+ 1 2", "+ 1 2 is no judgment"),
        ("1 2", "1 2 is no judgment: write > or = between the answers"),
        ("1,2", "1,2 is no judgment"),
        ("u u", "u u is no judgment"),
        ("x 1", "x 1 is no judgment: x alone says that all are bad, -2 that B is."),
        ("x2", "x2 is no judgment"),
        ("u 3", "u 3 is no judgment: u alone takes the newest judgment back."),
        ("> >", "> > is no judgment"),
        ("2>", "2> is no ranking: write > or = between the answers, the best first, as in 2>1=3. /text 2> asks this."),
        ("1=", "1= is no ranking"),
        ("1 > ", "1 > is no ranking"),
        (">2", ">2 is no ranking"),
        ("2>1=", "2>1= is no ranking"),
        ("2>1=3>", "2>1=3> is no ranking"),
        ("2>1,3", "2>1,3 is no ranking"),
        ("2 1>3", "2 1>3 is no ranking"),
        ("1<2", "1<2 is no ranking"),
        ("1==2", "1==2 is no ranking"),
        ("B >", "B > is no ranking"),
        ("b>a=", "b>a= is no ranking"),
        ("=", "= is no ranking"),
        ("2>" * 3000, "is no ranking"),
        ("/open\t1", "Write /open and a number"),
        ("/often Ctrl+R", "Ctrl+R is none of them"),
    ],
)
def test_a_line_that_lacks_something_is_refused_and_no_question(tmp_path: Path, line: str, said: str) -> None:
    engine = FakeEngine()
    assert said in talk(tmp_path, "Why?", line, engine=engine)
    assert len(engine.asked) == 1
    assert judgments(tmp_path) == []


@pytest.mark.parametrize(
    "line",
    [
        "42", "A dog or a cat?", "12 months, why?", "e", "a horse", "2 > 1?", "1 + 1 =", "100 =", "a = 1, b = 2",
        "<b>", "=>", "Is 2 > 1", "-> 2", "x =", "U2", "<2", "e = mc", "2 >= 1, or not", "q >",
    ],
)  # fmt: skip
def test_what_only_begins_like_a_judgment_is_asked(tmp_path: Path, line: str) -> None:
    engine = FakeEngine()
    talk(tmp_path, "Why?", f"/text {line}" if line == "e" else line, engine=engine)
    assert engine.asked[1][-1]["content"] == line


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("12", "L > A, B"),
        ("L", "L > A, B"),
        ("+16", "P good"),
        ("-p", "P bad"),
        ("r 10 6", "J 6/7"),
        ("12>1=3", "L > A = C > "),
        ("d12", "From A to B"),
        ("d 10 12", "From J to L"),
    ],
)
def test_answers_beyond_the_ninth_are_named_too(tmp_path: Path, line: str, said: str) -> None:
    engine = FakeEngine()
    engine.texts = tuple(f"Answer {number}." for number in range(16))
    assert said in talk(tmp_path, "Why?", line, engine=engine, alternatives=16)


def test_a_path_is_said_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "Escape · Ctrl+R.md"
    said = talk(tmp_path, "Why?", f"/export {file}", f"/export {file}")
    assert f"This thread was saved as {file}" in said
    assert f"Error: {file} is there already." in said


def test_a_thread_that_could_not_be_written_whole_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatapp.markdown.document", lambda thread: "\ud800")
    assert "cannot be written" in talk(tmp_path, "Why?", f"/export {tmp_path / 'half.md'}")
    assert not (tmp_path / "half.md").exists()


# -- what another program did meanwhile --------------------------------------------------------------------------------


class Meanwhile(io.StringIO):
    """Lines, before some of which something else happens."""

    def __init__(self, *lines: Any) -> None:
        super().__init__()
        self._lines = list(lines)

    def readline(self, size: int | None = -1, /) -> str:
        while self._lines and callable(self._lines[0]):
            self._lines.pop(0)()
        return f"{self._lines.pop(0)}\n" if self._lines else ""


def with_others(tmp_path: Path, *lines: Any) -> str:
    out = io.StringIO()
    assert run_plain(make_settings(tmp_path), Meanwhile(*lines), out, lambda config: FakeEngine(), FakeSpawn()) == 0
    return out.getvalue()


@pytest.mark.parametrize("line", ["2", "x", "2>1>3"])
def test_a_verdict_that_was_taken_back_elsewhere_is_recorded_again(tmp_path: Path, line: str) -> None:
    def retract() -> None:
        with Store.open(tmp_path / "home") as store:
            store.judgments.retract(store.value("SELECT id FROM judgments ORDER BY seq DESC LIMIT 1"))

    with_others(tmp_path, "Why?", line, retract, line)
    assert [counts for _, counts in judgments(tmp_path)] == [False, True]


def test_what_was_taken_back_elsewhere_is_no_longer_said(tmp_path: Path) -> None:
    def retract() -> None:
        with Store.open(tmp_path / "home") as store:
            for row in store.rows("SELECT id FROM judgments"):
                store.judgments.retract(row["id"])

    said = with_others(tmp_path, "Why?", "r 1 6", "+2", "/read", retract, "/read", retract, "+2", "/read")
    _, before, after, last = said.split("You: Why?\n")
    assert before.startswith("A, 6 of 7 points: ")
    assert "B, good: " in before
    assert after.startswith("A: ")
    assert "B good" in after, "it is given anew, not taken back"
    assert "B, good: " in last


def test_what_was_forgotten_elsewhere_is_no_longer_said(tmp_path: Path) -> None:
    def gone() -> None:
        with Store.open(tmp_path / "home") as store:
            forget(store, [store.value("SELECT id FROM messages WHERE content = 'About pears'")])

    said = with_others(tmp_path, "About apples", "About pears", gone, "/read")
    after = said.partition("Note: A part of this thread was forgotten by another program.")[2]
    assert "You: About apples" in after
    assert "pears" not in after


def test_ctrl_c_while_the_files_are_cleaned_leaves_the_turn_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("storage.scrubbing.scrub", interrupted)
    said = talk(tmp_path, "About apples", "About pears", "/forget turn", "y", "/read")
    after = said.partition("It is forgotten; ")[2]
    assert "Stopped." in after
    assert "You: About apples" in after
    assert "pears" not in after


def test_a_thread_that_was_deleted_since_it_was_listed_is_not_opened(tmp_path: Path) -> None:
    def delete() -> None:
        with Store.open(tmp_path / "home") as store:
            store.threads.delete(store.value("SELECT id FROM threads WHERE title = 'About apples'"))

    said = with_others(tmp_path, "About apples", "/new", "About pears", "/threads", delete, "/open 2", "/status")
    assert "That thread was deleted: /threads lists those there are." in said
    assert "Thread: About pears" in said
    assert "Write /open and a number" in with_others(tmp_path, "/threads", "/delete", "/open 1")


def test_the_text_of_a_note_is_told(tmp_path: Path) -> None:
    said = talk(tmp_path, "Why?", "n 1 too dull", "x", "/judgments", "/judgment 1", "/judgment 2")
    assert "Its text: too dull" in said
    assert "UTC: 3 bad examples" in said


def test_after_ctrl_c_the_next_answer_begins_a_line_of_its_own(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    class Interrupted(FakeEngine):
        def generate(self, *arguments: Any, **named: Any) -> Any:
            self.feed(0, "Half")
            signal.raise_signal(signal.SIGINT)
            return super().generate(*arguments, **named)

    out = io.StringIO()
    run_plain(make_settings(tmp_path), Terminal("Why?\n"), out, lambda config: Interrupted(), FakeSpawn())
    assert "\n\nA: " in out.getvalue() or "\n\nB: " in out.getvalue()
