"""Judging with the mouse alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.events import Click, MouseDown, MouseMove, MouseUp
from textual.geometry import Offset
from textual.selection import Selection

from chatapp.app import HoneApp
from chatapp.turn import put
from chatapp.widgets import answer_card
from chatapp.widgets.keys_line import KeysLine
from tests.chat.conftest import SMALL, WIDE, Chat
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


@pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])
async def test_the_card_whose_place_it_would_take_is_marked(open_chat: Open, size: tuple[int, int]) -> None:
    async with open_chat(size) as chat:
        await chat.ask()
        cards = chat.answers.cards

        def marked() -> list[bool]:
            return [card.has_class("-target") for card in cards]

        await chat.pilot.mouse_down(cards[2], offset=(3, 0))
        await chat.pilot.hover(cards[1], offset=(3, 1))
        await chat.until(lambda: marked() == [False, True, False])
        assert any("═" in line for line in chat.drawn)
        await chat.pilot.hover(cards[0], offset=(3, 1))
        await chat.until(lambda: marked() == [True, False, False])
        await chat.pilot.hover(chat.screen.prompt, offset=(3, 1))
        await chat.until(lambda: marked() == [False] * 3)
        await chat.pilot.hover(cards[0], offset=(3, 1))
        await chat.pilot.mouse_up(cards[0], offset=(3, 1))
        await chat.until(lambda: marked() == [False] * 3)


async def test_undo_takes_the_newest_act_back_be_it_a_ranking_that_is_being_made(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.pilot.mouse_down(chat.answers.cards[2], offset=(3, 0))
        await chat.pilot.hover(chat.answers.cards[0], offset=(3, 1))
        await chat.pilot.mouse_up(chat.answers.cards[0], offset=(3, 1))
        await chat.says("C > A > B · Enter records this ranking")
        await chat.press("+")
        await chat.until(lambda: [j.kind for j in chat.judgments()] == ["thumb"])
        await chat.until(lambda: chat.answers.turn.thumbs == {2: 1})
        await chat.press("u")
        await chat.says("Taken back: C good")
        assert chat.judgments() == []
        assert chat.answers.draft is not None
        await chat.press("u")
        await chat.says("The new ranking was dropped.")


async def test_a_press_inside_the_text_ranks_nothing(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.pilot.mouse_down(chat.answers.cards[2], offset=(3, 1))
        await chat.pilot.mouse_up(chat.answers.cards[0], offset=(3, 1))
        await chat.pilot.pause()
        assert chat.answers.draft is None


async def test_two_clicks_pick(open_chat: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_card, "TWICE", 30.0)  # a busy machine takes its time between them
    monkeypatch.setattr(HoneApp, "CLICK_CHAIN_TIME_THRESHOLD", 30.0)
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


def real(chat: Chat, kind: type, at: Offset) -> None:
    """What the terminal says of the mouse; Pilot makes no click of a drag."""
    chat.app.post_message(kind(None, at.x, at.y, 0, 0, 1, False, False, False, at.x, at.y))


def where(chat: Chat, row: int, x: int = 4) -> Offset:
    """The place on the screen of a row of the earlier turns."""
    region = chat.screen.transcript.past.region
    return Offset(region.x + x, region.y + row)


async def test_text_marked_up_to_an_earlier_question_opens_nothing(open_chat: Open) -> None:
    async with open_chat() as chat:
        for question in ("One?", "Two?", "Three?"):
            await chat.ask(question)
        past = chat.screen.transcript.past
        await chat.until(lambda: past.region.y >= 0 and len(past.turns) == 2)
        question = past.span(past.turns[1]).start + 1
        real(chat, MouseDown, where(chat, question - 2))
        real(chat, MouseMove, where(chat, question, 5))
        real(chat, MouseUp, where(chat, question, 5))
        await chat.until(lambda: chat.screen.get_selected_text())
        await chat.pilot.pause(0.1)
        assert chat.answers.turn.prompt == "Three?"
        real(chat, MouseDown, where(chat, question))
        real(chat, MouseUp, where(chat, question))
        await chat.until(lambda: chat.answers.turn.prompt == "Two?")


async def test_two_clicks_on_an_earlier_answer_mark_that_answer(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.ask("Two?")
        past = chat.screen.transcript.past
        await chat.until(lambda: len(past.turns) == 1)
        row = past.span(past.turns[0]).stop - 1
        for _ in range(2):
            real(chat, MouseDown, where(chat, row))
            real(chat, MouseUp, where(chat, row))
        await chat.until(lambda: chat.screen.get_selected_text())
        assert chat.screen.get_selected_text() == TEXTS[0], "how it was chosen is no part of it"


async def test_what_is_marked_stays_so_when_turns_come(open_chat: Open) -> None:
    async with open_chat() as chat:
        for question in ("One?", "Two?", "Three?"):
            await chat.ask(question)
        past = chat.screen.transcript.past
        await chat.until(lambda: len(past.turns) == 2)
        first, second = [block.turn for block in past.turns]
        past.put([second], 1)
        rows = past.reply_of(past.turns[0])
        chat.screen.selections = {past: Selection(Offset(2, rows.stop - 1), Offset(8, rows.stop - 1))}
        marked = chat.screen.get_selected_text()
        past.put([first], 0)
        await chat.pilot.pause()
        assert chat.screen.get_selected_text() == marked


async def test_a_click_that_closed_something_is_not_the_first_of_two(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        card = chat.answers.cards[1]
        card.post_message(Click(card, 3, 1, 0, 0, 1, False, False, False, chain=2))
        await chat.pilot.pause(0.1)
        assert chat.judgments() == []
