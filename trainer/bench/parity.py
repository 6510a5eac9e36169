"""PEFT in torch against the GGUF adapter in llama.cpp, on the served base: does the chat get what was trained?

Two comparisons, each with the adapter on and off: the mean KL of teacher-forced next-token distributions, and greedy
answers. The served base is 4-bit and llama.cpp rounds activations to 8 bits in its kernels, so with the adapter off the
two differ already; what the adapter adds to that is the figure of interest. `f32` repeats the comparison with the same
weights written as an fp32 GGUF: no quantised kernels, so what remains is the adapter's conversion itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from chatapp.config import Settings
from chatapp.engine.base import EngineConfig, Sampling
from chatapp.engine.llama import LlamaEngine
from chatapp.engine.model_files import resolve
from storage.store import Store
from trainer import adapter_file, gguf_copy
from trainer.base_model import check_text, kl_divergence, load_base, logits
from trainer.bench.prompts import PROMPTS
from trainer.lora import Lora

TOKENS = 60


def measure(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """With the live adapter of the home; with a random one of its size where there is none."""
    count = 3 if quick else 20
    gguf = resolve(settings.model, settings.cache_dir).path
    base = load_base(gguf, settings.cache_dir, dtype=torch.float32)
    with tempfile.TemporaryDirectory(prefix="hone-parity-") as folder, Store.open(settings.home) as store:
        live = store.adapters.live(base.hash)
        if live:
            lora = Lora.of(base.model, store.adapters.dir(live))
        else:
            lora = Lora(base.model, rank=16, alpha=16, seed=0)
            randomise(lora)
        made = Path(folder) / "adapter"
        permuted = base.check["permuted"]
        architecture = "llama" if live is None else architecture_of(gguf)
        adapter_file.write_folder(made, lora, architecture=architecture, permuted=permuted)
        result: dict[str, Any] = {"adapter": live.name if live else "random", "prompts": count, "tokens": TOKENS}
        result["served"] = compare(gguf, made / adapter_file.GGUF_NAME, lora, PROMPTS[:count])
        exact = Path(folder) / "f32.gguf"
        dequantise(gguf, exact)
        result["f32"] = compare(exact, made / adapter_file.GGUF_NAME, lora, PROMPTS[:count])
    result["ok"] = result["f32"]["adapter_kl"] <= 1e-3
    return result


def compare(gguf: Path, adapter: Path, lora: Lora, prompts: Sequence[str]) -> dict[str, float]:
    """Mean KL(llama.cpp || torch) on our neutral text, and how far greedy answers agree, with and without adapter."""
    result: dict[str, float] = {}
    with LlamaEngine(EngineConfig(gguf, context_size=1024)) as engine:
        ids = engine.vocab.tokenize(check_text())[:512]
        plain = torch.from_numpy(engine.logits(ids))
        with lora.disabled():
            result["base_kl"] = float(kl_divergence(plain, logits(lora.model, ids)).mean())
        engine.swap(adapter)
        theirs = torch.from_numpy(engine.logits(ids))
        ours = logits(lora.model, ids)
        result["adapter_kl"] = float(kl_divergence(theirs, ours).mean())
        result["adapter_effect_kl"] = float(kl_divergence(theirs, plain).mean())
        result["same_top_token"] = float((theirs.argmax(-1) == ours.argmax(-1)).float().mean())
        same = whole = 0.0
        for prompt in prompts:
            conversation = engine.vocab.prompt_ids([{"role": "user", "content": prompt}])
            sampling = Sampling(temperature=0, max_tokens=TOKENS)
            answer = engine.generate([{"role": "user", "content": prompt}], 1, sampling)[0].token_ids
            mine = greedy(lora, conversation, len(answer))
            agreed = next((i for i, (a, b) in enumerate(zip(answer, mine, strict=True)) if a != b), len(answer))
            same += agreed / len(answer)
            whole += agreed == len(answer)
        result["greedy_identical"] = whole / len(prompts)
        result["greedy_common_prefix"] = same / len(prompts)
    return result


@torch.no_grad()
def greedy(lora: Lora, ids: Sequence[int], count: int) -> list[int]:
    """Greedy continuation in torch."""
    found: list[int] = []
    fed, cache = torch.tensor([list(ids)]), None
    for _ in range(count):
        out = lora.model(input_ids=fed, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        found.append(int(out.logits[0, -1].argmax()))
        fed = torch.tensor([[found[-1]]])
    return found


def randomise(lora: Lora) -> None:
    """A B of the size that training gives it (about 40 steps of 2e-4)."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, master in lora.masters.items():
            if "lora_B" in name:
                master.copy_(torch.randn(master.shape, generator=generator) * 2e-3)
    lora.publish()


def architecture_of(gguf: Path) -> str:
    from chatapp.engine.model_files import read_metadata

    return str(read_metadata(gguf)["general.architecture"])


def dequantise(source: Path, target: Path) -> None:
    """Copy a GGUF with every tensor in fp32."""
    reader = gguf_copy.open_gguf(source)
    gguf_copy.copy(reader, target, {tensor.name: gguf_copy.Changed("F32") for tensor in reader.tensors})
