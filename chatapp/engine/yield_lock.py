"""The file lock by which training makes way for answers.

Generators hold it shared; the trainer, between two pieces of work, takes it exclusively for an instant and lets
go, so it works only while nobody generates. A second file says that the trainer is waiting: a generator that is about
to start gives it up to GRACE, so a tight loop of answers cannot shut it out. Nobody waits for the other's work, except
the trainer for a running answer, which is the point. flock dies with its process: kill -9 leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatapp.engine.base import EngineError

GRACE = 0.05  #: seconds that a generator waits at most for a waiting trainer
_POLL = 0.01


class GenerationLock:
    """Both sides of the lock at path; any thread and any process may use one of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting = path.with_name(path.name + ".waiting")

    @contextmanager
    def generating(self) -> Iterator[None]:
        """Held during an answer, shared with other generators."""
        door = _open(self._waiting)
        try:
            _take(door, fcntl.LOCK_SH, GRACE)
        finally:
            os.close(door)
        held = _open(self.path)
        try:
            fcntl.flock(held, fcntl.LOCK_SH)  # blocks only for the instant that the trainer holds it
            yield
        finally:
            os.close(held)

    def wait_for_idle(self, timeout: float | None = None) -> bool:
        """Return as soon as nobody generates (True), or after timeout seconds (False). Nothing is held afterwards."""
        held = _open(self.path)
        door = -1
        try:
            if _take(held, fcntl.LOCK_EX, 0):
                return True
            deadline = None if timeout is None else time.monotonic() + timeout
            door = _open(self._waiting)
            _take(door, fcntl.LOCK_EX, timeout)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            return _take(held, fcntl.LOCK_EX, left)
        finally:
            os.close(held)
            if door >= 0:
                os.close(door)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EngineError(
            f"The lock file {path} cannot be opened: {error.strerror}. Make its folder writable, or set HONE_HOME."
        ) from error


def _take(file: int, kind: int, timeout: float | None) -> bool:
    """flock within timeout seconds. Polls: a blocking flock cannot be bounded without signals."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(_POLL)
