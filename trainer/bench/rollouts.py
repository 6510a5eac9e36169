"""Tokens a second of a policy's rollouts: llama.cpp's streams, as PPO draws them, beside transformers' generate.

Both answer the same everyday requests at the same temperature, cut alike, and count the tokens of answers, the end of
the turn included; each at several batch sizes, of which its best counts. Ours has an adapter of a run's size swapped
in; theirs is the bare model in the precision that this machine multiplies best, as if the adapter were merged, with
prompts sorted by length, so that they are padded least. One after the other, nothing beside.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from chatapp.engine.base import EngineConfig, Message, Sampling
from chatapp.engine.half import half_precision
from chatapp.engine.model_files import file_hash, read_metadata, resolve
from chatapp.engine.vocab import Vocab
from trainer import adapter_file
from trainer.base_model import load_base
from trainer.config import PpoConfig
from trainer.lora import Lora
from trainer.practice import requests
from trainer.served import served

PROMPTS, EACH, TOKENS, CELLS = 32, 4, 128, 512
TEMPERATURE, MIN_P = 0.8, 0.05
OURS, THEIRS = (32, 48), (32, 64)


def measure(settings: Any, *, quick: bool = False) -> dict[str, Any]:
    """Tokens a second by batch size, of both, and the ratio of the best."""
    count, ours, theirs = (4, OURS[:1], THEIRS[:1]) if quick else (PROMPTS, OURS, THEIRS)
    gguf = resolve(settings.model, settings.cache_dir).path
    with Vocab.open(gguf) as vocab:
        prompts = [vocab.prompt_ids([Message(role="user", content=text)]) for text in requests()[:count]]
        ends = [token for token in range(vocab.n_tokens) if vocab.is_eog(token)]
    base = load_base(gguf, settings.cache_dir)
    mine: dict[int, float] = {}
    usual: dict[int, float] = {}
    for rows in theirs:
        usual[rows] = _generate(base.model, prompts, ends, rows)
        _say(f"transformers, {rows} rows: {usual[rows]:.1f} tokens/s")
    with tempfile.TemporaryDirectory(prefix="hone-rollouts-") as folder:
        adapter = _adapter(Path(folder) / "adapter.gguf", base, gguf)
        copy = half_precision(gguf, settings.cache_dir / "models" / file_hash(gguf, settings.cache_dir))
        precision = str(base.dtype).removeprefix("torch.")
        del base
        for streams in ours:
            mine[streams] = _draw(copy, adapter, prompts, streams)
            _say(f"llama.cpp, {streams} streams: {mine[streams]:.1f} tokens/s")
    ratio = max(mine.values()) / max(usual.values())
    return {
        "ok": quick or ratio >= 1.7,
        "prompts": count,
        "answers": EACH,
        "tokens": TOKENS,
        "llama.cpp": {str(k): round(v, 1) for k, v in mine.items()},
        "transformers": {str(k): round(v, 1) for k, v in usual.items()},
        "precision": precision,
        "ratio": round(ratio, 2),
    }


def _draw(gguf: Path, adapter: Path, prompts: Sequence[list[int]], streams: int) -> float:
    with served(EngineConfig(gguf, context_size=CELLS * streams, streams=streams, adapter_path=adapter)) as engine:
        engine.draw(prompts[:1], streams, Sampling(max_tokens=4, seed=0))
        sampling = Sampling(temperature=TEMPERATURE, top_p=1.0, min_p=MIN_P, max_tokens=TOKENS, seed=1)
        started = time.perf_counter()
        found = engine.draw(prompts, EACH, sampling)
        seconds = time.perf_counter() - started
    return sum(len(answer) for answers in found for answer in answers) / seconds


@torch.inference_mode()
def _generate(model: Any, prompts: Sequence[list[int]], ends: Sequence[int], rows: int) -> float:
    """transformers' generate of EACH answers to each prompt, `rows` of them at one time."""
    device = next(model.parameters()).device
    torch.manual_seed(1)
    asked = sorted((prompt for prompt in prompts for _ in range(EACH)), key=len)
    drawn = 0
    started = time.perf_counter()
    for at in range(0, len(asked), rows):
        group = asked[at : at + rows]
        longest = max(map(len, group))
        ids = torch.tensor([[ends[0]] * (longest - len(p)) + p for p in group], device=device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in group], device=device)
        found = model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            temperature=TEMPERATURE,
            top_k=0,
            top_p=1.0,
            min_p=MIN_P,
            max_new_tokens=TOKENS,
            eos_token_id=list(ends),
            pad_token_id=ends[0],
        )
        for row in found[:, longest:].tolist():
            drawn += next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
    return drawn / (time.perf_counter() - started)


def _adapter(path: Path, base: Any, gguf: Path) -> Path:
    """One of a run's shape with small random values: what it says costs nothing, that it is there does."""
    lora = Lora.fresh(base.model, PpoConfig())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, master in lora.masters.items():
            if "lora_B" in name:
                master.copy_(1e-3 * torch.randn(master.shape, generator=generator))
    lora.publish()
    permuted = base.check.get("permuted") or adapter_file.permuted_projections(gguf, base.model)
    architecture = str(read_metadata(gguf)["general.architecture"])
    adapter_file.write_lora(path, lora, architecture=architecture, permuted=permuted)
    lora.remove()
    return path


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
