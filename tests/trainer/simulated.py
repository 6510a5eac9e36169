"""An engine for the tests of `hone simulate`: its answers follow from the prompt and the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from chatapp.engine.base import Candidate, Message, Sampling, Timings


class FakeEngine:
    """Answers in short or long words, by chance from the prompt; with an adapter in short words alone."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Path | None]] = []
        self.adapter: Path | None = None

    def swap(self, adapter: Path | None) -> float:
        self.adapter = adapter
        return 0.0

    def generate(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Candidate]:
        prompt = messages[-1]["content"]
        self.asked.append((prompt, self.adapter))
        assert sampling.seed is not None
        return [candidate(self._text(prompt, sampling.seed + i), i, sampling.seed + i) for i in range(n)]

    def _text(self, prompt: str, seed: int) -> str:
        draw = hashlib.sha256(f"{prompt}:{seed}".encode()).digest()[0]
        some = ["sun", "considerations"] if self.adapter is None else ["sun", "moons"]
        names = ["day", "tree", "wind", "road", "bird", "rain", "lake", "door", "hand", "moon", "leaf", "sand"]
        return (
            " ".join(f"the {name} and the {some[(draw >> i) % len(some)]}," for i, name in enumerate(names[:6])) + "."
        )


def candidate(text: str, index: int = 0, seed: int = 0) -> Candidate:
    return Candidate(index, text, [5, 6, 7, 2], "stop", seed, 9, 0, 0, Timings(1.0, 2.0, 500.0))
