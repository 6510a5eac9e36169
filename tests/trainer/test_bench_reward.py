"""The measurement of reward models: its figures by hand, on answers whose features say what its user likes."""

from __future__ import annotations

import random

import pytest
import torch

from trainer.bench import reward_bench
from trainer.bench.reward_bench import Answered
from trainer.pooled import LENGTHS
from trainer.users import User

SIZE = 2 * 8 + 3
USER = User("longest-word", "long words", True, lambda text: float(max(map(len, text.split()))))


def answered(count: int, seed: int = 0) -> list[Answered]:
    """Four usable answers to each prompt; one feature is what USER likes, the others are noise."""
    draw, noise = random.Random(seed), torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        longest = draw.sample(range(8, 20), 4)
        say = "Here is one answer, long enough for anybody to read, with many other words and"
        texts = [f"{say} {'x' * n}." for n in longest]
        x = torch.randn(4, SIZE, generator=noise)
        x[:, 3] = torch.tensor(longest).float()
        lengths = [draw.randint(50, 60) for _ in range(4)]
        x[:, -LENGTHS] = torch.tensor(lengths).log()
        found.append(Answered(texts, lengths, x))
    return found


def test_a_taste_that_the_features_show_is_found_and_flips_cost() -> None:
    known = answered(60)
    clean = reward_bench._preferences(known, USER, 0.0, 2, 40)
    assert clean["test_prompts"] == 20
    assert clean["whole_ends"]["mean"] > 0.9
    assert clean["reward_pairs"]["mean"] > 0.85
    assert clean["longer_pairs"]["mean"] == pytest.approx(0.5, abs=0.15)
    low, high = clean["whole_ends"]["interval"]
    assert low <= clean["whole_ends"]["mean"] <= high
    flipped = reward_bench._preferences(known, USER, 1.0, 1, 40)
    assert flipped["whole_ends"]["mean"] < 0.1
    assert flipped["whole_ends"]["interval"] is None


def test_a_user_who_finds_no_difference_has_no_figures() -> None:
    same = User("all the same", "", True, lambda text: 0.0)
    assert "whole_ends" not in reward_bench._preferences(answered(20), same, 0.0, 2, 10)


def test_rules_are_checked_on_what_was_not_flagged() -> None:
    known = answered(60)
    for one in known[::3]:
        one.texts[0] += "\n1. One\n2) Two"
        one.features[0, 5] += 6.0
    texts = {name: torch.randn(8) for name in reward_bench.CHECKS}
    row = reward_bench._rule(known, "numbered lists", texts, 2)
    assert row["broken_share"] == pytest.approx(20 / 240, abs=1e-3)
    assert row["auc"] > 0.9
