"""Runs a part of a measurement in a process of its own, so that peaks of memory, threads and caches do not mix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.errors import TrainerError

_PROGRESS = "progress: "


def say(text: str) -> None:
    """To the person who waits."""
    print(text, file=sys.stderr, flush=True)


def report(text: str) -> None:
    """From a child: one line that its parent says."""
    say(_PROGRESS + text)


def run(module: str, job: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What `python -m module JOB RESULT`, two files of JSON, makes of the job.

    All are started alike. Raises TrainerError with the last line that the process said when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder:
        asked, answer = Path(folder) / "job.json", Path(folder) / "result.json"
        asked.write_text(json.dumps(job), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(asked), str(answer)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # TRL prints its metrics
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": one_gpu()},
        )
        assert process.stderr is not None, "it is a pipe"
        last = ""
        try:
            for line in process.stderr:
                if line.startswith(_PROGRESS):
                    say("  " + line.removeprefix(_PROGRESS).rstrip())
                else:
                    last = line.strip() or last
        except BaseException:
            process.terminate()  # interrupted: the child must not go on by itself
            raise
        finally:
            process.wait()
        if process.returncode or not answer.exists():
            raise TrainerError(f"{what} failed: {last or f'exit code {process.returncode}'}")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def follow_parent() -> None:
    """From a child: end when the measurement that it belongs to was killed, not compute for hours for nobody."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def one_gpu() -> str:
    """The first GPU that this process may use: TRL refuses to use several from one process."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
