"""The table of rules in `storage.preferences`, each rule by hand, and what holds for any judgments."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.preferences import Item, Judgment, derive


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
