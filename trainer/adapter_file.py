"""A trained adapter on disk: the PEFT folder that Python reads and the GGUF adapter that llama.cpp reads, as one.

The GGUF follows llama.cpp's convert_lora_to_gguf.py: general.type adapter, adapter.type lora, tensors
"<base tensor>.weight.lora_a" (r, in) and ".lora_b" (out, r), scale alpha / r computed by the reader. Base names come
from gguf's tensor-name map. Files for some architectures (llama) keep q's and k's rows in another order than
transformers; whether this one does is seen by comparing the weights, and B's rows then take the same order.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from storage.backups import sync
from trainer.errors import NotTrainable, TrainerError

GGUF_NAME = "adapter.gguf"
PREFIX = "base_model.model."


def permute(rows: Tensor, heads: int) -> Tensor:  # (out, n)
    """Rows of a q or k projection, from transformers' order (halves rotated) to GGUF's (neighbours rotated)."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def heads_of(config: Any) -> dict[str, int]:
    """How many heads the projections that may be permuted have."""
    queries = int(config.num_attention_heads)
    return {"q_proj": queries, "k_proj": int(getattr(config, "num_key_value_heads", None) or queries)}


def permuted_projections(gguf: Path, model: Any) -> dict[str, bool]:
    """Whether the file keeps the rows of q_proj and k_proj permuted, seen on the first layer's weights."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    tensors = {tensor.name: tensor for tensor in GGUFReader(str(gguf)).tensors}
    found: dict[str, bool] = {}
    parameters = {name.replace(".base_layer.", "."): p for name, p in model.named_parameters()}  # PEFT's wrapping
    for projection, short in (("q_proj", "attn_q"), ("k_proj", "attn_k")):
        ours = next((p for n, p in parameters.items() if f".0.self_attn.{projection}.weight" in n), None)
        theirs = tensors.get(f"blk.0.{short}.weight")
        if ours is None or theirs is None:
            continue  # a fused qkv: transformers and llama.cpp both keep it as it is
        ours = ours.detach().float()
        raw = torch.from_numpy(dequantize(theirs.data, theirs.tensor_type).astype(np.float32)).reshape(ours.shape)
        heads = heads_of(model.config)[projection]
        # an unquantised train_base differs from the file a little, so: which order is closer?
        found[projection] = bool((permute(ours, heads) - raw).norm() < (ours - raw).norm())
    return found


def base_tensor_names(architecture: str, layers: int) -> Any:
    """gguf's map from transformers' names to the file's."""
    import gguf

    arch = next((key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture), None)
    if arch is None:
        raise NotTrainable(f"an adapter for the architecture {architecture!r} cannot be written: gguf does not know it")
    return gguf.get_tensor_name_map(arch, layers)


def write_gguf(
    path: Path,
    weights: Mapping[str, Tensor],
    *,
    architecture: str,
    layers: int,
    alpha: float,
    heads: Mapping[str, int],
    permuted: Mapping[str, bool],
    name: str = "",
) -> None:
    """Write the tensors of a PEFT file as a GGUF adapter, fp32 (llama.cpp multiplies A and B as they are)."""
    from gguf import GGUFType, GGUFWriter

    names = base_tensor_names(architecture, layers)
    writer = GGUFWriter(str(path), architecture)
    writer.add_type(GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(alpha))
    if name:
        writer.add_name(name)
    for key, tensor in sorted(weights.items()):
        module, _, kind = key.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        if kind not in ("lora_A", "lora_B"):
            raise TrainerError(f"the adapter holds {key}, which is neither lora_A nor lora_B")
        target = names.get_name(module, try_suffixes=(".weight",))
        if target is None:
            raise NotTrainable(f"the adapter's layer {module} has no counterpart in a {architecture} GGUF")
        projection = module.rpartition(".")[2]
        rows = tensor.detach().float().cpu()
        if kind == "lora_B" and permuted.get(projection):
            rows = permute(rows, heads[projection])
        writer.add_tensor(f"{target}.weight.{kind.lower()}", np.ascontiguousarray(rows.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_lora(path: Path, lora: Any, *, architecture: str, permuted: Mapping[str, bool], name: str = "") -> None:
    """Write what a Lora holds now as a GGUF adapter; see `write_gguf`."""
    config = lora.decoder().config
    write_gguf(
        path,
        lora.state(),
        architecture=architecture,
        layers=int(config.num_hidden_layers),
        alpha=float(lora.model.peft_config["default"].lora_alpha),
        heads=heads_of(config),
        permuted=permuted,
        name=name,
    )


def write_folder(folder: Path, lora: Any, *, architecture: str, permuted: Mapping[str, bool]) -> dict[str, str]:
    """Write PEFT files and GGUF into folder: whole or not at all. Returns name -> sha256 of each file.

    Made under a temporary name beside it, every file fsynced, then renamed and the parent fsynced.
    """
    made = folder.with_name(f".tmp-{folder.name}")
    try:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True, mode=0o700)
        lora.save(made)
        write_lora(made / GGUF_NAME, lora, architecture=architecture, permuted=permuted, name=folder.name)
        files = {}
        for path in sorted(made.iterdir()):
            with open(path, "rb+") as file:
                files[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
        sync(made)
        made.rename(folder)
        sync(folder.parent)
    except OSError as error:
        raise TrainerError(
            f"cannot write the adapter to {folder}: {error.strerror or error}. Free some space and train again; "
            "the version in use was not touched."
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return files


def remove_stale(adapters: Path) -> int:
    """Remove what killed runs left half-written. Returns how many folders went."""
    stale = list(adapters.glob(".tmp-*"))
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)
    return len(stale)
