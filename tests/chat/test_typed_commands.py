"""What is typed in the prompt with a slash."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from textual.containers import VerticalScroll
from textual.widgets import Static

from chatapp.screens.generation import Generation
from chatapp.screens.help import Help
from tests.chat.conftest import SMALL, WIDE

Open = Callable[..., Any]

Open = Callable[..., Any]


async def test_a_command_is_carried_out_and_not_asked(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        chat.screen.prompt.put("/help")
        await chat.press("i", "enter")
        await chat.until(lambda: isinstance(chat.app.screen, Help))
        await chat.press("escape")
        chat.screen.prompt.put("/rename A better name")
        chat.screen.set_focus(chat.screen.prompt)
        await chat.press("enter")
        await chat.until(lambda: chat.screen.status.heading == "A better name")
        assert len(chat.engine.asked) == 1


@pytest.mark.parametrize("size", [SMALL, WIDE, (40, 14)])
async def test_help_that_is_typed_begins_with_what_can_be_typed(open_chat: Open, size: tuple[int, int]) -> None:
    async with open_chat(size) as chat:
        chat.screen.prompt.put("/help")
        await chat.press("i", "backspace", "enter")
        await chat.until(lambda: isinstance(chat.app.screen, Help) and "Typed in the prompt" in "".join(chat.drawn))
        await chat.until(lambda: any("/system TEXT" in line for line in chat.drawn))
        assert isinstance(chat.app.focused, VerticalScroll), "the arrows scroll it"
        await chat.press("escape", "f1")
        await chat.until(lambda: any("Hone answers in several ways" in line for line in chat.drawn))


@pytest.mark.parametrize("size", [SMALL, WIDE, (40, 14)])
async def test_sections_of_the_help_are_one_blank_line_apart(open_chat: Open, size: tuple[int, int]) -> None:
    async with open_chat(size) as chat:
        await chat.press("f1")
        await chat.until(lambda: isinstance(chat.app.screen, Help))
        for width in (size[0], size[0] - 8):
            await chat.pilot.resize_terminal(width, size[1])
            parts = list(chat.app.screen.query_one(VerticalScroll).query(Static))
            await chat.until(lambda parts=parts: all(part.region.height == lines(part) for part in parts[2::2]))
            assert [below.region.y - above.region.bottom for above, below in pairwise(parts)] == [1, 0] * 5
            assert all(str(part.render()).strip().count("\n") + 1 == lines(part) for part in parts[2::2])


def lines(part: Static) -> int:
    return str(part.render()).count("\n") + 1


async def test_a_misspelt_command_is_given_back(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.screen.prompt.put("/trian")
        await chat.press("enter")
        await chat.says("There is no command /trian. Did you mean /train?")
        assert chat.screen.prompt.text == "/trian"
        chat.screen.prompt.put("//etc/passwd, what is it?")
        await chat.press("enter")
        await chat.until(lambda: chat.answers.ready)
        assert chat.engine.asked[-1][-1]["content"] == "/etc/passwd, what is it?"


async def test_commands_are_hinted_while_they_are_typed(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.press("slash")
        await chat.says("/help")
        await chat.press("s", "y")
        await chat.says("/system TEXT: begin a thread")
        await chat.press("backspace", "backspace", "backspace")
        await chat.until(lambda: chat.said == "")


async def test_system_begins_a_thread_that_is_told_it(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        chat.screen.prompt.put("/system Speak like a pirate.")
        await chat.press("i", "enter")
        await chat.says("A new thread")
        await chat.ask("Who are you?")
        assert chat.engine.asked[-1][0] == {"role": "system", "content": "Speak like a pirate."}
        assert chat.engine.asked[-1][1]["content"] == "Who are you?"


async def test_the_system_prompt_stands_at_the_top_of_its_thread(open_chat: Open) -> None:
    def line(chat: Any) -> str:
        return next((line for line in chat.drawn if "System: " in line), "")

    async with open_chat(SMALL) as chat:
        chat.screen.prompt.put("/system Speak like a pirate, and never like a sailor, in a hundred words or fewer.")
        await chat.press("enter")
        await chat.until(lambda: "System: Speak like a pirate" in line(chat))
        await chat.ask("Who are you?")
        assert "…" in line(chat), "cut by the width"
        await chat.screen.run_action("system_prompt")
        await chat.until(lambda: chat.said.startswith("The model is told first: Speak like a pirate"))
        assert chat.notes == [], "once is enough"
        await chat.press("ctrl+n")
        await chat.until(lambda: not line(chat))
        thread = chat.store.threads.list()[0].id
    async with open_chat(SMALL, thread=thread) as chat:
        await chat.until(lambda: "System: Speak like a pirate" in line(chat))


async def test_a_thread_is_exported_and_nothing_is_overwritten(open_chat: Open, tmp_path: Path) -> None:
    file = tmp_path / "thread.md"
    async with open_chat() as chat:
        await chat.ask("One?")
        chat.screen.prompt.put(f"/export {file}")
        await chat.press("i", "enter")
        await chat.says("was saved as")
        assert "One?" in file.read_text()
        chat.screen.prompt.put(f"/export {file}")
        await chat.press("enter")
        await chat.says("is there already")


async def test_generation_settings_hold_from_the_next_question_on(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.press("f8")
        await chat.until(lambda: isinstance(chat.app.screen, Generation))
        field = chat.app.screen.query_one("#generation-alternatives")
        field.value = "0"
        await chat.press("enter")
        hint = chat.app.screen.query_one(".hint")
        await chat.until(lambda: str(hint.render()).startswith("! Answers is 0; it must be"))
        field.value = "2"
        chat.app.screen.query_one("#generation-min_p").value = "abc"
        await chat.press("enter")
        await chat.until(lambda: str(hint.render()).startswith("! Min p is 'abc'; it must be a number"))
        assert chat.app.screen.focused.id == "generation-min_p", "it is where it can be put right"
        await chat.press("ctrl+u", "9")
        await chat.until(lambda: str(hint.render()).startswith("! Min p is 9"))
        await chat.press("ctrl+u", "0")
        await chat.until(lambda: str(hint.render()).startswith("Enter takes them"))
        assert not hint.has_class("-error")
        await chat.press("enter")
        await chat.says("answers are drawn so")
        await chat.ask("One?")
        assert len(chat.answers.turn.answers) == 2
