"""`hone bench ui`: what it takes for an echo, and a small measurement of the real program."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from chatapp.config import Settings
from storage.store import Store
from trainer.bench import ui
from trainer.bench.terminal import Terminal
from trainer.errors import TrainerError

#: a program that writes each letter as full-screen programs do: the colour, the place, the letter; Ctrl+Q ends it
CHILD = """
import os, sys, tty
tty.setraw(0)
print("\\x1b]0;title\\x07\\x1b[2JA\\x1b[7ms\\x1b[0mk some\\x1b[1mthing", *os.get_terminal_size(), flush=True)
while (key := os.read(0, 8)) != b"\\x11":
    for byte in b"\\x1b[38;2;1;2;3m\\x1b[4;7H" + (key if key != b"-" else b"") + b"\\x1b[0m":
        os.write(1, bytes([byte]))
"""


def child(size: tuple[int, int] = (80, 24)) -> Terminal:
    return Terminal([sys.executable, "-c", CHILD], size, os.environ)


def test_words_are_found_between_escape_sequences_and_the_program_has_the_size() -> None:
    with child((140, 45)) as terminal:
        assert terminal.until("Ask something 140 45") > terminal.started
        assert "title" not in terminal.text


def test_an_echo_is_the_letter_that_was_typed_and_no_older_one() -> None:
    with child() as terminal:
        terminal.until("80 24\n")
        for letter in ui.GLYPHS:
            pressed = terminal.keys(letter)
            assert 0 < terminal.until(letter) - pressed < 10
            assert set(terminal.text) & set(ui.GLYPHS) == {letter}
        terminal.keys("-")
        with pytest.raises(TrainerError, match="'-' did not appear"):
            terminal.until("-", 0.2)


def test_a_program_that_ends_is_not_waited_for() -> None:
    program = [sys.executable, "-c", "print('no')"]
    with Terminal(program, (80, 24), os.environ) as terminal, pytest.raises(TrainerError, match="last words: 'no"):
        terminal.until("yes", 30)


def test_the_verdict_holds_the_worst_of_both_sizes_to_the_limits() -> None:
    def found(p95: float) -> dict[str, object]:
        return {
            "first_paint_s": 0.4,
            "echo_streaming_ms": {"p95": 10.0},
            "echo_training_ms": {"p95": p95},
            "thread_s": 0.9,
            "page_ms": {"p95": 20.0},
        }

    good = {"help_s": 0.1, "80x24": found(20.0), "140x45": found(49.0)}
    assert ui._verdict(good, quick=False)["ok"]
    slow = good | {"140x45": found(51.0)}
    assert ui._verdict(slow, quick=False)["aims"]["echo, p95 <= 50 ms"] is False
    assert not ui._verdict(slow, quick=False)["ok"]
    assert ui._verdict(slow, quick=True)["ok"], "a small measurement judges nothing"


@pytest.mark.real
def test_the_real_program_is_measured(tmp_path: Path) -> None:
    environment = ui._environment(Settings.load({})) | {"HONE_MAX_TOKENS": "48"}
    with Store.open(tmp_path / "long") as store:
        ui.long_thread(store, 40)
    found = ui.thread(ui._at(environment, tmp_path / "long"), (80, 24), 1, 4)
    assert found["thread_s"] > 0
    assert found["page_ms"]["count"] == 6
    assert ui.first_paint(tmp_path, environment, (140, 45), 1) > 0
    assert ui.echo(ui._at(environment, tmp_path / "streaming"), (80, 24), 2)["count"] == 2
