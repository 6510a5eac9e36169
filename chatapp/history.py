"""Questions asked before, gone through with Up and Down; what was typed meanwhile waits at the end."""

from __future__ import annotations

from collections.abc import Sequence


class History:
    """A walk through old questions. `begun` until the walk is forgotten."""

    def __init__(self) -> None:
        self._questions: list[str] = []
        self._typed = ""
        self._at = -1  # -1: what was typed
        self.begun = False

    def begin(self, questions: Sequence[str], typed: str) -> None:
        """questions: the newest first."""
        self._questions, self._typed, self._at, self.begun = list(questions), typed, -1, True

    def step(self, step: int) -> str | None:
        """The text one older (-1) or newer (+1); None where there is none."""
        at = self._at - step
        if not -1 <= at < len(self._questions):
            return None
        self._at = at
        return self._typed if at < 0 else self._questions[at]

    def forget(self) -> None:
        self.begun = False
