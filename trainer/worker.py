"""One run, from queued to promoted, rejected, failed or cancelled.

The order makes a kill at any instant harmless: the adapter's files are complete before its row exists, the row is a
candidate before it is live, and going live is one compare-and-set on what was live when the run began. A worker
that died leaves a running row, which the next one (or the chat) queues again if there is a checkpoint and marks as
failed if not, and at most files that the next one removes. Only the main process of an `accelerate launch` touches
the store; the others compute.
"""

from __future__ import annotations

import errno
import os
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatapp.engine.base import EngineError
from chatapp.engine.model_files import file_hash, resolve
from storage import paths
from storage.errors import DiskFull, StorageError
from storage.locks import FileLock
from storage.store import Store
from trainer.config import CONFIGS
from trainer.errors import Cancelled, TrainerError
from trainer.outcome import Clock, Outcome

HEARTBEAT_SECONDS = 5.0
_POLL = 0.5


def work(
    home: Path,
    cache_dir: Path,
    model: str | None = None,
    *,
    run_id: str | None = None,
    method: str = "dpo",
    overrides: Mapping[str, Any] | None = None,
    train_base: Path | None = None,
    started: float | None = None,
) -> Outcome:
    """Do one run: the given one, or a new one. Waits while another trainer works on this home.

    Errors of the run come back as its outcome; StorageError and EngineError of the set-up are raised.
    """
    clock = Clock(time.perf_counter() if started is None else started)
    if int(os.environ.get("RANK", "0")) > 0:
        return _assist(cache_dir, train_base, clock)
    gguf = resolve(model, cache_dir).path
    model_hash = file_hash(gguf, cache_dir)
    with Store.open(home) as store:
        lock = FileLock(paths.trainer_lock(home))
        if run_id is None:
            run_id = store.runs.queue(method, dict(overrides or {}), model_hash).id
        run = store.runs.get(run_id)
        while not lock.acquire(blocking=False):
            if store.runs.get(run.id).finished:
                break
            time.sleep(_POLL)
        try:
            store.runs.recover()
            for other in store.runs.interrupted():
                same = (other.model_hash, other.kind) == (run.model_hash, run.kind)
                if lock.held and other.number < run.number and same:
                    store.runs.finish(other.id, "failed", error=f"it was interrupted, and run {run.number} took over")
            if not lock.held or not store.runs.claim(run.id, os.getpid()):
                run = store.runs.get(run.id)
                raise TrainerError(f"run {run.number} cannot be started: it is {run.state} already")
            if run.kind not in CONFIGS:
                error = f"there is no method {run.kind!r}; there are {', '.join(CONFIGS)}"
                store.runs.finish(run.id, "failed", error=error)
                raise TrainerError(error)
            config = {**run.config, **(overrides or {})}
            if config != run.config:
                store.runs.configure(run.id, config)
            with _heartbeat(store, run.id):
                return _run(store, run.id, config, gguf, model_hash, cache_dir, train_base, clock)
        finally:
            lock.release()


def _run(
    store: Store,
    run_id: str,
    config: Mapping[str, Any],
    gguf: Path,
    model_hash: str,
    cache_dir: Path,
    train_base: Path | None,
    clock: Clock,
) -> Outcome:
    """The claimed run; every way out of here finishes its row."""
    outcome = Outcome(run_id, "failed")
    try:
        method = store.runs.get(run_id).kind
        parsed = CONFIGS[method].read(config)
        with clock.phase("imports"):
            from trainer import task  # torch, transformers, peft: seconds
            from trainer.methods import TASKS
            from trainer.team import Team

            task.import_libraries()
            team = Team()
        cancelled = _Cancelled(store, run_id)
        kind = TASKS[method]
        outcome = kind(
            store, run_id, parsed, set(config), gguf, model_hash, cache_dir, train_base, team, clock, cancelled
        ).run()
    except Cancelled as error:
        outcome.state, outcome.error = "cancelled", f"{error}; nothing was changed"
    except (TrainerError, StorageError, EngineError) as error:
        outcome.error = str(error)
    except Exception as error:
        outcome.error = _explain(error, store.home, run_id)
    outcome.seconds = outcome.seconds or clock.finished()
    try:
        store.runs.finish(run_id, outcome.state, outcome.as_dict(), outcome.error)
    except DiskFull as error:  # the row stays "running", and the next start marks it as failed
        outcome.state, outcome.error = "failed", str(error)
    return outcome


def _assist(cache_dir: Path, train_base: Path | None, clock: Clock) -> Outcome:
    """A further process of `accelerate launch`: no store; the main process says what to compute and what went wrong."""
    from trainer import lesson
    from trainer.team import Team

    try:
        return lesson.assist(cache_dir, train_base, Team(), clock)
    except (Cancelled, TrainerError):
        return Outcome("", "failed")
    except Exception as error:
        # a closed connection is the main process that ended; anything else happened here
        closed = isinstance(error, RuntimeError) and "clos" in str(error).lower()
        return Outcome("", "failed", error=None if closed else f"{type(error).__name__}: {error}")


def _explain(error: Exception, home: Path, run_id: str) -> str:
    """One sentence for an unforeseen error; its traceback goes to the run's folder."""
    text = (str(error).strip().splitlines() or [""])[0][:300]
    lowered = str(error).lower()
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "no space left" in lowered:
        return f"the disk is full ({text}); free some space and train again, the version in use was not touched"
    if isinstance(error, MemoryError) or "out of memory" in lowered or "can't allocate memory" in lowered:
        return (
            "there is too little memory for this training run; close other programs, use a smaller model, or lower "
            f"micro_tokens ({text})"
        )
    folder = paths.run_dir(home, run_id)
    try:
        # never the home itself: somebody who removed it while a run went on wants it gone
        folder.parent.mkdir(exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        (folder / "error.log").write_text("".join(traceback.format_exception(error)))
        where = f"; the details are in {folder / 'error.log'}"
    except OSError:
        where = ""
    return f"the trainer failed: {type(error).__name__}: {text}{where}"


class _Cancelled:
    """Asks the store at most a few times a second."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._asked, self._answer = 0.0, False

    def __call__(self) -> bool:
        if not self._answer and time.monotonic() - self._asked > 0.3:
            self._asked = time.monotonic()
            self._answer = self._store.runs.cancel_requested(self._run_id)
        return self._answer


@contextmanager
def _heartbeat(store: Store, run_id: str) -> Iterator[None]:
    """Shows that this process lives, also while it loads a model or samples answers."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            try:
                store.runs.heartbeat(run_id)
            except StorageError:
                pass  # a full disk or a long lock: the next beat may succeed

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=HEARTBEAT_SECONDS)
