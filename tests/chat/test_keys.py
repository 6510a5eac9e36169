"""Every key has a name, an explanation and a place in docs/keys.md; the reader's own keys take effect."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from textual.binding import Binding
from textual.dom import DOMNode

import chatapp.screens
import chatapp.widgets
from chatapp import keys, own_keys

Open = Callable[..., Any]


def ours() -> Iterator[Binding]:
    """The bindings of every screen and widget of ours."""
    for package in (chatapp.screens, chatapp.widgets):
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            for one in vars(importlib.import_module(found.name)).values():
                if isinstance(one, type) and issubclass(one, DOMNode) and one.__module__ == found.name:
                    yield from one.__dict__.get("BINDINGS", [])


def test_every_key_is_named_and_explained() -> None:
    for binding in ours():
        assert isinstance(binding, Binding)
        assert binding.id, binding
        assert binding.tooltip, binding
        assert binding.id in keys.known(), f"{binding.id} is missing in chatapp.keys.sections"


def test_the_document_is_not_old() -> None:
    file = Path(__file__).parents[2] / "docs" / "keys.md"
    assert file.read_text(encoding="utf-8") == keys.document(), "python -m chatapp.keys > docs/keys.md"


def test_keys_are_written_as_people_write_them() -> None:
    names = [keys.key_name(key) for key in ("ctrl+j", "less_than_sign", "alt+up", "f1", "+", "x", "question_mark")]
    assert names == ["Ctrl+J", "<", "Alt+↑", "F1", "+", "x", "?"]


async def test_ones_own_key_takes_effect_and_is_shown(open_chat: Open) -> None:
    async with open_chat(keys={"answers.all_bad": "z"}) as chat:
        await chat.ask()
        await chat.press("x")
        await chat.pilot.pause()
        assert chat.judgments() == []
        await chat.press("z")
        await chat.says("all bad")
        await chat.press("f1")
        await chat.until(lambda: chat.app.screen is not chat.screen)
        text = "\n".join(str(static.render()) for static in chat.app.screen.query("Static"))
        assert "z                 All bad" in text


async def test_a_key_for_nothing_is_named(open_chat: Open) -> None:
    async with open_chat(keys={"answers.al_bad": "z"}) as chat:
        await chat.until(lambda: any("did you mean answers.all_bad" in n.message for n in chat.app._notifications))


def test_keys_that_two_actions_have_are_named_with_both() -> None:
    assert own_keys.amiss_with_keys({}) == []
    (line,) = own_keys.amiss_with_keys({"answers.correct": "x"})
    names = "Correct (answers.correct) and All bad (answers.all_bad)"
    assert line == f"[keys]: {names} have the same key, x, and one of them gets it; move one"
    (line,) = own_keys.amiss_with_keys({"answers.note": "ctrl+p"})
    assert line.startswith("[keys]: Note (answers.note) and Palette have the same key, Ctrl+P")
    (line,) = own_keys.amiss_with_keys({"answers.note": "f3"})
    assert "and Training (chat.training) have" in line
    (line,) = own_keys.amiss_with_keys({"answers.note": "?"})
    assert "and Help (chat.help) have" in line
    moved = {"answers.correct": "x", "answers.all_bad": "e"}
    assert own_keys.amiss_with_keys(moved) == [], "they were swapped"
    assert own_keys.amiss_with_keys({"training.learn": "x", "versions.prune": "l"}) == [], "other places"


def test_keys_that_no_terminal_sends_are_named() -> None:
    for key, why in (
        ("ctrl+shift+hyper+q", "hardly a terminal sends 'hyper' with a key; there are alt, ctrl, shift"),
        ("shift+ctrl+up", "write 'ctrl+shift+up'"),
        ("ctrl+J", "write 'ctrl+j'"),
        ("shift+z", "terminals send the character itself; write 'Z'"),
        ("ctrl+i", "most terminals send tab for it; choose another"),
        ("escpae", "there is no key 'escpae'; `docs/keys.md` shows how keys are written"),
    ):
        assert own_keys.amiss_with_keys({"answers.rate": key}) == [f"[keys] gives answers.rate the key {key!r}: {why}"]
    for key in (
        "z",
        "Z",
        "slash",
        "/",
        "ctrl+j",
        "alt+up",
        "f12",
        "question_mark, ctrl+g",
        "ctrl+shift+up",
        "=",
        "shift+f5",
    ):
        assert not [line for line in own_keys.amiss_with_keys({"answers.rate": key}) if "gives" in line], key


async def test_the_chat_says_what_is_amiss_with_keys_and_theme(open_chat: Open) -> None:
    async with open_chat(keys={"answers.correct": "x"}, theme="foo") as chat:
        said = [n.message for n in chat.app._notifications]
        await chat.until(lambda: any("Correct (answers.correct) and All bad" in line for line in said))
        assert any(line.startswith("There is no theme 'foo'. There are: ") for line in said)
