"""What a run needs, estimated before the model is loaded: memory while it trains, disk for what it writes.

An estimate from shapes, checked against the peak of real runs (docs/benchmarks.md); its parts have names, so that a
refusal can say what to change. Weights that are shared with the page cache count as if they were not.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chatapp.engine.model_files import read_metadata
from trainer.config import TrainConfig
from trainer.errors import TooLittleDisk, TooLittleMemory

MB = 1 << 20
RUNTIME = 1100 * MB  #: Python, torch, transformers and peft, loaded, with the compiled products that oneDNN keeps
#: what the allocator holds by what is alive, for pieces of many sizes: measured on the default model
SPARE = 1.5
CUDA_RUNTIME = 600 * MB  #: of GPU memory: context, kernels, workspaces
ENGINE = 350 * MB  #: the engine child of the gate beside its weights and its cache
GATE_CONTEXT = 4096
LEAST_MICRO_TOKENS = 256
#: a segment's mean length, for attention's scores: prompt and answer
SEGMENT = 300


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder-only model, as far as memory goes."""

    layers: int
    width: int
    inner: int  #: width of the feed-forward part
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool  #: input and output embeddings are one
    file_bytes: int  #: of the GGUF that the engine serves

    @property
    def kv_width(self) -> int:
        return self.width // self.heads * self.kv_heads

    @property
    def parameters(self) -> int:
        layer = self.width * (2 * self.width + 2 * self.kv_width + 3 * self.inner)
        return self.layers * layer + self.vocabulary * self.width * (1 if self.tied else 2)

    def adapted(self, share: float) -> int:
        """Layers that carry the LoRA."""
        return max(1, round(self.layers * share))

    def lora_parameters(self, config: TrainConfig) -> int:
        """Of a LoRA on the chosen linear maps of the adapted layers: rank * (in + out) each."""
        square, narrow, wide = 2 * self.width, self.width + self.kv_width, self.width + self.inner
        sides = {
            **dict.fromkeys(("q_proj", "o_proj"), square),
            **dict.fromkeys(("k_proj", "v_proj"), narrow),
            **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), wide),
        }
        chosen = [sides[name] for name in config.modules if name in sides] or list(sides.values())
        return config.rank * sum(chosen) * self.adapted(config.layer_share)


#: for docs: shapes of models that people use (Llama 3.2 1B and Llama 3.1 8B), 4-bit files
SHAPE_1B = Shape(16, 2048, 8192, 32, 8, 128_256, True, 808_000_000)
SHAPE_8B = Shape(32, 4096, 14_336, 32, 8, 128_256, False, 4_920_000_000)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by part. `total` is the largest of its moments."""

    runtime: int
    weights: int
    lora: int  #: fp32 masters, working copies, gradients, AdamW's moments
    states: int  #: of the frozen layers, kept for all turns
    activations: int  #: of one micro-batch, kept for the backward pass
    engine: int  #: of the gate, when the activations are gone
    making: int  #: dequantising a file that is not cached yet, before all else

    @property
    def total(self) -> int:
        held = self.runtime + self.weights + self.lora + self.states
        return max(held + max(self.activations, self.engine), self.runtime + self.making)


def shape_of(gguf: Path, vocabulary: int, folder: Path) -> Shape:
    """From the file's header; folder: where it lies dequantised, if it does. Unknown parts are taken as the larger."""
    header = read_metadata(gguf)
    arch = str(header.get("general.architecture", ""))

    def value(name: str, default: int) -> int:
        found = header.get(f"{arch}.{name}", default)
        return int(found) if isinstance(found, int | float) else default

    width = value("embedding_length", 4096)
    heads = max(1, value("attention.head_count", 32))
    tied = False
    try:
        tied = bool(json.loads((folder / "config.json").read_text()).get("tie_word_embeddings", False))
    except (OSError, ValueError):
        pass
    return Shape(
        value("block_count", 32),
        width,
        value("feed_forward_length", 4 * width),
        heads,
        value("attention.head_count_kv", heads),
        vocabulary,
        tied,
        gguf.stat().st_size,
    )


def estimate(
    shape: Shape,
    config: TrainConfig,
    *,
    dtype_bytes: int,
    tokens: int,
    longest: int,
    keep_bytes: int,
    cached: bool = True,
    cuda: bool = False,
) -> Memory:
    """Bytes of a run. tokens: of all turns; longest: of one turn; keep_bytes: the limit of the trunk's states;
    cuda: of the GPU's memory, where the engine's share is not counted.

    Kept for the backward pass, for each token and adapted layer, by autograd: about 14 rows of the model's width (norms
    in fp32 count double), 5 of the feed-forward's, and attention's scores twice.
    """
    b = dtype_bytes
    at_once = max(config.micro_tokens, longest)
    row = b * (14 * shape.width + 5 * shape.inner) + 2 * b * shape.heads * min(at_once, SEGMENT)
    head = 3 * 4 * 256 * shape.vocabulary
    lora = shape.lora_parameters(config) * (4 + b + b + 4 + 8)
    frozen = shape.layers - shape.adapted(config.layer_share)
    states = min(keep_bytes, 2 * tokens * shape.width * b) if frozen else 0
    engine = ENGINE + shape.file_bytes + 2 * 2 * GATE_CONTEXT * shape.layers * shape.kv_width
    making = 0 if cached or cuda else 2 * 4 * shape.parameters
    return Memory(
        CUDA_RUNTIME if cuda else RUNTIME,
        shape.parameters * b,
        lora,
        states,
        round(SPARE * at_once * shape.adapted(config.layer_share) * row) + head,
        0 if cuda else engine,
        making,
    )


