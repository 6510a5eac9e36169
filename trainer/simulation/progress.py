"""What a simulation is doing, on stderr: a line a phase, and on a terminal how far it is."""

from __future__ import annotations

import sys


class Progress:
    """quiet: says nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._open = False  #: a line is shown that will be written over

    def phase(self, text: str) -> None:
        """A new phase begins."""
        self.note(f"{text} ...")

    def note(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            print(f"{self._cleared()}{text}", file=sys.stderr, flush=True)

    def step(self, done: int, total: int) -> None:
        if self._live and not self._quiet:
            print(f"{self._cleared()}  {done} of {total}", end="", file=sys.stderr, flush=True)
            self._open = True

    def end(self) -> None:
        """Leave no half line behind."""
        if self._open:
            print(self._cleared(), end="", file=sys.stderr, flush=True)

    def _cleared(self) -> str:
        was, self._open = self._open, False
        return "\r\x1b[K" if was else ""
