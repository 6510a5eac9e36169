"""What a run of Hone does between its examples and its adapter, for the measurements: the same steps as lesson.py's.

Without the store, the gate and checkpoints. Settings that make the mathematics TRL's (all layers, every pair, the whole
vocabulary, no ordinary text) go through the same code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainer.bench.with_trl import now
from trainer.config import TrainConfig
from trainer.dataset import Turn, best_and_worst
from trainer.features import Callbacks, Metrics, focus, prepare, some_words
from trainer.fit import fit
from trainer.logprobs import TokenTurn
from trainer.lora import Lora
from trainer.team import Team


@dataclass(slots=True)
class Learned:
    lora: Lora
    last: Metrics  #: means of the last pass
    steps: int
    reference_seconds: float  #: of all that is computed once: reference, states of the frozen layers, choice of words
    train_seconds: float
    cpu_seconds: float  #: of all threads, both together


def learn(
    model: Any,
    turns: Sequence[Turn],
    config: TrainConfig,
    ordinary: Sequence[TokenTurn] = (),
    progress: Callable[[int, int], None] = lambda step, total: None,
) -> Learned:
    """Train a fresh adapter on the turns, all of which are of the "train" side."""
    chosen = [best_and_worst(turn) for turn in turns] if config.best_and_worst else list(turns)
    if config.temperature is not None:
        chosen = [replace(turn, temperature=config.temperature) for turn in chosen]
    lora = Lora.fresh(model, config)
    steps = 0

    def step(done: int, total: int, _: Metrics) -> None:
        nonlocal steps
        steps = done
        progress(done, total)

    started, started_cpu = now(), time.process_time()
    some = some_words(lora, config)
    works = prepare(chosen, lora, config, None, Callbacks(), states_only=some)
    words = focus(works, lora, ordinary, config) if some else None
    prepared = now()
    last = fit(lora, works, config, Team(), Callbacks(progress=step), ordinary, words=words)
    ended, ended_cpu = now(), time.process_time()
    return Learned(lora, last, steps, prepared - started, ended - prepared, ended_cpu - started_cpu)
