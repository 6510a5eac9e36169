"""A small GGUF that passes for a model, and a version of it with real files: what exports work on. No torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from storage import paths
from storage.adapters import Adapter
from storage.store import Store

WORDS = ["<s>", "</s>", "a"]


def write_model(path: Path, kind: str = "Q8_0", architecture: str = "llama", name: str = "Tiny One") -> Path:
    """Three matrices and a vector, with a tokeniser and a chat template."""
    import gguf

    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_token_list(WORDS)
    writer.add_chat_template("{{ messages }}")
    rng = np.random.default_rng(0)
    for tensor in ("blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.2.attn_q.weight"):
        values = rng.standard_normal((64, 32), dtype=np.float32)
        type = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(tensor, gguf.quants.quantize(values, type), raw_dtype=type)
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(32, np.float32))
    _close(writer)
    return path


def write_adapter(
    path: Path, tensor: str = "blk.0.attn_q.weight", architecture: str = "llama", width: int = 32
) -> Path:
    """Rank 2, alpha 4, for one of the matrices."""
    import gguf

    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    rng = np.random.default_rng(1)
    writer.add_tensor(f"{tensor}.lora_a", rng.standard_normal((2, width), dtype=np.float32))
    writer.add_tensor(f"{tensor}.lora_b", rng.standard_normal((64, 2), dtype=np.float32))
    _close(writer)
    return path


def add_version(store: Store, model: Path, judgments: Any = (), **about: Any) -> Adapter:
    """A live version of a model file, its files as a lesson leaves them."""
    hash = hashlib.sha256(model.read_bytes()).hexdigest()
    store.add_model(hash, "Tiny One", "llama", "t", str(model))
    run = store.runs.queue("dpo", {}, hash)
    store.runs.claim(run.id)
    store.runs.record_judgments(run.id, judgments)
    store.runs.finish(run.id, "done")
    id = f"version-{len(store.adapters.list()) + 1}"
    folder = paths.adapter_dir(store.home, id)
    folder.mkdir(parents=True)
    write_adapter(folder / "adapter.gguf")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": None}))
    (folder / "adapter_model.safetensors").write_bytes(b"tensors" * 1000)
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    live = store.adapters.live(hash)
    store.adapters.register(
        id, model_hash=hash, files=files, run_id=run.id, parent_id=live.id if live else None, **about
    )
    assert store.adapters.promote(id, live.id if live else None)
    return store.adapters.get(id)


def _close(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
