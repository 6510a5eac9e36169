"""The page of judgments: what it lists, finds and opens, and what becomes of the chat when one is changed there."""

from __future__ import annotations

from typing import Any

import pytest
from textual.widgets import Input, Static

from chatapp.screens.correct import Correct
from chatapp.screens.dialogs import AskText, Choose, Confirm
from chatapp.screens.judgment import JudgmentPanel
from chatapp.screens.judgments import JudgmentsPage
from storage.store import Store
from storage.threads import NewAnswer
from tests.chat.conftest import SMALL, WIDE, Chat

MODEL = "f" * 64


def turn(store: Store, question: str, *texts: str, title: str = "About apples") -> tuple[str, list[str]]:
    store.add_model(MODEL, "tiny", "llama", "t", "x")
    thread = store.threads.new(title)
    prompt = store.threads.add_message(thread.id, None, "user", question)
    new = [NewAnswer(text, at, MODEL, None, {}, 1, [1], 1, "stop") for at, text in enumerate(texts)]
    return prompt.id, [answer.id for answer in store.threads.add_answers(thread.id, prompt.id, new)]


async def opened(chat: Chat, rows: int | None = None) -> JudgmentsPage:
    await chat.press("f5")
    await chat.until(lambda: isinstance(chat.app.screen, JudgmentsPage) and chat.app.screen.is_mounted)
    page = chat.app.screen
    assert isinstance(page, JudgmentsPage)
    await chat.until(lambda: page.has_class("-none") or page.table.lines)
    if rows is not None:
        await chat.until(lambda: len(page.table.lines) == rows)
    return page


async def on_top(chat: Chat, kind: type[Any]) -> Any:
    await chat.until(lambda: isinstance(chat.app.screen, kind) and chat.app.screen.is_mounted)
    return chat.app.screen


def said(page: JudgmentsPage) -> str:
    return str(page.query_one("#page-said", Static).render())


def about(page: JudgmentsPage) -> str:
    return str(page.query_one("#about", Static).render())


async def type_anew(chat: Chat, text: str) -> None:
    dialog = await on_top(chat, AskText)
    dialog.query_one(Input).value = text
    await chat.press("enter")


async def test_it_lists_what_was_said_and_hides_what_no_longer_counts(open_chat: Any) -> None:
    async with open_chat(size=SMALL) as chat:
        store = chat.store
        prompt, ids = turn(store, "Why apples?", "They keep.", "They are red.")
        first = store.judgments.pick(prompt, ids[0], ids)
        store.judgments.pick(prompt, ids[1], ids, supersedes=first.id)
        store.judgments.note(prompt, ids[0], "too short")
        gone = store.judgments.thumb(prompt, ids[0], 1)
        store.judgments.retract(gone.id)
        page = await opened(chat, 2)
        assert [(line.kind, line.said) for line in page.table.lines] == [
            ("note", "note on A: too short"),
            ("pick", "B > A: 1 pair"),
        ]
        assert about(page) == "“Why apples?” · in “About apples”"
        assert any("Why apples?" in line and "in force" in line for line in chat.drawn)
        await chat.press("a")
        await chat.until(lambda: len(page.table.lines) == 4)
        assert [line.state for line in page.table.lines] == ["taken back", "in force", "in force", "replaced"]
        await chat.until(lambda: "it was taken back on" in about(page))
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is chat.screen)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("apples", ["B > A: 1 pair"]),
        ("certainl", ["A > B: 1 pair"]),
        ("all bad", ["all bad: 2 bad examples"]),
        ("Weekend plans", ["all bad: 2 bad examples"]),
        ("far too long", ["note on B: far too long"]),
        ("100% [b]", []),
    ],
)
async def test_it_finds_words_in_questions_answers_notes_kinds_and_titles(
    open_chat: Any, words: str, found: list[str]
) -> None:
    async with open_chat() as chat:
        store = chat.store
        prompt, ids = turn(store, "Why apples?", "They keep.", "They are red.", title="One")
        store.judgments.pick(prompt, ids[1], ids)
        prompt, ids = turn(store, "Really?", "Certainly so.", "No.", title="Two")
        store.judgments.pick(prompt, ids[0], ids)
        prompt, ids = turn(store, "Well?", "Hm.", "Ah.", title="Weekend plans")
        store.judgments.all_bad(prompt, ids)
        prompt, ids = turn(store, "So?", "Oh.", "Eh.", title="Four")
        store.judgments.note(prompt, ids[1], "far too long")
        page = await opened(chat, 4)
        await chat.press("slash")
        page.field.value = words
        await chat.until(lambda: [line.said for line in page.table.lines] == found)
        if not found:
            await chat.until(lambda: page.has_class("-none"))
            assert "No judgment has “100% [b]”" in str(page.query_one("#none", Static).render())
        await chat.press("escape")
        await chat.until(lambda: len(page.table.lines) == 4)
        assert chat.app.screen is page


