"""The gate's calibration: what is flipped, what is drawn, and that clear cases come out clearly."""

from __future__ import annotations

from trainer.bench.gate_bench import RUNS, count, relabelled
from trainer.dataset import PairRef, Turn
from trainer.expected import Ratios
from trainer.guards import Neutral

TURN = Turn("k", "train", [], [1], [[2], [3], [4]], [PairRef(0, 1, 0.5), PairRef(0, 2, 0.5), PairRef(1, 2, 0.5)])
CALM = Neutral(2.0, 2.0, 0.01)


def test_judgments_are_turned_round() -> None:
    assert relabelled(TURN, "good", 0) is TURN
    flipped = {(p.chosen, p.rejected) for p in relabelled(TURN, "flipped", 0).pairs}
    assert flipped == {(1, 0), (2, 0), (2, 1)}


def test_random_judgments_are_an_order_of_the_answers() -> None:
    """No circles; each of the six orders comes up; the same seed says the same."""
    orders = set()
    for seed in range(100):
        pairs = relabelled(TURN, "random", seed).pairs
        assert pairs == relabelled(TURN, "random", seed).pairs
        wins = [sum(p.chosen == i for p in pairs) for i in range(3)]
        assert sorted(wins) == [0, 1, 2]
        orders.add(tuple(wins))
    assert len(orders) == 6


def test_who_likes_the_shorter_answer_says_nothing_of_equal_ones() -> None:
    turn = Turn("k", "train", [], [1], [[2, 2], [3], [4, 4]], TURN.pairs)
    assert [(p.chosen, p.rejected) for p in relabelled(turn, "shorter", 0).pairs] == [(1, 0), (1, 2)]
    assert relabelled(TURN, "shorter", 0).pairs == []


def test_thumbs_on_every_answer() -> None:
    praised, blamed = (relabelled(TURN, kind, 0) for kind in ("praise", "blame"))
    assert praised.pairs == blamed.pairs == []
    assert [(s.response, s.good) for s in praised.singles] == [(0, True), (1, True), (2, True)]
    assert not any(s.good for s in blamed.singles)


def test_shares_are_of_draws() -> None:
    """Adapters that order answers as judged, or the other way round, a little more so from prompt to prompt."""
    good, bad = (
        [(TURN, Ratios([sign * (4.0 + i / 10), 0.0, -sign * 4.0], [0.0] * 3)) for i in range(60)] for sign in (1, -1)
    )
    assert count([good], [CALM], 32, 0.1) == {"held_out": 32, "level": 0.95, "promoted": 1.0, "gain_alone": 1.0}
    assert count([bad], [CALM], 8, 0.1)["promoted"] == 0.0
    assert count([good, bad], [CALM, CALM], 8, 0.1)["promoted"] == 0.5
    spoiled = count([good], [Neutral(2.0, 2.1, 0.01)], 8, 0.1)
    assert (spoiled["promoted"], spoiled["gain_alone"]) == (0.0, 1.0)
    assert RUNS == 20
