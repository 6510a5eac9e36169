"""What stands in a field is what was typed, and harmless."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chatapp.screens.dialogs import AskText
from tests.chat.conftest import SMALL
from tests.chat.fakes import FakeEngine

Open = Callable[..., Any]

Open = Callable[..., Any]


@pytest.mark.parametrize("key", ["e", "n", "E"])
async def test_no_field_draws_what_a_terminal_would_obey(open_chat: Open, key: str) -> None:
    engine = FakeEngine()
    engine.texts = ("\x1b[2J\x9bhello",)
    async with open_chat(engine=engine) as chat:
        await chat.ask("Why \x1b[31m?")
        chat.app.copy_to_clipboard("\x1b]0;x\x07")
        await chat.press(key)
        await chat.until(lambda: chat.app.screen is not chat.screen or chat.screen.editing)
        await chat.press("ctrl+v")
        field = chat.app.focused
        await chat.until(lambda: "␛]0;x␇" in (field.text if hasattr(field, "text") else field.value))
        drawn = "".join(chat.drawn)
        assert "␛" in drawn
        assert not [c for c in drawn if c < " " or "\x7f" <= c <= "\x9f"]


async def test_what_is_typed_into_a_dialog_is_seen(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await chat.ask()
        await chat.press("n")
        await chat.until(lambda: isinstance(chat.app.screen, AskText))
        await chat.press(*"flat")
        assert any("flat" in line for line in chat.drawn)