def fit_memory(
    shape: Shape, config: TrainConfig, fixed: bool, available: int | None, **about: Any
) -> tuple[TrainConfig, Memory]:
    """The settings that fit, with the estimate: micro_tokens is halved while that helps, unless fixed: it was given.

    The result of a run does not depend on it. Raises TooLittleMemory with what is needed, what there is and what to do.
    """
    found = estimate(shape, config, **about)
    while (
        available is not None
        and found.total > available
        and not fixed
        and config.micro_tokens // 2 >= LEAST_MICRO_TOKENS
        and estimate(shape, replace(config, micro_tokens=config.micro_tokens // 2), **about).total < found.total
    ):
        config = replace(config, micro_tokens=config.micro_tokens // 2)
        found = estimate(shape, config, **about)
    if available is not None and found.total > available:
        raise TooLittleMemory(
            f"training this model needs about {_gb(found.total)} of memory and {_gb(available)} is free "
            f"({_gb(found.weights)} for the weights, {_gb(found.activations)} for one batch); close other programs, "
            f"choose a smaller model, or lower micro_tokens (now {config.micro_tokens}), max_response (now "
            f"{config.max_response}) or layer_share (now {config.layer_share:g})"
        )
    return config, found


def check_reading(
    shape: Shape,
    config: TrainConfig,
    home: Path,
    cache_dir: Path,
    *,
    available: int | None,
    dtype_bytes: int,
    tokens: int,
    longest: int,
    keep_bytes: int,
    cached: bool,
) -> dict[str, float]:
    """A run that reads answers and trains no adapter: its estimates, for the run's metrics. The same arguments, and the
    same errors, as `fit_memory` and `check_disk`."""
    at_once = max(config.micro_tokens, longest)
    batch = round(SPARE * at_once * dtype_bytes * (14 * shape.width + 5 * shape.inner))
    states = min(keep_bytes, tokens * shape.width * dtype_bytes)
    total = RUNTIME + shape.parameters * dtype_bytes + states + batch
    total = max(total, RUNTIME + (0 if cached else 2 * 4 * shape.parameters))
    if available is not None and total > available:
        raise TooLittleMemory(
            f"reading the judged answers needs about {_gb(total)} of memory and {_gb(available)} is free "
            f"({_gb(shape.parameters * dtype_bytes)} for the weights); close other programs, choose a smaller model, "
            f"or lower micro_tokens (now {config.micro_tokens})"
        )
    disk = _free_disk(shape, home, cache_dir, 64 * MB, cached)
    return {"memory.estimate_mb": total / MB, "disk.estimate_mb": disk / MB}


def check_disk(shape: Shape, config: TrainConfig, home: Path, cache_dir: Path, *, cached: bool, copied: int = 0) -> int:
    """Bytes that the run will write. Raises TooLittleDisk where they are not free. copied: beside the model itself, to
    the cache."""
    adapter = shape.lora_parameters(config)
    # the PEFT file, the GGUF, and two checkpoints (the next is written before the last goes), all fp32
    return _free_disk(shape, home, cache_dir, adapter * 4 * (1 + 1 + 2 * 3) + 16 * MB, cached, copied)


def _free_disk(shape: Shape, home: Path, cache_dir: Path, ours: int, cached: bool, copied: int = 0) -> int:
    """Bytes of what is written to the home, and of the dequantised model. Raises TooLittleDisk."""
    model = 0 if cached else shape.parameters * (4 if shape.parameters < 2_000_000_000 else 2) + 16 * MB
    model += copied
    where = {home: ours, cache_dir: model}
    if _device(home) == _device(cache_dir):
        where = {home: ours + model}
    for folder, wanted in where.items():
        free = shutil.disk_usage(_existing(folder)).free
        if wanted > free:
            raise TooLittleDisk(
                f"training writes about {_gb(wanted)} below {folder} and {_gb(free)} is free there; free some space "
                "(`hone adapters list` shows versions, `hone adapters remove` deletes one's files) and train again"
            )
    return ours + model


def available_memory() -> int | None:
    """Bytes that a new program may use: the system's, or this container's if that is less. None: not known."""
    found = [value for value in (_system_memory(), *cgroup_memory()) if value is not None]
    return min(found) if found else None


def peak_memory() -> int:
    """The most bytes that this process has held, since `forget_peak` where the system can tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> int:
    """Begin anew with what is held now: a model's one conversion is not training. Returns the peak so far."""
    peak = peak_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # another system: the peak is that of the whole process
    return peak


def _system_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    if sys.platform != "darwin":
        return None
    try:
        told = subprocess.run(["vm_stat"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return vm_stat_bytes(told)


def vm_stat_bytes(told: str) -> int | None:
    """Free, inactive and purgeable pages of macOS's `vm_stat`, in bytes."""
    try:
        page = int(told.split("page size of ")[1].split()[0])
        rows = dict(line.split(":") for line in told.splitlines()[1:] if ":" in line)
        wanted = ("Pages free", "Pages inactive", "Pages purgeable", "Pages speculative")
        return page * sum(int(rows.get(name, "0").strip().rstrip(".")) for name in wanted)
    except (IndexError, ValueError):
        return None


def cgroup_memory(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """What is left of the limits of this process's groups (version 2, else 1); reclaimable file pages count as free."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    left = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if "memory" not in controllers.split(",") and controllers:
            continue
        top = root if not controllers else root / "memory"
        limit, used = (
            ("memory.max", "memory.current")
            if not controllers
            else (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        )
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            if top not in (folder, *folder.parents):
                break
            try:
                most = (folder / limit).read_text().strip()
                if most == "max" or int(most) >= 1 << 60:
                    continue
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                left.append(int(most) - int((folder / used).read_text()) + int(stat.get("inactive_file", 0)))
            except (OSError, ValueError):
                continue
    return left


def _device(folder: Path) -> int:
    return os.stat(_existing(folder)).st_dev


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
