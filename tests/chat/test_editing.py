"""A text in the user's own editor: a script stands in for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import TextArea

from chatapp.app import HoneApp
from chatapp.editing import edited, editor
from chatapp.screens.correct import Correct

Open = Callable[..., Any]


class Suspending:
    """What an app is for editing."""

    def __init__(self) -> None:
        self.suspended = 0

    def suspend(self) -> Any:
        self.suspended += 1
        return nullcontext()


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """script(lines): the editor, given the file as $1. It returns the folder for its notes, $NOTES."""
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setattr(HoneApp, "suspend", lambda app: nullcontext())

    def make(lines: str) -> Path:
        path = tmp_path / "my editor"
        path.write_text(f"#!/bin/sh\nNOTES={tmp_path}\n{lines}\n")
        path.chmod(0o755)
        monkeypatch.setenv("EDITOR", f"'{path}' --flag")
        return tmp_path

    return make


def edit(text: str) -> tuple[str | None, str]:
    return edited(Suspending(), text)  # type: ignore[arg-type]


def test_the_text_goes_there_and_back(script: Callable[[str], Path]) -> None:
    notes = script('cp "$2" $NOTES/seen; ls -l "$2" > $NOTES/mode; echo "$1 $2" > $NOTES/arguments; echo more >> "$2"')
    app = Suspending()
    text, said = edited(app, "é one\n")  # type: ignore[arg-type]
    assert (text, said) == ("é one\nmore\n", "The text is as my editor saved it.")
    assert app.suspended == 1
    assert (notes / "seen").read_text() == "é one\n"
    assert (notes / "mode").read_text().startswith("-rw------- ")
    flag, path = (notes / "arguments").read_text().split()
    assert flag == "--flag"
    assert path.endswith(".md")
    assert not Path(path).parent.exists(), "nothing is left behind"


def test_the_line_break_that_editors_add_is_not_taken_for_a_change(script: Callable[[str], Path]) -> None:
    script('echo >> "$2"')
    text, said = edit("one")
    assert text is None
    assert "Nothing was changed in my editor." in said
    assert "--wait" in said


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('echo x > "$2"; exit 3', "ended with the code 3. The text stays as it was."),
        ('echo " " > "$2"', "is empty. The text stays as it was."),
        ('printf "\\377" > "$2"', "is not UTF-8. The text stays as it was."),
        ('rm "$2"', "cannot be handed over to my editor and back: No such file or directory"),
    ],
)
def test_what_goes_wrong_is_said_and_the_text_stays(script: Callable[[str], Path], lines: str, said: str) -> None:
    script(lines)
    text, heard = edit("one")
    assert text is None
    assert said in heard


def test_an_editor_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VISUAL", "no-such-editor -x")
    text, said = edit("one")
    assert text is None
    assert said.startswith("The editor no-such-editor, from $VISUAL, cannot be started")
    assert editor({"EDITOR": "vi 'x"}) == (["vi 'x"], "$EDITOR")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert editor({}) == ([], "")
    monkeypatch.setenv("VISUAL", "")
    monkeypatch.setenv("EDITOR", "")
    assert "Set $EDITOR" in edit("one")[1]


async def test_ctrl_g_in_the_prompt(script: Callable[[str], Path], open_chat: Open) -> None:
    script('echo "and more" >> "$2"')
    async with open_chat() as chat:
        await chat.press(*"What?", "ctrl+g")
        await chat.until(lambda: chat.screen.prompt.text == "What?and more")
        await chat.says("The text is as my editor saved it.")
        await chat.press("ctrl+z")
        assert chat.screen.prompt.text == "What?"
        script("exit 1")
        await chat.press("ctrl+g")
        await chat.says("ended with the code 1")
        assert chat.screen.prompt.text == "What?"


async def test_a_terminal_that_cannot_be_handed_over(monkeypatch: pytest.MonkeyPatch, open_chat: Open) -> None:
    monkeypatch.setenv("EDITOR", "true")
    async with open_chat() as chat:
        await chat.press(*"Hm", "ctrl+g")
        await chat.says("cannot be handed over")
        assert chat.screen.prompt.text == "Hm"


async def test_ctrl_g_in_a_correction(script: Callable[[str], Path], open_chat: Open) -> None:
    script('echo "Mine." > "$2"')
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("e")
        await chat.until(lambda: isinstance(chat.app.screen, Correct))
        await chat.press("ctrl+g")
        await chat.until(lambda: chat.app.screen.query_one(TextArea).text == "Mine.")
        hint = chat.app.screen.query_one("#correct-hint")
        await chat.until(lambda: "1 new" in str(hint.render()))  # the changes were looked for
        script("exit 1")
        await chat.press("ctrl+g")
        await chat.until(lambda: "code 1" in str(hint.render()))
        await chat.press("ctrl+s")
        await chat.says("correction > A, B, C")
        assert chat.answers.cards[0].prose.text == "Mine."


def test_a_full_disk_is_said_and_the_text_stays(script: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    script("true")

    def full(self: Path, *arguments: Any, **named: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    text, said = edited(Suspending(), "Precious.")  # type: ignore[arg-type]
    assert text is None
    assert "No space left" in said
