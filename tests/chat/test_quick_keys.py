"""Rating, skipping, old turns, old questions, how often alternatives come: what a key or a typed command does."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatapp.frequency import Frequency
from chatapp.history import History
from chatapp.widgets.keys_line import KeysLine
from tests.chat.conftest import SMALL
from tests.chat.fakes import make_settings

Open = Callable[..., Any]


# -- rating, skipping --------------------------------------------------------------------------------------------------


async def test_r_and_a_digit_rate_the_focused_answer(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("right", "r")
        await chat.says("1 is worst, 7 is best")
        assert "1 to 7?" in str(chat.answers.cards[1].border_title)
        await chat.press("left")
        await chat.says("How good is A?")
        await chat.press("6")
        await chat.says("A 6/7")
        assert not chat.answers.rating
        await chat.press("2")  # a pick again
        await chat.says("B > A, C")
        assert [j.kind for j in chat.judgments()] == ["rating", "pick"]


@pytest.mark.parametrize("key", ["escape", "r", "i"])
async def test_rating_is_left_without_a_trace(open_chat: Open, key: str) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("r", key)
        await chat.until(lambda: not chat.answers.rating)
        assert chat.judgments(live=False) == []


async def test_while_points_are_asked_for_nothing_is_ranked(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("r", "J", "equals_sign", "K", "alt+down")
        await chat.says("How good is A?")
        assert chat.answers.rating
        assert chat.answers.draft is None
        await chat.press("5")
        await chat.says("A 5/7")
        await chat.press("J")
        await chat.says("Enter records this ranking")


async def test_another_judgment_leaves_the_rating(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("r", "x")
        await chat.says("all bad")
        await chat.press("3")
        await chat.says("C > A, B")


async def test_s_skips_and_records_nothing_not_even_a_ranking_begun(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("J", "s")
        await chat.says("Skipped")
        assert chat.app.focused is chat.screen.prompt
        await chat.ask("And then?")
        assert chat.store.judgments.live() == []


async def test_s_says_that_what_was_recorded_stays(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("x")
        await chat.says("all bad")
        await chat.press("J", "s")
        await chat.says("What you recorded stays; u takes it back.")
        assert [one.kind for one in chat.judgments()] == ["all_bad"]


@pytest.mark.parametrize("keys", [["1"], ["space"], ["J"], ["equals_sign", "enter"]])
async def test_one_answer_is_not_compared(open_chat: Open, keys: list[str]) -> None:
    async with open_chat(SMALL, alternatives=1) as chat:
        await chat.ask()
        at_foot = [key.description for key in chat.screen.query_one(KeysLine).shown]
        assert "Good" in at_foot
        assert "Bad" in at_foot
        assert "Ask again" in at_foot
        assert not {"Pick", "Rank", "Tie"} & set(at_foot)
        await chat.press(*keys)
        await chat.says("There is one answer: + says that it is good, - that it is bad, Ctrl+R draws others.")
        await chat.until(lambda: "Ctrl+R draws others." in " ".join(" ".join(chat.drawn).split()), 3)
        assert chat.judgments(live=False) == []
        assert not chat.answers.turn.decided
        assert chat.screen.status.lesson.startswith("0 ")


async def test_the_foot_says_what_enter_does(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await chat.ask()
        keys = chat.screen.query_one(KeysLine)

        def enter() -> list[str]:
            return [key.description for key in keys.shown if key.key == "enter"]

        await chat.until(lambda: enter() == ["Write"])
        for press, expected in (("J", "Record"), ("escape", "Write"), ("J", "Record"), ("enter", "Write")):
            await chat.press(press)
            await chat.until(lambda expected=expected: enter() == [expected], 3)
            binding = chat.app.chat.active_bindings["enter"].binding
            assert chat.answers.at_foot(binding) == expected


async def test_what_was_recorded_says_its_weight(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("2")
        await chat.says("B > A, C: 2 pairs, weight 1")


# -- earlier turns -----------------------------------------------------------------------------------------------------


async def test_an_earlier_turn_is_judged_again_and_the_thread_stays_where_it_is(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.press("2")
        await chat.says("B > A, C")
        first = chat.answers.turn.prompt_id
        await chat.ask("Two?")
        tip = chat.store.threads.get(chat.screen.session.thread.id).tip_message_id
        await chat.press("p")
        await chat.until(lambda: chat.answers.turn is not None and chat.answers.turn.prompt_id == first)
        await chat.says("An earlier turn, 1 more after it")
        assert chat.answers.turn.picked == 1
        await chat.press("3")
        await chat.says("C > A, B")
        assert chat.store.threads.get(chat.screen.session.thread.id).tip_message_id == tip
        await chat.press("escape")
        await chat.until(lambda: chat.answers.turn.prompt == "Two?")
        assert not chat.screen.visiting
        assert chat.store.threads.conversation(tip)[0]["content"] == "One?"


async def test_going_on_from_an_earlier_turn_makes_a_branch(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.ask("Two?")
        await chat.press("p")
        await chat.until(lambda: chat.screen.visiting)
        await chat.ask("Or three?")
        assert [m["content"] for m in chat.engine.asked[-1] if m["role"] == "user"] == ["One?", "Or three?"]
        await chat.until(lambda: chat.answers.turn is not None and chat.answers.turn.versions == 2)
        assert not chat.screen.visiting
        await chat.press("less_than_sign")
        await chat.until(lambda: chat.answers.turn.prompt == "Two?")


async def test_the_first_turn_has_none_before_it(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.press("p")
        await chat.says("There is no earlier turn")
        await chat.press("P")
        await chat.says("This is the latest turn")


async def test_a_click_on_an_earlier_turn_opens_it(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.ask("Two?")
        await chat.pilot.click("PastTurns", offset=(4, 1))
        await chat.until(lambda: chat.screen.visiting and chat.answers.turn.prompt == "One?")


# -- questions asked before --------------------------------------------------------------------------------------------


async def test_up_calls_old_questions_back_and_down_returns(open_chat: Open) -> None:
    async with open_chat() as chat:
        for text in ("One?", "Two?", "Two?"):
            await chat.ask(text)
        await chat.press("i", "up")
        await chat.until(lambda: chat.screen.prompt.text == "Two?")
        await chat.press("up")
        await chat.until(lambda: chat.screen.prompt.text == "One?")
        await chat.press("up")
        await chat.press("down")
        await chat.until(lambda: chat.screen.prompt.text == "Two?")
        await chat.press("down")
        await chat.until(lambda: chat.screen.prompt.text == "")


async def test_up_in_what_is_being_typed_moves_the_cursor(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.press("i", "H", "i", "up")
        await chat.pilot.pause()
        assert chat.screen.prompt.text == "Hi"


def test_a_walk_ends_at_both_ends() -> None:
    history = History()
    history.begin(["new", "old"], "typed")
    assert [history.step(s) for s in (-1, -1, -1, 1, 1, 1)] == ["new", "old", None, "new", "typed", None]


# -- how often ---------------------------------------------------------------------------------------------------------


async def test_alternatives_only_when_asked_for(open_chat: Open) -> None:
    async with open_chat(alternatives_when="never") as chat:
        await chat.ask("One?")
        assert len(chat.answers.turn.answers) == 1
        await chat.press("ctrl+r")
        await chat.until(lambda: chat.answers.ready and len(chat.answers.turn.answers) == 3)
        await chat.press("m")
        await chat.says("Each question gets 3 answers")
        await chat.ask("Two?")
        assert len(chat.answers.turn.answers) == 3


def test_sometimes_waits_its_cooldown(open_chat: Open, tmp_path: Path) -> None:
    from storage.store import Store

    settings = make_settings(tmp_path, alternatives_when="sometimes", alternatives_chance=1.0, alternatives_cooldown=2)
    with Store.open(tmp_path / "home") as store:
        frequency = Frequency(settings, store, random.Random(1))
        assert [frequency.next() for _ in range(7)] == [3, 1, 1, 3, 1, 1, 3]
        frequency.change()
        assert frequency.when == "never"
        assert Frequency(settings, store).when == "never"  # it outlives the chat


# -- another model -----------------------------------------------------------------------------------------------------


async def test_another_model_answers_from_the_next_question_on(open_chat: Open, tmp_path: Path) -> None:
    other = tmp_path / "models" / "other.gguf"
    other.parent.mkdir()
    async with open_chat() as chat:
        other.write_bytes((tmp_path / "fake.gguf").read_bytes() + b"other")
        await chat.ask("One?")
        thread = chat.screen.session.thread.id
        chat.screen.prompt.put(f"/model {other}")
        await chat.press("i", "enter")
        await chat.says("other.gguf answers until the chat ends")
        assert chat.screen.status.model == "other"
        await chat.ask("Two?")
        turn = chat.answers.turn
        assert chat.store.threads.generation(turn.answers[0].message_id).model_hash == chat.screen.session.model.hash
        assert chat.screen.session.thread.id == thread
        assert len({row["model_hash"] for row in chat.store.rows("SELECT model_hash FROM generations")}) == 2


async def test_a_model_that_is_not_there_changes_nothing(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.screen.prompt.put("/model nowhere.gguf")
        await chat.press("enter")
        await chat.says("The model before goes on answering")
        await chat.ask("One?")
        assert chat.answers.ready


async def test_with_another_model_this_thread_is_still_this_thread(open_chat: Open, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    async with open_chat() as chat:
        other.write_bytes((tmp_path / "fake.gguf").read_bytes() + b"other")
        await chat.ask("One?")
        first = chat.screen.session.thread.id
        chat.screen.opened.lessons.paused = False
        chat.screen.prompt.put(f"/model {other}")
        await chat.press("i", "enter")
        await chat.says("answers until the chat ends")
        assert chat.screen.opened.lessons.paused is False
        await chat.press("ctrl+n")
        await chat.until(lambda: chat.screen.session.thread is None)
        await chat.ask("Two?")
        second = chat.screen.session.thread.id
        chat.screen.action_forget_thread()
        await chat.until(lambda: chat.app.screen is not chat.screen)
        await chat.press("y")
        await chat.until(lambda: chat.screen.session.thread is None, 20)
        assert {thread.id for thread in chat.store.threads.list()} == {first}
        assert second != first


# -- what a second look found -----------------------------------------------------------------------------------------


async def test_asking_again_from_an_earlier_turn_leaves_it(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.ask("Two?")
        await chat.press("p")
        await chat.until(lambda: "From this turn" in str(chat.screen.prompt.border_title))
        await chat.press("ctrl+r")
        await chat.until(lambda: chat.answers.ready and not chat.screen.generating)
        assert not chat.screen.prompt.border_title
        await chat.press("P")
        await chat.says("This is the latest turn")


async def test_an_export_follows_the_choice_just_made(open_chat: Open, tmp_path: Path) -> None:
    file = tmp_path / "thread.md"
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.press("2")
        await chat.says("B > A")
        chat.screen.prompt.put(f"/export {file}")
        await chat.press("i", "enter")
        await chat.says("was saved as")
        assert "## Answer" in file.read_text()


async def test_above_an_old_answer_stands_how_that_one_was_chosen(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.ask("Two?")
        await chat.press("p")
        await chat.until(lambda: chat.screen.visiting)
        await chat.press("2")
        await chat.says("B > A, C")
        await chat.press("escape")
        await chat.until(lambda: not chat.screen.visiting)
        past = chat.screen.session.view().past[0]
        assert (past.mark, past.answer) == ("A, the first of 3; B was chosen since", "The first answer.")


async def test_a_note_that_was_changed_is_emptied_for_good(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        session = chat.screen.session
        for text in ("a", "b", ""):
            await chat.screen.jobs.call(session.note, 0, text)
        assert not session.turn.notes
        for value in (1, -1, -1):
            await chat.screen.jobs.call(session.thumb, 0, value)
        assert not session.turn.thumbs


async def test_a_draft_outlives_the_edit_of_a_question(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        chat.screen.prompt.put("A draft")
        await chat.until(lambda: chat.store.meta_get(f"draft:{chat.screen.session.thread.id}") == "A draft")
        await chat.press("escape") if chat.app.focused is chat.screen.prompt else None
        await chat.press("E")
        await chat.until(lambda: chat.screen.editing is not None)
        chat.screen.prompt.put("One, anew?")
        await chat.press("enter")
        await chat.until(lambda: chat.answers.turn is not None and chat.answers.turn.prompt == "One, anew?")
        assert chat.screen.prompt.text == "A draft"
