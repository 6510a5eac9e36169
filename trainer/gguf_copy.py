"""A copy of a GGUF with some tensors written in another type, or with other values, and everything else as it was.

Keys and values are copied as bytes: tokeniser, chat template and what this code has never heard of. The file is written
from front to back, some rows at a time, so a large model is never in memory as a whole.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import TrainerError

HEADER = 24  #: bytes before the keys: magic, version, two counts
PIECE = 1 << 22  #: bytes that are copied, or values that are computed, at a time
#: general.file_type (llama.h) of a file most of whose weights have that type; of others it stays what it was
FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}


@dataclass(frozen=True, slots=True)
class Changed:
    """A tensor that is written otherwise."""

    type: str  #: F32, F16 or BF16
    #: the new values of some rows, from the first of them and their old ones
    values: Callable[[int, np.ndarray[Any, Any]], np.ndarray[Any, Any]] = lambda _, old: old


def open_gguf(path: Path) -> Any:
    """A GGUFReader. Raises TrainerError where the file is broken."""
    from gguf import GGUFReader

    try:
        return GGUFReader(str(path))
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise TrainerError(f"{path} cannot be read as a GGUF ({error}): get the file again") from error


def copied_bytes(reader: Any, changed: Mapping[str, Changed]) -> int:
    """How large the copy becomes."""
    infos = sum(_info_bytes(tensor) for tensor in reader.tensors)
    data = sum(_padded(_bytes(tensor, changed), reader.alignment) for tensor in reader.tensors)
    return _padded(_keys_end(reader) + infos, reader.alignment) + data


def copy(
    reader: Any, made: Path, changed: Mapping[str, Changed], progress: Callable[[int], None] = lambda _: None
) -> None:
    """Write the copy; progress is told how many bytes were written. Raises OSError, and TrainerError."""
    alignment = int(reader.alignment)
    with open(made, "xb") as file:
        file.write(_head(reader, changed))
        offset = 0
        for tensor in reader.tensors:
            name = tensor.name.encode()
            dims = [int(n) for n in tensor.shape]
            kind = _type(changed[tensor.name].type if tensor.name in changed else tensor.tensor_type.name)
            file.write(struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dims)))
            file.write(struct.pack(f"<{len(dims)}QIQ", *dims, int(kind), offset))
            offset += _padded(_bytes(tensor, changed), alignment)
        file.write(bytes(-file.tell() % alignment))
        for tensor in reader.tensors:
            for piece in _written(reader, tensor, changed.get(tensor.name)):
                file.write(piece)
                progress(len(piece))
            file.write(bytes(-file.tell() % alignment))
        file.flush()
        os.fsync(file.fileno())


def _head(reader: Any, changed: Mapping[str, Changed]) -> bytes:
    """Everything before the list of tensors, with the new type of the file."""
    head = bytearray(reader.data[: _keys_end(reader)].tobytes())
    field = reader.fields.get("general.file_type")
    weights: Counter[str] = Counter()
    for tensor in reader.tensors:
        kind = changed[tensor.name].type if tensor.name in changed else tensor.tensor_type.name
        weights[kind] += int(tensor.n_elements)
    most = max(weights, key=lambda kind: weights[kind], default="")
    if field is not None and field.parts[-1].nbytes == 4 and most in FILE_TYPES:
        at = field.offset + sum(int(part.nbytes) for part in field.parts[:-1])
        struct.pack_into("<I", head, at, FILE_TYPES[most])
    return bytes(head)


def _written(reader: Any, tensor: Any, changed: Changed | None) -> Iterator[memoryview | bytes]:
    """A tensor's bytes, in pieces."""
    if changed is None:
        raw = reader.data[tensor.data_offset : tensor.data_offset + tensor.n_bytes]
        for start in range(0, len(raw), PIECE):
            yield memoryview(raw[start : start + PIECE])
        return
    from gguf.quants import dequantize

    rows = tensor.data.reshape(-1, tensor.data.shape[-1])
    step = max(1, PIECE // int(tensor.shape[0]))
    for start in range(0, len(rows), step):
        try:
            old = dequantize(rows[start : start + step], tensor.tensor_type)
        except NotImplementedError as error:
            raise TrainerError(
                f"{tensor.name} is of the type {tensor.tensor_type.name}, which cannot be read here: {error}"
            ) from error
        yield _encoded(changed.values(start, old.astype(np.float32, copy=False)), changed.type, tensor.name)


def _encoded(values: np.ndarray[Any, Any], kind: str, name: str) -> bytes:
    if kind == "BF16":
        from gguf.quants import quantize

        return quantize(np.ascontiguousarray(values, np.float32), _type(kind)).tobytes()
    if kind == "F16":
        with np.errstate(over="ignore"):
            values = values.astype("<f2")
        if not np.isfinite(values).all():
            raise TrainerError(f"{name} holds values that half precision cannot: the file was not written")
        return values.tobytes()
    return values.astype("<f4").tobytes()


def _type(name: str) -> Any:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[name]


def _keys_end(reader: Any) -> int:
    return int(reader.tensors[0].field.offset) if reader.tensors else HEADER


def _info_bytes(tensor: Any) -> int:
    return sum(int(part.nbytes) for part in tensor.field.parts)


def _bytes(tensor: Any, changed: Mapping[str, Changed]) -> int:
    if tensor.name not in changed:
        return int(tensor.n_bytes)
    return int(tensor.n_elements) * (4 if changed[tensor.name].type == "F32" else 2)


def _padded(bytes: int, alignment: int) -> int:
    return bytes + -bytes % int(alignment)
