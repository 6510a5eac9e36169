"""`hone bench NAME`: a thin call of `python -m trainer bench`, which measures in a process of its own."""

from __future__ import annotations

import argparse
import os
import subprocess

from chatapp import trainer_process
from chatapp.config import Settings


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    asked = trainer_process.command(settings, "bench", arguments.name)
    asked += ["--quick"] * arguments.quick + ["--json"] * arguments.json
    for name in ("shape", "data", "out"):
        if value := getattr(arguments, name):
            asked += [f"--{name}", value]
    asked += [part for name in ("only", "set") for value in getattr(arguments, name) for part in (f"--{name}", value)]
    environment = {**os.environ, **trainer_process.environment(settings)}
    return subprocess.run(asked, stdin=subprocess.DEVNULL, env=environment).returncode
