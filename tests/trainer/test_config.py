"""A run's settings: checked when made."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from trainer.config import CONFIGS, PpoConfig, RewardConfig, SftConfig, TrainConfig
from trainer.errors import BadSetting
from trainer.fit import learning_rate_share, mean_metrics


def test_one_map_may_be_named_alone() -> None:
    assert TrainConfig.read({"modules": "o_proj"}).modules == ("o_proj",)
    assert TrainConfig.read({"modules": []}).modules == ()


def test_round_trip() -> None:
    config = TrainConfig(include=("imports",), epochs=2)
    assert TrainConfig.read(config.as_dict()) == config
    assert TrainConfig.read({"include": []}) == TrainConfig()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 0),
        ("learning_rate", 0),
        ("epochs", 0),
        ("beta", 0),
        ("label_smoothing", 0.5),
        ("loss", "hinge"),
        ("warmup", 1),
        ("micro_tokens", 1),
        ("include_weight", 0),
        ("start", "cold"),
        ("replay_share", 1),
        ("max_included", 0),
    ],
)
def test_errors_name_the_field_and_the_value(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is {value!r}; it must be "):
        TrainConfig.read({name: value})


@pytest.mark.parametrize(
    ("name", "value", "must_be"),
    [
        ("kl_aim", "banana", "a number, at least 0"),
        ("kl_aim", "", "a number, at least 0"),
        ("kl_aim", math.nan, "a number, at least 0"),
        ("learning_rate", math.inf, "a number, above 0 and at most 0.1"),
        ("kl_horizon", 10**400, "a number, at least 1"),
        ("batches", "x", "a whole number, between 1 and 1000"),
        ("batches", 1.5, "a whole number, between 1 and 1000"),
        ("answers", True, "a whole number, between 2 and 16"),
        ("whiten", 2, "true or false"),
        ("algorithm", 3, "'ppo' or 'rloo'"),
        ("include_weight", "much", "a number, above 0, or null"),
        ("modules", 5, "a list of texts"),
        ("include", [1], "a list of texts"),
        ("seed", None, "a whole number, at least 0"),
    ],
)
def test_types_are_checked_before_ranges(name: str, value: object, must_be: str) -> None:
    with pytest.raises(BadSetting, match=rf"^{name} is .*; it must be {must_be}$"):
        PpoConfig.read({name: value})


@pytest.mark.parametrize("config", [TrainConfig, SftConfig, RewardConfig, PpoConfig])
@pytest.mark.parametrize("value", [{}, math.nan, [[]], b""])
def test_no_field_takes_just_anything(config: type[TrainConfig], value: Any) -> None:
    for field in fields(config):
        with pytest.raises(BadSetting, match=rf"^{field.name} is "):
            config(**{field.name: value})


def test_whole_numbers_are_numbers_and_none_stands_where_it_may() -> None:
    assert PpoConfig.read({"kl_aim": 0, "rules_weight": 4, "include_weight": None}).rules_weight == 4
    for config in CONFIGS.values():
        assert config.read({name: value for name, value in config().as_dict().items() if name in config.settings()})


def test_learning_rate_rises_and_falls() -> None:
    shares = [learning_rate_share(step, 10, 0.2) for step in range(10)]
    assert shares[:3] == [0.5, 1.0, 1.0]
    assert shares[-1] == pytest.approx(1 / 8)
    assert shares[2:] == sorted(shares[2:], reverse=True)


def test_means_are_over_the_rows_that_have_the_name() -> None:
    assert mean_metrics([{"a": 1.0, "b": 4.0}, {"a": 3.0}]) == {"a": 2.0, "b": 4.0}
