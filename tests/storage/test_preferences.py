"""The table of rules in `storage.preferences`, each rule by hand, and what holds for any judgments."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.preferences import Derived, Item, Judgment, Overridden, derive, explain
from storage.store import Store


def judge(kind: str, *items: Item, time: int = 0, payload: dict | None = None, prompt: str = "p") -> Judgment:
    return Judgment(f"{kind}-{time}", prompt, kind, f"2026-01-01T00:00:{time:02}", items, payload or {})


def pairs(*judgments: Judgment) -> set[tuple[str, str]]:
    return {(p.chosen_id, p.rejected_id) for p in derive(judgments).pairs}


def ranking(groups: str, time: int = 0) -> Judgment:
    """ranking("b>ac") is b first, then a and c tied."""
    items = [Item(id, rank=rank) for rank, group in enumerate(groups.split(">")) for id in group]
    return judge("ranking", *items, time=time)


def pick(best: str, others: str, time: int = 0) -> Judgment:
    return judge("pick", Item(best, rank=0), *(Item(o, rank=1) for o in others), time=time)


def test_ranking_gives_every_pair_across_groups() -> None:
    assert pairs(ranking("d>b>a>c")) == {("d", "b"), ("d", "a"), ("d", "c"), ("b", "a"), ("b", "c"), ("a", "c")}
    assert pairs(ranking("b>ac")) == {("b", "a"), ("b", "c")}
    assert pairs(ranking("abc")) == set()


def test_pick_says_nothing_of_the_others() -> None:
    assert pairs(pick("b", "ac")) == {("b", "a"), ("b", "c")}


def test_correction_beats_every_candidate_and_is_a_demonstration() -> None:
    correction = judge("correction", Item("fix", rank=0), Item("a", rank=1), Item("b", rank=1), time=2)
    assert pairs(correction, pick("b", "a")) == {("fix", "a"), ("fix", "b"), ("b", "a")}
    assert [d.message_id for d in derive([correction]).demonstrations] == ["fix"]


def test_ratings_of_siblings_give_a_margin_and_a_lone_one_stands_alone() -> None:
    both = derive([judge("rating", Item("a", score=7), Item("b", score=4), Item("c", score=4))])
    assert {(p.chosen_id, p.rejected_id): p.margin for p in both.pairs} == {("a", "b"): 0.5, ("a", "c"): 0.5}
    assert both.unpaired == []
    for score, good in ((7, True), (5, True), (3, False), (1, False)):
        assert [u.good for u in derive([judge("rating", Item("a", score=score))]).unpaired] == [good]
    assert derive([judge("rating", Item("a", score=4))]).unpaired == []


def test_thumbs_are_unpaired_and_up_beats_down() -> None:
    derived = derive(
        [
            judge("thumb", Item("a", value=1), time=1),
            judge("thumb", Item("b", value=-1), time=2),
            judge("thumb", Item("c", value=-1), time=3),
            judge("thumb", Item("c", value=1), time=4),
        ]
    )
    assert {(u.message_id, u.good) for u in derived.unpaired} == {("a", True), ("b", False), ("c", True)}
    assert {(p.chosen_id, p.rejected_id) for p in derived.pairs} == {("a", "b"), ("c", "b")}


def test_all_bad_makes_each_candidate_bad() -> None:
    derived = derive([judge("all_bad", Item("a"), Item("b"))])
    assert derived.pairs == []
    assert [(u.message_id, u.good, u.weight) for u in derived.unpaired] == [("a", False, 0.5), ("b", False, 0.5)]


def test_flag_is_a_rule_label_and_note_and_duel_teach_nothing() -> None:
    derived = derive(
        [
            judge("flag", Item("a", value=1), payload={"rule": "r1"}),
            judge("note", Item("a"), payload={"text": "hm"}),
            judge("duel", Item("a", rank=0), Item("b", rank=1)),
        ]
    )
    assert [(x.message_id, x.rule_id, x.violated) for x in derived.rule_labels] == [("a", "r1", True)]
    assert (derived.pairs, derived.unpaired, derived.demonstrations) == ([], [], [])


def test_the_more_explicit_judgment_wins_whatever_its_age() -> None:
    thumbs = [judge("thumb", Item("a", value=1), time=8), judge("thumb", Item("b", value=-1), time=9)]
    rating = judge("rating", Item("a", score=2), Item("b", score=6), time=5)
    assert pairs(*thumbs) == {("a", "b")}
    assert pairs(*thumbs, rating) == {("b", "a")}
    assert pairs(*thumbs, rating, pick("a", "b", time=1)) == {("a", "b")}


def test_within_a_tier_the_latest_wins_and_a_tie_is_a_word_too() -> None:
    assert pairs(pick("a", "b", time=1), ranking("b>a", time=2)) == {("b", "a")}
    assert pairs(ranking("b>a", time=2), pick("a", "b", time=3)) == {("a", "b")}
    assert pairs(pick("a", "b", time=1), ranking("ab", time=2)) == set()


def test_a_turn_counts_once_for_each_kind() -> None:
    """A ranking of four has six pairs of weight 1/6; a pick overridden in one of two pairs gives the other all."""
    assert {round(p.weight, 6) for p in derive([ranking("d>b>a>c")]).pairs} == {round(1 / 6, 6)}
    derived = derive([pick("b", "ac", time=1), ranking("a>b", time=2)])
    assert {(p.chosen_id, p.rejected_id, p.kind, p.weight) for p in derived.pairs} == {
        ("a", "b", "ranking", 1.0),
        ("b", "c", "pick", 1.0),
    }


ids = st.sampled_from("abcde")


@st.composite
def judgments(draw: st.DrawFn) -> list[Judgment]:
    made = []
    for time in range(draw(st.integers(0, 8))):
        prompt = draw(st.sampled_from(["p", "q"]))
        chosen = draw(st.lists(ids, min_size=1, max_size=5, unique=True))
        kind = draw(st.sampled_from(["ranking", "pick", "thumb", "rating", "correction", "all_bad"]))
        if kind == "ranking":
            items = [Item(prompt + i, rank=draw(st.integers(0, 3))) for i in chosen]
        elif kind in ("pick", "correction"):
            items = [Item(prompt + i, rank=int(n > 0)) for n, i in enumerate(chosen)]
        elif kind == "rating":
            items = [Item(prompt + i, score=draw(st.integers(1, 7))) for i in chosen]
        else:
            items = [Item(prompt + i, value=draw(st.sampled_from([1, -1]))) for i in chosen]
        made.append(judge(kind, *items, time=time, prompt=prompt))
    return made


@settings(max_examples=200, deadline=None)
@given(judgments(), st.randoms())
def test_what_holds_for_any_judgments(made: list[Judgment], chance: random.Random) -> None:
    derived = derive(made)
    found = {(p.chosen_id, p.rejected_id) for p in derived.pairs}
    assert len(found) == len(derived.pairs)
    assert not {(b, a) for a, b in found} & found
    for examples in (derived.pairs, derived.unpaired, derived.demonstrations):
        weights: dict[tuple[str, str], float] = defaultdict(float)
        for example in examples:
            weights[example.prompt_id, getattr(example, "kind", "correction")] += example.weight
        assert all(total == pytest.approx(1) for total in weights.values())
    shuffled = list(made)
    chance.shuffle(shuffled)
    assert derive(shuffled) == derived


def test_what_is_overridden_is_said_with_what_counts_instead() -> None:
    first, second = pick("b", "ac", time=1), ranking("a>b", time=2)
    taught = explain([second, first])
    assert taught[first.id].overridden == [Overridden("a", "b", "b", second.id)]
    assert [(p.chosen_id, p.rejected_id) for p in taught[first.id].pairs] == [("b", "c")]
    assert [(p.chosen_id, p.rejected_id) for p in taught[second.id].pairs] == [("a", "b")]
    assert taught[second.id].overridden == []


def test_a_later_thumb_rating_or_flag_of_one_answer_overrides_the_earlier() -> None:
    for old, new in (
        (judge("thumb", Item("a", value=1), time=1), judge("thumb", Item("a", value=-1), time=2)),
        (judge("rating", Item("a", score=6), time=1), judge("rating", Item("a", score=2), time=2)),
        (
            judge("flag", Item("a", value=1), time=1, payload={"rule": "r"}),
            judge("flag", Item("a", value=0), time=2, payload={"rule": "r"}),
        ),
    ):
        taught = explain([old, new])
        assert taught[old.id].overridden == [Overridden("a", None, None, new.id)]
        assert not taught[old.id].unpaired
        assert not taught[old.id].rule_labels
        assert taught[new.id].overridden == []


@settings(max_examples=200, deadline=None)
@given(judgments())
def test_the_explanation_is_the_derivation_by_judgment(made: list[Judgment]) -> None:
    """Every pair that a judgment alone would make is either made or overridden by one that is there."""
    for prompt in ("p", "q"):
        turn = [j for j in made if j.prompt_id == prompt]
        taught, derived = explain(turn), derive(turn)
        for name in ("pairs", "unpaired", "demonstrations", "rule_labels"):
            parts = [example for t in taught.values() for example in getattr(t, name)]
            assert sorted(map(repr, parts)) == sorted(map(repr, getattr(derived, name)))
        for judgment in turn:
            mine = taught[judgment.id]
            made_of = {frozenset((p.chosen_id, p.rejected_id)) for p in mine.pairs}
            lost = {frozenset((o.a, o.b)) for o in mine.overridden if o.b is not None}
            alone = {frozenset((p.chosen_id, p.rejected_id)) for p in derive([judgment]).pairs}
            assert alone <= made_of | lost
            assert not made_of & lost
            assert all(o.by in taught and o.by != judgment.id for o in mine.overridden)


words = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["pick", "ranking", "thumb", "rating", "correction", "all_bad"]), ids),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=words, then=words, replaces=st.booleans())
def test_retracting_brings_back_exactly_what_was_before(
    store: Store, before: list[tuple[int, str, str]], then: list[tuple[int, str, str]], replaces: bool
) -> None:
    """In the database, with judgments that supersede others among them, whatever the order of taking back."""
    thread = store.threads.new("t")
    turns = []
    for _ in range(2):
        prompt = store.threads.add_message(thread.id, None, "user", "q")
        turns.append((prompt.id, [store.threads.add_message(thread.id, prompt.id, "assistant", x).id for x in "abcde"]))

    def say(word: tuple[int, str, str], supersedes: str | None = None) -> str:
        (prompt, answers), kind, letter = turns[word[0]], word[1], word[2]
        one = answers["abcde".index(letter)]
        about = {"supersedes": supersedes}
        if kind == "pick":
            return store.judgments.pick(prompt, one, answers, **about).id
        if kind == "ranking":
            return store.judgments.rank(prompt, [[one], [a for a in answers if a != one]], **about).id
        if kind == "thumb":
            return store.judgments.thumb(prompt, one, 1 if letter < "c" else -1, **about).id
        if kind == "rating":
            return store.judgments.rate(prompt, {one: 2 + "abcde".index(letter)}, **about).id
        if kind == "correction":
            return store.judgments.correct(prompt, one, "better", answers, **about)[0].id
        return store.judgments.all_bad(prompt, answers, **about).id

    for word in before:
        last = say(word)
    history: list[tuple[Derived, str]] = []
    for word in then:
        was = store.judgments.derived()
        last = say(word, last if replaces else None)
        history.append((was, last))
    for was, id in reversed(history):
        assert store.judgments.retract(id)
        assert store.judgments.derived() == was
