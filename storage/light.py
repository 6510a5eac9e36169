"""sqlite_utils without pandas and numpy, which it imports wherever they are installed: 0.3 of 0.4 s of our start.

It wants them only to choose column types for their values; our schema names its types itself. Import it from here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HIDDEN = frozenset({"numpy", "pandas"})


class _Hider:
    """Finds no hidden package for the thread that made it; the others import what they want meanwhile."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in HIDDEN and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is hidden while sqlite_utils is imported", name=name)


@contextmanager
def _hidden() -> Iterator[None]:
    """Packages that are loaded already stay visible: they cost nothing any more."""
    hider = _Hider()
    sys.meta_path.insert(0, hider)
    try:
        yield
    finally:
        sys.meta_path.remove(hider)


with _hidden():
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

__all__ = ["Database", "Migrations"]
