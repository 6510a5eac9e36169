"""The list of rules that `f` opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatapp.screens.remarks import Flag

Open = Callable[..., Any]


async def test_flagging_needs_an_active_rule(open_chat: Open) -> None:
    async with open_chat() as chat:
        for rule in chat.store.rules.list():
            chat.store.rules.disable(rule.id)
        await chat.ask()
        await chat.press("f")
        await chat.says("No rule is active")
        chat.store.rules.add("rhymes\u202e", "Does not rhyme.")
        await chat.press("f")
        await chat.until(lambda: isinstance(chat.app.screen, Flag))
        assert "\u202e" not in str(chat.app.screen.query_one("OptionList").get_option_at_index(0).prompt)
        await chat.press("enter")
        await chat.says("A breaks the rule")
