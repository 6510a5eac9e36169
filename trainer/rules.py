"""Settings that follow from how much there is to learn and how large the model is, where the user gave none.

They start from TrainConfig's defaults, which were found with the default model (135 million parameters) and 10 to 160
judged prompts (docs/experiments.md), and leave those as they are there. Beyond, they are rules from the literature, not
measured here; `--set NAME=VALUE` overrides any of them, and what a run used is stored with its version.

- Learning rate: falls as 1 / width. Under Adam, a hidden weight's best rate goes as 1 / fan-in (Yang et al. 2022,
  "Tensor Programs V", arXiv:2203.03466, table 3). It does not rise for smaller models.
- One pass when there are many turns: beyond MANY, what repetition would add comes from other prompts.
- Larger steps when there are very many: at most MOST_STEPS, at most MOST_TURNS turns each, and the rate grows with the
  root of a step's turns (Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms",
  arXiv:2205.10287).
- Layers: of a model of more than LARGE parameters at most the upper quarter, since time and memory go with them; of
  one with fewer than SHALLOW layers all.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from trainer.config import TrainConfig

MANY = 320
MOST_STEPS = 400
MOST_TURNS = 16
LARGE = 3_000_000_000
LARGE_SHARE = 0.25
SHALLOW = 8
#: the default model's, by the same formula as any other's
DEFAULT_WIDTH = 612.0


def width(parameters: int, layers: int) -> float:
    """A model's width from its size: a layer holds about 12 width^2 parameters."""
    return math.sqrt(parameters / (12 * max(1, layers)))


def recipe(turns: int, model_parameters: int, layers: int, plain: TrainConfig | None = None) -> dict[str, Any]:
    """Values that differ from the defaults, or from `plain`, another method's. turns: judged prompts to train on."""
    plain = plain or TrainConfig()
    found: dict[str, Any] = {}
    rate = plain.learning_rate
    if (wide := width(model_parameters, layers)) > 1.05 * DEFAULT_WIDTH:
        rate *= DEFAULT_WIDTH / wide
    if turns > MANY:
        found["epochs"] = 1
        step = min(MOST_TURNS, max(plain.turns_per_step, math.ceil(turns / MOST_STEPS)))
        if step > plain.turns_per_step:
            found["turns_per_step"] = step
            rate *= math.sqrt(step / plain.turns_per_step)
    if layers < SHALLOW:
        found["layer_share"] = 1.0
    elif model_parameters > LARGE and plain.layer_share > LARGE_SHARE:
        found["layer_share"] = LARGE_SHARE
    if rate != plain.learning_rate:
        found["learning_rate"] = float(f"{rate:.3g}")
    return found


def apply(config: TrainConfig, given: Collection[str], turns: int, model_parameters: int, layers: int) -> TrainConfig:
    """config with the recipe's values for all that was not given."""
    values = recipe(turns, model_parameters, layers, type(config)())
    return replace(config, **{name: value for name, value in values.items() if name not in given})
