"""A thread of many turns: it opens at once, all of it can be read, and what is seen stays where it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatapp.reading import past_turns, tip_turn, turns_between
from chatapp.view import Note
from chatapp.widgets.past import LIVE, PIECE
from storage.store import Store
from storage.threads import NewAnswer, Thread
from tests.chat.conftest import SMALL, WIDE, Chat
from tests.chat.fakes import FakeEngine, make_settings

Open = Callable[..., Any]
TURNS = 70
HASH = "h" * 64


def long_thread(store: Store, turns: int) -> Thread:
    """Turns of three answers, the second of which was picked; the chat opens this thread."""
    store.add_model(HASH, "fake", "fake", "t", "fake.gguf")
    with store.write():
        thread = store.threads.new("A long thread")
        parent = None
        for number in range(1, turns + 1):
            question = store.threads.add_message(thread.id, parent, "user", f"Question {number}?")
            text = f"Answer {number}." + " And more of it, for some lines." * (number % 7)
            new = [NewAnswer(text, place, HASH, None, {}, place, [1, 2], 5, "stop") for place in range(3)]
            answers = [message.id for message in store.threads.add_answers(thread.id, question.id, new)]
            store.judgments.pick(question.id, answers[1], answers)
            parent = answers[1]
        store.threads.set_tip(thread.id, parent)
        store.meta_set("chat.thread", thread.id)
    return store.threads.get(thread.id)


@pytest.fixture
def filled(tmp_path: Path) -> None:
    """The home that open_chat opens has a long thread, which is the last one."""
    with Store.open(make_settings(tmp_path).home) as store:
        long_thread(store, TURNS)


def seen(chat: Chat) -> list[str]:
    """The lines of the conversation as they are drawn, without its scrollbar."""
    region = chat.screen.transcript.scrollable_content_region
    return [line[region.x : region.right].rstrip() for line in chat.drawn[region.y : region.bottom]]


def numbers(chat: Chat) -> list[int]:
    return [int(n) for line in seen(chat) for n in re.findall(r"Question (\d+)\?", line)]


async def opened(chat: Chat) -> None:
    await chat.until(lambda: chat.screen.transcript.past.turns)
    await settled(chat)


async def settled(chat: Chat) -> None:
    """Nothing is on its way."""
    await chat.until(lambda: chat.screen.transcript.at_rest)


@pytest.mark.parametrize("size", [WIDE, SMALL])
async def test_all_of_it_is_read_page_by_page(open_chat: Open, filled: None, size: tuple[int, int]) -> None:
    async with open_chat(size) as chat:
        await opened(chat)
        transcript = chat.screen.transcript
        chat.screen.set_focus(chat.answers, scroll_visible=False)
        for key, last in (("pageup", 1), ("pagedown", TURNS)):
            met = set(numbers(chat))
            while last not in met:
                await chat.press(key)
                await settled(chat)
                now = numbers(chat)
                assert now == sorted(now)
                assert not now or min(abs(a - b) for a in now for b in met) <= 1, "no turn is jumped over"
                met |= set(now)
                assert len(transcript.past.turns) <= LIVE + PIECE, "few of them are live"
            assert met == set(range(1, TURNS + 1))


async def test_a_page_key_at_the_edge_counts_once_the_turns_are_there(
    open_chat: Open, filled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_chat(WIDE) as chat:
        await opened(chat)
        transcript, held = chat.screen.transcript, asyncio.Event()
        bring = transcript.bring

        async def late(wanted: Any, turns: Any) -> None:
            await held.wait()
            await bring(wanted, turns)

        monkeypatch.setattr(transcript, "bring", late)
        chat.screen.set_focus(chat.answers, scroll_visible=False)
        while transcript.at_rest:
            await chat.press("pageup")
        await chat.press("pageup", "pageup", "pageup")
        first = numbers(chat)[0]
        held.set()
        await settled(chat)
        await chat.until(lambda: numbers(chat) and numbers(chat)[0] < first)
        assert numbers(chat)[-1] >= first - 2, "no turn is jumped over"


@pytest.mark.parametrize("step", [-8, 8])
async def test_what_is_seen_stays_where_it_is(open_chat: Open, filled: None, step: int) -> None:
    async with open_chat(SMALL) as chat:
        await opened(chat)
        transcript = chat.screen.transcript
        if step > 0:
            transcript.action_scroll_home()
            await settled(chat)
        live = transcript.past.start, transcript.past.stop
        before = seen(chat)
        for _ in range(30):
            transcript.scroll_relative(y=step, animate=False)
            await settled(chat)
            now = seen(chat)
            if step < 0:
                assert now[-step:] == before[:step]
            else:
                assert now[:-step] == before[step:]
            before = now
        assert transcript.past.start != live[0], "turns came and went meanwhile"
        assert transcript.past.stop != live[1]


async def test_home_and_end_go_to_the_first_and_the_last_turn(open_chat: Open, filled: None) -> None:
    async with open_chat(SMALL) as chat:
        await opened(chat)
        chat.screen.set_focus(chat.answers, scroll_visible=False)
        await chat.press("home")
        await chat.until(lambda: numbers(chat)[:2] == [1, 2])
        assert "turns come when you scroll up" not in "".join(seen(chat))
        await chat.press("end")
        await chat.until(lambda: TURNS in numbers(chat))
        await settled(chat)
        first = numbers(chat)[0]
        await chat.press("pageup")
        await settled(chat)
        assert numbers(chat)[-1] in (first, first - 1)


async def test_a_key_goes_back_by_many_turns(open_chat: Open, filled: None) -> None:
    async with open_chat(SMALL) as chat:
        await opened(chat)
        lowest = []
        for _ in range(3):
            await chat.press("alt+pageup")
            await settled(chat)
            lowest.append(min(numbers(chat)))
        assert lowest == sorted(lowest, reverse=True)
        assert lowest[0] - lowest[-1] >= PIECE


async def test_asking_from_far_above_shows_the_new_turn_after_the_last(open_chat: Open, filled: None) -> None:
    engine = FakeEngine()
    async with open_chat(SMALL, engine=engine) as chat:
        await opened(chat)
        chat.screen.transcript.action_scroll_home()
        await settled(chat)
        await chat.ask("And now?")
        await settled(chat)
        assert "And now?" in "".join(seen(chat))
        assert engine.asked[-1][-3]["content"] == f"Question {TURNS}?"
        assert numbers(chat)[-1] == TURNS
        first = numbers(chat)[0]
        chat.screen.set_focus(chat.answers, scroll_visible=False)
        await chat.press("pageup")
        await settled(chat)
        assert numbers(chat)[-1] in (first, first - 1)


async def test_answers_that_grow_do_not_move_who_reads_above(open_chat: Open, filled: None) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(SMALL, engine=engine) as chat:
        await opened(chat)
        await chat.ask("And now?")
        for _ in range(6):
            await chat.press("pageup")
            await settled(chat)
        before = seen(chat)
        assert numbers(chat)
        for number in range(20):
            engine.feed(0, f"Line {number}.\n")
        await chat.until(lambda: "Line 19." in chat.answers.cards[0].prose.text)
        assert seen(chat) == before
        engine.release()
        await chat.until(lambda: chat.answers.ready)
        assert seen(chat) == before


async def test_what_the_chat_said_between_turns_is_there_when_one_comes_back(open_chat: Open, filled: None) -> None:
    async with open_chat(SMALL) as chat:
        await opened(chat)
        chat.screen.note(Note("Something was learned."))
        await chat.ask("And now?")
        await chat.ask("And then?")
        transcript = chat.screen.transcript
        transcript.action_scroll_home()
        await settled(chat)
        assert "Something was learned." not in chat.notes
        transcript.action_scroll_end()
        await settled(chat)
        await chat.until(lambda: "Something was learned." in chat.notes)
        assert transcript.past.turns[-1].said_before[0].text == "Something was learned."


def test_a_long_thread_takes_no_more_queries_than_a_short_one(tmp_path: Path) -> None:
    asked: list[str] = []
    counts = []
    for turns in (30, 600):
        with Store.open(tmp_path / str(turns)) as store:
            thread = long_thread(store, turns)
            store.db.conn.set_trace_callback(asked.append)
            turn = tip_turn(store, thread)
            assert turn is not None
            past, hidden = past_turns(store, turn.prompt_id, 24)
            store.db.conn.set_trace_callback(None)
            assert [t.prompt for t in past] == [f"Question {n}?" for n in range(turns - 24, turns)]
            assert hidden == turns - 25
            assert past[-1].mark == "B, picked of 3"
            assert turns_between(store, turn.prompt_id, 3, 5)[0].prompt == "Question 4?"
        counts.append(len(asked))
        asked.clear()
    assert counts[1] <= counts[0] + 20
