"""Forgetting in the full-screen chat, by itself and by another program beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatapp.screens.dialogs import Confirm
from chatapp.session import ChatSession, Model, SessionError
from chatapp.turn import FORGOTTEN, start_order
from storage.errors import StorageError
from storage.forgetting import forget
from storage.search import threads
from storage.store import Store
from tests.chat.fakes import FakeEngine, make_settings

Open = Callable[..., Any]


async def confirmed(chat: Any, key: str = "y") -> str:
    await chat.until(lambda: isinstance(chat.app.screen, Confirm))
    question = chat.app.screen.question
    await chat.press(key)
    return question


async def test_this_turn_is_forgotten_and_the_chat_goes_on_before_it(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("About apples")
        await chat.press("1")
        await chat.says("A > B, C")
        await chat.ask("About pears")
        pears = chat.answers.turn.prompt_id
        chat.screen.action_forget_turn()
        assert "Forget this question, its answers" in await confirmed(chat, "n")
        assert chat.store.threads.message(pears).content
        chat.screen.action_forget_turn()
        assert "4 messages and 0 judgments go, from the backups too. It cannot be undone." in await confirmed(chat)
        await chat.says("Forgotten: 4 messages and 0 judgments")
        assert chat.answers.turn.prompt == "About apples"
        assert chat.store.threads.message(pears).content is None
        assert threads(chat.store, "pears") == []
        await chat.ask("About plums")
        assert [m["content"] for m in chat.engine.asked[-1]][::2] == ["About apples", "About plums"]
        assert len(chat.judgments()) == 0


async def test_a_thread_whose_title_was_forgotten_is_named_by_the_next_question(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("About apples")
        chat.screen.action_forget_turn()
        await confirmed(chat)
        await chat.says("Forgotten: 4 messages")
        await chat.ask("About plums")
        assert [thread.title for thread in chat.store.threads.list()] == ["About plums"]
        assert chat.screen.status.heading == "About plums"


async def test_this_thread_is_forgotten_with_what_is_typed(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.screen.action_forget_thread()
        await chat.says("nothing to forget yet")
        await chat.ask("About apples")
        thread = chat.screen.session.thread.id
        await chat.press("2")
        await chat.says("B > A, C")
        chat.screen.prompt.put("and what about")
        await chat.until(lambda: chat.store.meta_get(f"draft:{thread}"))
        chat.screen.action_forget_thread()
        assert "Forget this thread for good? 4 messages and 1 judgment go" in await confirmed(chat)
        await chat.says("Forgotten: 4 messages and 1 judgment")
        await chat.until(lambda: chat.screen.session.thread is None)
        assert chat.screen.prompt.text == ""
        assert chat.store.threads.list() == []
        assert chat.store.tuples("SELECT 1 FROM meta WHERE key LIKE 'draft:%'") == []
        chat.screen.action_undelete_thread()
        await chat.says("No thread was deleted.")


async def test_it_waits_for_the_end_of_an_answer(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        await chat.until(lambda: chat.screen.session.busy)
        chat.screen.action_forget_turn()
        await chat.says("Still answering")
        engine.release()
        await chat.until(lambda: not chat.screen.generating)


async def test_what_another_program_forgets_leaves_the_screen(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("About apples")
        await chat.ask("About pears")
        await chat.until(lambda: chat.screen._open_thread._seen)
        with Store.open(chat.store.home) as other:
            forget(other, [chat.answers.turn.prompt_id])
        await chat.until(lambda: chat.answers.turn and chat.answers.turn.prompt == "About apples")
        await chat.says("forgotten by another program")
        with Store.open(chat.store.home) as other:
            forget(other, [chat.screen.session.thread.id])
        await chat.until(lambda: chat.screen.transcript.has_class("-blank"))


async def test_one_forgotten_answer_keeps_its_place(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("About apples")
        await chat.press("2")
        await chat.says("B > A, C")
        first = chat.answers.turn.answers[0]
        await chat.until(lambda: chat.screen._open_thread._seen)
        with Store.open(chat.store.home) as other:
            forget(other, [first.message_id])
        await chat.until(lambda: chat.answers.turn.answers[0].forgotten)
        assert chat.answers.turn.answers[0].text == FORGOTTEN
        assert chat.answers.turn.picked == 1
        chat.screen.set_focus(chat.answers)
        await chat.press("1")
        await chat.says("was forgotten and cannot be judged")
        await chat.press("3")
        await chat.says("C > B: 1 pair, weight 1")


def session(home: Path) -> ChatSession:
    store = Store.open(home)
    return ChatSession(store, FakeEngine(), make_settings(home.parent), Model("m", "fake", "fake"))


def asked(chat: ChatSession, text: str) -> str:
    chat.ask(text)
    chat.answer()
    assert chat.turn is not None
    return chat.turn.prompt_id


def test_a_thread_opens_on_a_forgotten_path_and_nothing_is_asked_there(home: Path) -> None:
    chat = session(home)
    apples, pears = asked(chat, "About apples"), asked(chat, "About pears")
    thread = chat.thread
    assert thread is not None
    last = chat.turn
    assert last is not None
    forget(chat.store, [pears])
    # still in memory, as when another program forgot it a moment ago
    with pytest.raises(SessionError, match="This was forgotten and cannot be asked again"):
        chat.answer()
    with pytest.raises(StorageError, match="nothing can be written below it"):
        chat.ask("go on")
    with pytest.raises(StorageError, match="was forgotten and cannot be judged"):
        chat.pick(0)
    # a tip in it, as an older file may have one
    chat.store.threads.set_tip(thread.id, last.continues_id)
    view = chat.open(thread.id)
    assert view.turn is not None
    assert (view.turn.prompt, view.turn.answers) == (FORGOTTEN, ())
    assert [past.prompt for past in view.past] == ["About apples"]
    chat.store.threads.set_tip(thread.id, apples)
    view = chat.open(thread.id)
    assert view.turn is not None
    assert (view.turn.prompt, view.turn.versions) == ("About apples", 1)
    with pytest.raises(SessionError, match="one branch only"):
        chat.step_version(1)
    asked(chat, "About plums")
    chat.close()


def test_a_question_whose_answers_were_all_forgotten_is_asked_again(home: Path) -> None:
    chat = session(home)
    asked(chat, "About apples")
    assert chat.turn is not None
    assert chat.thread is not None
    forget(chat.store, [answer.message_id for answer in chat.turn.answers])
    view = chat.open(chat.thread.id)
    assert view.turn is not None
    assert view.turn.answers == ()
    chat.answer()
    assert [answer.forgotten for answer in chat.turn.answers] == [False] * 3
    assert chat.view().turn is not None
    chat.close()


def test_a_forgotten_answer_has_no_rank_and_can_be_ranked_around(home: Path) -> None:
    chat = session(home)
    asked(chat, "About apples")
    assert chat.turn is not None
    assert chat.thread is not None
    chat.rank(((0,), (1,), (2,)))
    forget(chat.store, [chat.turn.answers[0].message_id])
    assert chat.open(chat.thread.id).turn is not None
    assert chat.turn.groups == ((1,), (2,), (0,))
    assert chat.turn.continues_id == chat.turn.answers[1].message_id
    assert start_order(chat.turn) == ((1,), (2,), (0,))
    assert chat.rank(((2,), (0,), (1,))).line == "C > B: 1 pair, weight 1"
    assert chat.turn.groups == ((2,), (1,), (0,))
    assert chat.all_bad().line == "all bad: 2 bad examples"
    assert chat.correct(1, "better").line == "correction > B, C: 2 pairs, weight 1"
    chat.close()
