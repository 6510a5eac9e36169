"""A training run as the chat starts it: `python -m trainer run` in a process of its own, so that its seconds are those
that a user waits, imports included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatapp import trainer_process
from chatapp.config import Settings
from storage.store import Store
from trainer.errors import TrainerError

_POLL = 0.2

#: what a run came to, as `python -m trainer run --json` prints it
Result = dict[str, Any]
#: called with (steps done, steps in all) while a run goes on
OnStep = Callable[[int, int], None]


def train(
    store: Store, settings: Settings, overrides: Mapping[str, Any], on_step: OnStep, method: str = "dpo"
) -> Result:
    """Train on what the store's home holds and wait for the verdict. The process ends with this one's interruption.

    A run that failed comes back as its result; TrainerError where the process says nothing.
    """
    asked = trainer_process.command(replace(settings, home=store.home), "run", "--json", "--method", method)
    for name, value in overrides.items():
        asked += ["--set", f"{name}={json.dumps(value)}"]
    out, err = store.home / "run.json", store.home / "run.log"
    started = time.perf_counter()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            asked,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **trainer_process.environment(settings)},
            start_new_session=True,  # as the chat does: its niceness is that of a session
        )
        try:
            while process.poll() is None:
                time.sleep(_POLL)
                if (run := store.runs.active()) and (progress := store.runs.progress(run.id)):
                    on_step(*progress)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    seconds = time.perf_counter() - started
    try:
        result: Result = json.loads(out.read_text())
    except ValueError:
        raise TrainerError(f"the training run ended with code {process.returncode}: {_last_line(err)}") from None
    result["seconds"]["run"] = seconds
    return result


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
