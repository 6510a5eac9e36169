"""An engine that a test feeds word by word, and a home folder without a real model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from chatapp.engine.base import (
    Candidate,
    EngineConfig,
    EngineInfo,
    FinishReason,
    Message,
    Sampling,
    Timings,
)

TEXTS = (
    "The first answer.",
    "The second answer, which is a little longer than the first one.",
    "The third answer.\n\nIt has two paragraphs.",
    "The fourth.",
)


class FakeEngine:
    """Answers with `texts`. With `hold` set, generate() waits until `release()` or stop()."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config
        self.texts: Sequence[str] = TEXTS
        self.hold = False
        self.error: Exception | None = None
        self.load_error: Exception | None = None
        self.finish_reason: FinishReason = "stop"
        self.dropped = 0
        self.asked: list[list[Message]] = []
        self.swaps: list[Path | None] = []
        self.closed = False
        self.generating = threading.Event()
        self._feed: queue.Queue[tuple[int, str] | None] = queue.Queue()
        self._stop = threading.Event()

    @property
    def info(self) -> EngineInfo:
        if self.load_error is not None:
            raise self.load_error
        return EngineInfo("Fake 1M", "fake", 1_000_000, 2048, 2048, "0" * 64, None)

    def feed(self, index: int, text: str) -> None:
        """Stream text of answer index, while held."""
        self._feed.put((index, text))

    def release(self) -> None:
        """Let a held generate() end with what was fed."""
        self._feed.put(None)

    def generate(
        self,
        messages: Sequence[Message],
        n: int,
        sampling: Sampling,
        on_token: Callable[[int, str], None] | None = None,
    ) -> list[Candidate]:
        self._stop.clear()
        self.asked.append(list(messages))
        self.generating.set()
        try:
            if self.error is not None and not self.hold:
                raise self.error
            said = [""] * n
            reason: FinishReason = self.finish_reason
            if self.hold:
                while True:
                    if self._stop.is_set():
                        reason = "cancelled"
                        break
                    try:
                        item = self._feed.get(timeout=0.01)
                    except queue.Empty:
                        continue
                    if item is None:
                        if self.error is not None:  # in the middle of an answer
                            raise self.error
                        break
                    said[item[0]] += item[1]
                    if on_token is not None:
                        on_token(*item)
            else:
                for index in range(n):
                    said[index] = self.texts[index % len(self.texts)]
                    if on_token is not None:
                        on_token(index, said[index])
            return [
                Candidate(
                    index=index,
                    text=text,
                    token_ids=list(range(len(text.split()))),
                    finish_reason=reason,
                    seed=7 + index,
                    prompt_tokens=5,
                    cached_tokens=0,
                    dropped_messages=self.dropped,
                    timings=Timings(10.0, 12.0, 110.0),
                )
                for index, text in enumerate(said)
            ]
        finally:
            self.generating.clear()

    def score(self, messages: Sequence[Message], response: str | Sequence[int]) -> list[float]:
        return [-1.0]

    def swap(self, adapter_path: Path | None) -> float:
        if self.error is not None:
            raise self.error
        self.swaps.append(adapter_path)
        return 1.0

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._stop.set()
        self.closed = True


class FakeChild:
    """A trainer process that a test ends."""

    def __init__(self) -> None:
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode


class FakeSpawn:
    """Remembers the commands instead of running them."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.children: list[FakeChild] = []

    def __call__(self, command: Sequence[str], environment: Any, log: Path) -> Any:
        self.commands.append(list(command))
        self.children.append(FakeChild())
        return self.children[-1]


def make_settings(tmp_path: Path, **changes: Any) -> Settings:
    """Settings of a fresh home, with a file that passes for a model."""
    model = tmp_path / "fake.gguf"
    if not model.exists():
        model.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(24))
    values: dict[str, Any] = {"idle_seconds": 0.0, "auto_train": False, "model": str(model)} | changes
    return Settings(home=tmp_path / "home", config_file=tmp_path / "none.toml", cache_dir=tmp_path / "cache", **values)
