"""`hone simulate`: a thin call of `python -m trainer simulate`, which works in a temporary home."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess

from chatapp import trainer_process
from chatapp.config import Settings

#: seconds that it has for throwing its home away, after Ctrl+C
ENDING = 20
VALUES = (
    "user", "judgments", "seed", "flip", "kinds", "method", "rule", "rounds", "then", "keep", "prompts", "plot",
    "survey",
)  # fmt: skip


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    asked = trainer_process.command(settings, "simulate")
    for name in VALUES:
        if (value := getattr(arguments, name, None)) is not None:
            asked += [f"--{name}={value}"]
    asked += [f"--set={value}" for value in arguments.set]
    asked += ["--compare-all"] * arguments.compare_all + ["--list"] * arguments.list + ["--json"] * arguments.json
    environment = {**os.environ, **trainer_process.environment(settings)}
    process = subprocess.Popen(asked, stdin=subprocess.DEVNULL, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # or it would go on for hours without us
    try:
        return process.wait()
    except KeyboardInterrupt:  # the terminal told it too; subprocess.run would kill it while it cleans up
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
