"""A question that is too long for the context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chatapp.engine.base import PromptTooLong
from chatapp.screens.dialogs import Choose
from chatapp.view import Note
from tests.chat.fakes import TEXTS, FakeEngine
from tests.chat.plain_talk import talk

Open = Callable[..., Any]

Open = Callable[..., Any]


TOO_LONG = "The newest message and the system prompt are 9134 tokens; at most 4048 fit. Shorten it."


async def test_a_question_too_long_for_the_context_comes_back_and_leaves_nothing(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.engine.error = PromptTooLong(TOO_LONG)
        await chat.ask("Long " * 40)
        await chat.says(f"! {TOO_LONG}")
        await chat.until(lambda: chat.screen.prompt.text == "Long " * 40)
        await chat.pilot.pause()
        assert chat.said == f"! {TOO_LONG}"
        assert chat.app.focused is chat.screen.prompt
        assert chat.screen.session.thread is None
        assert chat.store.threads.list() == []
        assert chat.store.rows("SELECT * FROM messages") == []
        chat.engine.error = None
        await chat.ask("Short?")
        assert [message["content"] for message in chat.engine.asked[-1]] == ["Short?"]
        assert chat.answers.turn.versions == 1
        assert chat.screen.status.heading == "Short?"


async def test_a_private_thread_that_began_too_long_is_private_when_it_begins(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.screen.action_private_thread()
        await chat.says("The new thread is private")
        chat.engine.error = PromptTooLong(TOO_LONG)
        await chat.ask("A long secret")
        await chat.until(lambda: chat.screen.prompt.text == "A long secret")
        assert chat.store.threads.list() == []
        assert "New thread (private)" in chat.drawn[0]
        chat.engine.error = None
        await chat.ask("A secret")
        assert chat.screen.session.thread.private
        await chat.press("ctrl+n")
        await chat.until(lambda: chat.screen.transcript.has_class("-blank"))
        await chat.ask("None")
        assert not chat.screen.session.thread.private


async def test_what_was_said_stays_behind_a_question_that_is_too_long(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        chat.screen.note(Note("Lesson 1 is done."))
        chat.engine.error = PromptTooLong(TOO_LONG)
        await chat.ask("Long " * 40)
        await chat.until(lambda: chat.screen.prompt.text == "Long " * 40)
        assert [note.text for note in chat.screen.transcript.said] == ["Lesson 1 is done."]


async def test_after_one_too_long_the_thread_goes_on_where_it_was(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.press("2")
        await chat.says("B > A, C")
        chat.engine.error = PromptTooLong(TOO_LONG)
        await chat.ask("//too long")
        await chat.until(lambda: chat.screen.prompt.text == "//too long")
        assert chat.said == f"! {TOO_LONG}"
        assert chat.answers.turn.prompt == "One?"
        assert chat.answers.turn.picked == 1
        await chat.press("x")
        assert [judgment.kind for judgment in chat.judgments(live=False)] == ["pick"]
        chat.engine.error = None
        await chat.ask("Two?")
        assert [message["content"] for message in chat.engine.asked[-1]] == ["One?", TEXTS[1], "Two?"]
        assert chat.answers.turn.versions == 1


@pytest.mark.parametrize("from_where", ["an earlier turn", "an edit"])
async def test_one_too_long_that_branches_off_still_does_when_it_is_short(open_chat: Open, from_where: str) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.ask("Two?")
        if from_where == "an edit":
            await chat.press("E")
            await chat.until(lambda: isinstance(chat.app.screen, Choose))
            await chat.press("down", "enter")
            await chat.until(lambda: chat.screen.editing is not None)
        else:
            await chat.press("p")
            await chat.until(lambda: chat.screen.visiting)
        chat.engine.error = PromptTooLong(TOO_LONG)
        await chat.ask("Too long")
        await chat.says(TOO_LONG)
        await chat.until(lambda: chat.screen.prompt.text == "Too long" and not chat.screen.generating)
        assert (chat.screen.editing is not None) == (from_where == "an edit")
        assert chat.screen.visiting == (from_where != "an edit")
        chat.engine.error = None
        await chat.ask("Short?")
        before = [] if from_where == "an edit" else ["One?"]
        said = [message["content"] for message in chat.engine.asked[-1] if message["role"] == "user"]
        assert said == [*before, "Short?"]
        assert chat.answers.turn.versions == 2


async def test_asking_again_what_no_longer_fits_keeps_its_answers(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        chat.engine.error = PromptTooLong(TOO_LONG)
        await chat.press("ctrl+r")
        await chat.says(f"! {TOO_LONG}")
        assert "Ctrl+R" not in chat.said
        assert chat.answers.turn.text_of(0) == TEXTS[0]


class Narrow(FakeEngine):
    def generate(self, messages: Any, *rest: Any) -> Any:
        if len(messages[-1]["content"]) > 20:
            raise PromptTooLong(TOO_LONG)
        return super().generate(messages, *rest)


def test_the_plain_chat_goes_on_behind_one_too_long(tmp_path: Any) -> None:
    engine = Narrow()
    said = talk(tmp_path, "One?", "long " * 9, "2", "Two?", engine=engine, code=1)
    assert TOO_LONG in said
    assert "B > A, C" in said
    assert [message["content"] for message in engine.asked[-1]] == ["One?", TEXTS[1], "Two?"]


def test_in_the_plain_chat_too_it_stays_private(tmp_path: Any) -> None:
    said = talk(tmp_path, "/private", "A secret " * 9, "A secret", "/status", engine=Narrow(), code=1)
    assert TOO_LONG in said
    assert "A secret (private)" in said
