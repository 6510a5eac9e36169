"""The reader's place is the reader's: which answer has the focus, and what of it is seen, changes by keys alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chatapp.screens.chat import ChatScreen
from tests.chat.conftest import SMALL, WIDE
from tests.chat.fakes import FakeEngine
from tests.chat.test_long_threads import seen

Open = Callable[..., Any]
NAMES = ("Anna", "Bert", "Cleo")


def long_answers(lines: int = 30) -> list[str]:
    return ["\n\n".join(f"{name} says line {n}." for n in range(1, lines + 1)) for name in NAMES]


@contextmanager
def streaming(engine: FakeEngine) -> Iterator[None]:
    """Its answers come as they are fed; they end whatever the test finds."""
    engine.hold = True
    try:
        yield
    finally:
        engine.release()


def feed(engine: FakeEngine, first: int, last: int) -> None:
    for index, name in enumerate(NAMES):
        engine.feed(index, "".join(f"{name} says line {n}.\n\n" for n in range(first, last)))


def has(chat: Any, text: str) -> bool:
    return any(text in line for line in seen(chat))


def heading(chat: Any, letter: str) -> bool:
    return any(f"━▸ {letter}" in line for line in seen(chat))


@pytest.mark.parametrize("stopped", [False, True], ids=["done", "stopped"])
async def test_the_answer_one_reads_keeps_the_focus_when_they_are_done(open_chat: Open, stopped: bool) -> None:
    engine = FakeEngine()
    async with open_chat(SMALL, engine) as chat:
        with streaming(engine):
            await chat.ask()
            feed(engine, 1, 30)
            await chat.until(lambda: has(chat, "Anna says line 1."))
            await chat.press("tab", "right")
            await chat.until(lambda: heading(chat, "B"))
            await chat.press("pagedown")
            await chat.until(lambda: not heading(chat, "B"))
            assert has(chat, "Bert")
            if stopped:
                await chat.press("escape")
                await chat.until(lambda: chat.answers.ready)
        await chat.until(lambda: chat.answers.ready)
        await chat.pilot.pause(0.2)
        assert chat.answers.focused_index == 1
        assert any("Bert" in line for line in seen(chat))
        assert not has(chat, "Anna")
        assert not has(chat, "Cleo")
        await chat.press("+")
        await chat.says("B good")


@pytest.mark.parametrize("size", [SMALL, (60, 16), (40, 12)], ids=str)
async def test_going_to_an_answer_begins_at_its_head(open_chat: Open, size: tuple[int, int]) -> None:
    engine = FakeEngine()
    engine.texts = long_answers()
    async with open_chat(size, engine) as chat:
        await chat.ask()
        for key, letter, name in (
            ("right", "B", "Bert"), ("right", "C", "Cleo"), ("left", "B", "Bert"), ("left", "A", "Anna"),
            ("left", "C", "Cleo"), ("right", "A", "Anna"), ("2", "B", "Bert"), ("1", "A", "Anna"), ("3", "C", "Cleo"),
        ):  # fmt: skip
            await chat.press(key)
            await chat.until(lambda letter=letter: heading(chat, letter), 3)
            await chat.pilot.pause(0.05)
            assert heading(chat, letter), key
            assert has(chat, f"{name} says line 1."), key
            await chat.press("pagedown")
            await chat.pilot.pause(0.05)
            assert not has(chat, f"{name} says line 1."), "and one reads on from there"


async def test_with_a_draft_in_the_prompt_the_keys_of_the_answers_stay_theirs(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("The first?")
        await chat.ask("The second?")
        chat.screen.set_focus(chat.screen.prompt)
        await chat.press(*"Not yet sent")
        await chat.press("escape")
        await chat.until(lambda: chat.app.focused is chat.answers)
        await chat.press("p")
        await chat.says("An earlier turn, 1 more after it.")
        assert chat.app.focused is chat.answers
        await chat.press("P")
        await chat.until(lambda: chat.screen.session.turn.prompt == "The second?")
        await chat.press("ctrl+r")
        await chat.until(lambda: not chat.screen.generating and chat.answers.ready)
        await chat.press("escape", "<")
        await chat.says("Branch 1 of 2")
        assert chat.app.focused is chat.answers
        assert chat.screen.prompt.text == "Not yet sent"


@pytest.mark.parametrize("size", [SMALL, (40, 12), (100, 30)], ids=str)
async def test_a_new_question_comes_to_the_top_whatever_was_said_of_the_last(
    open_chat: Open, size: tuple[int, int]
) -> None:
    engine = FakeEngine()
    engine.texts = long_answers()
    async with open_chat(size, engine) as chat:
        await chat.ask("The first?")
        with streaming(engine):
            chat.screen.say("This was recorded. " * 20, whole=True)
            await chat.pilot.pause(0.1)
            await chat.ask("The second?")
            feed(engine, 1, 2)
            await chat.pilot.pause(0.3)
            chat.screen.say("Three lines of it. " * 12, whole=True)
            await chat.pilot.pause(0.3)
            chat.screen.say("Answering.", quiet=True)
            await chat.pilot.pause(0.3)
            feed(engine, 2, 30)
            await chat.pilot.pause(0.5)
            lines = [n for n, line in enumerate(seen(chat)) if "The second?" in line]
            assert lines, seen(chat)
            assert lines[0] <= 3, seen(chat)


async def test_shrinking_in_mid_stream_keeps_the_turn_that_is_answered(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.texts = long_answers()
    async with open_chat(SMALL, engine) as chat:
        await chat.ask("The first?")
        await chat.ask("The second?")
        with streaming(engine):
            await chat.ask("The third?")
            for number in range(1, 8):
                feed(engine, number, number + 1)
                await chat.pilot.pause(0.05)
            for size in ((40, 12), SMALL, (40, 12), WIDE, (60, 16)):
                await chat.pilot.resize_terminal(*size)
                await chat.pilot.pause(0.3)
                assert has(chat, "The third?"), (size, seen(chat))
                assert has(chat, "Anna says line"), (size, seen(chat))


async def test_how_far_the_answers_are_is_told(open_chat: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """What grows may be below the screen."""
    monkeypatch.setattr(ChatScreen, "TELL", 0.01)
    engine = FakeEngine()
    async with open_chat(SMALL, engine) as chat:
        with streaming(engine):
            await chat.ask()
            feed(engine, 1, 3)
            await chat.until(lambda: chat.said == "Answering: 3 tokens so far. Esc stops it.")
            feed(engine, 3, 4)
            await chat.until(lambda: chat.said == "Answering: 6 tokens so far. Esc stops it.")
            await chat.press(*"/he")
            await chat.says("/help")
            feed(engine, 4, 5)
            await chat.until(lambda: chat.screen._grown == 9)
            await chat.pilot.pause(0.2)
            assert "/help" in chat.said, "what was said meanwhile stays"
