"""How the trainer is started, whoever does it: the chat, `hone train` or `hone eval`.

It is another process, `python -m trainer`, in a session of its own at the lowest priority; only rows of the database
and files pass between it and us.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chatapp.config import Settings
from storage import paths

#: starts a command with these additions to the environment and this log; tests put their own in its place
Spawn = Callable[[Sequence[str], Mapping[str, str], Path], "subprocess.Popen[bytes]"]


def command(settings: Settings, *arguments: str) -> list[str]:
    """`python -m trainer` with these settings, by the same Python, which finds the same packages.

    -P: a folder called trainer or storage where the user happens to be is not ours.
    """
    found = [sys.executable, "-P", "-m", "trainer", *arguments, "--home", str(settings.home)]
    return [*found, "--model", settings.model] if settings.model else found


def environment(settings: Settings) -> dict[str, str]:
    """What it needs beyond our own environment."""
    # a thread that waits must sleep, not spin, or the chat loses its cores
    return {"OMP_WAIT_POLICY": "PASSIVE", "HONE_CACHE": str(settings.cache_dir)}


def log_file(home: Path) -> Path:
    return paths.logs_dir(home) / "trainer.log"


def start_worker(settings: Settings, run_id: str, spawn: Spawn | None = None) -> subprocess.Popen[bytes]:
    """Start a worker for a queued run. Raises OSError when the process cannot be started."""
    asked = command(settings, "run", "--run", run_id)
    if nice := shutil.which("nice"):
        asked = [nice, "-n", "19", *asked]
    return (spawn or _spawn)(asked, environment(settings), log_file(settings.home))


def _spawn(asked: Sequence[str], extra: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with open(log, "ab") as output:
        return subprocess.Popen(
            list(asked),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **extra},
            start_new_session=True,  # the lesson goes on when the terminal closes
        )
