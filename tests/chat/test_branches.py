"""Branches are counted and walked at the turn where they part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Open = Callable[..., Any]


async def test_each_turn_has_branches_of_its_own(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("Rome?")
        chat.engine.texts = ("Rome again.",)
        await chat.press("ctrl+r")
        await chat.says("Branch 2 of 2.")
        await chat.ask("Greece?")
        chat.engine.texts = ("Greece again.",)
        await chat.press("ctrl+r")
        await chat.says("Branch 2 of 2.")  # and not "3 of 3"
        await chat.press("less_than_sign")
        await chat.says("Branch 1 of 2.")
        assert chat.answers.turn.prompt == "Greece?"
        await chat.press("less_than_sign")
        await chat.says("There is no other branch on that side.")
        assert chat.answers.turn.prompt == "Greece?"

        await chat.press("p")
        await chat.says("Branch 2 of 2.")
        assert (chat.answers.turn.prompt, chat.answers.turn.text_of(0)) == ("Rome?", "Rome again.")
        await chat.press("less_than_sign")
        await chat.says("Branch 1 of 2.")
        assert (chat.answers.turn.prompt, chat.answers.turn.text_of(0)) == ("Rome?", "The first answer.")
        assert not chat.screen.visiting
        await chat.press("greater_than_sign")
        await chat.says("1 more after it. p and P go on, Esc returns. Branch 2 of 2.")
        await chat.press("2")
        await chat.says("B > A")
        assert (chat.answers.turn.version, chat.answers.turn.versions) == (2, 2)
        await chat.press("escape")
        await chat.until(lambda: chat.answers.turn.prompt == "Greece?")
        assert chat.answers.turn.text_of(0) == "Greece again."


async def test_one_goes_on_from_any_of_them(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("Rome?")
        chat.engine.texts = ("Rome again.",)
        await chat.press("ctrl+r")
        await chat.says("Branch 2 of 2.")
        await chat.ask("Greece?")
        await chat.press("less_than_sign")  # none part here: those of the turn before
        await chat.says("Branch 1 of 2.")
        await chat.ask("And Spain?")
        asked = [(m["role"], m["content"]) for m in chat.engine.asked[-1]]
        assert asked == [("user", "Rome?"), ("assistant", "The first answer."), ("user", "And Spain?")]
        assert chat.answers.turn.versions == 1
