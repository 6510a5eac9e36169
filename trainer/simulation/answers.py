"""What the base answers to the prompts, kept on disk: it is the same for every simulated user.

The file lies in the cache folder, never in a home, under a name made of the model and the sampling. A line is one
batch of candidates; lines are only ever added, and one that was cut off is passed over. What an adapter answers is
never kept. Seeds follow from the prompt, so the same model gives the same answers in every run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol

from chatapp.engine.base import Candidate, Message, Sampling, Timings

#: which answers: to be judged; the base's and the new version's in the comparison
Purpose = Literal["judged", "base", "new"]
TEMPERATURE = 0.8
MAX_TOKENS = 256


class Answering(Protocol):
    """The part of an engine that is needed here."""

    def generate(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Candidate]: ...


def sampling(prompt: str, purpose: Purpose, max_tokens: int = MAX_TOKENS) -> Sampling:
    """The chat's defaults at a temperature of 0.8, with a seed of this prompt's own for each purpose."""
    digest = hashlib.sha256(f"{purpose}:{prompt}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big") & ~0xF  # candidate i draws with seed + i
    return Sampling(temperature=TEMPERATURE, max_tokens=max_tokens, seed=seed)


def seconds(batch: Sequence[Candidate]) -> float:
    """How long a batch took when it was made: what a user waits for."""
    return max((c.timings.total_ms for c in batch), default=0.0) / 1000


class Answers:
    """The base's answers, from the file where they are there. Several processes may add to it at once."""

    def __init__(self, folder: Path, model_hash: str, max_tokens: int = MAX_TOKENS) -> None:
        """folder: of the cache; made when something is kept. max_tokens: of one answer."""
        asked = sampling("", "base", max_tokens)
        name = f"{model_hash[:16]}-t{asked.temperature:g}-p{asked.top_p:g}-m{asked.min_p:g}-{max_tokens}.jsonl"
        self.path = folder / name
        self.max_tokens = max_tokens
        self._known = dict(_read(self.path))

    def __contains__(self, asked: tuple[str, Purpose, int]) -> bool:
        return asked in self._known

    def get(self, engine: Callable[[], Answering], prompt: str, purpose: Purpose, n: int) -> list[Candidate]:
        """n answers of the base. engine gives one without an adapter; it is called only where they are not kept yet."""
        key = (prompt, purpose, n)
        if key not in self._known:
            self._known[key] = answer(engine(), prompt, purpose, n, self.max_tokens)
            self._keep(key)
        return self._known[key]

    def _keep(self, key: tuple[str, Purpose, int]) -> None:
        batch = self._known[key]
        row = {"prompt": key[0], "purpose": key[1], "n": key[2], "candidates": [asdict(c) for c in batch]}
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last one was cut off
            os.write(file, line)
        finally:
            os.close(file)


def answer(engine: Answering, prompt: str, purpose: Purpose, n: int, max_tokens: int) -> list[Candidate]:
    """n answers as one batch, from whatever the engine has swapped in."""
    return engine.generate([Message(role="user", content=prompt)], n, sampling(prompt, purpose, max_tokens))


def _read(path: Path) -> list[tuple[tuple[str, Purpose, int], list[Candidate]]]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            row = json.loads(line)
            found.append(((row["prompt"], row["purpose"], row["n"]), [_candidate(c) for c in row["candidates"]]))
        except (ValueError, KeyError, TypeError):
            continue  # cut off, or written by an older version: it is made again
    return found


def _candidate(row: dict[str, Any]) -> Candidate:
    return Candidate(**{**row, "timings": Timings(**row["timings"])})
