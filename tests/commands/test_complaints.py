"""What a command says went wrong: whole lines in a pipe, broken between words at a terminal."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
import tty
from pathlib import Path

import pytest

from chatapp.cli import complain, main

TEXT = "the beginning of this sentence is longer than any line of forty cells, and its end is too"


def at_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    """The lines of TEXT as a terminal gets them."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with open(theirs, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        complain(TEXT)
    try:
        return os.read(ours, 4096).decode().splitlines()
    finally:
        os.close(ours)


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_a_terminal_breaks_no_word(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    lines = at_terminal(monkeypatch, columns)
    assert all(len(line) <= columns for line in lines)
    assert " ".join(lines) == f"hone: {TEXT}"
    assert len(lines) == -(-len(f"hone: {TEXT}") // columns)


def test_a_pipe_gets_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judgments", "show", "x" * 90, "--home", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
