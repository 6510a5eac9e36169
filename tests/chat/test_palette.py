"""The palette: what stands first in it, and that a screenshot comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.binding import Binding
from textual.command import CommandList, CommandPalette
from textual.widgets import Input

from chatapp.palette import ALSO
from chatapp.screens.chat_keys import CHAT_KEYS, KEYLESS
from chatapp.widgets.answers import Answers
from tests.chat.conftest import SMALL

Open = Callable[..., Any]


async def titles(chat: Any) -> list[str]:
    await chat.press("ctrl+p")
    await chat.until(lambda: isinstance(chat.app.screen, CommandPalette))
    options = chat.app.screen.query_one(CommandList)
    await chat.until(lambda: options.option_count > 20)
    return [str(option.hit.text) for option in options.options]


async def test_the_chat_and_its_pages_stand_first_and_each_thing_once(open_chat: Open) -> None:
    async with open_chat() as chat:
        found = await titles(chat)
        places = list(dict.fromkeys(title.partition(": ")[0] for title in found if ": " in title))
        assert places == ["Chat", "Prompt", "Threads", "Thread list", "Answers"]
        assert {"Chat: Training", "Chat: Delete this thread", "Threads: Delete"} <= set(found)
        assert "Threads: New" not in found, "Chat: New does the same"
        assert found.index("Theme") < found.index("Prompt: Send")
        assert len(found) == len(set(found))


async def test_a_hidden_list_offers_nothing_of_the_thread_it_stands_at(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        assert not chat.screen.threads.display
        assert not [title for title in await titles(chat) if title.startswith("Thread")]


async def test_who_maximizes_something_is_told_the_way_back(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        screen = chat.screen
        for widget in (screen.prompt, chat.answers, screen.transcript):
            screen.set_focus(widget)
            await chat.pilot.pause()
            for command in chat.app.get_system_commands(screen):
                if command.title == "Maximize":
                    command.callback()
                    await chat.until(lambda: "Esc brings the rest back." in said(chat))
                    assert screen.maximized is not None
                    await chat.press("escape")
                    await chat.until(lambda: screen.maximized is None)
                    return
        raise AssertionError("nothing can be maximized")


def said(chat: Any) -> str:
    return " ".join(f"{note.message}" for note in chat.app._notifications)


@pytest.mark.parametrize("downloads", [True, False])
async def test_a_screenshot_is_saved_where_it_says(
    open_chat: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloads: bool
) -> None:
    folder, here = tmp_path / "Downloads", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("platformdirs.user_downloads_path", lambda: folder)
    if downloads:
        folder.mkdir()
    async with open_chat() as chat:
        chat.app.deliver_screenshot()
        await chat.until(lambda: "Saved screenshot" in said(chat))
        (file,) = (folder if downloads else here).glob("*.svg")
        assert str(file) in said(chat)


async def test_a_screenshot_that_cannot_be_saved_says_why(
    open_chat: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_chat() as chat:
        chat.app.deliver_screenshot(path=str(tmp_path / "gone"))
        await chat.until(lambda: "not saved" in said(chat))
        assert "No such file or directory" in said(chat)
        assert str(tmp_path / "gone") in said(chat)
        assert "Failed" not in said(chat)


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("export", "Chat: Save this thread as Markdown"),
        ("settings", "Chat: How answers are drawn"),
        ("temper", "Chat: How answers are drawn"),
        ("rules", "Answers: Flag"),
        ("clear", "Chat: New"),
        ("/clear", "Chat: New"),
        ("roll ba", "Chat: Roll back"),
        ("folder started", "Chat: Save this thread as Markdown"),
        ("svthr", "Chat: Save this thread as Markdown"),
    ],
)
async def test_a_command_is_found_by_the_words_people_have_for_it(open_chat: Open, typed: str, first: str) -> None:
    async with open_chat() as chat:
        await titles(chat)
        chat.app.screen.query_one(Input).value = typed
        options = chat.app.screen.query_one(CommandList)
        await chat.until(lambda: options.option_count and str(options.options[0].hit.text) == first)


def test_what_people_call_a_command_names_one_that_there_is() -> None:
    there = {f"Chat: {title}" for title, _, _ in KEYLESS} | {f"Chat: {one.description}" for one in CHAT_KEYS}
    there |= {f"Answers: {one.description}" for one in Answers.BINDINGS if isinstance(one, Binding)} | {"Theme", "Quit"}
    assert set(ALSO) <= there
