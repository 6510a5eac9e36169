"""What is pasted and typed reaches the field that it is meant for, as it was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.keys import _character_to_key
from textual.widgets import TextArea

from chatapp.screens.correct import Correct
from chatapp.screens.dialogs import AskText, Confirm
from chatapp.screens.diff import Diff
from chatapp.screens.remarks import Flag
from chatapp.screens.teaches import Teaches
from chatapp.session import SessionError
from tests.chat.conftest import SMALL, WIDE
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


async def test_a_paste_over_a_dialog_moves_nothing_beneath_it(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("d")
        await chat.until(lambda: isinstance(chat.app.screen, Diff))
        chat.app.post_message(events.Paste("x"))
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is chat.screen)
        assert chat.app.focused is chat.answers
        assert chat.screen.prompt.text == ""


async def test_a_paste_stays_in_another_field(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        search = chat.screen.query_one("#thread-search")
        chat.screen.set_focus(search)
        chat.app.post_message(events.Paste("Why"))
        await chat.until(lambda: search.value == "Why")
        assert chat.screen.prompt.text == ""
        assert chat.app.focused is search


# -- a burst that a dialog is asked for in -----------------------------------------------------------------------------


def burst(chat: Any, text: str) -> None:
    """Keys that are all there before the first of them is looked at."""
    for key in text:
        chat.app.post_message(events.Key(_character_to_key(key), key))


@pytest.mark.parametrize(
    ("text", "opens"),
    [
        ("explain this more", Correct),
        ("note: x2J+-u", AskText),
        ("f2x+-r7us", Flag),
        ("E2x+-J=r7us", None),
        ("w2x+-J=r7us", Teaches),
        ("d2x+-J=r7us", Diff),
        ("s2x+-J=r7ue", None),
        ("Y2x+-J=r7us", None),
        ("v2x+-J=r7us", None),
    ],
)
async def test_behind_a_key_that_asks_for_a_dialog_nothing_judges(open_chat: Open, text: str, opens: Any) -> None:
    async with open_chat() as chat:
        await chat.ask()
        burst(chat, text)
        await chat.until(lambda: not chat.answers.blocked or (opens and isinstance(chat.app.screen, opens)))
        await chat.pilot.pause()
        assert chat.answers.draft is None
        assert not chat.answers.rating
        assert chat.judgments(live=False) == []
        if opens is None:
            return
        assert isinstance(chat.app.screen, opens)
        assert chat.screen.prompt.text == ""
        await chat.press("escape")  # a field that was typed in asks whether that may go
        if isinstance(chat.app.screen, Confirm):
            await chat.press("y")
        await chat.until(lambda: not chat.answers.blocked and chat.app.screen is chat.screen)
        chat.screen.set_focus(chat.answers)
        await chat.press("2")
        await chat.says("B > A, C")


async def test_keys_before_the_one_for_the_dialog_judge(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        burst(chat, "2+ex3")
        await chat.until(lambda: isinstance(chat.app.screen, Correct))
        await chat.until(lambda: len(chat.judgments(live=False)) == 2)
        assert [judgment.kind for judgment in chat.judgments(live=False)] == ["pick", "thumb"]


async def test_a_dialog_that_never_opens_leaves_the_answers_as_they_were(
    open_chat: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_chat() as chat:
        await chat.ask()

        def broken(*_: Any) -> Any:
            raise SessionError("The rules cannot be read.")

        monkeypatch.setattr(type(chat.store.rules), "list", broken)
        burst(chat, "fx")
        await chat.says("The rules cannot be read.")
        await chat.press("2")
        await chat.says("B > A, C")
        assert [judgment.kind for judgment in chat.judgments(live=False)] == ["pick"]


async def test_a_wish_while_answers_come_blocks_nothing(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        chat.answers.focus()
        await chat.press("E")
        await chat.says("Still answering")
        engine.feed(0, "Yes.")
        engine.release()
        await chat.until(lambda: chat.answers.ready)
        await chat.press("+")
        await chat.says("A")
        assert [judgment.kind for judgment in chat.judgments()] == ["thumb"]


# -- commands ----------------------------------------------------------------------------------------------------------


async def test_why_a_command_came_back_stays_until_it_is_changed(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("i")
        for typed, said, left in (
            ("/he", "! There is no command /he. Did you mean /help?", "/he"),
            ("/sett", "! There is no command /sett. Did you mean /settings?", "/sett"),
            ("/quit now", "! /quit takes nothing behind it.", "/quit now"),
            ("/rename", "! Write the title behind /rename.", "/rename "),
        ):
            chat.screen.prompt.put(typed[:-1])
            await chat.press("end", typed[-1], "enter")
            await chat.says(said)
            await chat.pilot.pause()
            assert chat.said.startswith(said)
            assert chat.screen.prompt.text == left
            assert chat.app.focused is chat.screen.prompt
            await chat.press("backspace")
            await chat.until(lambda said=said: said not in chat.said)
            chat.screen.prompt.put("")
            await chat.until(lambda: chat.said == "")


async def test_a_title_for_no_thread_comes_back(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.screen.prompt.put("/rename Letters to my landlord")
        await chat.press("enter")
        await chat.says("There is no thread yet: ask something first.")
        assert chat.screen.prompt.text == "/rename Letters to my landlord"


async def test_what_came_back_while_answers_come_says_why(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        await chat.press(*"/new", "enter")
        await chat.until(lambda: chat.screen.prompt.text == "/new")
        await chat.pilot.pause()
        assert chat.said == "Still answering. Esc stops it."
        engine.release()


async def test_tab_completes_a_command(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("i")
        for typed, text, said in (
            ("/sett", "/settings", "/settings: how answers are drawn"),
            ("/sy", "/system ", "/system TEXT: begin a thread"),
            ("/model", "/model ", "/model [NAME]: answer with another model"),
            ("/tra", "/train", "/train /training"),
            ("/t", "/t", "/train /threads /training"),
            ("/", "/", "/help /new"),
        ):
            for key in [*typed, "tab"]:  # at once
                chat.app.post_message(events.Key(_character_to_key(key) if len(key) == 1 else key, key))
            await chat.until(lambda text=text: chat.screen.prompt.text == text)
            await chat.says(said)
            assert chat.app.focused is chat.screen.prompt
            assert chat.screen.prompt.cursor_location == (0, len(text))
            chat.screen.prompt.put("")
            await chat.until(lambda: chat.said == "")


async def test_tab_after_an_error_says_the_choices(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.press(*"/tra", "enter")
        await chat.says("There is no command /tra.")
        await chat.press("tab")
        await chat.says("/train /training")


async def test_where_nothing_is_to_be_completed_tab_moves_on(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        for typed in ("", "Why?", "/settings", "/nothing", "//he", "/system He"):
            chat.screen.set_focus(chat.screen.prompt)
            chat.screen.prompt.put(typed)
            await chat.press("tab")
            await chat.until(lambda: chat.app.focused is not chat.screen.prompt)
            assert chat.screen.prompt.text == typed


# -- what the keys are -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "says"), [(SMALL, "Esc goes to them, ← and →"), (WIDE, "Esc goes to the")])
async def test_who_types_when_answers_come_is_told_the_key_to_them(open_chat: Open, size: Any, says: str) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(size, engine=engine) as chat:
        await chat.ask()
        await chat.press(*"And")
        for index in range(3):
            engine.feed(index, "\n\n".join(["A long answer."] * 20))
        await chat.until(lambda: size == WIDE or chat.answers.partly_hidden)
        engine.release()
        await chat.until(lambda: not chat.screen.generating)
        await chat.says(says)
        await chat.press("escape")
        assert chat.app.focused is chat.answers
        await chat.press("right")
        assert chat.answers.focused_index == 1
        assert chat.screen.prompt.text == "And"


async def test_f1_names_the_keys_that_clear_a_long_draft(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.screen.prompt.put("one\ntwo\nthree")
        rows = dict(chat.screen.key_sections())["Now, in the prompt"]
        assert any("F7" in keys and "Backspace then clears" in what for keys, _, what in rows)
        await chat.press("f7", "backspace")
        await chat.until(lambda: chat.screen.prompt.text == "")
        await chat.press("ctrl+z")
        await chat.until(lambda: chat.screen.prompt.text == "one\ntwo\nthree")
