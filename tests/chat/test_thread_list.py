"""The list of threads under keys: what is highlighted, what is found and where it leads, the archived, what is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chatapp.screens.dialogs import Confirm
from chatapp.widgets.keys_line import KeysLine
from chatapp.widgets.threads import Threads
from tests.chat.conftest import SMALL, WIDE, Chat
from tests.chat.fakes import FakeEngine

Open = Callable[..., Any]


async def thread(chat: Chat, *questions: str) -> str:
    """A new thread with these questions; its id."""
    if chat.screen.session.thread is not None:
        await chat.press("ctrl+n")
        await chat.until(lambda: chat.screen.transcript.has_class("-blank"))
    for question in questions:
        await chat.ask(question)
    await chat.until(lambda: chat.screen.threads.current == chat.screen.session.thread.id)
    return str(chat.screen.session.thread.id)


def rows_of(chat: Chat) -> Threads:
    return chat.screen.query_one(Threads)


def row(chat: Chat, at: int) -> str:
    return str(rows_of(chat).get_option_at_index(at).prompt)


def here(chat: Chat) -> str:
    return chat.answers.turn.prompt if chat.answers.turn else ""


def foot(chat: Chat) -> list[str]:
    return [entry.description for entry in chat.screen.query_one(KeysLine).shown]


# -- what is highlighted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SMALL, WIDE])
async def test_enter_opens_the_first_that_is_found(open_chat: Open, size: tuple[int, int]) -> None:
    async with open_chat(size) as chat:
        for text in ("capital of Greece", "capital of Italy", "the colour of grass"):
            await thread(chat, text)
        await chat.press("ctrl+t" if size == SMALL else "f1", *([] if size == SMALL else ["escape"]))
        chat.screen.set_focus(rows_of(chat))
        await chat.press("slash", *"capital", "enter")  # before there is anything to be seen of it
        await chat.until(lambda: here(chat) == "capital of Italy")
        assert chat.screen.threads.display == (size == WIDE)


async def test_the_first_row_is_highlighted_and_the_arrow_goes_on_from_it(open_chat: Open) -> None:
    async with open_chat() as chat:
        for text in ("capital of Greece", "capital of Italy", "the colour of grass"):
            await thread(chat, text)
        rows = rows_of(chat)
        chat.screen.set_focus(rows)
        await chat.press("slash", *"capital")
        await chat.until(lambda: rows.option_count == 2)
        assert rows.highlighted == 0
        await chat.press("down")
        assert rows.has_focus
        assert rows.highlighted == 1
        await chat.press("enter")
        await chat.until(lambda: here(chat) == "capital of Greece")


async def test_keys_wait_for_the_rows_that_they_are_for(open_chat: Open) -> None:
    async with open_chat() as chat:
        first, second = await thread(chat, "Old news"), await thread(chat, "Newer news")
        chat.store.threads.archive(first)
        chat.screen.threads.refresh_rows()
        rows = rows_of(chat)
        await chat.until(lambda: rows.option_count == 1)
        chat.screen.set_focus(rows)
        await chat.press("v", "a")  # of the archived one, not of the one that is still seen
        await chat.says("“Old news” was brought back.")
        assert chat.store.threads.get(first).archived_at is None
        assert chat.store.threads.get(second).archived_at is None


async def test_after_a_thread_went_the_next_one_is_highlighted(open_chat: Open) -> None:
    async with open_chat() as chat:
        one, two, three = [await thread(chat, text) for text in ("One?", "Two?", "Three?")]
        rows = rows_of(chat)
        chat.screen.set_focus(rows)
        await chat.until(lambda: rows.option_count == 3)
        rows.highlighted = 1
        for gone, following in ((two, one), (one, three)):
            assert rows.highlighted_id == gone
            await chat.press("a")
            await chat.until(lambda gone=gone: chat.store.threads.get(gone).archived_at)
            await chat.until(lambda following=following: rows.highlighted_id == following)


# -- what is found -----------------------------------------------------------------------------------------------------


async def test_a_thread_shows_the_text_that_has_the_words(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.engine.texts = ["One \x1b]0;evil\x07 that I like is Haskell, [bold]say[/] many people", "None."]
        await thread(chat, "Which language?")
        chat.engine.texts = ["Green."]
        await thread(chat, "The colour of grass")
        rows = rows_of(chat)
        chat.screen.set_focus(rows)
        await chat.press("slash", *"haskell")
        await chat.until(lambda: rows.option_count == 1)
        (title, said) = row(chat, 0).split("\n")
        assert title.strip() == "Which language?"
        assert said == "  …like is Haskell, [bold]say[/] many people"
        prompt = rows.get_option_at_index(0).prompt
        (marked,) = [span for span in prompt.spans if "underline" in str(span.style)]
        assert prompt.plain[marked.start : marked.end] == "Haskell"
        assert any(line.startswith("  …like is Haskell, ") for line in chat.drawn), "on one line"
        await chat.press("escape")
        await chat.until(lambda: rows.option_count == 2)
        assert "\n" not in row(chat, 0) + row(chat, 1)


async def test_what_is_found_opens_where_it_stands(open_chat: Open) -> None:
    async with open_chat() as chat:
        id = await thread(chat, "Which language is Haskell?", "And the weather?", "Bye?")
        tip = chat.store.threads.get(id).tip_message_id
        await thread(chat, "The colour of grass")
        chat.screen.set_focus(rows_of(chat))
        await chat.press("slash", *"weather", "enter")
        await chat.until(lambda: here(chat) == "And the weather?")
        await chat.says("An earlier turn, 1 more after it")
        assert chat.screen.visiting
        assert chat.store.threads.get(id).tip_message_id == tip, "the thread is where it was"
        await chat.press("escape")
        await chat.until(lambda: here(chat) == "Bye?")


async def test_it_may_stand_on_another_branch(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.engine.texts = texts = ["It is Haskell.", "Perhaps Haskell or C.", "None."]
        await thread(chat, "Which language?")
        chat.engine.texts = ["Because."] * 3
        await chat.ask("And why?")
        await chat.press("p")
        await chat.until(lambda: here(chat) == "Which language?")
        chat.engine.texts = ["It is Python."] * 3
        await chat.press("ctrl+r")
        await chat.until(lambda: chat.answers.ready and chat.answers.turn.answers[0].text == "It is Python.")
        await thread(chat, "The colour of grass")
        chat.screen.set_focus(rows_of(chat))
        await chat.press("slash", *"haskell", "enter")
        await chat.until(lambda: here(chat) == "Which language?")
        assert [answer.text for answer in chat.answers.turn.answers] == texts
        await chat.until(lambda: chat.answers.focused_index == 1)
        await chat.press("P")
        await chat.until(lambda: here(chat) == "And why?")


async def test_a_new_question_found_by_its_system_prompt_or_title_opens_at_its_end(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.screen.prompt.put("/system Speak like a pirate.")
        await chat.press("enter")
        await chat.says("the model is told this")
        id = await thread(chat, "One?", "Two?")
        chat.store.threads.rename(id, "Of the sea")
        await thread(chat, "Three?")
        for words in ("pirate", "sea"):
            chat.screen.set_focus(rows_of(chat))
            await chat.press("slash", *words, "enter")
            await chat.until(lambda: here(chat) == "Two?")
            chat.screen.set_focus(chat.screen.threads.query_one("Input"))
            await chat.press("escape", "ctrl+n")
            await chat.until(lambda: chat.screen.transcript.has_class("-blank"))


# -- the archived ------------------------------------------------------------------------------------------------------


async def test_the_archived_have_a_heading_and_keys_of_their_own(open_chat: Open) -> None:
    async with open_chat() as chat:
        await thread(chat, "Old news")
        chat.screen.action_archive_thread()
        await chat.says("was archived")
        rows = rows_of(chat)
        chat.screen.set_focus(rows)
        await chat.until(lambda: {"Archive", "Archived"} <= set(foot(chat)))
        assert not any(line.startswith(" Archived") for line in chat.drawn)
        await chat.press("v")
        await chat.until(lambda: rows.highlighted == 0)
        await chat.until(lambda: {"Bring back", "All"} <= set(foot(chat)))
        assert not {"Archive", "Archived"} & set(foot(chat))
        assert any(line.startswith(" Archived ") for line in chat.drawn)
        assert any("Search archived threads" in line for line in chat.drawn)
        await chat.press("a")
        await chat.says("was brought back")
        await chat.until(lambda: "No archived thread yet." in "".join(chat.drawn))
        await chat.press("v")
        await chat.until(lambda: rows.option_count == 1)
        assert "Archive" in foot(chat)


async def test_who_comes_back_sees_all_threads(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await thread(chat, "Old news")
        await chat.press("ctrl+t", "v")
        await chat.until(lambda: "No archived thread yet." in "".join(chat.drawn))
        await chat.press("escape", "ctrl+t")
        await chat.until(lambda: rows_of(chat).option_count == 1)
        assert not chat.screen.threads.archived


# -- what is said ------------------------------------------------------------------------------------------------------


async def test_where_the_list_lies_over_the_line_it_is_said_in_the_list(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await thread(chat, "Paris & 東京")
        await chat.press("ctrl+t", "a")
        await chat.until(lambda: any("“Paris & 東京” was archived." in line[:34] for line in chat.drawn))
        assert "".join(chat.drawn).count("was archived") == 1
        await chat.press("v", "a")
        await chat.until(lambda: any("“Paris & 東京” was brought" in line[:34] for line in chat.drawn))
        await chat.press("v")
        await chat.until(lambda: rows_of(chat).option_count == 1)
        await chat.press("d")
        await chat.until(lambda: isinstance(chat.app.screen, Confirm))
        await chat.press("y")
        await chat.says("was deleted")
        await chat.until(lambda: "was deleted" in "".join(chat.drawn))
        await chat.press("ctrl+t")
        if not chat.screen.threads.display:
            await chat.press("ctrl+t")
        await chat.until(lambda: chat.screen.threads.display)
        assert "was deleted" not in "".join(chat.drawn), "what was said before is not said in a list that opens"


async def test_a_long_title_breaks_in_the_list(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await thread(chat, "Why does the keeper of a lighthouse sleep by day?")
        await chat.press("ctrl+t", "a")
        await chat.says("was archived")
        await chat.until(lambda: any("was archived." in line[:34] for line in chat.drawn))
        assert any("“Why does" in line[:34] for line in chat.drawn)


async def test_the_tick_counts_turns_that_are_judged(open_chat: Open) -> None:
    async with open_chat(engine=FakeEngine()) as chat:
        await thread(chat, "One?")
        for key in "121212":
            before = len(chat.judgments(live=False))
            await chat.press(key)
            await chat.until(lambda before=before: len(chat.judgments(live=False)) > before)
        await chat.press("plus")
        await chat.says("good")
        chat.screen.threads.refresh_rows()
        await chat.until(lambda: row(chat, 0).endswith("✓1"))
        await chat.ask("Two?")
        await chat.press("1")
        await chat.until(chat.judgments)
        chat.screen.threads.refresh_rows()
        await chat.until(lambda: row(chat, 0).endswith("✓2"))
