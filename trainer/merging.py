"""A version as one GGUF: the base with the adapter's products added to the weights that it touches.

Such a weight becomes W + alpha / r * B @ A in half precision (fp32 and bf16 stay what they are): quantised again, a
small change would be rounded away. All else is the base's, byte for byte. Needs neither torch nor llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer import gguf_copy
from trainer.errors import TrainerError
from trainer.gguf_copy import Changed

if TYPE_CHECKING:
    from storage.adapters import Adapter
    from storage.store import Store

#: told the bytes written so far, and all of them
Progress = Callable[[int, int], None]


def write(store: Store, adapter: Adapter, base: Path, target: Path, *, force: bool, progress: Progress) -> int:
    """Write the merged file, whole or not at all; returns its bytes. Raises StorageError and TrainerError."""
    from storage import version_files
    from storage.adapters import GGUF

    version_files.check_target(store.home, target, None, force)
    if target.exists() and target.samefile(base):
        raise TrainerError(f"{target} is the base model itself, which is not replaced: choose another name")
    source = version_files.kept(store, adapter, GGUF)
    source.check()
    reader = gguf_copy.open_gguf(base)
    changed = changes(reader, source.path, base.name)
    size = gguf_copy.copied_bytes(reader, changed)
    version_files.check_space(target, size)
    written = 0

    def count(bytes: int) -> None:
        nonlocal written
        written += bytes
        progress(written, size)

    with version_files.making(store.home, target, None, force) as made:
        gguf_copy.copy(reader, made, changed, count)
    return size


def changes(reader: Any, adapter: Path, base: str) -> dict[str, Changed]:
    """By tensor, what an adapter makes of the base. Raises TrainerError where they do not fit together."""
    lora = gguf_copy.open_gguf(adapter)
    if int(_value(reader, "split.count") or 0) > 1:
        raise TrainerError(
            f"{base} is one of {_value(reader, 'split.count')} parts of a model: make one file of them first "
            "(`llama-gguf-split --merge`), and train on that"
        )
    theirs, ours = _value(lora, "general.architecture"), _value(reader, "general.architecture")
    if _value(lora, "adapter.type") != "lora" or theirs != ours:
        raise TrainerError(f"{adapter} is no LoRA for the architecture {ours}: choose another version, or train again")
    alpha = float(_value(lora, "adapter.lora.alpha") or 0)
    parts = {tensor.name: tensor for tensor in lora.tensors}
    weights = {tensor.name: tensor for tensor in reader.tensors}
    found = {}
    for name in sorted({name.removesuffix(".lora_a").removesuffix(".lora_b") for name in parts}):
        a, b = parts.get(f"{name}.lora_a"), parts.get(f"{name}.lora_b")
        weight = weights.get(name)
        if a is None or b is None or weight is None:
            raise TrainerError(f"{name} is not whole in {adapter}, or not in {base}: choose another version")
        low, high = _matrix(a), _matrix(b)  # (r, in), (out, r)
        if weight.shape.tolist() != [low.shape[1], high.shape[0]] or low.shape[0] != high.shape[1]:
            raise TrainerError(
                f"{name} of {base} is {weight.shape.tolist()[::-1]}, and {list(high.shape)} times {list(low.shape)} "
                "cannot be added to it: the adapter was trained for another model"
            )
        scale = alpha / low.shape[0] if alpha else 1.0  # as llama.cpp has it
        kind = weight.tensor_type.name
        found[name] = Changed(kind if kind in ("F32", "BF16") else "F16", _adding(low, high * np.float32(scale)))
    return found


def _adding(
    low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]
) -> Callable[[int, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    def values(first: int, old: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:  # (n, in)
        return np.asarray(old + high[first : first + len(old)] @ low)

    return values


def _matrix(tensor: Any) -> np.ndarray[Any, Any]:
    from gguf.quants import dequantize

    values = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
    return values.reshape([int(n) for n in reversed(tensor.shape)])


def _value(reader: Any, key: str) -> Any:
    field = reader.fields.get(key)
    return None if field is None else field.contents()
