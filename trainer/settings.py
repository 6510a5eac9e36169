"""`python -m trainer settings` and `check`: what may be set for a run, and whether a configuration can be used.

Names, types and ranges are those that `trainer.config` checks, the meanings the comments beside its fields, so the list
cannot go stale. Nothing here loads torch: `hone train` asks before it queues a run.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from trainer.config import CONFIGS, TrainConfig

#: whose defaults trainer/rules.py replaces where a model is large or much was judged
_FOLLOW = ("learning_rate", "epochs", "turns_per_step", "layer_share")
_VALUES = 10  #: columns of the defaults; a longer one moves its line


def listing(method: str) -> list[dict[str, Any]]:
    """{name, default, must_be, meaning} of each setting of a method's runs, in the order of the fields."""
    config = CONFIGS[method]
    known, defaults, meant = config.settings(), config().as_dict(), _meanings(config)
    return [
        {"name": f.name, "default": defaults[f.name], "must_be": config.wanted(f.name), "meaning": meant[f.name]}
        for f in fields(config)
        if f.name in known
    ]


def lines(method: str) -> list[str]:
    """The same, for a person."""
    rows = listing(method)
    width = max(len(row["name"]) for row in rows)
    follow = [row["name"] for row in rows if row["name"] in _FOLLOW]
    return [
        f"The settings of a run by {method}, their defaults and meanings; --set NAME=VALUE chooses another value:",
        *(f"{row['name']:<{width}}  {_value(row['default']):<{_VALUES}}  {_said(row)}" for row in rows),
        f"Where it is not given, {' and '.join(follow)} may follow from the model's size or the number of judgments.",
    ]


def _said(row: Mapping[str, Any]) -> str:
    return f"{row['meaning'].replace('None', 'null')} ({row['must_be']})"


def _value(value: Any) -> str:
    """As --set takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _meanings(config: type[TrainConfig]) -> dict[str, str]:
    """The comment beside each field, of the class or of the one that it comes from."""
    found: dict[str, str] = {}
    for one in reversed(config.__mro__[:-1]):
        found |= dict(re.findall(r"^    (\w+): .*?  #: (.*)$", inspect.getsource(one), re.M))
    return found
