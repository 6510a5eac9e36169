"""Pairs asked again: which are, what the second judgment changes (nothing), and how the two are compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from chatapp import judging
from chatapp.reading import read_turn
from storage import history, reasking
from storage.errors import InvalidJudgment
from storage.forgetting import forget
from storage.preferences import Judgment
from storage.statistics import statistics
from storage.store import Store
from storage.threads import NewAnswer

MODEL = "m" * 64
NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=5)


@pytest.fixture(autouse=True)
def model(store: Store) -> None:
    store.add_model(MODEL, "tiny", "llama", "t", "x")


def turn(store: Store, *texts: str, private: bool = False) -> tuple[str, list[str]]:
    thread = store.threads.new("About apples", private=private)
    prompt = store.threads.add_message(thread.id, None, "user", "Why apples?")
    new = [NewAnswer(text, at, MODEL, None, {}, 1, [1], 1, "stop") for at, text in enumerate(texts)]
    return prompt.id, [answer.id for answer in store.threads.add_answers(thread.id, prompt.id, new)]


def due(store: Store, now: datetime = LATER) -> reasking.Pair | None:
    return reasking.due(store, now, Random(7))


def asked(store: Store, now: datetime = LATER) -> reasking.Pair:
    pair = due(store, now)
    assert pair is not None
    return pair


def picked(store: Store, best: int = 0) -> tuple[Judgment, list[str]]:
    prompt, ids = turn(store, "They keep.", "They are red.")
    return store.judgments.pick(prompt, ids[best], ids), ids


def test_a_pair_comes_back_after_three_days_with_its_sides_swapped(store: Store) -> None:
    first, ids = picked(store)
    assert due(store, NOW + timedelta(days=2)) is None
    pair = asked(store, NOW + timedelta(days=4))
    assert (pair.judgment_id, pair.ids) == (first.id, (ids[1], ids[0]))
    assert pair.texts == ("They are red.", "They keep.")
    assert pair.first == -1
    assert pair.conversation == [{"role": "user", "content": "Why apples?"}]


def test_of_a_pick_only_what_was_said_is_asked(store: Store) -> None:
    """Nothing was said of B and C."""
    prompt, (a, b, c) = turn(store, "x", "y", "z")
    store.judgments.pick(prompt, a, [a, b, c])
    pairs = {frozenset(pair.ids) for seed in range(20) if (pair := reasking.due(store, LATER, Random(seed)))}
    assert pairs == {frozenset((a, b)), frozenset((a, c))}


def test_what_was_asked_again_rests_for_two_weeks(store: Store) -> None:
    picked(store)
    reasking.answer(store, asked(store), 1)
    assert due(store, NOW + timedelta(days=13)) is None
    assert due(store, NOW + timedelta(days=15)) is not None


def test_what_is_never_asked_again(store: Store) -> None:
    """Private, deleted, forgotten, taken back, replaced by another kind, from elsewhere, or twice the same text."""
    prompt, ids = turn(store, "x", "y", private=True)
    store.judgments.pick(prompt, ids[0], ids)
    first, _ = picked(store)
    store.threads.delete(store.threads.message(first.prompt_id).thread_id)
    _, ids = picked(store)
    forget(store, [ids[0]])
    first, _ = picked(store)
    store.judgments.retract(first.id)
    first, ids = picked(store)
    store.judgments.all_bad(first.prompt_id, ids, supersedes=first.id)
    prompt, ids = turn(store, "x", "y")
    store.judgments.pick(prompt, ids[0], ids, source="judge")
    prompt, ids = turn(store, "same", "same")
    store.judgments.pick(prompt, ids[0], ids)
    assert due(store) is None


@pytest.mark.parametrize("better", [1, 0, -1])
def test_the_second_judgment_changes_nothing_that_is_learned_or_shown(store: Store, better: int) -> None:
    prompt, ids = turn(store, "x", "y", "z")
    first = store.judgments.pick(prompt, ids[0], ids)
    before, shown = store.judgments.derived(), read_turn(store, store.threads.message(prompt), ids[0])
    waiting = store.judgments.waiting(MODEL)
    second = reasking.answer(store, asked(store), better)
    assert (second.kind, second.source, second.supersedes) == ("ranking", "chat", None)
    assert second.payload == {"reasked": first.id}
    assert store.judgments.derived() == before
    assert store.judgments.waiting(MODEL) == waiting
    assert store.judgments.replaced_by(first.id) is None
    turn_now = read_turn(store, store.threads.message(prompt), ids[0])
    assert turn_now == shown
    # the next judgment in the chat takes the place of the first one, and undo takes back that one
    assert judging.in_force(store, turn_now) == [first]
    assert judging.pick(store, turn_now, 1).supersedes == first.id


def test_it_is_said_to_be_asked_again_and_cannot_become_a_lesson(store: Store) -> None:
    picked(store)
    second = reasking.answer(store, asked(store), 1)
    assert store.judgments.describe(second) == "B > A (asked again)"
    assert history.standing(store, second.id).reasons == ["the pair was asked again, to compare only"]
    with pytest.raises(InvalidJudgment, match="asked again"):
        history.restate(store, second, "ranking", second.items, payload={})


def test_agreement_of_the_two(store: Store) -> None:
    """The same, the other way round, a tie: (1 + 0 + 0.5) / 3."""
    for way in ("same", "other", "tie"):
        picked(store)
        pair = asked(store)
        reasking.answer(store, pair, {"same": pair.first, "other": -pair.first, "tie": 0}[way])
    again = statistics(store)["asked_again"]
    assert (again["pairs"], again["same"], again["share"]) == (3, 1.5, 0.5)
    assert again["low"] < 0.5 < again["high"]


def test_a_pair_of_a_ranking_is_counted_as_one(store: Store) -> None:
    prompt, ids = turn(store, "x", "y", "z")
    store.judgments.rank(prompt, [[ids[2]], [ids[0], ids[1]]])
    pair = asked(store)
    reasking.answer(store, pair, pair.first)
    assert reasking.agreed(store)["pairs"] == 1
    assert statistics(store)["agreement"] == [{"source": "own", "pairs": 1, "judgments": 2, "share": 1.0}]


def test_places_are_those_of_the_first_time(store: Store) -> None:
    picked(store)
    before = statistics(store)["position"]
    reasking.answer(store, asked(store), 1)
    assert statistics(store)["position"] == before


def test_without_the_first_there_is_nothing_to_agree_with(store: Store) -> None:
    first, ids = picked(store)
    reasking.answer(store, asked(store), 1)
    assert reasking.agreed(store)["pairs"] == 1
    store.judgments.pick(first.prompt_id, ids[1], ids, supersedes=first.id)
    assert reasking.agreed(store) == {"pairs": 0, "same": 0.0, "share": None, "low": 0.0, "high": 1.0}


def test_what_was_taken_back_meanwhile_is_not_answered(store: Store) -> None:
    first, _ = picked(store)
    pair = asked(store)
    store.judgments.retract(first.id)
    with pytest.raises(InvalidJudgment, match="nothing was recorded"):
        reasking.answer(store, pair, 1)
    assert store.value("SELECT count(*) FROM judgments") == 1


def test_the_second_goes_with_the_first(store: Store) -> None:
    first, _ = picked(store)
    second = reasking.answer(store, asked(store), 1)
    history.retract(store, first)
    assert not history.standing(store, second.id).in_force


def test_it_does_not_end_the_pause_after_a_rollback(store: Store) -> None:
    picked(store)
    store.adapters.use(None, MODEL)
    assert store.adapters.promotion_paused(MODEL)
    reasking.answer(store, asked(store), 1)
    assert store.adapters.promotion_paused(MODEL)
    picked(store)
    assert not store.adapters.promotion_paused(MODEL)
