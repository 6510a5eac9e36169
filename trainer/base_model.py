"""The base in torch: the same weights that the chat serves, dequantised from the GGUF once and cached.

Cache: cache_dir/models/<sha256 of the GGUF>/ with config.json, model.safetensors and check.json, made in a temporary
folder and renamed, so that it is there whole or not at all. check.json says whether torch computes with these
weights what llama.cpp computes with the file: that is measured, not looked up in a list of architectures, because a
loader may ignore what the runtime uses (rope_freqs of Llama 3.x, soft-capping, scales of logits).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from chatapp.engine.base import EngineConfig
from chatapp.engine.found_models import MAX_KL
from chatapp.engine.model_files import file_hash
from storage.assets import asset
from trainer.errors import NotTrainable, TrainerError
from trainer.logprobs import use_shared_prefix
from trainer.team import state

CHECK_TOKENS = 384
#: cached in fp32 up to this many parameters, in bf16 above: a 7B model in fp32 would be 28 GB
FP32_PARAMETERS = 2_000_000_000


@dataclass(slots=True)
class BaseModel:
    """A frozen causal language model on its device, ready for LoRA."""

    model: Any
    device: torch.device
    hash: str  #: of the GGUF that the chat serves
    gguf: Path
    folder: Path  #: config.json and model.safetensors
    check: dict[str, Any]
    seconds: float

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.dtype
        return dtype


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pick_device() -> torch.device:
    """CUDA, else MPS, else CPU; under `accelerate launch` this process's own."""
    device: torch.device = state().device
    return device


def pick_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the device multiplies it natively, else fp32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        # mkldnn multiplies bf16 quickly with avx512_bf16 or amx and slowly without
        has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return torch.bfloat16 if has is not None and has() else torch.float32
    return torch.float32


def load_base(
    gguf: Path,
    cache_dir: Path,
    *,
    train_base: Path | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    check: bool = True,
) -> BaseModel:
    """The model of a GGUF in torch. train_base: the same model's unquantised Hugging Face folder, used instead.

    Raises NotTrainable when torch does not compute what llama.cpp does, TrainerError when it cannot be loaded.
    """
    started = time.perf_counter()
    torch.set_num_threads(max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    hash = file_hash(gguf, cache_dir)
    folder = _dequantised(gguf, hash, cache_dir) if train_base is None else train_base
    device = device or pick_device()
    model = _load(folder, dtype or pick_dtype(device)).to(device)
    model.requires_grad_(False)
    use_shared_prefix(model)
    report = (
        _checked(gguf, folder, cache_dir / "models" / hash, named="train_base" if train_base else "") if check else {}
    )
    return BaseModel(model, device, hash, gguf, folder, report, time.perf_counter() - started)


def _load(folder: Path, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True).eval()
    except (OSError, ValueError, KeyError) as error:
        raise TrainerError(f"the model in {folder} cannot be loaded into torch: {_first_line(error)}") from error


def _dequantised(gguf: Path, hash: str, cache_dir: Path) -> Path:
    """The cached folder, made if it is missing."""
    folder = cache_dir / "models" / hash
    if (folder / "model.safetensors").exists():
        return folder
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise NotTrainable(
            f"{gguf.name} cannot be trained: transformers cannot load this file ({_first_line(error)}). It can be "
            "chatted with; to train, give the model's Hugging Face folder as train_base."
        ) from error
    if sum(p.numel() for p in model.parameters()) > FP32_PARAMETERS:
        model = model.to(torch.bfloat16)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    try:
        seen: set[int] = set()
        state = {}
        for name, tensor in model.state_dict().items():
            if tensor.data_ptr() not in seen:  # tied weights are written once
                seen.add(tensor.data_ptr())
                state[name] = tensor.contiguous()
        save_file(state, str(made / "model.safetensors"), {"format": "pt"})
        config = {
            k: v
            for k, v in model.config.to_dict().items()
            if k not in ("quantization_config", "_name_or_path", "dtype")
        }
        (made / "config.json").write_text(json.dumps(config, indent=1, default=str))
        try:
            made.rename(folder)
        except OSError:
            if not (folder / "model.safetensors").exists():  # another process was first: then its folder will do
                raise
    except OSError as error:
        raise TrainerError(
            f"cannot keep the dequantised model in {folder.parent}: {error.strerror or error}. It needs "
            f"{sum(p.numel() * p.element_size() for p in model.parameters()) >> 20} MB there."
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _checked(gguf: Path, folder: Path, cache: Path, named: str) -> dict[str, Any]:
    """The stored result of compare(), measured when there is none. Raises NotTrainable if it is bad."""
    path = cache / (f"check-{named}.json" if named else "check.json")
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        report = compare(gguf, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(report, indent=1))
        unfinished.replace(path)
    if named:
        return report  # another quantisation of the same model: it differs, and is meant to
    if report["kl"] > MAX_KL:
        raise NotTrainable(
            f"{gguf.name} cannot be trained: torch and llama.cpp compute different models from it (mean KL "
            f"{report['kl']:.3f} nats a token, at most {MAX_KL} is allowed). It can be chatted with; to train, give "
            "the model's Hugging Face folder as train_base."
        )
    return report


def check_text() -> str:
    """Our own fixed text, long enough for differences that grow with the position."""
    lines = asset("neutral.jsonl").read_text(encoding="utf-8").splitlines()
    texts = []
    for line in lines[:12]:
        row = json.loads(line)
        texts.append(row["text"] if "text" in row else "\n".join(m["content"] for m in row["messages"]))
    return "\n\n".join(texts)


def compare(gguf: Path, folder: Path) -> dict[str, Any]:
    """Measure torch in fp32 against llama.cpp on check_text(), and see how q's and k's rows are ordered in the file."""
    from chatapp.engine.llama import LlamaEngine

    with LlamaEngine(EngineConfig(gguf, context_size=CHECK_TOKENS + 64)) as engine:
        ids = engine.vocab.tokenize(check_text())[:CHECK_TOKENS]
        if engine.vocab.bos >= 0:
            ids = [engine.vocab.bos, *ids[:-1]]
        theirs = torch.from_numpy(engine.logits(ids))
    model = _load(folder, torch.float32)
    use_shared_prefix(model)
    ours = logits(model, ids)
    kl = kl_divergence(theirs, ours)
    agree = float((theirs.argmax(-1) == ours.argmax(-1)).float().mean())
    from trainer.adapter_file import permuted_projections

    return {
        "kl": float(kl.mean()),
        "kl_max": float(kl.max()),
        "same_top": agree,
        "tokens": len(ids),
        "permuted": permuted_projections(gguf, model),
    }


@torch.no_grad()
def logits(model: Any, ids: Sequence[int]) -> torch.Tensor:  # (T, V)
    """Next-token logits after each token, fp32 on the CPU."""
    row = torch.tensor([list(ids)], device=next(model.parameters()).device)
    result: torch.Tensor = model(input_ids=row, use_cache=False).logits[0].float().cpu()
    return result


def kl_divergence(p_logits: torch.Tensor, q_logits: torch.Tensor) -> torch.Tensor:  # (T, V), (T, V) -> (T,)
    """KL(p || q) at each position, in nats."""
    vocabulary = min(p_logits.shape[-1], q_logits.shape[-1])  # a padded embedding has rows that mean nothing
    p = torch.log_softmax(p_logits[:, :vocabulary], -1)
    q = torch.log_softmax(q_logits[:, :vocabulary], -1)
    return (p.exp() * (p - q)).sum(-1)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
