"""What every kind of run begins with: the judgments as token tensors, settings that follow from them, and its report.

worker.py owns the row's states and the locks; lesson.py trains versions of the model, reward_task.py a reward model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from chatapp.engine.vocab import Vocab
from chatapp.engine.yield_lock import GenerationLock
from storage import paths
from storage.store import Store
from trainer import gate, needs, rules
from trainer.base_model import pick_device, pick_dtype
from trainer.config import TrainConfig
from trainer.dataset import Dataset, build, gather
from trainer.errors import NotEnoughJudgments
from trainer.features import Callbacks
from trainer.fit import Metrics
from trainer.logprobs import TokenTurn
from trainer.outcome import Clock, Outcome
from trainer.practice import TOKENS, requests
from trainer.team import Team
from trainer.trunk import KEEP_BYTES, Trunk


def import_libraries() -> None:
    """Import what takes seconds, so that its time is counted as such."""
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    import safetensors.torch  # noqa: F401
    import transformers  # noqa: F401
    from transformers import AutoModelForCausalLM, LlamaForCausalLM  # noqa: F401


@dataclass(slots=True)
class Task(ABC):
    """One run; a kind of run is a subclass."""

    store: Store
    run_id: str
    config: TrainConfig  #: as given; from `_settle` on with what follows from the data and the model
    given: Collection[str]  #: names of the settings that somebody chose
    gguf: Path
    model_hash: str
    cache_dir: Path
    train_base: Path | None
    team: Team
    clock: Clock
    cancelled: Callable[[], bool]
    metrics: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)  #: sentences that the verdict ends with
    layers: int = 0  #: of the model
    labels: ClassVar[bool] = False  #: whether what was flagged is read too
    before: int = 0  #: optimiser steps of the fits that are done
    total: int = 0

    @abstractmethod
    def run(self) -> Outcome:
        """The whole run. Raises what went wrong; nothing is in use before its last line."""

    @property
    def callbacks(self) -> Callbacks:
        lock = GenerationLock(paths.generation_lock(self.store.home))
        return Callbacks(self._progress, self.cancelled, lock.wait_for_idle)

    def _dataset(self, vocab: Vocab) -> Dataset:
        config = self.config
        derived, left_out = gather(self.store, config.include, config.max_included, labels=self.labels)
        dataset = build(
            self.store,
            derived,
            vocab,
            self.model_hash,
            max_prompt=config.max_prompt,
            max_response=config.max_response,
            weight_of_others=config.include_weight,
            temperature=config.temperature,
        )
        counts = {**dataset.counts(), **left_out}
        self.metrics |= counts
        self.store.runs.metrics(self.run_id, 0, counts)
        self._need(dataset)
        if left := left_out.get("included.left_out"):
            self.remarks.append(f"Of the included prompts {left:.0f} were left out, drawn at random.")
        return dataset

    def _need(self, dataset: Dataset) -> None:
        """Raises NotEnoughJudgments."""
        usable = [t for t in dataset.turns if t.pairs or t.singles]
        if len(usable) < gate.MIN_PROMPTS or not any(t.split == "train" for t in usable):
            raise NotEnoughJudgments(
                f"training needs judgments of at least {gate.MIN_PROMPTS} different prompts, so that some can be kept "
                f"for the test; there are {len(usable)} that prefer one answer to another or call one good or bad"
            )

    def _settle(self, dataset: Dataset, vocabulary: int) -> None:
        """Settings that follow from the data, the model and the memory. Raises TooLittleMemory, TooLittleDisk."""
        folder = self.cache_dir / "models" / self.model_hash
        cached = self.train_base is not None or (folder / "model.safetensors").exists()
        shape = needs.shape_of(self.gguf, vocabulary, self.train_base or folder)
        self.layers = shape.layers
        config = rules.apply(self.config, self.given, len(dataset.train), shape.parameters, shape.layers)
        copied = self._copied(shape, folder)
        disk = needs.check_disk(shape, config, self.store.home, self.cache_dir, cached=cached, copied=copied)
        device = pick_device()
        cuda = device.type == "cuda"
        more, longest = self._written(config, dataset)
        free = int(torch.cuda.mem_get_info()[0]) if cuda else needs.available_memory()
        self.config, memory = needs.fit_memory(
            shape,
            config,
            "micro_tokens" in self.given,
            None if free is None else free - self._beside(config, shape),
            dtype_bytes=pick_dtype(device).itemsize,
            tokens=sum(t.tokens.tokens for t in dataset.turns) + more,
            longest=max(longest, *(t.tokens.tokens for t in dataset.turns)),
            keep_bytes=KEEP_BYTES,
            cached=cached,
            cuda=cuda,
        )
        self.metrics |= {"memory.estimate_mb": memory.total / needs.MB, "disk.estimate_mb": disk / needs.MB}

    def _written(self, config: TrainConfig, dataset: Dataset) -> tuple[int, int]:
        """Tokens that are computed beside what was judged, and those of the longest turn of them."""
        practised = min(config.practised(len(dataset.train)), len(requests()))
        return TOKENS * practised, TOKENS if practised else 0

    def _copied(self, shape: needs.Shape, folder: Path) -> int:
        """Bytes of what another form of the model takes in that folder of the cache, where it is not there yet."""
        return 0

    def _beside(self, config: TrainConfig, shape: needs.Shape) -> int:
        """Bytes that another process takes for this run."""
        return 0

    def _keep_states(self, trunk: Trunk, path: Path, turns: Sequence[TokenTurn], dataset: Dataset) -> None:
        """For the next run; not where the user has meanwhile forgotten what this one read.

        Forgetting marks the rows first and empties the cache after, so either it finds the file or this finds the mark.
        """
        if path.parent.is_dir():  # a home that was removed is not made again
            trunk.keep(path, turns)
        run = self.store.runs.get(self.run_id)
        stopped = run.state != "running" or self.store.runs.cancel_requested(self.run_id)
        if stopped or self.store.judgments.any_forgotten({id for id, _ in dataset.judgments}):
            path.unlink(missing_ok=True)

    def _progress(self, step: int, total: int, line: Metrics) -> None:
        done = self.before + step
        values = {f"train.{name}": value for name, value in line.items() if value == value}
        self.store.runs.metrics(self.run_id, done, {**values, "progress.step": done, "progress.total": self.total})
