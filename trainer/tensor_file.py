"""Writing a safetensors file so that it is whole or not there, with the errors that other files have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from torch import Tensor


def write(path: Path, tensors: Mapping[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Replace a file; its folder is made. Raises OSError, also on a full disk, and then the old file is still there.

    (safetensors has an error of its own for that, which no `except OSError` catches.)
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    made = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, str(made), about)
        with open(made, "rb+") as file:  # a torn file could have its whole length, and read as zeros
            os.fsync(file.fileno())
        made.replace(path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        with suppress(OSError):
            made.unlink()
