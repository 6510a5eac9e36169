"""The decision: statistics by hand and by simulation, and what each guard says."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from trainer import gate
from trainer.dataset import PairRef, SingleRef, Turn
from trainer.expected import Ratios

GOOD = gate.Evidence(
    gain=gate.Bound(0.1, 0.05, 0.95, 40),
    new_loss=0.59,
    live_loss=0.69,
    live_name="the base",
    pooled=False,
    neutral_rise=0.004,
    kl=0.02,
    answers=gate.Answers(120, 0.1, 16),
    chosen_length=110,
    base_length=140,
    base_repetition=0.1,
)


def turn(pairs: list[PairRef], singles: list[SingleRef] | None = None, responses: int = 4) -> Turn:
    return Turn("k", "held_out", [], [1], [[2] * (i + 1) for i in range(responses)], pairs, [], singles or [])


def beyond(*values: float, tokens: bool = False) -> Ratios:
    """Nothing expected; tokens: so much for each of a response's tokens (1, 2, 3, 4)."""
    return Ratios([v * (i + 1) if tokens else v for i, v in enumerate(values)], [0.0] * len(values))


def test_prompt_loss_by_hand() -> None:
    """r = (2, 0), beta 0.5: the pair (0 over 1) costs -log s(1) = 0.3133, weight 1; 1 called good: log 2, weight 3."""
    t = turn([PairRef(0, 1, 1.0)], [SingleRef(1, True, 3.0)], 2)
    by_hand = (0.313262 + 3 * math.log(2)) / 4
    assert gate.prompt_loss(t, beyond(2.0, 0.0), 0.5) == pytest.approx(by_hand, abs=1e-5)
    assert gate.prompt_loss(t, Ratios([-5.0, -9.0], [-7.0, -9.0]), 0.5) == pytest.approx(by_hand, abs=1e-5)
    assert gate.prompt_loss(turn([]), beyond(*[0.0] * 4), 0.5) is None


def test_what_a_version_adds_to_all_answers_is_taken_off_single_ones_by_hand() -> None:
    """r = (-1, -1, -9, -12) of 1 to 4 tokens: drift -23 / 10 nats a token, so s = (1.3, 3.6, -2.1, -2.8)."""
    t = turn([PairRef(0, 3, 2.0)], [SingleRef(1, True, 1.0), SingleRef(2, False, 1.0)])
    ratios = Ratios([-2.0, -1.0, -10.0, -13.0], [-1.0, 0.0, -1.0, -1.0])
    assert gate.drift([t], [ratios]) == pytest.approx(-2.3)
    found = [(12.0 - 1.0, 2), (3.6, 1), (2.1, 1)]  # the pair, the good one, the bad one; all as judged
    by_hand = sum(w * math.log(1 + math.exp(-0.5 * x)) for x, w in found) / 4
    assert gate.losses([t], [ratios], 0.5) == [pytest.approx(by_hand)]


@pytest.mark.parametrize("left", [-0.05, 0.05])
def test_a_version_that_only_drifts_gains_nothing_by_single_answers(left: float) -> None:
    """Each token 0.1 nats less likely, and more or less so than expected: no thumb has to thank it for that."""
    judged = {
        "all bad": turn([], [SingleRef(i, False, 0.25) for i in range(4)]),
        "all good": turn([], [SingleRef(i, True, 0.25) for i in range(4)]),
        "one good": turn([], [SingleRef(0, True, 0.5), SingleRef(3, False, 0.5)]),
    }
    tokens = [1, 2, 3, 4]
    drifted = Ratios([-0.1 * n for n in tokens], [(-0.1 - left) * n for n in tokens])
    for who, t in judged.items():
        assert gate.losses([t], [drifted], 0.5) == [pytest.approx(math.log(2))], who


def test_what_became_likelier_than_under_the_base_shows_in_good_answers_alone() -> None:
    good, bad = (turn([], [SingleRef(i, kind, 0.25) for i in range(4)]) for kind in (True, False))
    likelier = beyond(*[0.5] * 4, tokens=True)
    assert gate.losses([good], [likelier], 0.5)[0] < math.log(2) < gate.losses([bad], [likelier], 0.5)[0]


def test_how_often_a_version_agrees_by_hand() -> None:
    """The turn of before: all three as judged, of a weight of 2 + 1 + 1. Of another, s = (2, 2, 0): the pair 0 over 2
    is as judged (weight 2), 0 over 1 is a tie (1), and 2 over 0 is not (1), so (2 + 0.5) / 4. The base ties all."""
    one = turn([PairRef(0, 3, 2.0)], [SingleRef(1, True, 1.0), SingleRef(2, False, 1.0)])
    ratios = Ratios([-2.0, -1.0, -10.0, -13.0], [-1.0, 0.0, -1.0, -1.0])
    assert gate.accuracies([one], [ratios]) == [1.0]
    assert gate.accuracies([turn(one.pairs, [SingleRef(1, False, 2.0)])], [ratios]) == [0.5]
    other = turn([PairRef(0, 2, 2.0), PairRef(0, 1, 1.0), PairRef(2, 0, 1.0)], None, 3)
    assert gate.accuracies([other], [beyond(2.0, 2.0, 0.0)]) == [0.625]
    assert gate.accuracies([one, other], [Ratios.of_base(4), Ratios.of_base(3)]) == [0.5, 0.5]


