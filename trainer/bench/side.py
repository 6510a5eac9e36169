"""One side of `bench train`, in a process of its own: Hone's loop or TRL's on the same token ids.

`python -m trainer.bench.side JOB RESULT` reads a job and writes what it measured, both JSON. A process for each, so
that peaks of memory do not mix and no side finds the other's threads, caches or allocator.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import needs
from trainer.bench import child, with_trl
from trainer.bench.with_trl import TokenPair, now

HONE, RECIPE, TRL, TUNED = "hone", "hone-recipe", "trl", "trl-tuned"
SIDES = (HONE, RECIPE, TRL, TUNED)
RANK = 16
ALPHA = 16
BETA = 0.1
RATE = 2e-4  #: high enough to see in the loss that both learn

_LLAMA_3 = {
    "vocab_size": 128256,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
}
#: random weights of these shapes: Llama-3.2-1B, Llama-3.1-8B (Grattafiori et al. 2024, arXiv 2407.21783, table 3)
SHAPES: dict[str, dict[str, Any]] = {
    "1B": _LLAMA_3
    | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64}
    | {"tie_word_embeddings": True},
    "8B": _LLAMA_3
    | {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "head_dim": 128}
    | {"tie_word_embeddings": False},
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
}


@dataclass(frozen=True, slots=True)
class Ranked:
    """A prompt, its answers and which of two is better, as indexes."""

    prompt: list[int]
    responses: list[list[int]]
    pairs: list[tuple[int, int]]

    def apart(self) -> list[TokenPair]:
        """As TRL takes it: each pair by itself."""
        return [TokenPair(self.prompt, self.responses[w], self.responses[lose]) for w, lose in self.pairs]


@dataclass(frozen=True, slots=True)
class Job:
    side: str
    turns: list[Ranked]
    epochs: int
    batch: int  #: pairs an optimiser step
    gguf: str | None = None  #: Hone loads it as a run does
    cache_dir: str | None = None
    folder: str | None = None  #: the same weights as TRL loads them
    shape: str | None = None  #: random weights instead
    micro: int | None = None  #: TRL: pairs computed at one time; Hone: tokens; None: as it comes
    trial: bool = False  #: only how long a pair takes, without the first step

    @classmethod
    def read(cls, path: Path) -> Job:
        """As bench.child writes it."""
        given = json.loads(path.read_text(encoding="utf-8"))
        given["turns"] = [
            Ranked(t["prompt"], t["responses"], [(w, lose) for w, lose in t["pairs"]]) for t in given["turns"]
        ]
        return cls(**given)

    @property
    def pairs(self) -> list[TokenPair]:
        return [pair for turn in self.turns for pair in turn.apart()]


def run(job: Job) -> dict[str, Any]:
    """What one side needs for the job. Seconds of imports and of loading the model are kept apart."""
    import torch

    measure = _trl if job.side in (TRL, TUNED) else _hone
    if job.trial:
        return _tried(job, measure)
    try:
        return measure(job, job.turns, job.epochs, job.micro) | {"peak_mb": peak_mb()}
    except torch.OutOfMemoryError:
        return {"failed": "it does not fit into the GPU's memory"}


def _tried(job: Job, measure: Any) -> dict[str, float]:
    """{"pair": seconds of training a pair}, the job's turns gone over once; empty where a GPU's memory is too small."""
    import torch

    try:
        measure(job, job.turns[:1], 1, job.micro)  # the first step of a process is slower
        gc.collect()  # a trainer refers to itself, and holds its model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return {"pair": float(measure(job, job.turns, 1, job.micro)["train_seconds"]) / len(job.pairs)}
    except torch.OutOfMemoryError:
        return {}


def _hone(job: Job, turns: Sequence[Ranked], epochs: int, micro: int | None) -> dict[str, Any]:
    """Hone's own fit, with the reference that it computes once."""
    began = time.perf_counter()
    import torch

    from trainer.base_model import load_base, pick_device, pick_dtype
    from trainer.bench.learn import learn
    from trainer.config import TrainConfig
    from trainer.dataset import PairRef, Turn
    from trainer.logprobs import TokenTurn, use_shared_prefix

    given: dict[str, Any] = {"micro_tokens": micro} if micro else {}
    ordinary: list[TokenTurn] = []
    if job.side == RECIPE:
        config = TrainConfig(**given)
    else:
        each = max(1, round(job.batch * len(turns) / sum(len(t.pairs) for t in turns)))
        config = TrainConfig(
            rank=RANK, alpha=ALPHA, beta=BETA, layer_share=1.0, modules=(), learning_rate=RATE, epochs=epochs,
            min_steps=1, turns_per_step=each, warmup=0.0, ordinary_weight=0.0, best_and_worst=False, words=0, **given,
        )  # fmt: skip
    if job.shape:
        torch.set_num_threads(_cores())
        device = pick_device()
        model = random_model(job.shape, pick_dtype(device), device)
        use_shared_prefix(model)
        folder = None
    else:
        assert job.gguf, "a job has a model or a shape"
        assert job.cache_dir, "Hone loads a model from its cache"
        base = load_base(Path(job.gguf), Path(job.cache_dir))
        model, folder = base.model, str(base.folder)
        if job.side == RECIPE:
            ordinary = _ordinary(Path(job.gguf))
    learned = [
        Turn(
            str(place), "train", [], t.prompt, t.responses,
            [PairRef(w, lose, 1 / len(t.pairs)) for w, lose in t.pairs],
        )
        for place, t in enumerate(turns)
    ]  # fmt: skip
    loaded = now()
    done = learn(model, learned, config, ordinary)
    return {
        "setup_seconds": loaded - began,
        "reference_seconds": done.reference_seconds,
        "train_seconds": done.train_seconds,
        "cpu_seconds": done.cpu_seconds,
        "epochs": config.passes(len(turns)),
        "steps": done.steps,
        "learned_parameters": sum(p.numel() for p in done.lora.parameters()),
        **{name: done.last[name] for name in ("loss", "accuracy", "margin")},
        "folder": folder,
        "dtype": str(model.dtype),
    }


