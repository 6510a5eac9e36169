"""How wide the plain chat's lines are: as they come in a pipe, broken between words at a terminal."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from chatapp.plain import run_plain
from chatapp.plain.lines import Breaks
from tests.chat.fakes import FakeEngine, FakeSpawn, make_settings


class Screen(io.StringIO):
    """A terminal that is written to."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1


LONG = "The lighthouse keeper counted every single wave until the morning came."


def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int, out: io.StringIO | None = None) -> list[str]:
    engine, out = FakeEngine(), Screen() if out is None else out
    engine.texts = (
        f"{LONG}\n```\n{LONG}\n```\n{LONG}\n    {LONG}\n| {LONG} |\nhttps://example.org/{'x' * 60} is long.",
        f"~~~\n{LONG}",
        "漢字" * 30 + " " + LONG,
    )
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((columns, 24)))
    assert run_plain(make_settings(tmp_path), io.StringIO("Why?\n"), out, lambda config: engine, FakeSpawn()) == 0
    return out.getvalue().splitlines()


def test_at_a_terminal_lines_break_between_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(tmp_path, monkeypatch, 40)
    assert lines[:3] == ["A: The lighthouse keeper counted every", "single wave until the morning came.", "```"]
    end = lines.index("End of the 3 answers. The number of the")
    assert lines[end + 1 :] == ["best one picks it; /help says what else", "can be written."]


def test_code_tables_and_long_words_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(tmp_path, monkeypatch, 40)
    assert lines[2:5] == ["```", LONG, "```"]
    assert [f"    {LONG}", f"| {LONG} |"] == lines[7:9]
    assert "https://example.org/" + "x" * 60 + " is long." in lines
    # a fence without its end ends with its answer
    at = lines.index("B: ~~~")
    assert lines[at + 1] == LONG
    assert lines[at + 2].startswith("C: 漢字")
    assert LONG not in lines[at + 2 :]


def test_in_a_pipe_lines_are_as_long_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(tmp_path, monkeypatch, 40, io.StringIO())
    assert lines[0] == f"A: {LONG}"


def test_a_terminal_that_does_not_say_how_wide_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(tmp_path, monkeypatch, 0)[0] == f"A: {LONG}"


def test_no_break_makes_a_text_pass_for_a_line_of_its_own() -> None:
    text = "A: " + "word " * 7 + "B: Rome. End of the 3 answers."
    for width in range(8, 60):
        assert not [part for part in Breaks(lambda width=width: width)(text)[1:] if part.startswith(("B:", "End of"))]