def test_pair_accuracy_beside_longer_wins() -> None:
    t = turn([PairRef(0, 1, 0.5), PairRef(2, 1, 0.5)], None, 3)
    assert gate.pair_accuracy([t], [[0.0, 1.0, 2.0]]) == (0.5, 0.5, 2)
    assert gate.pair_accuracy([t], [[1.0, 1.0, 1.0]]) == (0.5, 0.5, 2)  # ties count half
    assert gate.pair_accuracy([], [])[2] == 0


def test_the_level_follows_the_number_of_prompts() -> None:
    assert gate.bootstrap([0.5] * 32, [0.6] * 32).level == 0.95
    assert gate.bootstrap([0.5] * 31, [0.6] * 31).provisional
    bound = gate.bootstrap([0.5] * 8, [0.6] * 8)
    assert (bound.mean, bound.low) == (pytest.approx(0.1), pytest.approx(0.1))


def test_one_prompt_with_many_pairs_is_one_prompt() -> None:
    """A single lucky prompt among unlucky ones does not carry the bound."""
    assert gate.bootstrap([0.0, *[0.75] * 9], [0.69] * 10).low < 0.0


@pytest.mark.parametrize(("gain", "promoted"), [(0.0, (0.0, 0.35)), (0.1, (0.9, 1.0)), (-0.1, (0.0, 0.02))])
def test_rates_of_the_bootstrap_at_eight_prompts(gain: float, promoted: tuple[float, float]) -> None:
    """Of 200 simulated adapters with a spread of 0.12 between prompts: about 20 % of the worthless pass at 80 %."""
    draw = random.Random(1)
    passed = 0
    for i in range(200):
        new = [0.69 - gain + draw.gauss(0, 0.12) for _ in range(8)]
        passed += gate.bootstrap(new, [0.69] * 8, seed=i, resamples=300).low > 0
    assert promoted[0] <= passed / 200 <= promoted[1]


def test_a_second_look_is_taken_where_few_prompts_did_not_show_it_and_must_be_certain() -> None:
    surely, open_, worse = ([0.5] * 8, [0.69] * 8), ([0.2] * 4 + [1.0] * 4, [0.69] * 8), ([0.9] * 8, [0.69] * 8)
    assert [gate.wants_second_look(gate.bootstrap(*x)) for x in (surely, open_, worse)] == [False, True, True]
    assert not gate.wants_second_look(gate.bootstrap([0.9] * 40, [0.69] * 40))  # there was enough to see
    once, again = gate.bootstrap(*open_), gate.bootstrap(*open_, certain=True)
    assert once.provisional
    assert not again.provisional
    assert again.low < once.low


def test_folds_cover_everything_once() -> None:
    parts = gate.folds(10, 3)
    assert sorted(i for part in parts for i in part) == list(range(10))
    assert sorted(map(len, parts)) == [3, 3, 4]
    assert gate.folds(2, 3) == gate.folds(2, 2)


def test_repetition() -> None:
    assert gate.repetition([1, 2, 3]) == 0.0
    assert gate.repetition([1, 2, 3, 4, 5, 6]) == 0.0
    assert gate.repetition([7] * 13) == pytest.approx(0.9)


def test_a_good_adapter_is_promoted_with_its_figures() -> None:
    verdict = gate.decide(GOOD)
    assert verdict.promote
    assert not verdict.provisional
    assert verdict.sentence == (
        "Better on 40 held-out prompts: log-loss 0.590 against 0.690 of the base (gain +0.100, 95 % bound +0.050); "
        "neutral text +0.4 %, drift 0.020 nats a token, answers 120 tokens long."
    )


def test_few_prompts_make_it_provisional() -> None:
    verdict = gate.decide(replace(GOOD, gain=gate.Bound(0.1, 0.02, 0.8, 8)))
    assert verdict.promote
    assert verdict.provisional
    assert "80 % bound +0.020, provisional until there are 32" in verdict.sentence


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"gain": gate.Bound(0.01, -0.02, 0.95, 40)}, "gain", "not surely better on 40 held-out prompts"),
        ({"gain": gate.Bound(math.nan, math.nan, 0.95, 40)}, "gain", "not surely better"),
        ({"neutral_rise": 0.031}, "neutral", "ordinary text became 3.1 % harder"),
        ({"neutral_rise": math.nan}, "neutral", "ordinary text"),
        ({"kl": 0.12}, "kl", "drifted 0.120 nats a token"),
        ({"answers": gate.Answers(40, 0.1, 16)}, "length", "40 tokens long (73 to 210 expected)"),
        ({"answers": gate.Answers(400, 0.1, 16)}, "length", "400 tokens long"),
        ({"answers": gate.Answers(120, 0.5, 16)}, "repetition", "repeat themselves (50 %"),
        ({"refusals": 3 / 8}, "refusals", "refuses 38 % of harmless requests (the base 0 %)"),
        ({"refusals": 0.6, "base_refusals": 0.3}, "refusals", "refuses 60 %"),
    ],
)
def test_each_guard_refuses_and_says_why(change: dict[str, object], reason: str, words: str) -> None:
    verdict = gate.decide(replace(GOOD, **change))  # type: ignore[arg-type]
    assert not verdict.promote
    assert verdict.reasons == [reason]
    assert words in verdict.sentence


def test_a_base_that_refuses_much_may_go_on() -> None:
    assert gate.decide(replace(GOOD, refusals=2 / 8)).promote
    assert gate.decide(replace(GOOD, refusals=0.5, base_refusals=0.4)).promote


def test_a_taste_for_short_answers_passes() -> None:
    """The chosen ones are short, so short answers are wanted."""
    short = replace(GOOD, answers=gate.Answers(35, 0.0, 16), chosen_length=40, base_length=150)
    assert gate.decide(short).promote
