"""Chat speed while a training run is under way, against idle: interleaved, medians.

The engine runs as in the chat (a child process that holds the generation lock while it answers), the trainer as the
chat starts it. For the idle measurements the trainer is stopped (SIGSTOP) and continued after (SIGCONT), so that both
kinds alternate on the same warm engine.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from chatapp.engine.base import EngineConfig, Sampling
from chatapp.engine.model_files import file_hash, resolve
from chatapp.engine.process import EngineProcess
from storage import paths
from storage.store import Store
from trainer.bench.loop import letters_a_word, record_rankings
from trainer.bench.prompts import PROMPTS
from trainer.errors import TrainerError
from trainer.served import served

TOKENS = 128


def measure(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Tokens a second of one answer and of three, idle and while training."""
    rounds = 2 if quick else 8
    gguf = resolve(settings.model, settings.cache_dir).path
    model_hash = file_hash(gguf, settings.cache_dir)
    with tempfile.TemporaryDirectory(prefix="hone-yield-") as folder:
        home = Path(folder)
        with Store.open(home) as store:
            config = EngineConfig(gguf, context_size=4096, lock_path=paths.generation_lock(home))
            with served(config) as engine:
                answered = [
                    (p, engine.generate([{"role": "user", "content": p}], 4, Sampling(max_tokens=64, seed=i * 16)))
                    for i, p in enumerate(PROMPTS[:12])
                ]
                record_rankings(store, gguf, model_hash, answered, letters_a_word)
                with training(store, model_hash, settings.cache_dir) as (run_id, pid):
                    result = _alternate(engine, pid, rounds)
                    before = store.runs.progress(run_id)
                    time.sleep(10)
                    result["training_goes_on"] = store.runs.progress(run_id) != before
    result["ok"] = quick or min(result["ratio_1"], result["ratio_3"]) >= 0.95
    return result


@contextmanager
def training(store: Store, model_hash: str, cache_dir: Path) -> Iterator[tuple[str, int]]:
    """A long run under way, in a process as the chat starts it: (run, pid)."""
    run = store.runs.queue("dpo", {"epochs": 100}, model_hash)
    command = [sys.executable, "-m", "trainer", "run", "--run", run.id, "--home", str(store.home)]
    environment = {**os.environ, "HONE_CACHE": str(cache_dir)}
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        while store.runs.progress(run.id) is None:
            if worker.poll() is not None:
                raise TrainerError(f"the training run ended before it began: {store.runs.get(run.id).error}")
            time.sleep(0.2)
        yield run.id, worker.pid
    finally:
        worker.kill()  # reaches a stopped process too
        worker.wait()


def _alternate(engine: EngineProcess, pid: int, rounds: int) -> dict[str, Any]:
    speeds: dict[tuple[int, str], list[float]] = {}
    for i in range(rounds):
        for state in ("idle", "training") if i % 2 else ("training", "idle"):
            os.kill(pid, signal.SIGSTOP if state == "idle" else signal.SIGCONT)
            time.sleep(0.5)
            for n in (1, 3):
                prompt = PROMPTS[(2 * i + n) % len(PROMPTS)]
                started = time.perf_counter()
                answers = engine.generate(
                    [{"role": "user", "content": prompt}], n, Sampling(max_tokens=TOKENS, seed=i, temperature=0.8)
                )
                tokens = sum(len(a.token_ids) for a in answers)
                speeds.setdefault((n, state), []).append(tokens / (time.perf_counter() - started))
    os.kill(pid, signal.SIGCONT)
    medians = {key: statistics.median(values) for key, values in speeds.items()}
    return {
        "rounds": rounds,
        "tokens_per_second": {f"{n} answers, {state}": round(v, 1) for (n, state), v in medians.items()},
        "ratio_1": medians[1, "training"] / medians[1, "idle"],
        "ratio_3": medians[3, "training"] / medians[3, "idle"],
    }
