"""A copy of a small model in half precision, for rollouts: llama.cpp multiplies whole batches of F16 by F16 faster than
it unpacks most 4-bit formats, and loses less (docs/experiments.md). For a chat, one row at a time, the file that has
fewer bytes is the faster one, so there the model stays as it is.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from chatapp.engine import native
from chatapp.engine.base import EngineError

NAME = "rollouts-f16.gguf"
UNFINISHED = ".rollouts-"  #: how the names begin of copies that are being made
LARGEST = 1 << 29  #: bytes of a file that is copied; what is larger would not fit beside the trainer twice
F16 = 1  #: LLAMA_FTYPE_MOSTLY_F16


def half_precision(gguf: Path, folder: Path) -> Path:
    """The copy in folder, made if it is missing; gguf itself where it is large, or cannot be copied."""
    copy = folder / NAME
    for left in folder.glob(f"{UNFINISHED}*"):  # by a process that was killed; making one takes seconds
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    if copy.exists():
        return copy
    if gguf.stat().st_size > LARGEST:
        return gguf
    lib = native.library()
    params = lib.llama_model_quantize_default_params()
    params.ftype = F16
    params.allow_requantize = True
    params.output_tensor_type = params.token_embedding_type = F16
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=folder, prefix=UNFINISHED, suffix=".gguf")
        os.close(descriptor)
    except OSError as error:
        raise EngineError(f"{folder} cannot be written: {error.strerror}. Free some space there.") from error
    try:
        native.take_errors()
        if lib.llama_model_quantize(os.fsencode(gguf), os.fsencode(made), ctypes.byref(params)) != 0:
            native.note(f"no copy in half precision: {native.take_errors() or 'no reason given'}")
            return gguf
        os.replace(made, copy)
        return copy
    finally:
        Path(made).unlink(missing_ok=True)
