"""What tells a new version's answers from the live one's, by hand, against a slow search, and on simulated tastes."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor

from trainer import gate, likeness
from trainer.dataset import PairRef, SingleRef, Turn
from trainer.expected import Ratios
from trainer.reward import balance

SIZE = 11  #: four features of each kind, and three of the length


def answers(count: int, seed: int, *, each: int = 4, shift: Tensor | None = None, asked: int = -1) -> list[Tensor]:
    """Answers to prompts: what a prompt asks for moves all of its answers; features go along with each other.

    asked: a seed of the prompts; the same one for two versions that answer the same.
    """
    drawn, prompts = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(10_000 + max(asked, seed))
    mixed = torch.linalg.cholesky(0.5 * torch.eye(SIZE) + 0.5)
    found = torch.randn(count, each, SIZE, generator=drawn) @ mixed.T
    found += 3 * torch.randn(count, 1, SIZE, generator=prompts)
    return list(found + (shift if shift is not None else 0.0))


def told_apart(
    count: int, seed: int, shift: Tensor | None, judged: list[Tensor], *, each: int = 1
) -> likeness.Direction:
    """A version whose answers are shifted, beside one whose are not."""
    new, live = (
        answers(count, 2 * seed + i, each=each, shift=s, asked=9000 + seed) for i, s in ((0, shift), (1, None))
    )
    return likeness.direction(new, live, judged)


def ranked(features: list[Tensor], taste: Tensor) -> list[Turn]:
    turns = []
    for at, x in enumerate(features):
        score = (x @ taste).tolist()
        pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if score[i] > score[j]]
        texts = [[2] * 5 for _ in x]
        turns.append(Turn(str(at), "held_out", [], [1], texts, [PairRef(i, j, 1 / len(pairs)) for i, j in pairs], []))
    return turns


def gain(turns: list[Turn], features: list[Tensor], found: likeness.Direction, seed: int = 0) -> gate.Bound:
    ratios = likeness.ratios(turns, features, found)
    base = [Ratios.of_base(len(t.responses)) for t in turns]
    mine = gate.losses(turns, [ratios[t.key] for t in turns], 1.0)
    return gate.bootstrap(mine, gate.losses(turns, base, 1.0), seed=seed)


def unit(at: int) -> Tensor:
    return torch.eye(SIZE)[at]


def test_it_is_the_direction_that_parts_them_best() -> None:
    """No other has a larger squared difference of means over the variance within, ridge included (a slow search)."""
    new, live, judged = answers(20, 1, shift=0.7 * unit(2), asked=9), answers(20, 2, asked=9), answers(40, 3)
    found = likeness.direction(new, live, judged)
    rest = torch.cat([(x - x.mean(0)) * (4 / 3) ** 0.5 for x in judged]).double()
    apart = rest.pow(2).mean(0).sqrt()
    scale = balance(SIZE) / apart
    x, moved = rest * scale, torch.stack([a.mean(0) - b.mean(0) for a, b in zip(new, live, strict=True)]).mean(0)
    ridge = likeness.RIDGE * x.pow(2).sum(1).mean()

    def parts(weights: Tensor) -> float:  # of scaled features
        return float((weights @ (moved * scale)) ** 2 / ((x @ weights).pow(2).mean() + ridge * weights.pow(2).sum()))

    best = found.weights / scale
    drawn = torch.Generator().manual_seed(4)
    for _ in range(300):
        other = best + 0.1 * best.norm() * torch.randn(SIZE, generator=drawn, dtype=torch.float64)
        assert parts(other) < parts(best)


def test_ratios_by_hand() -> None:
    """Along the first feature: 1, 3 and -2, 0 lie 2 apart each; their means, 2 and -1, lie sqrt(2 * 2.25) apart as two
    drawn ones do, and 0.5 is theirs. So ((v - its mean) / 2 + (its mean - 0.5) / 2.12) * SHARPNESS."""
    found = likeness.Direction(unit(0).double(), 0.0)
    features = [torch.stack([v * unit(0) for v in row]) for row in ((1.0, 3.0), (-2.0, 0.0))]
    turns = ranked(features, unit(0))
    ratios = likeness.ratios(turns, features, found)
    expected = [[likeness.SHARPNESS * (s / 2 + m / 4.5**0.5) for s in (-1, 1)] for m in (1.5, -1.5)]
    assert [ratios[t.key].beyond for t in turns] == [pytest.approx(row) for row in expected]
    by_hand = math.log(2) - math.log(1 + math.exp(-likeness.SHARPNESS))
    assert gain(turns, features, found).mean == pytest.approx(by_hand)


def test_single_answers_are_measured_from_their_mean() -> None:
    found = likeness.Direction(unit(0).double(), 0.0)
    features = [unit(0)[None], -unit(0)[None]]
    turns = [
        Turn(str(i), "held_out", [], [1], [[2] * 5], [], [], [SingleRef(0, good, 1.0)])
        for i, good in enumerate((True, False))
    ]
    ratios = likeness.ratios(turns, features, found)
    assert [ratios[t.key].beyond[0] for t in turns] == [pytest.approx(s * likeness.SHARPNESS / 2**0.5) for s in (1, -1)]
    assert gain(turns, features, found).mean > 0
    turned = [
        Turn(t.key, "held_out", [], [1], t.responses, [], [], [SingleRef(0, not t.singles[0].good, 1.0)]) for t in turns
    ]
    assert gain(turned, features, found).mean < 0


def test_one_who_went_where_the_taste_lies_passes_and_one_who_went_away_does_not() -> None:
    taste, features = unit(1), answers(12, 5)
    turns = ranked(features, taste)
    judged = [*features, *answers(30, 6)]
    for sign, better in ((1.0, True), (-1.0, False)):
        found = told_apart(32, 7, sign * taste, judged)
        assert (gain(turns, features, found).low > 0) is better


def test_what_goes_along_with_what_changed_is_not_taken_for_it() -> None:
    """Features go along with each other in answers, at 0.5; only the first one was changed. Who likes another one gains
    nothing by it, though of two answers the one that has more of the first has more of that one too."""
    features = answers(400, 9)
    found = told_apart(400, 10, unit(0), features, each=4)
    assert gain(ranked(features, unit(0)), features, found).mean > 0.04
    along = torch.cat([x - x.mean(0) for x in features])
    assert float(torch.corrcoef(torch.stack([along[:, 0], along[:, 3]]))[0, 1]) > 0.4
    assert gain(ranked(features, unit(3)), features, found).low < 0.005


def test_one_who_went_anywhere_passes_no_oftener_than_the_bound_says() -> None:
    """Small tests pass by the 80 % bound: one in five at most that are no better."""
    taste, passed = unit(1), 0
    draw = random.Random(0)
    for trial in range(60):
        features = answers(8, 100 + trial)
        drawn = torch.Generator().manual_seed(trial)
        elsewhere = torch.randn(SIZE, generator=drawn)
        elsewhere -= float(elsewhere @ taste) * taste
        found = told_apart(32, 200 + trial, elsewhere / elsewhere.norm(), [*features, *answers(30, 400 + trial)])
        passed += gain(ranked(features, taste), features, found, draw.randrange(1000)).low > 0
    assert passed <= 0.2 * 60 + 2 * (60 * 0.2 * 0.8) ** 0.5


def mixed(features: list[Tensor], taste: Tensor, several: int) -> tuple[list[Turn], list[Tensor]]:
    """Of all but the first `several` prompts one answer alone, thumbed up where it is better than most."""
    turns, kept = ranked(features, taste), list(features)
    middle = float(torch.cat(features)[:, 1].median())
    for at in range(several, len(features)):
        kept[at] = features[at][:1]
        good = bool(float(kept[at][0] @ taste) > middle)
        turns[at] = Turn(str(at), "held_out", [], [1], [[2] * 5], [], [], [SingleRef(0, good, 1.0)])
    return turns, kept


@pytest.mark.parametrize("several", [1, 2, 6])
def test_thumbs_beside_a_few_rankings_count_as_much(several: int) -> None:
    """What answers to one prompt differ by is no unit for answers to different ones: no loss runs away."""
    taste, passed = unit(1), 0
    for trial in range(20):
        turns, kept = mixed(answers(12, 500 + trial), taste, several)
        others = [x[: 1 + 3 * (i < 2 * several)] for i, x in enumerate(answers(40, 600 + trial))]
        found = told_apart(32, 700 + trial, 1.5 * taste, [*kept, *others])
        ratios = likeness.ratios(turns, kept, found)
        assert all(abs(x) < 6 * likeness.SHARPNESS for of in ratios.values() for x in of.plain)
        passed += gain(turns, kept, found).low > 0
    assert passed >= 10


def test_versions_that_cannot_be_told_apart_gain_nothing() -> None:
    """One version beside itself is taken for two in one of five cases, and then the judgments have to agree."""
    features = answers(12, 5)
    seemed = passed = 0
    for trial in range(60):
        found = told_apart(32, 900 + trial, None, features)
        seemed += found.sure
        if not found.sure:
            assert gain(ranked(features, unit(1)), features, found).mean == 0.0
        passed += gain(ranked(features, unit(1)), features, found).low > 0
    assert seemed <= 60 * likeness.SURE + 2 * (60 * 0.2 * 0.8) ** 0.5
    assert passed <= 60 * 0.04 + 2 * (60 * 0.04 * 0.96) ** 0.5
    apart = told_apart(32, 1, unit(1), features)
    assert apart.chance == pytest.approx(1 / (1 + likeness.DRAWS))


def test_few_answers_and_many_features_are_as_many_answers_and_few_features() -> None:
    """The solution by way of the answers is that of the features' own equations."""
    new, live, judged = answers(9, 1), answers(9, 2), answers(3, 3)
    found = likeness.direction(new, live, judged)
    rest = torch.cat([(x - x.mean(0)) * (4 / 3) ** 0.5 for x in judged]).double()
    scale = balance(SIZE) / rest.pow(2).mean(0).sqrt()
    x, moved = (
        rest * scale,
        torch.stack([a.mean(0) - b.mean(0) for a, b in zip(new, live, strict=True)]).mean(0) * scale,
    )
    inner = x.T @ x / len(x) + likeness.RIDGE * x.pow(2).sum(1).mean() * torch.eye(SIZE, dtype=torch.float64)
    torch.testing.assert_close(found.weights, torch.linalg.solve(inner, moved.double()) * scale, atol=1e-6, rtol=1e-4)


def test_one_who_writes_the_same_gains_nothing() -> None:
    features, same = answers(12, 5), answers(8, 7)
    found = likeness.direction(same, same, features)
    assert found.chance == 1.0
    told = gain(ranked(features, unit(1)), features, found)
    assert (told.mean, told.low) == (0.0, 0.0)


def test_nothing_to_compare_is_an_error() -> None:
    some = answers(2, 1)
    for new, live, judged in (([], [], some), ([some[0][:0]], [some[0]], some), (some, some, [])):
        with pytest.raises(ValueError, match="answers of both versions"):
            likeness.direction(new, live, judged)
