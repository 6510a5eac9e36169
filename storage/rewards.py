"""Which reward model counts: that of the newest run that learned one for a model.

It lies in its run's folder, which forgetting empties. Not here: what is in it (trainer/total.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storage import paths
from storage.errors import NoRewardModel

if TYPE_CHECKING:
    from storage.store import Store

FILE = "reward.safetensors"
AGAIN = "train one with `hone train --method reward --wait`"


def file_of(store: Store, run_id: str) -> Path:
    """Where a run's reward model lies."""
    return paths.run_dir(store.home, run_id) / FILE


def current(store: Store, model_hash: str) -> Path:
    """The file of the one to rely on. Raises NoRewardModel, with why there is none."""
    runs = [r for r in store.runs.list() if r.model_hash == model_hash and r.state in ("done", "rejected")]
    # the reward model of a whole pipeline is good where it is there: what its gate refused is the policy
    found = [r for r in runs if r.kind == "reward" or (r.kind == "rlhf" and file_of(store, r.id).exists())]
    if not found:
        raise NoRewardModel(f"there is no reward model of this model yet: {AGAIN}")
    run = found[0]
    if run.kind == "reward" and run.state == "rejected":
        verdict = run.result.get("verdict", "")
        raise NoRewardModel(f"the reward model of run {run.number} was refused. {verdict}".strip())
    path = file_of(store, run.id)
    if not path.exists():
        raise NoRewardModel(
            f"the reward model of run {run.number} is gone (forgetting deletes what learned from it): {AGAIN}"
        )
    return path
