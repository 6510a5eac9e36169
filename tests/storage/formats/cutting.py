"""A file with given bytes in it, and the records that are cut out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage.formats.files import Source


def written(folder: Path, content: bytes, name: str = "a.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def rows(path: Path, strict: bool = False) -> tuple[list[tuple[int, Any]], list[tuple[int, str]]]:
    source = Source(path, strict=strict)
    found = list(source.rows())
    assert source.read == len(found) + source.skipped.count
    assert all(reason.isprintable() for _, reason in source.skipped.reasons)
    return found, source.skipped.reasons
