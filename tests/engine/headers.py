"""Files that are GGUFs as far as their header goes."""

from __future__ import annotations

import struct
from pathlib import Path

CHAT: dict[str, str | int] = {
    "general.architecture": "llama",
    "general.file_type": 15,
    "general.size_label": "1B",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.chat_template": "{{ messages }}",
}


def gguf(path: Path, *, bytes: int = 2000, **fields: str | int) -> Path:
    """A chat model's header, with fields of `general.` changed, in a file of that many bytes."""
    known = CHAT | {f"general.{name}": value for name, value in fields.items()}
    return header(path, known, bytes)


def header(path: Path, fields: dict[str, str | int], bytes: int = 2000) -> Path:
    found = struct.pack("<4sIQQ", b"GGUF", 3, 0, len(fields))
    for name, value in fields.items():
        found += struct.pack("<Q", len(name)) + name.encode()
        if isinstance(value, int):
            found += struct.pack("<II", 4, value)
        else:
            found += struct.pack("<IQ", 8, len(value.encode())) + value.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(found.ljust(bytes, b"\0"))
    return path
