"""Small terminals: what is needed is seen, and what a dialog is for can be done by key and by mouse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chatapp.screens.correct import Correct
from chatapp.screens.dialogs import AskText, Confirm
from chatapp.screens.diff import Diff
from chatapp.screens.generation import Generation
from chatapp.screens.help import Help
from chatapp.screens.remarks import Flag
from chatapp.screens.teaches import Teaches
from chatapp.widgets.keys_line import KeysLine
from chatapp.widgets.panel import Hint
from tests.chat.conftest import SMALL, Chat
from tests.chat.fakes import FakeEngine

Open = Callable[..., Any]

TINY = (40, 12)
LONG = "A line of an answer.\n\n" * 30


def engine() -> FakeEngine:
    one = FakeEngine()
    one.texts = [LONG, f"Another. {LONG}"]
    return one


async def on_top(chat: Chat, key: str, kind: type[Any]) -> Any:
    await chat.press(key)
    await chat.until(lambda: isinstance(chat.app.screen, kind) and chat.app.screen.is_mounted)
    await chat.pilot.pause()
    return chat.app.screen


async def click_on(chat: Chat, words: str) -> None:
    """Where the words stand on the screen."""
    for y, line in enumerate(chat.drawn):
        if words in line:
            await chat.pilot.click(offset=(line.index(words) + 1, y))
            return
    pytest.fail(f"{words!r} is not seen: {chat.drawn}")


async def test_question_answer_and_prompt_are_seen(open_chat: Open) -> None:
    async with open_chat(TINY, engine()) as chat:
        await chat.ask("Why does it rain?")
        await chat.until(lambda: any("A line of an answer." in line for line in chat.drawn))
        assert any("Why does it rain?" in line for line in chat.drawn[1:])
        assert any("Ask something." in line for line in chat.drawn)
        assert chat.screen.prompt.region.height >= 1


@pytest.mark.parametrize(
    ("key", "kind", "says"),
    [
        ("e", Correct, "Ctrl+S saves"),
        ("d", Diff, "Esc closes"),
        ("f", Flag, "Esc cancels"),
        ("n", AskText, "Enter saves"),
        ("w", Teaches, "Esc closes"),
        ("f8", Generation, "Esc leaves"),
        ("f1", Help, "Esc closes"),
    ],
)
async def test_every_dialog_shows_its_keys_and_all_of_its_frame(
    open_chat: Open, key: str, kind: type, says: str
) -> None:
    async with open_chat(TINY, engine()) as chat:
        await chat.ask()
        await chat.press("1")
        await chat.says("A > B, C")
        dialog = await on_top(chat, key, kind)
        await chat.until(lambda: says in " ".join(" ".join(chat.drawn).replace("│", " ").split()))
        (panel,) = dialog.children
        assert dialog.region.contains_region(panel.region)
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is chat.screen)


async def test_keys_at_the_foot_are_whole_and_help_is_among_them(open_chat: Open) -> None:
    async with open_chat(TINY) as chat:
        await chat.ask()
        for width in (40, 60, 80, 140):
            await chat.pilot.resize_terminal(width, 24)
            keys = chat.screen.query_one(KeysLine)
            await chat.until(lambda width=width: width - 12 < len(chat.drawn[-1].rstrip()) <= width)
            assert all(f"{key.display} {key.description}" in chat.drawn[-1] for key in keys.shown)
            assert {"f1", "ctrl+p"} <= {key.key for key in keys.shown}


async def press_at_the_foot(chat: Chat, does: str) -> None:
    keys = chat.screen.query_one(KeysLine)
    await chat.pilot.click(keys, offset=(keys.place_of(does), 0))


# -- with the mouse ----------------------------------------------------------------------------------------------------


async def test_pick_at_the_foot_takes_the_focused_answer(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await chat.ask()
        await chat.press("right")
        await press_at_the_foot(chat, "Pick")
        await chat.says("B > A, C: 2 pairs")


async def test_points_are_clicked(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await chat.ask()
        await chat.press("right")
        await press_at_the_foot(chat, "Rate")
        await chat.says("How good is B?")
        await click_on(chat, " 6 ")
        await chat.until(lambda: "6/7" in str(chat.answers.cards[1].border_title))


async def test_the_keys_of_a_dialog_are_clicked(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await chat.ask()
        await on_top(chat, "e", Correct)
        await chat.press(*"Rain. ")
        await chat.until(lambda: any("1 new ·" in line for line in chat.drawn))  # said before the keys, which then move
        await click_on(chat, "Esc cancels")
        await chat.until(lambda: isinstance(chat.app.screen, Confirm))
        await click_on(chat, "n or Esc")
        await chat.until(lambda: isinstance(chat.app.screen, Correct))
        await click_on(chat, "Ctrl+S saves")
        await chat.until(lambda: chat.app.screen is chat.screen)
        await chat.until(lambda: [one.kind for one in chat.judgments()] == ["correction"])


async def test_a_rule_is_flagged_by_mouse(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await chat.ask()
        await on_top(chat, "f", Flag)
        await click_on(chat, "insults")
        await click_on(chat, "b broken")
        await chat.until(lambda: "1 broken" in str(chat.answers.cards[0].border_title))


async def test_a_hint_shows_what_was_said_as_it_is() -> None:
    hint = Hint("↑↓ scroll", ("Esc closes", "cancel"))
    hint.say("[b]no markup\x1b[2J", error=True)
    assert str(hint.render()) == "! [b]no markup␛[2J · ↑↓ scroll · Esc closes"


async def test_help_stays_at_the_foot_under_another_key(open_chat: Open) -> None:
    async with open_chat((40, 20), keys={"chat.help": "f5"}) as chat:
        await chat.ask()
        keys = chat.screen.query_one(KeysLine)
        await chat.until(lambda: "f5" in [key.key for key in keys.shown])
