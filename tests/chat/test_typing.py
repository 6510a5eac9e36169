"""What is pasted and typed reaches the field that it is meant for, as it was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.widgets import TextArea

from chatapp.screens.correct import Correct
from chatapp.screens.dialogs import AskText
from tests.chat.fakes import FakeEngine
from tests.chat.plain_talk import talk

Open = Callable[..., Any]

# -- pasting -----------------------------------------------------------------------------------------------------------


async def test_the_line_breaks_of_a_paste_are_line_breaks(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.app.post_message(events.Paste("first line\rsecond line\r\rfourth\r\nfifth\x1b"))
        await chat.until(lambda: "fifth" in chat.screen.prompt.text)
        assert chat.screen.prompt.text == "first line\nsecond line\n\nfourth\nfifth␛"
        await chat.press("!", "ctrl+z", "enter")
        await chat.until(lambda: chat.answers.ready)
        assert chat.engine.asked[-1][-1]["content"] == "first line\nsecond line\n\nfourth\nfifth␛"


async def test_a_correction_takes_them_too_and_those_of_the_answer_are_no_change(open_chat: Open) -> None:
    app = App[None]()
    async with app.run_test() as pilot:
        app.push_screen(correct := Correct("A", "one\r\ntwo"))
        await pilot.pause()
        editor = correct.query_one(TextArea)
        assert editor.text == correct.before == "one\ntwo"
        app.post_message(events.Paste("\rthree\r\nfour"))
        while "four" not in editor.text:
            await pilot.pause()
        assert editor.text == "one\ntwo\nthree\nfour"


async def test_a_field_of_one_line_takes_the_first_line(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("n")
        await chat.until(lambda: isinstance(chat.app.screen, AskText) and chat.app.focused is not None)
        chat.app.post_message(events.Paste("short\rlong"))
        await chat.until(lambda: chat.app.focused.value)
        assert chat.app.focused.value == "short"


def test_the_plain_chat_takes_lines_of_other_systems(tmp_path: Any) -> None:
    engine = FakeEngine()
    said = talk(tmp_path, "Why?\r", "2\r", "e 1\r", "Better,\r", "much\r", ".\r", "One\rtwo?", engine=engine)
    assert "B > A, C" in said
    assert "␍" not in said
    assert engine.asked[0][-1]["content"] == "Why?"
    assert engine.asked[-1][-2]["content"] == "Better,\nmuch"
    assert engine.asked[-1][-1]["content"] == "One\ntwo?"


@pytest.mark.parametrize("where", ["answers", "threads", "nothing"])
async def test_a_paste_goes_into_the_prompt_wherever_the_focus_is(open_chat: Open, where: str) -> None:
    async with open_chat() as chat:
        await chat.ask()
        if where == "threads":
            chat.screen.set_focus(chat.screen.query_one("Threads"))
        elif where == "nothing":
            chat.screen.set_focus(None)
        chat.app.post_message(events.Paste("2x\rE"))
        for key in ("3", "x"):  # in the same burst
            chat.app.post_message(events.Key(key, key))
        await chat.until(lambda: chat.screen.prompt.text == "2x\nE3x")
        assert chat.app.focused is chat.screen.prompt
        assert chat.judgments(live=False) == []


async def test_a_paste_stays_in_another_field(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        search = chat.screen.query_one("#thread-search")
        chat.screen.set_focus(search)
        chat.app.post_message(events.Paste("Why"))
        await chat.until(lambda: search.value == "Why")
        assert chat.screen.prompt.text == ""
        assert chat.app.focused is search
