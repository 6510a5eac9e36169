"""Where a fit was when its process died: the adapter's weights, AdamW's moments and the step, in the run's folder.

The order of turns and texts is drawn from the run's seed, so the step says where in it the fit was. The fingerprint is
of everything that the weights depend on; a checkpoint of other settings, judgments or another model is not gone on
with. safetensors and JSON only, no text; erased when the run ends (storage/runs.py) and on forget. Renamed into
place: a kill leaves the one before. There is no fsync: what a power cut tears counts as no checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer import tensor_file
from trainer.config import TrainConfig
from trainer.dataset import Turn

#: seconds of training between two checkpoints; longer where writing one takes more than a hundredth of that
EVERY = 5.0
MAX_COST = 0.01
#: settings that change the time and not the result, up to rounding
SAME_RESULT = ("micro_tokens", "refit_seconds")


@dataclass(slots=True)
class Progress:
    """A fit after `step` optimiser steps."""

    step: int
    weights: dict[str, Tensor]  #: as Lora.state gives them
    optimiser: dict[str, Tensor]  #: by "<parameter's index>.<name>"
    history: list[dict[str, float]]  #: metrics of the steps of the current pass


@dataclass(slots=True)
class Checkpoint:
    """One fit's file in the run's folder: `name` is "main" or "fold-0"..."""

    folder: Path
    name: str
    fingerprint: str
    last: float = field(default_factory=time.monotonic)
    cost: float = 0.0  #: seconds that the last one took
    written: int = 0
    resumed_at: int | None = None  #: the step that `load` gave

    @property
    def path(self) -> Path:
        return self.folder / f"checkpoint-{self.name}.safetensors"

    @property
    def due(self) -> bool:
        return time.monotonic() - self.last >= max(EVERY, self.cost / MAX_COST)

    def save(self, progress: Progress) -> None:
        """Replace the file. A disk that is full costs the checkpoint, not the run."""
        started = time.monotonic()
        about = {"fingerprint": self.fingerprint, "step": progress.step, "history": progress.history}
        tensors = {f"weights/{name}": tensor for name, tensor in progress.weights.items()}
        tensors |= {f"optimiser/{name}": tensor for name, tensor in progress.optimiser.items()}
        with suppress(OSError):
            tensor_file.write(self.path, tensors, {"checkpoint": json.dumps(about)})
            self.written += 1
        self.last = time.monotonic()
        self.cost = self.last - started

    def load(self) -> Progress | None:
        """What was saved by the same fit; None if there is nothing, if it is broken, or if it is another's."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(self.path), "pt") as file:
                about = json.loads(file.metadata()["checkpoint"])
                if about["fingerprint"] != self.fingerprint:
                    return None
                found: dict[str, dict[str, Tensor]] = {"weights": {}, "optimiser": {}}
                for key in file.keys():  # noqa: SIM118 - not a dictionary
                    kind, _, name = key.partition("/")
                    found[kind][name] = file.get_tensor(key)
            self.resumed_at = int(about["step"])
            return Progress(self.resumed_at, found["weights"], found["optimiser"], list(about["history"]))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None


def moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state as tensors with names."""
    state: dict[int, dict[str, Any]] = optimiser.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, values in state.items() for name, value in values.items()}


def restore(optimiser: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Give an optimiser of the same parameters the state that `moments` took."""
    whole = optimiser.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in saved.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({**whole, "state": state})


def fingerprint(turns: Sequence[Turn], config: TrainConfig, model_hash: str, start: str = "") -> str:
    """Of what a fit's result depends on; start: the adapter that it goes on from."""
    settings = {k: v for k, v in config.as_dict().items() if k not in SAME_RESULT}
    digest = hashlib.blake2b(json.dumps([settings, model_hash, start], sort_keys=True).encode(), digest_size=16)
    for turn in turns:
        whole = (turn.key, turn.prompt, turn.responses, turn.temperature, turn.pairs, turn.demos, turn.singles)
        digest.update(repr(whole).encode())
    return digest.hexdigest()
