"""Measurements on this machine, beside the usual way of doing the same: a module each, with `measure`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from trainer.errors import TrainerError

#: the module of each measurement
MODULES = {
    "fooled": "fooled",
    "gate": "gate_bench",
    "loop": "loop",
    "parity": "parity",
    "people": "people",
    "reward": "reward_bench",
    "rollouts": "rollouts",
    "storage": "storage",
    "train": "train",
    "ui": "ui",
    "yield": "yield_speed",
}
#: what only some of them can be asked
OPTIONS = {"shape": "train", "data": "people", "out": "people", "only": "people", "set": "people"}


def measure(name: str, settings: Any, *, quick: bool, options: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of one measurement. options: those that were given. Raises TrainerError for one of another's."""
    for option in options:
        if OPTIONS[option] != name:
            raise TrainerError(f"--{option} belongs to `bench {OPTIONS[option]}`, not to `bench {name}`")
    result: dict[str, Any] = import_module(f"trainer.bench.{MODULES[name]}").measure(settings, quick=quick, **options)
    return result
