"""A thread that is private: before its first question, in both chats, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatapp.widgets.threads import Threads
from storage.store import Store
from tests.chat.conftest import SMALL
from tests.chat.fakes import FakeEngine
from tests.chat.plain_talk import talk

Open = Callable[..., Any]


async def command(chat: Any, line: str) -> None:
    chat.screen.set_focus(chat.screen.prompt)
    await chat.pilot.pause()
    chat.screen.prompt.put(line)
    await chat.press("enter")


def stored(tmp_path: Path) -> list[tuple[str, bool]]:
    """Threads as another program finds them, the latest first."""
    with Store.open(tmp_path / "home") as store:
        return [(thread.title, thread.private) for thread in store.threads.list()]


# -- before the first question -----------------------------------------------------------------------------------------


async def test_a_new_thread_is_private_from_its_first_row_on(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        chat.screen.action_private_thread()
        await chat.says("The new thread is private from its first question on")
        assert "New thread (private)" in chat.drawn[0]
        await chat.ask("A secret")
        # still answering: a look from outside finds nothing that could be learned from or exported
        assert [(thread.title, thread.private) for thread in chat.store.threads.list()] == [("A secret", True)]
        assert "A secret (private)" in chat.drawn[0]
        engine.feed(0, "x")
        engine.release()
        await chat.until(lambda: chat.answers.ready)
        engine.hold = False
        await chat.press("ctrl+n")
        await chat.until(lambda: chat.screen.transcript.has_class("-blank"))
        await chat.ask("No secret")
        assert [thread.private for thread in chat.store.threads.list()] == [False, True]


async def test_a_new_thread_can_be_private_no_longer(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.screen.action_private_thread()
        await chat.says("The new thread is private")
        chat.screen.action_private_thread()
        await chat.says("The new thread is no longer private")
        assert "(private)" not in chat.drawn[0]
        await chat.ask("No secret")
        assert [thread.private for thread in chat.store.threads.list()] == [False]


async def test_a_secret_half_written_is_private_after_a_restart(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.screen.action_private_thread()
        await chat.says("The new thread is private")
        chat.screen.prompt.put("My sec")
    async with open_chat() as chat:
        await chat.until(lambda: chat.screen.prompt.text == "My sec")
        assert "New thread (private)" in chat.drawn[0]
        await chat.ask("My secret")
        assert [thread.private for thread in chat.store.threads.list()] == [True]


async def test_the_command_makes_a_new_thread_private(open_chat: Open) -> None:
    async with open_chat() as chat:
        await command(chat, "/private")
        await chat.says("The new thread is private")
        await chat.ask("A secret")
        await command(chat, "/private")
        await chat.says("This thread is no longer private: it is learned from again, and part of hone export.")


def test_in_the_plain_chat_a_thread_is_private_from_its_first_row_on(tmp_path: Path) -> None:
    said = talk(tmp_path, "/private", "/status", "A secret", "/threads", "/new", "No secret")
    assert "The new thread is private from its first question on: never learned from, left out of" in said
    assert "Thread: New thread (private)" in said
    assert "1. A secret (private) (this one)" in said
    assert stored(tmp_path) == [("No secret", False), ("A secret", True)]


def test_the_plain_chat_says_at_the_next_start_that_the_new_thread_is_private(tmp_path: Path) -> None:
    talk(tmp_path, "/private")
    said = talk(tmp_path, "/new", "A secret")
    assert said.startswith("Thread: New thread (private)\nA new thread, private as you chose before. Ask something.\n")
    assert stored(tmp_path) == [("A secret", True)]


# -- it is seen --------------------------------------------------------------------------------------------------------


async def test_the_list_marks_a_private_thread_with_a_word(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("A secret that takes many more words than the list has room for")
        await chat.press("1")
        await chat.says("A > B, C")
        chat.screen.action_private_thread()
        await chat.says("This thread is private")
        rows = chat.screen.query_one(Threads)
        await chat.until(lambda: "… private ✓1" in str(rows.get_option_at_index(0).prompt))


async def test_the_mark_is_seen_behind_a_long_title_and_stays_with_a_new_one(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await chat.ask("A secret that takes many more words than the line at the top has room for")
        chat.screen.action_private_thread()
        await chat.until(lambda: "… (private)" in chat.drawn[0])
        await command(chat, "/rename " + "Another title " * 8)
        await chat.until(lambda: "Another" in chat.drawn[0])
        assert "… (private)" in chat.drawn[0]
        await chat.pilot.resize_terminal(30, 12)
        await chat.until(lambda: len(chat.drawn[0]) == 30)
        assert "… (private)" in chat.drawn[0]


def test_a_renamed_thread_has_its_new_name_at_once(tmp_path: Path) -> None:
    assert "Thread: Fruit" in talk(tmp_path, "Why?", "/rename Fruit", "/status")


# -- what is said holds ------------------------------------------------------------------------------------------------


def test_saving_a_private_thread_says_that_the_copy_is_not_protected(tmp_path: Path) -> None:
    warning = "It is private, and the copy is not protected"
    file, other = tmp_path / "a.md", tmp_path / "b.md"
    said = talk(tmp_path, "Why?", f"/export {other}", "/private", f"/export {file}")
    assert f"saved as {file}. {warning}" in said
    assert said.count(warning) == 1
    assert "Why?" in file.read_text()


async def test_the_palette_says_it_too(open_chat: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_chat(SMALL) as chat:
        await chat.ask()
        chat.screen.action_private_thread()
        await chat.says("left out of hone export")
        chat.screen.action_export_thread()
        await chat.until(lambda: chat.said.startswith("This thread was saved"))
        assert "the copy is not protected" in chat.said
        assert chat.screen.query_one("#said").has_class("-whole"), "it is not cut short"
        assert list(tmp_path.glob("hone-*.md"))


def test_a_judgment_of_a_private_thread_is_said_to_teach_nothing(tmp_path: Path) -> None:
    said = talk(tmp_path, "/private", "Why?", "2", "2", "n 1 x", "u", "u")
    assert said.count("B > A, C: 2 pairs; this thread is private, so it teaches nothing. ") == 2
    assert "Taken back: B > A, C: 2 pairs. " in said
