"""Two versions answer blind; the choice says who won, and goes with the choice."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from chatapp import restating
from chatapp.dueling import Duel, fight
from chatapp.engine.base import Sampling
from chatapp.screens.dialogs import Choose
from storage import history
from storage.duels import Tally, tally
from storage.store import Store
from tests.chat.conftest import SMALL
from tests.chat.fakes import FakeEngine
from tests.chat.test_chat_lessons import adapter

Open = Callable[..., Any]


async def begin(chat: Any) -> str:
    """A version becomes live, and meets the base."""
    id = adapter(chat, "good")
    await chat.until(lambda: chat.screen.session.adapter is not None)
    chat.screen.prompt.put("/duel")
    await chat.press("enter")
    await chat.until(lambda: isinstance(chat.app.screen, Choose))
    await chat.press("enter")
    await chat.says("Duel: v1 against base")
    return id


def counts(chat: Any, id: str) -> Tally:
    return tally(chat.store, chat.screen.session.model.hash, id, None)


def explain(chat: Any) -> list[Any]:
    """What each judgment of the turn teaches."""
    return list(chat.store.judgments.explain(chat.answers.turn.prompt_id).values())


async def test_without_a_version_there_is_no_duel(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.screen.prompt.put("/duel")
        await chat.press("enter")
        await chat.says("There is no version yet")


async def test_a_duel_under_way_is_seen_and_its_rules_are_said_whole(open_chat: Open) -> None:
    async with open_chat(SMALL) as chat:
        await begin(chat)
        await chat.until(lambda: "duel" in chat.drawn[0])
        await chat.until(lambda: "who is who is said when you have chosen" in " ".join(" ".join(chat.drawn).split()))
        foot = chat.screen.query_one("#said").region
        said = " ".join(" ".join(line[foot.x : foot.right] for line in chat.drawn[foot.y : foot.bottom]).split())
        assert said.endswith("/duel ends it.")
        chat.screen.prompt.put("/duel")
        await chat.press("enter")
        await chat.says("The duel of v1 against base has ended")
        await chat.until(lambda: "duel" not in chat.drawn[0])
        chat.screen.prompt.put("/duel end")
        await chat.press("enter")
        await chat.says("No duel goes on: /duel begins one.")
        chat.screen.prompt.put("/duel base")
        await chat.press("enter")
        await chat.says("/duel takes nothing but `end` behind it.")


async def test_who_answered_is_said_after_the_choice_and_counted(open_chat: Open) -> None:
    async with open_chat() as chat:
        id = await begin(chat)
        await chat.ask()
        turn = chat.answers.turn
        assert sorted(answer.version for answer in turn.answers) == ["base", "v1"]
        mine = next(index for index, answer in enumerate(turn.answers) if answer.version == "v1")
        shown = "".join(chat.drawn)
        assert "v1 won" not in shown
        assert all("v1" not in str(card.border_subtitle) for card in chat.answers.cards)
        await chat.press(str(mine + 1))
        await chat.says("v1 won over base. v1: 1 of 1 so far")
        await chat.until(lambda: "v1" in str(chat.answers.cards[mine].border_subtitle))
        assert counts(chat, id) == Tally(1, 0, 0)
        assert [j.kind for j in chat.judgments()] == ["pick", "duel"]


async def test_what_is_said_once_the_names_are_known_teaches_but_does_not_count(open_chat: Open) -> None:
    async with open_chat() as chat:
        id = await begin(chat)
        await chat.ask()
        mine = next(i for i, answer in enumerate(chat.answers.turn.answers) if answer.version == "v1")
        await chat.press(str(mine + 1))
        await chat.says("v1 won over base")
        await chat.press(str(2 - mine))
        await chat.says("it teaches, but is no vote in the duel")
        assert counts(chat, id) == Tally(1, 0, 0)
        (pair,) = [pair for taught in explain(chat) for pair in taught.pairs]
        assert pair.chosen_id == chat.answers.turn.answers[1 - mine].message_id
        await chat.press("x")
        await chat.says("it teaches, but is no vote in the duel")
        assert counts(chat, id) == Tally(1, 0, 0)
        await chat.press("u")
        await chat.until(lambda: [j.kind for j in chat.judgments()] == ["duel", "pick"])
        await chat.press("u")
        await chat.until(lambda: [j.kind for j in chat.judgments()] == ["pick", "duel"])
        assert counts(chat, id) == Tally(1, 0, 0), "the vote is in force again, and never ceased to count"


async def test_a_vote_that_is_taken_back_drops_out_and_is_not_given_again(open_chat: Open) -> None:
    async with open_chat() as chat:
        id = await begin(chat)
        await chat.ask()
        await chat.press("1")
        await chat.until(lambda: counts(chat, id).n == 1)
        await chat.press("u")
        await chat.until(lambda: counts(chat, id) == Tally(0, 0, 0))
        await chat.press("x")
        await chat.says("it teaches, but is no vote in the duel")
        assert counts(chat, id) == Tally(0, 0, 0)
        await chat.ask("And now?")
        await chat.press("x")
        await chat.says("are tied")
        assert counts(chat, id) == Tally(0, 1, 0)


async def test_a_vote_that_is_edited_on_the_page_stays_the_first(open_chat: Open) -> None:
    async with open_chat() as chat:
        id = await begin(chat)
        await chat.ask()
        mine = next(i for i, answer in enumerate(chat.answers.turn.answers) if answer.version == "v1")
        await chat.press(str(mine + 1))
        await chat.until(lambda: counts(chat, id) == Tally(1, 0, 0))
        with Store.open(chat.store.home) as other:
            old = next(j for j in other.judgments.live() if j.kind == "pick")
            new = restating.record(other, old, restating.all_bad(old))
            assert counts(chat, id) == Tally(1, 0, 0)
            history.retract(other, new)
            assert counts(chat, id) == Tally(1, 0, 0)
            history.retract(other, old)
            assert counts(chat, id) == Tally(0, 0, 0)


async def test_the_live_version_answers_again_when_the_duel_is_ended(open_chat: Open) -> None:
    async with open_chat() as chat:
        await begin(chat)
        await chat.ask()
        before = list(chat.engine.swaps)
        assert before[-1] is None or before[-1].name == "adapter.gguf"
        await chat.press("v")
        await chat.says("has ended")
        await chat.ask("And now?")
        assert [answer.version for answer in chat.answers.turn.answers] == ["v1"] * 3


async def test_a_duel_stopped_in_its_first_answer_is_none(open_chat: Open) -> None:
    engine = FakeEngine()
    async with open_chat(engine=engine) as chat:
        id = await begin(chat)
        engine.hold = True
        await chat.ask()
        engine.feed(0, "Only this.")
        await chat.until(lambda: any(card.prose.text == "Only this." for card in chat.answers.cards))
        await chat.press("escape")
        await chat.until(lambda: chat.answers.ready)
        assert [answer.text for answer in chat.answers.turn.answers] == ["Only this."]
        await chat.press("1")
        await chat.says("There is one answer")
        assert counts(chat, id) == Tally(0, 0, 0)


async def test_the_engine_has_its_own_version_back(open_chat: Open) -> None:
    async with open_chat() as chat:
        await begin(chat)
        store, session = chat.store, chat.screen.session
        current = session.adapter
        for seed in range(6):
            engine = FakeEngine()
            drawn = fight(
                engine, store, Duel(current, None), [{"role": "user", "content": "?"}], Sampling(), None,
                model_hash=session.model.hash, current=current, chance=random.Random(seed),
            )  # fmt: skip
            assert [answer.position for answer in drawn.answers] == [0, 1]
            assert engine.swaps[-1] == store.adapters.gguf(current)
            assert {answer.adapter_id for answer in drawn.answers} == {current.id, None}


async def test_a_correction_names_nobody_before_the_choice(open_chat: Open) -> None:
    async with open_chat() as chat:
        await begin(chat)
        await chat.ask()
        chat.screen.session.correct(0, "Better.")
        await chat.screen.jobs.call(lambda: None)
        chat.answers.show(chat.screen.session.turn)
        await chat.pilot.pause()
        assert all("v1" not in str(card.border_subtitle) for card in chat.answers.cards)


async def test_taking_the_choice_back_elsewhere_takes_the_duel_with_it(open_chat: Open) -> None:
    from storage import history

    async with open_chat() as chat:
        id = await begin(chat)
        await chat.ask()
        await chat.press("1")
        await chat.says("won over")
        assert counts(chat, id).n == 1
        pick = next(judgment for judgment in chat.judgments() if judgment.kind == "pick")
        await chat.screen.jobs.call(history.retract, chat.store, pick)
        assert counts(chat, id).n == 0


async def test_all_bad_counts_also_where_one_side_was_forgotten(open_chat: Open) -> None:
    async with open_chat() as chat:
        id = await begin(chat)
        await chat.ask()
        gone = chat.answers.turn.answers[0].message_id
        with chat.store.write() as db:
            db.execute("UPDATE messages SET content = NULL, forgotten_at = '2026-01-01' WHERE id = ?", [gone])
        session = chat.screen.session
        await chat.screen.jobs.call(session.open, session.thread.id)
        said = await chat.screen.jobs.call(session.all_bad)
        assert "all bad" in said.line
        assert counts(chat, id).n == 0


async def test_an_engine_that_could_not_swap_back_is_put_right_before_the_next_answer(open_chat: Open) -> None:
    class Stubborn(FakeEngine):
        fail = False

        def swap(self, adapter_path: Any) -> float:
            if self.fail and adapter_path is not None:
                from chatapp.engine.base import EngineError

                raise EngineError("The adapter could not be loaded.")
            return super().swap(adapter_path)

    engine = Stubborn()
    async with open_chat(engine=engine) as chat:
        await begin(chat)
        engine.fail = True
        await chat.ask()
        await chat.says("could not be loaded")
        engine.fail = False
        chat.screen.session.duel = None
        await chat.ask("Again?")
        assert engine.swaps[-1] is not None
        assert {answer.version for answer in chat.answers.turn.answers} == {"v1"}
