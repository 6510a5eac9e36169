"""Everyday requests of our own (assets/simulation.jsonl): a pool to be judged, and others to be tested on.

A line is {"split", "kind", "prompt"}. No prompt, nor one much like it, is in both splits or among the texts of
neutral.jsonl and ordinary.jsonl: tests/trainer/test_simulate.py holds that.
"""

from __future__ import annotations

import json
import random
from typing import Literal

from storage.assets import asset

Split = Literal["pool", "test"]


def prompts(split: Split | None = None) -> list[str]:
    """In the order of the file; None: of both splits."""
    rows = [json.loads(line) for line in asset("simulation.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["prompt"] for row in rows if split in (None, row["split"])]


def drawn(split: Split, seed: int) -> list[str]:
    """A split in the order that a seed gives: fewer judgments with the same seed are the first of more."""
    found = prompts(split)
    random.Random(f"{split}:{seed}").shuffle(found)
    return found
