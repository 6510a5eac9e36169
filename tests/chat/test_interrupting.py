"""Ctrl+C, as elsewhere in a terminal: it stops what is under way, and copies where something is selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chat.fakes import FakeEngine

Open = Callable[..., Any]


@pytest.mark.parametrize("focus", ["prompt", "answers"])
async def test_it_stops_the_answers_and_keeps_their_text(open_chat: Open, focus: str) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        engine.feed(0, "So far")
        chat.screen.set_focus(getattr(chat.screen, focus))
        await chat.press("ctrl+c")
        await chat.until(lambda: not chat.screen.generating)
        assert chat.answers.turn.text_of(0) == "So far"
        assert not chat.app._notifications


@pytest.mark.parametrize("focus", ["prompt", "answers"])
async def test_with_nothing_to_stop_it_says_how_to_quit(open_chat: Open, focus: str) -> None:
    async with open_chat() as chat:
        await chat.ask()
        chat.screen.set_focus(getattr(chat.screen, focus))
        await chat.press("ctrl+c")
        await chat.until(lambda: chat.said == "Ctrl+Q quits.")
        assert not chat.app._notifications  # no box over what is read


async def test_it_copies_what_is_selected_in_a_field_and_stops_nothing(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        await chat.press(*"next", "f7", "ctrl+c")
        assert chat.app.clipboard == "next"
        assert chat.screen.generating
        assert chat.screen.prompt.text == "next"
        await chat.press("right", "ctrl+c")
        await chat.until(lambda: not chat.screen.generating)
        assert chat.screen.prompt.text == "next"


async def test_a_page_says_how_to_quit_too(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("f4")
        await chat.until(lambda: chat.app.screen is not chat.screen)
        await chat.press("ctrl+c")
        await chat.until(lambda: str(chat.app.screen.query_one("#page-said").render()) == "Ctrl+Q quits.")
