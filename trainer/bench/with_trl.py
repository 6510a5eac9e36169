"""TRL's DPOTrainer on token ids that are ready, for the measurements beside it.

TRL is a development tool here: nothing but measurements and tests may import it. What is replaced of it: tokenising
(both sides get the same ids), and a clock around its reference log-probabilities. Its `padding_free` is not used:
TRL 1.16 warns that it is disabled and pads all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainer.errors import TrainerError


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A preference as TRL takes it: the prompt is computed for each of the two responses."""

    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]

    @property
    def tokens(self) -> int:
        """Of both sequences."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)


def require() -> None:
    """Raises TrainerError where TRL is not installed."""
    if find_spec("trl") is None or find_spec("datasets") is None:
        raise TrainerError(
            'this measurement stands beside TRL, which is not installed: run `pip install "trl>=1.16"` and try again'
        )


@dataclass(slots=True)
class Trained:
    """What TRL made, and how long it took. Importing and loading count as setting up."""

    model: Any  #: a PEFT model
    log: list[dict[str, Any]]  #: a row of metrics a step
    setup_seconds: float
    reference_seconds: float  #: computing the reference, before training or in each step
    train_seconds: float  #: everything else in training
    cpu_seconds: float  #: of all threads, reference and training


def load(folder: Path, dtype: Any) -> Any:
    """The model of a Hugging Face folder. TRL by itself loads weights in fp32, whatever the device.

    Not left to TRL: it asks for the architecture's name, which a model that came from a GGUF may not have.
    """
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)


def train(
    model: Any,
    pairs: Sequence[TokenPair],
    folder: Path,
    *,
    lora: Mapping[str, Any],
    options: Mapping[str, Any],
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train with a DPOTrainer as it comes, but for `options` (fields of DPOConfig) and `lora` (fields of LoraConfig).

    model: see `load`. progress is called after each step with its
    number and how many there are. Nothing is saved or sent anywhere.
    """
    require()
    began = time.perf_counter()
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer import dpo_trainer as module

    config = trl.DPOConfig(**alone(folder), **options)
    limit = config.max_length

    class Ready(trl.DPOTrainer):
        """Takes ids as they are; drops what TRL drops: a prompt that leaves no room for a response."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset.filter(lambda row: limit is None or len(row["prompt_ids"]) < limit)

        def _send_telemetry(self) -> None:
            """Nothing leaves this machine."""

    rows = [
        {"prompt_ids": list(p.prompt), "chosen_ids": list(p.chosen), "rejected_ids": list(p.rejected)} for p in pairs
    ]
    clock = _Clock(module.use_adapter)
    module.use_adapter = clock.timed  # DPOTrainer enters it for each reference that it computes
    try:
        trainer = Ready(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=padding(),
            peft_config=LoraConfig(task_type="CAUSAL_LM", **lora),
            callbacks=[steps(progress)],
        )
        before, before_cpu = clock.seconds, clock.cpu_seconds
        started, started_cpu = now(), time.process_time()
        trainer.train()
        ended, ended_cpu = now(), time.process_time()
    finally:
        module.use_adapter = clock.plain
    return Trained(
        trainer.model,
        [row for row in trainer.state.log_history if "loss" in row],
        setup_seconds=started - began - before,
        reference_seconds=clock.seconds,
        train_seconds=ended - started - (clock.seconds - before),
        cpu_seconds=ended_cpu - started_cpu + before_cpu,
    )


def alone(folder: Path) -> dict[str, Any]:
    """Settings of any of TRL's trainers that keep and send nothing."""
    import torch

    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    return {
        "output_dir": str(folder),
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": not accelerated,
    }


def native() -> dict[str, Any]:
    """TRL's own precision, bf16, but where a CPU has no products of it: there a step took twenty minutes."""
    import torch

    from trainer.base_model import pick_dtype

    cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return {"bf16": False} if cpu and pick_dtype(torch.device("cpu")) is torch.float32 else {}


def padding(**more: str) -> Any:
    """A tokenizer of which only the padding token is asked; padded places are masked."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", **more)


def steps(progress: Callable[[int, int], None] | None) -> Any:
    """A callback that tells progress, after each step, its number and how many there are."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if progress is not None:
                progress(state.global_step, state.max_steps)

    return Steps()


class _Clock:
    """Adds up the time within a context manager."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain
        self.seconds = self.cpu_seconds = 0.0

    @contextmanager
    def timed(self, *arguments: Any, **named: Any) -> Iterator[Any]:
        started, started_cpu = now(), time.process_time()
        with self.plain(*arguments, **named) as adapted:
            yield adapted
        self.seconds += now() - started
        self.cpu_seconds += time.process_time() - started_cpu


def now() -> float:
    """The time when all that was given to a GPU is done."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def last_epoch(log: Sequence[Mapping[str, Any]], epochs: int) -> dict[str, float]:
    """Mean loss, accuracy and margin of the last epoch's steps, from a trainer's log."""
    rows = [row for row in log if row["epoch"] > epochs - 1 + 1e-6]
    names = {"loss": "loss", "accuracy": "rewards/accuracies", "margin": "rewards/margins"}
    return {name: sum(float(row[theirs]) for row in rows) / len(rows) for name, theirs in names.items()}