def _ordinary(gguf: Path) -> Any:
    from chatapp.engine.vocab import Vocab
    from trainer.guards import plain_turns

    with Vocab.open(gguf) as vocab:
        return plain_turns(vocab, "ordinary.jsonl")


def _trl(job: Job, turns: Sequence[Ranked], epochs: int, micro: int | None) -> dict[str, Any]:
    """TRL's DPOTrainer: as it comes, or tuned.

    As it comes (TRL 1.16): fp32 weights under bf16 autocast, gradient checkpointing, 8 pairs a step, the reference in
    every step. Tuned: bf16 weights, the reference once before training, no checkpointing, `micro` pairs at one time.
    Same for both: the learning rate, the LoRA, no limit of length (so that both sides learn from the same tokens).
    """
    began = time.perf_counter()
    import torch

    torch.set_num_threads(_cores())
    tuned = job.side == TUNED
    options: dict[str, Any] = {
        "num_train_epochs": epochs,
        "learning_rate": RATE,
        "beta": BETA,
        "per_device_train_batch_size": micro or job.batch,
        "gradient_accumulation_steps": max(1, job.batch // (micro or job.batch)),
        "max_length": None,
    }
    if tuned:
        options |= {"gradient_checkpointing": False, "precompute_ref_log_probs": True}
    dtype = torch.bfloat16 if tuned else torch.float32
    if job.shape:
        model = random_model(job.shape, dtype, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    else:
        assert job.folder, "a job has a folder or a shape"
        model = with_trl.load(Path(job.folder), dtype)
    loaded = time.perf_counter()
    lora = {"r": RANK, "lora_alpha": ALPHA, "target_modules": "all-linear"}
    pairs = [pair for turn in turns for pair in turn.apart()]
    with tempfile.TemporaryDirectory(prefix="hone-trl-") as made:
        done = with_trl.train(model, pairs, Path(made), lora=lora, options=options)
    return {
        "setup_seconds": loaded - began + done.setup_seconds,
        "reference_seconds": done.reference_seconds,
        "train_seconds": done.train_seconds,
        "cpu_seconds": done.cpu_seconds,
        "epochs": epochs,
        "steps": len(done.log),
        "learned_parameters": sum(p.numel() for p in done.model.parameters() if p.requires_grad),
        **with_trl.last_epoch(done.log, epochs),
        "dtype": str(done.model.dtype),
    }


def random_model(shape: str, dtype: Any, device: Any) -> Any:
    """A Llama of that shape with random weights, made on the device."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[shape]), dtype=dtype).eval()


def peak_mb() -> float:
    """The most memory that this process held: on a GPU what torch took there, else resident memory."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return needs.peak_memory() / needs.MB


def _cores() -> int:
    from trainer.base_model import usable_cores

    return usable_cores()


if __name__ == "__main__":
    child.follow_parent()
    Path(sys.argv[2]).write_text(json.dumps(run(Job.read(Path(sys.argv[1])))), encoding="utf-8")
