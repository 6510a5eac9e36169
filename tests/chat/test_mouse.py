"""Judging with the mouse alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chatapp.turn import put
from chatapp.widgets.keys_line import KeysLine
from tests.chat.conftest import SMALL, WIDE
from tests.chat.fakes import TEXTS

Open = Callable[..., Any]


@pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])
async def test_a_card_drawn_onto_another_takes_its_place(open_chat: Open, size: tuple[int, int]) -> None:
    async with open_chat(size) as chat:
        await chat.ask()
        await chat.pilot.mouse_down(chat.answers.cards[2], offset=(3, 0))
        await chat.pilot.hover(chat.answers.cards[0], offset=(3, 1))
        await chat.pilot.mouse_up(chat.answers.cards[0], offset=(3, 1))
        await chat.says("C > A > B · Enter records this ranking")
        await chat.press("enter")
        await chat.says("C > A > B: 3 pairs")


async def test_a_press_inside_the_text_ranks_nothing(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.pilot.mouse_down(chat.answers.cards[2], offset=(3, 1))
        await chat.pilot.mouse_up(chat.answers.cards[0], offset=(3, 1))
        await chat.pilot.pause()
        assert chat.answers.draft is None


async def test_two_clicks_pick(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.pilot.click(chat.answers.cards[1], offset=(3, 1), times=2)
        await chat.says("B > A, C: 2 pairs")


async def test_the_footer_is_clicked(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        keys = chat.screen.query_one(KeysLine)
        await chat.pilot.click(keys, offset=(keys.place_of("All bad"), 0))
        await chat.says("all bad")


def test_the_other_makes_room() -> None:
    order = ((0,), (1,), (2,))
    assert put(order, 2, 0) == ((2,), (0,), (1,))
    assert put(order, 0, 2) == ((1,), (2,), (0,))
    assert put(order, 0, 1) == ((1,), (0,), (2,))
    assert put(((0, 1), (2,)), 2, 1) == ((2,), (0, 1))
    assert put(((0, 1), (2,)), 0, 2) == ((1,), (2,), (0,))


async def test_a_card_let_go_elsewhere_ranks_nothing_later(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.pilot.mouse_down(chat.answers.cards[2], offset=(3, 0))
        await chat.pilot.mouse_up(chat.screen.prompt, offset=(3, 1))
        await chat.pilot.click(chat.answers.cards[0], offset=(3, 1))
        await chat.pilot.pause()
        assert chat.answers.draft is None


async def test_what_is_marked_in_earlier_turns_is_what_was_written(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.ask("Two?")
        past = chat.screen.transcript.past
        rows = [row for turn in past.turns for row in turn.rows(past.size.width)]
        question = next(y for y, row in enumerate(rows) if row.kind == "question")
        await chat.pilot.mouse_down(past, offset=(2, question))
        await chat.pilot.hover(past, offset=(4, len(rows) - 1))
        await chat.until(lambda: chat.screen.get_selected_text())
        assert past.text_selection is not None
        await chat.pilot.mouse_up(past, offset=(4, len(rows) - 1))
        marked = str(chat.screen.get_selected_text())
        assert marked.startswith("One?\n"), "without the bar before it"
        assert TEXTS[0][:2] in marked
