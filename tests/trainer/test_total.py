"""The total reward by hand, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainer.test_reward import SIZE, rankings
from tests.trainer.test_rule_model import TEXTS, flags
from trainer import reward, rule_model
from trainer.errors import TrainerError
from trainer.total import Reward, RuleStanding, Weights


def both() -> Reward:
    return Reward(
        "abc",
        reward.learn(rankings(12, 0)),
        rule_model.learn(flags(30, 1, "lists", "questions"), TEXTS),
        [
            RuleStanding("lists", 0.95, 30, 9, True, zero=0.7, unit=0.2),
            RuleStanding("questions", 0.55, 30, 9, False, zero=0.6, unit=0.1),
        ],
        tokens=(100.0, 50.0),
    )


def features(count: int = 5) -> torch.Tensor:
    return torch.randn(count, SIZE, generator=torch.Generator().manual_seed(7))


def test_the_parts_add_up() -> None:
    """Lists count: (1 - p - 0.7) / 0.2. Questions were flagged and are told of alone; length: (tokens - 100) / 50."""
    made, x = both(), features()
    assert made.preference is not None
    assert made.rules is not None
    lengths = torch.tensor([100, 150, 50, 100, 200])
    asked = {rule: TEXTS[rule] for rule in ("lists", "questions", "kind")}
    found = made.parts(x, lengths, asked, Weights(rules=2.0, length=0.5))
    assert found.violation.shape == (5, 3)
    p = torch.sigmoid(made.rules.logits(x, TEXTS["lists"]))
    torch.testing.assert_close(found.violation[:, 0], p)
    torch.testing.assert_close(found.rules, (1 - p - 0.7) / 0.2)
    assert found.length.tolist() == [0.0, 1.0, -1.0, 0.0, 2.0]
    torch.testing.assert_close(found.preference, made.preference.rewards(x))
    torch.testing.assert_close(found.total, found.preference + 2 * found.rules - 0.5 * found.length)


def test_a_rule_that_is_disabled_is_told_and_does_not_count() -> None:
    made, x, lengths = both(), features(), torch.full((5,), 100)
    found = made.parts(x, lengths, TEXTS, active={"questions"})
    assert found.violation.shape == (5, len(TEXTS))
    assert not found.rules.any()
    torch.testing.assert_close(found.total, found.preference)


def test_without_rules_or_preferences_the_rest_counts() -> None:
    made, x, lengths = both(), features(), torch.full((5,), 100)
    alone = Reward("abc", made.preference, None).parts(x, lengths, TEXTS)
    torch.testing.assert_close(alone.total, alone.preference)
    assert alone.violation.shape == (5, 0)
    rules = Reward("abc", None, made.rules, made.standing, (100.0, 50.0)).parts(x, lengths, TEXTS)
    torch.testing.assert_close(rules.total, rules.rules)
    assert not rules.preference.any()


def test_a_file_gives_the_same_rewards(tmp_path: Path) -> None:
    made, path = both(), tmp_path / "reward.safetensors"
    made.save(path)
    again = Reward.read(path, "abc")
    x, lengths = features(), torch.full((5,), 120)
    torch.testing.assert_close(again.parts(x, lengths, TEXTS).total, made.parts(x, lengths, TEXTS).total)
    assert list(again.standing) == list(made.standing)
    with pytest.raises(TrainerError, match="another model"):
        Reward.read(path, "def")
    with pytest.raises(FileNotFoundError):
        Reward.read(tmp_path / "none.safetensors")
    path.write_bytes(b"broken")
    with pytest.raises(TrainerError, match="train it again"):
        Reward.read(path)
