"""Asking and judging in the full-screen chat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual import events

from chatapp.screens.correct import Correct
from chatapp.screens.dialogs import AskText, Confirm
from chatapp.screens.remarks import Flag
from chatapp.widgets.answers import Answers
from tests.chat.conftest import SMALL, WIDE
from tests.chat.fakes import TEXTS, FakeEngine

Open = Callable[..., Any]
SIZES = pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])


@SIZES
async def test_alternatives_stream_and_take_the_focus(open_chat: Open, size: tuple[int, int]) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(size, engine) as chat:
        await chat.ask("Why?")
        engine.feed(0, "Be")
        engine.feed(1, "I do")
        await chat.until(lambda: [card.prose.text for card in chat.answers.cards][:2] == ["Be", "I do"])
        engine.feed(0, "cause.")
        engine.feed(2, "Who knows.")
        await chat.until(lambda: chat.answers.cards[0].prose.text == "Because.")
        assert chat.app.focused is chat.screen.prompt
        engine.release()
        await chat.until(lambda: chat.app.focused is chat.answers)
        assert [a.text for a in chat.answers.turn.answers] == ["Because.", "I do", "Who knows."]
        made = chat.store.threads.generation(chat.answers.turn.answers[1].message_id)
        assert (made.position, made.seed, made.finish_reason, made.adapter_id) == (1, 8, "stop", None)
        assert made.token_ids == [0, 1]
        assert chat.answers.has_class("-stacked") == (size == SMALL)


@SIZES
async def test_a_digit_picks_and_u_takes_it_back(open_chat: Open, size: tuple[int, int]) -> None:
    async with open_chat(size) as chat:
        await chat.ask()
        await chat.press("2")
        await chat.says("B > A, C: 2 pairs")
        assert [j.kind for j in chat.judgments()] == ["pick"]
        thread = chat.store.threads.get(chat.screen.session.thread.id)
        assert thread.tip_message_id == chat.answers.turn.answers[1].message_id
        await chat.until(lambda: chat.screen.status.lesson.startswith("1 "))
        await chat.press("u")
        await chat.says("Taken back: B > A, C: 2 pairs")
        assert chat.judgments() == []
        thread = chat.store.threads.get(thread.id)
        assert thread.tip_message_id == chat.answers.turn.answers[0].message_id
        await chat.press("u")
        await chat.says("Nothing to undo")


async def test_a_new_pick_replaces_the_one_before_and_undo_brings_it_back(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("2", "3")
        await chat.says("C > A, B: 2 pairs")
        assert len(chat.judgments()) == 1
        assert len(chat.judgments(live=False)) == 2
        await chat.press("u")
        await chat.until(lambda: chat.answers.turn.picked == 1)
        await chat.press("x")
        await chat.says("all bad: 3 bad examples")
        assert [j.kind for j in chat.judgments()] == ["all_bad"]


async def test_ranking_is_a_draft_until_enter(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("right", "right", "K", "K")
        await chat.says("C > A > B · Enter records this ranking")
        assert "1st?" in str(chat.answers.cards[2].border_title)
        assert chat.judgments() == []
        await chat.press("left", "equals_sign")
        await chat.says("C > A = B")
        await chat.press("enter")
        await chat.says("C > A = B: 2 pairs")
        assert chat.app.focused is chat.answers, "u or d now is no letter of the prompt"
        assert chat.answers.turn.groups == ((2,), (0, 1))
        assert "tied 2nd" in str(chat.answers.cards[0].border_title)
        await chat.press("enter")
        await chat.until(lambda: chat.app.focused is chat.screen.prompt)


async def test_esc_drops_a_ranking_and_going_on_records_it(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("J", "escape")
        await chat.says("dropped")
        assert chat.judgments() == []
        await chat.press("alt+down", "i")
        assert chat.judgments() == []
        first = chat.answers.turn
        await chat.ask("And then?")
        live = chat.store.judgments.for_prompt(first.prompt_id)
        assert [j.kind for j in live] == ["ranking"]
        # the chat went on from the one that was ranked first
        assert chat.engine.asked[-1][-2]["content"] == TEXTS[1]


async def test_going_on_without_a_choice_follows_the_first_and_records_nothing(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        first = chat.answers.turn
        await chat.ask("Two?")
        await chat.until(lambda: [card.has_class("-focused") for card in chat.answers.cards] == [True, False, False])
        assert [m["content"] for m in chat.engine.asked[-1]] == ["One?", TEXTS[0], "Two?"]
        assert chat.store.judgments.for_prompt(first.prompt_id) == []
        assert [past.turn.mark for past in chat.screen.transcript.past.turns] == ["A, the first of 3"]


async def test_that_all_were_bad_is_said_of_an_earlier_turn(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.press("x")
        await chat.says("all bad")
        await chat.ask("Two?")
        assert [past.turn.mark for past in chat.screen.transcript.past.turns] == ["A, the first of 3; all bad"]


async def test_a_correction_gives_three_pairs_and_is_gone_on_from(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("2", "e")
        await chat.until(lambda: isinstance(chat.app.screen, Correct))
        editor = chat.app.screen.query_one("TextArea")
        assert editor.text == TEXTS[1]
        await chat.press("ctrl+s")
        assert isinstance(chat.app.screen, Correct), "nothing was changed, so there is nothing to save"
        editor.load_text("My own words.")
        await chat.press("ctrl+s")
        await chat.says("correction > A, B, C: 3 pairs")
        assert chat.answers.cards[1].prose.text == "My own words."
        assert "corrected" in str(chat.answers.cards[1].border_title)
        assert chat.app.focused is chat.answers
        await chat.press("u")
        await chat.says("Taken back: correction")
        assert chat.answers.cards[1].prose.text == TEXTS[1]
        assert [j.kind for j in chat.judgments()] == ["pick"]
        await chat.press("e")
        await chat.until(lambda: isinstance(chat.app.screen, Correct))
        chat.app.screen.query_one("TextArea").load_text("Again.")
        await chat.press("ctrl+s")
        await chat.says("correction > A, B, C: 3 pairs")
        await chat.ask("Next?")
        assert chat.engine.asked[-1][-2]["content"] == "Again."
        assert chat.screen.transcript.past.turns[0].turn.mark == "B, corrected"


async def test_a_changed_correction_is_not_thrown_away_without_asking(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("e")
        await chat.until(lambda: isinstance(chat.app.screen, Correct))
        chat.app.screen.query_one("TextArea").load_text("Half a thought")
        await chat.press("escape")
        await chat.until(lambda: isinstance(chat.app.screen, Confirm))
        await chat.press("n")
        await chat.until(lambda: isinstance(chat.app.screen, Correct))
        await chat.press("escape", "y")
        await chat.until(lambda: chat.app.screen is chat.screen)
        assert chat.judgments() == []


async def test_thumbs_and_scores(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("plus")
        await chat.says("A good: 1 good example")
        await chat.press("right", "minus")
        await chat.says("B bad: 1 bad example")
        assert dict(chat.answers.turn.thumbs) == {0: 1, 1: -1}
        await chat.press("minus")
        await chat.says("Taken back: B bad")
        await chat.press("r", "6")
        await chat.says("B 6/7")
        await chat.press("left", "r", "2")
        await chat.says("A 2/7, B 6/7: 1 pair")
        assert chat.answers.turn.ratings == {0: 2, 1: 6}
        assert [j.kind for j in chat.judgments()] == ["thumb", "rating"]


async def test_early_keys_are_ignored(open_chat: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "GUARD", 3600.0)
    async with open_chat() as chat:
        await chat.ask()
        assert chat.app.focused is chat.answers
        await chat.press("2", "x", "J", "plus", "e", "enter", "u")
        assert chat.app.screen is chat.screen
        assert chat.app.focused is chat.answers
        assert chat.answers.draft is None
        assert chat.judgments() == []


async def test_focus_is_never_taken_from_someone_who_types(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        await chat.press("x", "2")
        engine.feed(0, "Yes.")
        engine.release()
        await chat.until(lambda: not chat.screen.generating)
        assert chat.app.focused is chat.screen.prompt
        assert chat.screen.prompt.text == "x2"
        assert chat.judgments() == []
        await chat.press("escape")
        assert chat.app.focused is chat.answers
        for key in ("enter", "i", "tab"):
            await chat.press(key)
            assert chat.app.focused is chat.screen.prompt, key
            await chat.press("escape")
            assert chat.app.focused is chat.answers


@pytest.mark.parametrize("key", ["i", "enter"])
async def test_what_is_typed_in_one_burst_with_the_key_to_the_prompt_judges_nothing(open_chat: Open, key: str) -> None:
    async with open_chat() as chat:
        await chat.ask()
        for each in (key, "2", "x", "J", "e", "r"):
            chat.app.post_message(events.Key(each, each if len(each) == 1 else "\r"))
        await chat.until(lambda: chat.screen.prompt.text == "2xJer")
        assert chat.answers.draft is None
        assert chat.app.screen is chat.screen
        assert chat.judgments(live=False) == []


async def test_keys_before_the_one_to_the_prompt_count_in_their_order(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        for key in ("J", "enter", "enter", "2", "x"):  # the first one records and stays
            chat.app.post_message(events.Key(key, "\r" if key == "enter" else key))
        await chat.says("B > A > C: 3 pairs")
        await chat.until(lambda: chat.screen.prompt.text == "2x")
        assert [judgment.kind for judgment in chat.judgments(live=False)] == ["ranking"]


@pytest.mark.parametrize("where", ["prompt", "answers"])
async def test_esc_stops_and_keeps_the_text(open_chat: Open, where: str) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        engine.feed(0, "Half an ans")
        engine.feed(1, "Another")
        await chat.until(lambda: chat.answers.cards[1].prose.text == "Another")
        if where == "answers":
            chat.answers.focus()
            await chat.pilot.pause()
        await chat.press("enter")
        await chat.press("escape")
        await chat.until(lambda: not chat.screen.generating)
        # the third had no text and is not kept
        assert [a.text for a in chat.answers.turn.answers] == ["Half an ans", "Another"]
        assert [a.finish_reason for a in chat.answers.turn.answers] == ["cancelled", "cancelled"]


async def test_stopping_before_any_text_leaves_the_question(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.hold = True
    async with open_chat(engine=engine) as chat:
        await chat.ask("Why?")
        await chat.press("escape")
        await chat.says("Ctrl+R asks again")
        assert chat.app.focused is chat.answers
        engine.hold = False
        await chat.press("ctrl+r")
        await chat.until(lambda: chat.answers.ready)
        assert len(chat.engine.asked) == 2


async def test_asking_again_makes_siblings_and_branches_can_be_walked(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("Why?")
        await chat.press("2")
        await chat.says("B >")
        old = chat.answers.turn
        chat.engine.texts = ("Other.", "Others.", "More.")
        await chat.press("ctrl+r")
        await chat.until(lambda: chat.answers.turn and chat.answers.turn.versions == 2)
        turn = chat.answers.turn
        assert turn.prompt_id == old.prompt_id
        assert [a.text for a in turn.answers] == ["Other.", "Others.", "More."]
        assert not turn.judged
        await chat.says("Branch 2 of 2. < and > go to the others.")
        await chat.ask("And then?")
        assert "Branch" not in chat.said, "branches do not part here"
        await chat.press("less_than_sign")
        await chat.says("Branch 1 of 2.")
        await chat.press("greater_than_sign")
        await chat.says("Branch 2 of 2.")
        await chat.press("less_than_sign")
        await chat.until(lambda: chat.answers.turn.version == 1)
        assert chat.answers.turn.picked == 1
        await chat.press("less_than_sign")
        await chat.says("no other branch")
        await chat.press("greater_than_sign")
        await chat.until(lambda: chat.answers.turn.version == 2)
        await chat.press("3")
        await chat.says("C > A, B: 2 pairs")


async def test_editing_an_earlier_question_makes_a_branch(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.ask("Two?")
        await chat.press("E")
        await chat.until(lambda: chat.app.screen is not chat.screen)
        await chat.press("down", "enter")
        await chat.until(lambda: chat.screen.editing is not None)
        assert chat.screen.prompt.text == "One?"
        assert str(chat.screen.prompt.border_title).startswith("Editing an earlier question")
        chat.screen.prompt.put("Uno?")
        await chat.press("enter")
        await chat.until(lambda: len(chat.engine.asked) == 3 and not chat.screen.generating)
        assert [m["content"] for m in chat.engine.asked[-1]] == ["Uno?"]
        assert len(chat.screen.transcript.past.turns) == 0
        await chat.until(lambda: chat.answers.turn.versions == 2)
        await chat.press("less_than_sign")
        await chat.says("An earlier turn, 1 more after it. p and P go on, Esc returns. Branch 1 of 2.")
        assert chat.answers.turn.prompt == "One?"
        await chat.press("escape")
        await chat.until(lambda: chat.answers.turn.prompt == "Two?")
        assert len(chat.screen.transcript.past.turns) == 1
        await chat.press("greater_than_sign")  # of the turn before it, where they part
        await chat.until(lambda: chat.answers.turn.prompt == "Uno?")


async def test_the_question_in_hand_is_edited_as_this_one(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.press("E")
        await chat.until(lambda: str(chat.screen.prompt.border_title).startswith("Editing this question"))
        chat.screen.prompt.put("Uno?")
        await chat.press("enter")
        await chat.says("Branch 2 of 2.")
        await chat.ask("Two?")
        assert "Branch" not in chat.said


async def test_copying_goes_through_the_terminal(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("right", "y")
        await chat.says("B was copied")
        assert chat.app.clipboard == TEXTS[1]


async def test_notes_and_flags(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("right", "n")
        await chat.until(lambda: isinstance(chat.app.screen, AskText))
        await chat.press("enter")
        assert isinstance(chat.app.screen, AskText), "there is nothing to save yet"
        await chat.press(*"long", "enter")
        await chat.says("note on B")
        assert chat.answers.turn.notes == {1: "long"}
        assert "note" in str(chat.answers.cards[1].border_title)
        await chat.press("f")
        await chat.until(lambda: isinstance(chat.app.screen, Flag))
        await chat.press("1", "2", "k")
        await chat.says("B keeps the rule 'asked-for form': 1 rule label")
        await chat.press("f", "3", "b")
        await chat.says("B breaks the rule 'insults': 1 rule label")
        assert chat.answers.turn.flags == {1: {"rule-format": False, "rule-insult": True}}
        assert "⚑ 1 broken" in str(chat.answers.cards[1].border_title)
        await chat.press("f", "3", "k")
        await chat.says("B keeps the rule 'insults'")
        assert [j.kind for j in chat.judgments()] == ["note", "flag", "flag"]
        await chat.press("u")
        await chat.says("Taken back: B keeps the rule 'insults'")
        assert chat.answers.turn.flags[1]["rule-insult"] is True
        await chat.press("n", *["backspace"] * 4, "enter")
        await chat.says("Taken back: note on B")
        assert chat.answers.turn.notes == {}
        await chat.press("f", "escape")
        await chat.until(lambda: chat.app.screen is chat.screen)
        assert len(chat.judgments()) == 2
