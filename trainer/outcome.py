"""What a run came to, and where its time went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Outcome:
    """What a run came to; `runs.result` and the command's JSON."""

    run: str
    state: str  #: of the run: done, rejected, failed, cancelled
    adapter: str | None = None
    adapter_state: str | None = None  #: live, candidate or rejected
    verdict: str | None = None
    error: str | None = None
    unused: list[str] = field(default_factory=list)  #: judgments that it could not use: they wait for no other run
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "state": self.state,
            "adapter": self.adapter,
            "adapter_state": self.adapter_state,
            "verdict": self.verdict or self.error,
            "metrics": self.metrics,
            **({"unused": self.unused} if self.unused else {}),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


class Clock:
    """Seconds by phase."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        before = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - before

    def finished(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self.started}