async def test_more_is_read_as_one_goes_down(open_chat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatapp.screens.judgments.PIECE", 60)
    async with open_chat(size=SMALL) as chat:
        prompt, ids = turn(chat.store, "Why?", "x", "y")
        made = [chat.store.judgments.thumb(prompt, ids[0], 1).id for _ in range(150)]
        page = await opened(chat, 60)
        assert "60 and more" in str(page.query_one(".title", Static).render())
        await chat.press("ctrl+end")
        await chat.until(lambda: len(page.table.lines) == 120)
        await chat.press("ctrl+end")
        await chat.until(lambda: len(page.table.lines) == 150)
        assert [line.id for line in page.table.lines] == made[::-1]
        assert "· 150 ·" in str(page.query_one(".title", Static).render())


async def test_one_is_opened_with_its_texts_and_what_it_teaches(open_chat: Any) -> None:
    async with open_chat() as chat:
        store = chat.store
        prompt, ids = turn(store, "Why apples?", "They [b]keep[/b].\x1b[31m", "They are red.")
        pick = store.judgments.pick(prompt, ids[0], ids)
        run = store.runs.queue("dpo", {}, MODEL)
        store.runs.record_judgments(run.id, [(pick.id, "train")])
        store.runs.finish(run.id, "done")
        store.adapters.register("a" * 32, model_hash=MODEL, files={}, run_id=run.id, state="live")
        await opened(chat, 1)
        await chat.press("enter")
        panel = await on_top(chat, JudgmentPanel)
        texts = [str(widget.render()) for widget in panel.query(Static)]
        for text in (
            "pick: A > B: 1 pair",
            "They [b]keep[/b].␛[31m",
            "A, place 1",
            "pair: A over B, weight 1",
            "run 1 (done), to learn from: made v1 (live)",
        ):
            assert text in texts


async def test_a_ranking_is_said_anew_and_a_slip_is_asked_again(open_chat: Any) -> None:
    async with open_chat() as chat:
        await chat.ask("About apples")
        await chat.press("2")
        await chat.says("B > A, C")
        (old,) = chat.judgments()
        page = await opened(chat, 1)
        await chat.press("e")
        dialog = await on_top(chat, AskText)
        assert dialog.query_one(Input).value == "B"
        await type_anew(chat, "A > B")
        await chat.until(lambda: chat.app.screen is not dialog)
        again = await on_top(chat, AskText)
        assert again.question.startswith("! 'A > B' leaves out C")
        assert again.query_one(Input).value == "A > B"
        await type_anew(chat, "c > a = b")
        await chat.until(lambda: "C > A = B: 2 pairs, in the place" in said(page))
        assert [line.said for line in page.table.lines] == ["C > A = B: 2 pairs"]
        (new,) = chat.judgments()
        assert new.supersedes == old.id
        # the chat beneath shows it
        assert chat.answers.turn is not None
        assert chat.answers.turn.groups == ((2,), (0, 1))
        assert chat.screen.session.turn == chat.answers.turn


@pytest.mark.parametrize(
    ("make", "dialog", "keys", "now"),
    [
        ("thumb", Choose, ["down", "enter"], "A bad: 1 bad example"),
        ("flag", Choose, ["down", "enter"], "A keeps the rule 'insults': 1 rule label"),
        ("rating", AskText, "B=7 A=1", "A 1/7, B 7/7: 1 pair"),
        ("note", AskText, "quite good", "note on A: quite good"),
        ("all_bad", AskText, "a", "A > B: 1 pair"),
    ],
)
async def test_each_kind_is_edited_in_its_own_way(
    open_chat: Any, make: str, dialog: type[Any], keys: Any, now: str
) -> None:
    async with open_chat() as chat:
        judge = chat.store.judgments
        prompt, (a, b) = turn(chat.store, "Why?", "x", "y")
        {
            "thumb": lambda: judge.thumb(prompt, a, 1),
            "flag": lambda: judge.flag(prompt, a, "rule-insult", True),
            "rating": lambda: judge.rate(prompt, {a: 3, b: 4}),
            "note": lambda: judge.note(prompt, a, "hm"),
            "all_bad": lambda: judge.all_bad(prompt, [a, b]),
        }[make]()
        page = await opened(chat, 1)
        await chat.press("e")
        await on_top(chat, dialog)
        if isinstance(keys, str):
            await type_anew(chat, keys)
        else:
            await chat.press(*keys)
        await chat.until(lambda: [line.said for line in page.table.lines] == [now])


async def test_a_correction_is_written_anew_in_the_editor(open_chat: Any) -> None:
    async with open_chat() as chat:
        prompt, ids = turn(chat.store, "Why?", "x", "y")
        chat.store.judgments.correct(prompt, ids[0], "better", ids)
        page = await opened(chat, 1)
        await chat.press("e")
        editor = await on_top(chat, Correct)
        assert editor.before == "better"
        await chat.press("space", "s", "o", "ctrl+s")
        await chat.until(lambda: "in the place" in said(page))
        texts = chat.store.threads.contents(
            i.message_id for i in chat.store.judgments.get(page.table.lines[0].id).items
        )
        assert "better so" in texts.values()


async def test_it_is_taken_back_after_a_question_and_the_chat_follows(open_chat: Any) -> None:
    async with open_chat() as chat:
        await chat.ask("About apples")
        await chat.press("2")
        await chat.says("B > A, C")
        page = await opened(chat, 1)
        await chat.press("x")
        confirm = await on_top(chat, Confirm)
        assert "Take back “B > A, C: 2 pairs”?" in confirm.question
        await chat.press("n")
        await chat.until(lambda: chat.app.screen is page)
        assert len(chat.judgments()) == 1
        await chat.press("x")
        await on_top(chat, Confirm)
        await chat.press("y")
        await chat.until(lambda: "Taken back: B > A, C: 2 pairs" in said(page))
        assert chat.judgments() == []
        assert page.has_class("-none")
        assert chat.answers.turn is not None
        assert chat.answers.turn.picked is None
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is chat.screen)


