"""What is judged is in sight: below a question longer than the screen, and when the terminal changes its size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chat.conftest import SMALL, WIDE
from tests.chat.fakes import FakeEngine
from tests.chat.test_long_threads import seen

Open = Callable[..., Any]
SIZES = pytest.mark.parametrize("size", [(40, 12), (60, 16), SMALL, (100, 30), WIDE, (250, 80)], ids=str)


def long(lines: int) -> str:
    return "\n".join(f"Line {number} of the question." for number in range(1, lines + 1))


@SIZES
async def test_answers_are_seen_below_a_question_longer_than_the_screen(open_chat: Open, size: tuple[int, int]) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(size, engine) as chat:
        last = size[1] + 5
        await chat.ask(long(last))
        engine.feed(0, "It begins like this.\n\nAnd goes on.")
        try:
            await chat.until(lambda: any("It begins" in line for line in seen(chat)), 3)
        finally:
            engine.release()
        await chat.until(lambda: chat.answers.ready)
        await chat.until(lambda: any("It begins" in line for line in seen(chat)))
        assert any(f"Line {last} of" in line for line in seen(chat)), "what they answer is seen too"
        await chat.press("pageup", "pageup", "pageup", "home")
        await chat.until(lambda: any("Line 1 of" in line for line in seen(chat)))


@pytest.mark.parametrize("size", [(60, 16), (100, 30)], ids=str)
async def test_they_are_seen_when_the_thread_is_opened_again_and_after_another_branch(
    open_chat: Open, size: tuple[int, int]
) -> None:
    engine = FakeEngine()
    async with open_chat(size, engine) as chat:
        await chat.ask(long(35))
        engine.texts = ["Another one.", "Others."]
        await chat.press("ctrl+r")
        await chat.until(lambda: any("Another one." in line for line in seen(chat)))
        await chat.press("less_than_sign")
        await chat.until(lambda: any("The first answer." in line for line in seen(chat)))
    async with open_chat(size, engine) as chat:
        await chat.until(lambda: any("The first answer." in line for line in seen(chat)))


async def test_a_question_that_leaves_room_is_seen_whole(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.texts = ["A line.\n\n" * 40]
    async with open_chat((100, 30), engine) as chat:
        await chat.ask(long(10))
        await chat.until(lambda: any("A line." in line for line in seen(chat)))
        assert any("Line 1 of" in line for line in seen(chat))


async def test_going_to_the_answers_shows_them(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await chat.ask(long(60))
        chat.screen.set_focus(chat.screen.prompt)
        await chat.press("pageup", "pageup", "pageup")
        await chat.until(lambda: not any("The first answer." in line for line in seen(chat)))
        await chat.press("escape")
        await chat.until(lambda: chat.app.focused is chat.answers)
        await chat.until(lambda: any("The first answer." in line for line in seen(chat)))


@pytest.mark.parametrize(("before", "right"), [(WIDE, 2), ((100, 30), 0), ((100, 30), 1)], ids=str)
async def test_the_focused_answer_stays_in_sight_in_another_size(
    open_chat: Open, before: tuple[int, int], right: int
) -> None:
    engine = FakeEngine()
    text = "{} answers. One line of it, and a few words more so that it wraps.\n\n" * 6
    engine.texts = [text.format(*[name] * 6) for name in ("Anna", "Bert", "Cleo")]
    async with open_chat(before, engine) as chat:
        for number in range(1, 5):
            await chat.ask(f"Question {number}? " + "It has some words that go on for long. " * 4)
        await chat.press(*["right"] * right)
        name = ("Anna", "Bert", "Cleo")[right]
        for size in ((60, 16), before, (40, 12), before):
            await chat.pilot.resize_terminal(*size)
            await chat.until(lambda name=name: any(f"{name} answers." in line for line in seen(chat)), 3)


async def test_who_reads_earlier_turns_is_not_taken_away_by_another_size(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.texts = ["A line of an answer.\n\n" * 20]
    async with open_chat(WIDE, engine) as chat:
        for number in range(1, 4):
            await chat.ask(f"Question {number}?")
        await chat.press("home")
        await chat.until(lambda: any("Question 1?" in line for line in seen(chat)))
        await chat.pilot.resize_terminal(100, 30)
        await chat.pilot.pause(0.2)
        assert any("Question 1?" in line for line in seen(chat))
