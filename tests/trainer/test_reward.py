"""The reward model's fit, by hand and against its own optimality; what its heads are good for; its file."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from trainer.dataset import PairRef, SingleRef
from trainer.pooled import LENGTHS
from trainer.reward import EMBEDDED, LENGTH, RIDGES, Judged, RewardModel, Table, balance, learn, left_out

SIZE = 2 * 8 + 3  # embeddings and states of a model of width 8, and the length


def taste(features: Tensor) -> Tensor:  # (R, F) -> (R,)
    """What the user of these tests likes: two of the features."""
    return 2 * features[:, 1] - features[:, 9]


def rankings(count: int, seed: int, *, flipped: float = 0.0, blind: bool = False) -> list[Judged]:
    """Four answers to each prompt, ranked by taste; blind: by dice."""
    draw, coin = torch.Generator().manual_seed(seed), random.Random(seed)
    found = []
    for number in range(count):
        x = torch.randn(4, SIZE, generator=draw) + torch.randn(1, SIZE, generator=draw)  # a prompt has something too
        x[:, -LENGTHS] = math.log(150)
        score = torch.randn(4, generator=draw) if blind else taste(x)
        if coin.random() < flipped:
            score = -score
        pairs = [(i, j) for i in range(4) for j in range(4) if score[i] > score[j]]
        found.append(Judged(str(number), x, [PairRef(i, j, 1 / len(pairs)) for i, j in pairs]))
    return found


def accuracy(value: Callable[[Tensor], Tensor], judged: list[Judged]) -> float:
    """Share of pairs that it orders as taste does."""
    right = []
    for one in judged:
        values, wanted = value(one.features), taste(one.features)
        right += [
            float((values[i] > values[j]) == (wanted[i] > wanted[j])) for i in range(4) for j in range(4) if i < j
        ]
    return sum(right) / len(right)


def test_what_he_likes_is_found_and_told_of_prompts_that_it_never_saw() -> None:
    model = learn(rankings(40, 0))
    assert accuracy(model.rewards, rankings(40, 1)) > 0.9
    assert accuracy(model.logits, rankings(40, 1)) > 0.9


def test_the_weights_are_where_the_loss_is_flat() -> None:
    """d/dw [sum_c v_c log(1 + exp(-d_c w)) + r s |w|^2 / 2] = 0, by a loop over comparisons."""
    table, ridge = Table.of(rankings(6, 3)), 0.1
    found = table.fit(table.weights, ridge)
    slope = ridge * table.size * found
    for better, worse, weight in zip(table.better.tolist(), table.worse.tolist(), table.weights, strict=True):
        d = table.x[better] - table.x[worse]
        slope = slope - weight * d / (1 + torch.exp(d @ found))
    assert float(slope.abs().max()) < 1e-5
    sizes = [float((table.x[a] - table.x[b]).pow(2).sum()) for a, b in zip(table.better, table.worse, strict=True)]
    assert table.size == pytest.approx(sum(sizes) / len(sizes))


def test_one_comparison_by_hand() -> None:
    """Two answers that differ in the third of the length's features alone, after scaling by LENGTH / sqrt(3). With
    ridge r the weight w of it solves sigmoid(-d w) = r d w: the size is d^2."""
    x = torch.zeros(2, SIZE)
    x[0, -1] = 1.0
    table = Table.of([Judged("a", x, [PairRef(0, 1, 1.0)])])
    d = LENGTH / math.sqrt(3)
    assert table.x[0, -1] - table.x[1, -1] == pytest.approx(d)
    found = table.fit(table.weights, 0.3)
    logit = d * float(found[-1])
    assert 1 / (1 + math.exp(logit)) == pytest.approx(0.3 * logit, rel=1e-4)
    assert not found[:-1].any()


def test_a_margin_asks_for_more() -> None:
    x = torch.zeros(2, SIZE)
    x[0, -1] = 1.0
    pair = [PairRef(0, 1, 1.0, margin=1.0)]
    plain, asked = (Table.of([Judged("a", x, pair)], scale) for scale in (0.0, 2.0))
    weights = [float(t.fit(t.weights, 0.1)[-1]) for t in (plain, asked)]
    assert weights[1] > weights[0] > 0


def test_single_answers_are_compared_with_the_mean_one() -> None:
    """Thumbs alone, up where taste is above its mean."""
    found = []
    for one in rankings(60, 5):
        middle = taste(one.features)
        singles = [SingleRef(i, bool(middle[i] > 0), 0.25) for i in range(4)]
        found.append(Judged(one.key, one.features, (), singles))
    assert accuracy(learn(found).rewards, rankings(40, 6)) > 0.85


def test_rewards_have_mean_0_and_deviation_1_over_what_they_were_learned_from() -> None:
    judged = rankings(30, 7)
    model = learn(judged)
    each = model.each(torch.cat([one.features for one in judged]))
    torch.testing.assert_close(each.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(each.std(0, correction=0), torch.ones(4, dtype=torch.float64))
    mine = model.each(judged[0].features)
    torch.testing.assert_close(model.rewards(judged[0].features), mine.mean(1) - mine.std(1, correction=0))


def test_heads_agree_the_more_the_more_was_judged() -> None:
    unseen = rankings(20, 50)
    spread = [
        float(torch.cat([model.spread(one.features) for one in unseen]).mean())
        for model in (learn(rankings(count, 8)) for count in (8, 100))
    ]
    assert spread[1] < 0.7 * spread[0]


def test_thumbs_beside_rankings_are_learned_too() -> None:
    """What differs between prompts alone, here by whether an answer ended, must not drown the rest."""
    found, draw = [], torch.Generator().manual_seed(12)
    for one in rankings(80, 12):
        x = one.features[:1].clone()
        x[0, -1] = float(torch.rand(1, generator=draw)) > 0.1
        found.append(Judged(f"thumb {one.key}", x, (), [SingleRef(0, bool(taste(x)[0] > 0), 1.0)]))
    few = [
        Judged(one.key, torch.cat([one.features[:, :-1], torch.ones(4, 1)], 1), one.pairs) for one in rankings(4, 13)
    ]
    assert accuracy(learn([*found, *few]).rewards, rankings(40, 14)) > 0.75


def test_a_reward_beats_one_of_its_heads_when_labels_are_flipped() -> None:
    alone, together = [], []
    for seed in range(16):
        model = learn(rankings(40, seed, flipped=0.25), seed=seed)
        unseen = rankings(40, 100 + seed)
        together.append(accuracy(model.rewards, unseen))
        alone += [accuracy(partial(head_of, model, head), unseen) for head in range(4)]
    assert sum(together) / len(together) > sum(alone) / len(alone)


def head_of(model: RewardModel, head: int, features: Tensor) -> Tensor:
    return model.each(features)[:, head]


def test_dice_are_held_back() -> None:
    """The pull to nothing is chosen strong, and what is told of prompts that were left out is chance."""
    judged = rankings(40, 9, blind=True)
    assert learn(judged).ridge >= RIDGES[-2]
    right = [
        float(values[p.chosen] > values[p.rejected])
        for one, values in zip(judged, left_out(judged), strict=True)
        for p in one.pairs
    ]
    assert sum(right) / len(right) == pytest.approx(0.5, abs=0.1)


def test_left_out_prompts_were_not_learned_from() -> None:
    """A prompt whose judgment is turned round alone: its own prediction does not change with what was said of it."""
    judged = rankings(12, 10)
    turned = [
        *judged[:-1],
        Judged("last", judged[-1].features, [PairRef(p.rejected, p.chosen, p.weight) for p in judged[-1].pairs]),
    ]
    torch.testing.assert_close(left_out(judged)[-1], left_out(turned)[-1])
    assert not torch.allclose(left_out(judged)[0], left_out(turned)[0])


def test_kinds_of_features_weigh_as_they_should() -> None:
    found = balance(SIZE)
    assert float(found[:8].pow(2).sum()) == pytest.approx(EMBEDDED**2)
    assert float(found[8:16].pow(2).sum()) == pytest.approx(1.0)
    assert float(found[16:].pow(2).sum()) == pytest.approx(LENGTH**2)


def test_nothing_said_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one judgment"):
        learn([Judged("a", torch.zeros(2, SIZE))])
