"""The list of threads in the full-screen chat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatapp.screens.dialogs import AskText, Confirm
from chatapp.screens.teaches import Teaches
from chatapp.widgets.threads import ThreadList, Threads
from tests.chat.conftest import SMALL
from tests.chat.fakes import FakeEngine

Open = Callable[..., Any]


async def test_threads(open_chat: Open) -> None:
    async with open_chat() as chat:
        rows = chat.screen.query_one(Threads)
        await chat.ask("About apples")
        await chat.press("1")
        await chat.says("A > B, C")
        await chat.press("ctrl+n")
        await chat.until(lambda: chat.screen.transcript.has_class("-blank"))
        await chat.ask("About pears")
        await chat.until(lambda: rows.option_count == 2)
        # rename
        await chat.press("f2")
        await chat.until(lambda: isinstance(chat.app.screen, AskText))
        chat.app.screen.query_one("Input").value = "Fruit"
        await chat.press("enter")
        await chat.until(lambda: chat.screen.status.heading == "Fruit")
        # search, and open what was found
        await chat.press("ctrl+t", "ctrl+t", "slash", *"apples")
        await chat.until(lambda: rows.option_count == 1)
        assert any(line.lstrip().startswith("apples ") for line in chat.drawn), "what is typed is seen"
        await chat.press("enter")
        await chat.until(lambda: chat.answers.turn and chat.answers.turn.prompt == "About apples")
        assert chat.answers.turn.picked == 0
        # delete, with what it means, and back
        chat.screen.set_focus(rows)
        await chat.press("d")
        await chat.until(lambda: isinstance(chat.app.screen, Confirm))
        assert "Its 1 judgment will no longer be learned from" in chat.app.screen.question
        await chat.press("y")
        await chat.says("was deleted")
        await chat.until(lambda: chat.screen.transcript.has_class("-blank"))
        assert chat.screen.session.waiting() == 0
        chat.screen.action_undelete_thread()
        await chat.says("is back")
        assert chat.screen.session.waiting() == 1


async def test_archiving(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("Old news")
        chat.screen.action_archive_thread()
        await chat.says("was archived")
        rows = chat.screen.query_one(Threads)
        await chat.until(lambda: rows.option_count == 0)
        chat.screen.set_focus(rows)
        await chat.press("v")
        await chat.until(lambda: rows.option_count == 1)


async def test_the_list_lies_over_a_narrow_chat(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await chat.ask("First")
        threads = chat.screen.query_one(ThreadList)
        assert not threads.display
        await chat.press("ctrl+t")
        assert threads.display
        assert threads.has_class("-over")
        assert chat.app.focused is chat.screen.query_one(Threads)
        await chat.press("escape")
        assert not threads.display
        assert chat.app.focused is chat.screen.prompt


async def test_leaving_while_answering_is_refused(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        await chat.press("ctrl+n")
        await chat.says("Still answering")
        engine.feed(0, "x")
        engine.release()
        await chat.until(lambda: chat.answers.ready)


async def test_a_private_thread_teaches_nothing_and_says_so(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("A secret")
        await chat.press("1")
        await chat.says("A > B, C")
        assert chat.screen.session.waiting() == 1
        chat.screen.action_private_thread()
        await chat.says("never learned from")
        assert chat.screen.status.heading == "A secret (private)"
        assert chat.screen.session.waiting() == 0
        chat.screen.set_focus(chat.answers)
        await chat.press("w")
        await chat.until(lambda: isinstance(chat.app.screen, Teaches))
        assert chat.app.screen.private
        await chat.press("escape")
        chat.screen.action_private_thread()
        await chat.says("learned from again")
        assert chat.screen.session.waiting() == 1


async def test_what_a_turn_teaches_is_shown_with_what_overrides_what(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("Hello")
        await chat.press("2")
        await chat.says("B > A, C")
        await chat.press("plus")
        await chat.says("good")
        await chat.press("w")
        await chat.until(lambda: isinstance(chat.app.screen, Teaches))
        pick, thumb = chat.app.screen.explained
        assert pick.teaches == ("pair: B over A, weight 0.5", "pair: B over C, weight 0.5")
        assert [line.split(",")[0] for line in thumb.teaches] == ["good example: B"]
        assert pick.overridden == thumb.overridden == ()
        await chat.press("w")
        await chat.until(lambda: chat.app.screen is chat.screen)


async def test_the_thread_that_was_asked_for_is_opened(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("About apples")
        apples = chat.screen.session.thread.id
        await chat.press("ctrl+n")
        await chat.until(lambda: chat.screen.transcript.has_class("-blank"))
        await chat.ask("About pears")
    async with open_chat(thread=apples) as chat:
        await chat.until(lambda: chat.answers.turn and chat.answers.turn.prompt == "About apples")
        await chat.press("ctrl+n")
        await chat.until(lambda: chat.screen.transcript.has_class("-blank"))
    async with open_chat(wait=False) as chat:  # where the last session ended, though there are threads
        await chat.until(lambda: chat.screen.query_one(Threads).option_count == 2)
        assert chat.screen.transcript.has_class("-blank")


async def test_a_search_ends_with_the_list_and_the_cursor_is_at_the_current_thread(open_chat: Open) -> None:
    async with open_chat() as chat:
        rows, field = chat.screen.query_one(Threads), chat.screen.threads.query_one("Input")
        await chat.ask("About apples")
        await chat.press("ctrl+n")
        await chat.until(lambda: chat.screen.transcript.has_class("-blank"))
        await chat.ask("About pears")
        await chat.until(lambda: rows.option_count == 2)
        here = chat.screen.session.thread.id

        async def search() -> None:
            await chat.press("slash", *"apples")
            await chat.until(lambda: rows.option_count == 1 and rows.highlighted_id != here)

        chat.screen.set_focus(rows)
        await search()
        await chat.press("escape")
        await chat.until(lambda: rows.option_count == 2)
        assert field.value == ""
        assert field.has_focus, "the first Esc is for what was typed"
        await chat.press("escape")
        await chat.until(lambda: chat.screen.prompt.has_focus)
        for close in (["tab", "escape"], ["ctrl+t"]):
            chat.screen.set_focus(rows)
            await search()
            await chat.press(*close)
            await chat.until(lambda: field.value == "" and rows.option_count == 2)
            if close == ["tab", "escape"]:
                await chat.press("ctrl+t")
                await chat.until(lambda: not chat.screen.threads.display)
            rows.highlighted = next(at for at in range(2) if rows.get_option_at_index(at).id != here)
            await chat.press("ctrl+t")
            await chat.until(lambda: chat.screen.threads.display and rows.highlighted_id == here)
            assert rows.option_count == 2
