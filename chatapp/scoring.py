"""Asks the reward model which of several answers is best: one child process for as long as it is needed.

The trainer alone holds torch, so this is `python -m trainer score --serve`, a line of JSON for each line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

from chatapp import trainer_process
from chatapp.config import Settings
from chatapp.engine.base import Message


class ScoringError(RuntimeError):
    """The answers could not be scored; the text says why and what to do."""


class Scoring:
    """The child, started at once; a context manager. Its first score waits until the model is loaded."""

    def __init__(self, settings: Settings) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the child
        self._child = subprocess.Popen(
            trainer_process.command(settings, "score", "--serve"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **trainer_process.environment(settings)},
            start_new_session=True,  # Ctrl+C in the terminal is not for it
        )
        self._ready = False

    def __enter__(self) -> Scoring:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rewards(self, messages: Sequence[Message], answers: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        """What `hone score` says of each answer, given by its token ids. Raises ScoringError."""
        if not self._ready:
            self._line()
            self._ready = True
        assert self._child.stdin is not None
        try:
            asked = {"messages": list(messages), "answers": [list(ids) for ids in answers]}
            self._child.stdin.write(json.dumps(asked).encode() + b"\n")
            self._child.stdin.flush()
        except (OSError, ValueError):
            pass  # it ended: what it said is read below
        found = self._line()
        if "error" in found:
            raise ScoringError(str(found["error"]))
        scores: list[dict[str, Any]] = found["scores"]
        return scores

    def close(self) -> None:
        """Let it end; nothing of it is left."""
        self._shut(self._child.stdin)  # on which it ends
        try:
            self._child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.kill()
            self._child.wait()
        self._shut(self._child.stdout)  # last: whoever reads it in another thread has it until the child is gone
        self._errors.close()

    def kill(self) -> None:
        """End it at once, from any thread: who waits for scores gets a ScoringError."""
        self._child.kill()

    @staticmethod
    def _shut(pipe: IO[bytes] | None) -> None:
        if pipe is not None:
            with suppress(OSError):
                pipe.close()

    def _line(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            self._child.wait()
            self._errors.seek(0)
            told = self._errors.read().decode(errors="replace").strip().splitlines()
            said = next((t.removeprefix("trainer: ") for t in reversed(told) if t.startswith("trainer: ")), None)
            raise ScoringError(said or f"the process that scores answers ended with code {self._child.returncode}")
        found: dict[str, Any] = json.loads(line)
        return found
