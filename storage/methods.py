"""The ways to learn, by the names that `hone train --method` takes and `runs.kind` holds."""

from __future__ import annotations

METHODS = ("dpo", "sft", "reward", "ppo", "rlhf")
