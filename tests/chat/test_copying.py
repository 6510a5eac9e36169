"""Copying: by the terminal, by tmux and by the platform's commands; and a block of code alone."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from chatapp import copying
from chatapp.copying import OSC52_LIMIT, commands, copy, through_screen
from chatapp.screens.dialogs import Choose
from tests.chat.fakes import FakeEngine

Open = Callable[..., Any]


class Terminal:
    """What an app is for copying."""

    def __init__(self) -> None:
        self.got: list[str] = []

    def copy_to_clipboard(self, text: str) -> None:
        self.got.append(text)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """install(name, script): adds a command; there are no others. It returns the file that `cat > $OUT` fills."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("SSH_CONNECTION", "SSH_TTY", "TMUX", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(copying.sys, "platform", "linux")

    def make(name: str, script: str = "/bin/cat > $OUT") -> Path:
        out = tmp_path / f"{name}.out"
        path = folder / name
        path.write_text(f"#!/bin/sh\nOUT={out}\n{script}\n")
        path.chmod(0o755)
        return out

    return make


async def test_without_any_command_the_terminal_is_asked(install: Callable[..., Path]) -> None:
    terminal = Terminal()
    assert await copy(terminal, "some text") == ""  # type: ignore[arg-type]
    assert terminal.got == ["some text"]


async def test_what_a_terminal_obeys_is_not_copied(install: Callable[..., Path]) -> None:
    terminal = Terminal()
    await copy(terminal, "a\x1b[201~\tb\r\nc\ud800")  # type: ignore[arg-type]
    assert terminal.got == ["a␛[201~\tb\nc?"]


async def test_the_command_of_the_display_and_tmux_get_it(
    install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    xclip, tmux = install("xclip"), install("tmux", '/bin/cat > $OUT; echo "$@" >> $OUT')
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("TMUX", "socket,1,0")
    assert await copy(Terminal(), "é\n") == ""  # type: ignore[arg-type]
    assert xclip.read_text() == "é\n"
    assert tmux.read_text() == "é\nload-buffer -w -\n"


async def test_it_says_which_way_failed_only_when_all_did(
    install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("xclip", "exit 1")
    install("tmux", "exit 1")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("TMUX", "socket,1,0")
    assert "xclip and tmux failed" in await copy(Terminal(), "x")  # type: ignore[arg-type]
    install("tmux")
    assert await copy(Terminal(), "x") == ""  # type: ignore[arg-type]


async def test_a_command_that_hangs_is_given_up(install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    install("wl-copy", "exec /bin/sleep 60")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setattr(copying, "PATIENCE", 0.2)
    begun, turns = monotonic(), 0
    job = asyncio.create_task(copy(Terminal(), "x"))  # type: ignore[arg-type]
    while not job.done():
        await asyncio.sleep(0)
        turns += 1
    assert "wl-copy failed" in job.result()
    assert monotonic() - begun < 10
    assert turns > 10, "others had their turn meanwhile"


async def test_a_long_text_may_not_arrive(install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "74 kB" in await copy(Terminal(), "x" * (OSC52_LIMIT + 1))  # type: ignore[arg-type]
    assert await copy(Terminal(), "x" * OSC52_LIMIT) == ""  # type: ignore[arg-type]
    install("xsel")
    monkeypatch.setenv("DISPLAY", ":0")
    assert await copy(Terminal(), "x" * 200_000) == ""  # type: ignore[arg-type]


def test_the_clipboard_of_the_far_machine_is_not_used(install: Callable[..., Path]) -> None:
    for name in ("pbcopy", "clip.exe", "xclip", "tmux"):
        install(name)
    path = {"PATH": copying.os.environ["PATH"]}
    ssh = {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}
    assert commands(path, "darwin") == [["pbcopy"]]
    assert commands(path | ssh, "darwin") == []
    assert commands(path, "linux", "5.15-microsoft-standard-WSL2") == [["clip.exe"]]
    assert commands(path, "linux", "6.1") == []
    assert commands(path | ssh | {"DISPLAY": "localhost:10.0"}, "linux", "6.1") == [
        ["xclip", "-selection", "clipboard"]
    ]
    assert commands(path | ssh | {"TMUX": "x"}, "darwin") == [["tmux", "load-buffer", "-w", "-"]]


# -- in the chat -----------------------------------------------------------------------------------------------------

TWO = "Like this:\n\n```python\nprint(1)\n```\n\nor\n\n```sh\n\necho 1\nls\n```\n"


async def test_y_copies_the_answer_and_shift_y_its_code(install: Callable[..., Path], open_chat: Open) -> None:
    engine = FakeEngine()
    engine.texts = (TWO, "Just ```that```.", "```\nalone\n```")
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        await chat.press("y")
        await chat.says("A was copied.")
        assert chat.app.clipboard == TWO
        await chat.press("Y")
        await chat.until(lambda: isinstance(chat.app.screen, Choose))
        assert [text for _, text in chat.app.screen.choices] == ["python: print(1)", "sh: echo 1"]
        await chat.press("down", "enter")
        await chat.says("The code of A was copied.")
        assert chat.app.clipboard == "\necho 1\nls"
        await chat.press("right", "Y")
        await chat.says("There is no block of code in B")
        await chat.press("right", "Y")
        await chat.says("The code of C was copied.")
        assert chat.app.clipboard == "alone"
        await chat.press("left", "left", "Y")
        await chat.until(lambda: isinstance(chat.app.screen, Choose))
        await chat.press("escape")
        await chat.says("Nothing was copied.")
        assert chat.app.clipboard == "alone"


def test_gnu_screen_hands_it_through_in_pieces() -> None:
    text = "ä" * 1000
    assert through_screen(text, {}) == ""
    assert through_screen(text, {"STY": "1.tty", "TMUX": "x"}) == "", "tmux has its own way"
    pieces = through_screen(text, {"STY": "1.tty"}).split("\x1b\\")
    assert pieces.pop() == ""
    assert all(piece.startswith("\x1bP") and len(piece) < 768 for piece in pieces)
    sequence = "".join(piece.removeprefix("\x1bP") for piece in pieces)
    assert sequence.startswith("\x1b]52;c;")
    assert base64.b64decode(sequence.removeprefix("\x1b]52;c;").removesuffix("\a")).decode() == text
