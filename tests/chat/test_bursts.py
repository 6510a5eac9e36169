"""Keys that come all at once, as from a macro, a text expander or a line that lags: each counts, in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.events import Key, Paste
from textual.keys import _character_to_key
from textual.widgets import Input

from chatapp.screens.correct import Correct
from chatapp.screens.generation import Generation
from chatapp.screens.help import Help
from chatapp.widgets.fields import SafeTextArea
from chatapp.widgets.scroller import Scroller
from tests.chat.conftest import SMALL, Chat
from tests.chat.fakes import FakeEngine

Open = Callable[..., Any]


def burst(chat: Chat, *keys: str) -> None:
    """All of keys before anything else happens; "<...>" is a paste."""
    for key in keys:
        if key.startswith("<"):
            chat.app.post_message(Paste(key.strip("<>")))
        elif len(key) == 1:
            chat.app.post_message(Key(_character_to_key(key), key))
        else:
            chat.app.post_message(Key(key, None))


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ([*"abc", "backspace", "d"], "abd"),
        ([*"hi", "left", "X"], "hXi"),
        ([*"one", "home", "1", "end", "2"], "1one2"),
        ([*"one two", "ctrl+w", *"three"], "one three"),
        ([*"one", "ctrl+u", *"two"], "two"),
        ([*"one", "ctrl+j", "2", "ctrl+home", "0"], "0one\n2"),
        ([*"one", "f7", "backspace", "2"], "2"),
        ([*"one", "ctrl+u", "ctrl+z", "!"], "one!"),
        ([*"abcdef", *["backspace"] * 3], "abc"),
        ([*"ab", "left", "<1 2>", "delete", "3"], "a1 23"),
        ([*"/sett", "tab", "!"], "/settings!"),
    ],
)
async def test_what_is_typed_in_one_go_stands_as_it_was_typed(open_chat: Open, keys: list[str], text: str) -> None:
    async with open_chat() as chat:
        burst(chat, *keys)
        await chat.until(lambda: chat.screen.prompt.text == text, 3)
        await chat.pilot.pause(0.05)
        assert chat.screen.prompt.text == text  # and nothing of it comes twice


async def test_each_field_gets_what_was_typed_into_it(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.press("f8")
        await chat.until(lambda: isinstance(chat.app.screen, Generation) and chat.app.focused)
        burst(chat, "ctrl+u", "4", "down", "ctrl+u", *"0.55", "backspace", "tab", "end", "9", "up", "home", "1")
        fields = list(chat.app.screen.query(Input).results(Input))
        await chat.until(lambda: [fields[0].value, fields[1].value, fields[2].value[-1]] == ["4", "10.5", "9"], 3)


async def test_a_correction_is_written_and_saved_in_one_go(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("e")
        await chat.until(lambda: isinstance(chat.app.screen, Correct) and chat.app.focused)
        editor = chat.app.screen.query_one(SafeTextArea)
        burst(chat, "f7", "backspace", *"Better", "left", "backspace", "e", "ctrl+s")
        await chat.until(lambda: chat.app.screen is chat.screen)
        assert editor.text == "Better"
        await chat.until(lambda: [one.kind for one in chat.judgments()] == ["correction"])


async def test_a_key_that_moves_the_focus_moves_it_for_those_behind_it(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("i")
        burst(chat, "escape", "2")
        await chat.says("B > A, C")
        assert chat.screen.prompt.text == ""
        burst(chat, "i", *"No", "backspace", "w")
        await chat.until(lambda: chat.screen.prompt.text == "Nw")


async def test_a_search_in_one_go_does_nothing_to_the_threads(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("dada")
        assert chat.screen.threads.display
        chat.screen.threads.query_one("#thread-options").focus()
        await chat.pilot.pause()
        burst(chat, "slash", *"dada")
        await chat.until(lambda: chat.screen.threads.query_one(Input).value == "dada")
        assert chat.app.screen is chat.screen
        assert len(chat.store.threads.list()) == 1


async def test_what_is_behind_enter_belongs_to_the_next_question(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        burst(chat, *"Why?", "enter", *"And", "backspace", "y")
        await chat.until(lambda: chat.screen.prompt.text == "Any")
        await chat.until(lambda: engine.asked)
        assert engine.asked[0][-1]["content"] == "Why?"
        engine.release()
        await chat.until(lambda: not chat.screen.generating)


async def test_a_panel_that_closes_holds_no_key_up(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.press("f1")
        await chat.until(lambda: isinstance(chat.app.screen, Help))
        burst(chat, "down", "q", "x", "backspace", "y")
        await chat.until(lambda: chat.screen.prompt.text == "y", 3)


# -- scrolling ---------------------------------------------------------------------------------------------------------


async def test_ten_lines_down_are_ten_lines(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.texts = ("\n\n".join(f"Line {n}." for n in range(60)),)
    async with open_chat(SMALL, engine=engine) as chat:
        await chat.ask()
        await chat.until(lambda: chat.app.focused is chat.answers)
        transcript = chat.screen.transcript
        await chat.press("home")
        await chat.until(lambda: transcript.scroll_y == 0)
        burst(chat, *["down"] * 10)
        await chat.until(lambda: transcript.scroll_y == 10, 3)
        burst(chat, *["up"] * 3, "pagedown", "pagedown", "down")
        page = transcript.scrollable_content_region.height
        await chat.until(lambda: transcript.scroll_y == 8 + 2 * page, 3)
        burst(chat, "home", "down", "pagedown", "pageup", "up", "down")
        await chat.until(lambda: transcript.scroll_y == 1, 3)


async def test_the_help_scrolls_by_each_key_too(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await chat.press("f1")
        await chat.until(lambda: isinstance(chat.app.screen, Help) and chat.app.focused)
        panel = chat.app.screen.query_one(Scroller)
        burst(chat, *["down"] * 10, "up")
        await chat.until(lambda: panel.scroll_y == 9, 3)
        burst(chat, "pagedown", "pageup", "end", "up")
        await chat.until(lambda: panel.scroll_y == panel.max_scroll_y - 1, 3)
        burst(chat, "home", "down")
        await chat.until(lambda: panel.scroll_y == 1, 3)
