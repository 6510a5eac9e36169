"""A run's settings: checked when made."""

from __future__ import annotations

import pytest

from trainer.config import TrainConfig
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


def test_learning_rate_rises_and_falls() -> None:
    shares = [learning_rate_share(step, 10, 0.2) for step in range(10)]
    assert shares[:3] == [0.5, 1.0, 1.0]
    assert shares[-1] == pytest.approx(1 / 8)
    assert shares[2:] == sorted(shares[2:], reverse=True)


def test_means_are_over_the_rows_that_have_the_name() -> None:
    assert mean_metrics([{"a": 1.0, "b": 4.0}, {"a": 3.0}]) == {"a": 2.0, "b": 4.0}