async def test_what_was_replaced_cannot_be_taken_back_nor_edited(open_chat: Any) -> None:
    async with open_chat() as chat:
        prompt, ids = turn(chat.store, "Why?", "x", "y")
        first = chat.store.judgments.pick(prompt, ids[0], ids)
        chat.store.judgments.pick(prompt, ids[1], ids, supersedes=first.id)
        page = await opened(chat, 1)
        await chat.press("a")
        await chat.until(lambda: len(page.table.lines) == 2)
        await chat.press("down", "x")
        await chat.until(lambda: "take that one back first" in said(page))
        await chat.press("e")
        await chat.until(lambda: "cannot be edited, but the one that was given in its place can" in said(page))
        assert "was given in its place" in about(page), "which one is said there already"


async def test_the_title_of_a_judgment_says_its_kind_once(open_chat: Any) -> None:
    async with open_chat() as chat:
        prompt, ids = turn(chat.store, "Why?", "x", "y")
        chat.store.judgments.all_bad(prompt, ids)
        await opened(chat, 1)
        await chat.press("enter")
        panel = await on_top(chat, JudgmentPanel)
        assert str(panel.query(".title").first(Static).render()) == "all bad: 2 bad examples"


async def test_it_is_forgotten_for_good(open_chat: Any) -> None:
    async with open_chat() as chat:
        prompt, ids = turn(chat.store, "Why?", "x", "y")
        note = chat.store.judgments.note(prompt, ids[0], "embarrassing")
        page = await opened(chat, 1)
        await chat.press("F")
        confirm = await on_top(chat, Confirm)
        assert "0 messages and 1 judgment go, from the backups too. It cannot be undone." in confirm.question
        assert "the chat's question and answers stay" in confirm.question
        await chat.press("y")
        await chat.until(lambda: "Forgotten: 0 messages and 1 judgment" in said(page))
        assert chat.store.judgments.get(note.id).payload == {}
        assert page.has_class("-none")


async def test_its_thread_is_opened_in_the_chat(open_chat: Any) -> None:
    async with open_chat() as chat:
        prompt, ids = turn(chat.store, "Why pears?", "x", "y", title="About pears")
        chat.store.threads.set_tip(chat.store.threads.message(prompt).thread_id, ids[0])
        chat.store.judgments.pick(prompt, ids[1], ids)
        await opened(chat, 1)
        await chat.press("g")
        await chat.until(lambda: chat.app.screen is chat.screen)
        await chat.until(lambda: chat.answers.turn and chat.answers.turn.prompt == "Why pears?")


async def test_what_stands_in_no_chat_says_so(open_chat: Any) -> None:
    async with open_chat() as chat:
        thread = chat.store.threads.new("shell", origin="judge")
        prompt = chat.store.threads.add_message(thread.id, None, "user", "q")
        answer = chat.store.threads.add_message(thread.id, prompt.id, "assistant", "a")
        chat.store.judgments.thumb(prompt.id, answer.id, 1, source="judge")
        page = await opened(chat, 1)
        await chat.press("g")
        await chat.until(lambda: "It stands in no chat: it came from judge." in said(page))


async def test_nothing_judged_yet_says_what_to_do(open_chat: Any) -> None:
    async with open_chat(size=(40, 12)) as chat:
        page = await opened(chat)
        assert "Nothing is judged yet" in str(page.query_one("#none", Static).render())
        await chat.press("e", "x", "enter", "g", "slash", "q", "escape", "escape")
        await chat.until(lambda: chat.app.screen is chat.screen)


async def test_it_fits_when_the_terminal_changes(open_chat: Any) -> None:
    async with open_chat(size=WIDE) as chat:
        prompt, ids = turn(chat.store, "Why?", "x", "y")
        for _ in range(5):
            chat.store.judgments.thumb(prompt, ids[0], 1)
        page = await opened(chat, 5)
        await chat.press("down", "down")
        await chat.pilot.resize_terminal(40, 12)
        await chat.until(lambda: len(page.table.columns) == 2)
        assert page.table.cursor_row == 2
        assert page.table.virtual_size.width <= 40
