"""Training runs: queued by whoever wants one, worked off by the trainer, watched by the chat."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage import paths
from storage.errors import NotFound, StorageError
from storage.ids import new_id, now

if TYPE_CHECKING:
    from storage.store import Store

FINISHED = ("done", "rejected", "failed", "cancelled")
#: a running row whose heart has not beaten for this long belongs to a dead worker, even if its pid was given to another
STALE_SECONDS = 120.0
#: how often a run whose worker died is queued again
MAX_RESUMES = 2
_INTERRUPTED = "the trainer was interrupted; the run goes on from its last checkpoint"
_DEAD = "the trainer ended before it was done; nothing was changed and the judgments are still waiting"


@dataclass(frozen=True, slots=True)
class Run:
    id: str
    number: int
    kind: str
    model_hash: str | None
    state: str
    config: dict[str, Any]
    pid: int | None
    heartbeat_at: str | None
    cancel_requested_at: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    result: dict[str, Any]
    error: str | None

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    @property
    def interrupted(self) -> bool:
        """Its worker died, and the next one goes on from its checkpoint."""
        return self.state == "queued" and self.error is not None


def _run(row: Mapping[str, Any]) -> Run:
    return Run(**{**row, "config": json.loads(row["config"]), "result": json.loads(row["result"])})


class Runs:
    def __init__(self, store: Store) -> None:
        self._store = store

    def queue(self, kind: str = "dpo", config: Mapping[str, Any] | None = None, model_hash: str | None = None) -> Run:
        id = new_id()
        with self._store.write() as db:
            db.execute(
                "INSERT INTO runs(id, number, kind, model_hash, state, config, created_at) "
                "VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM runs), ?, ?, 'queued', ?, ?)",
                [id, kind, model_hash, json.dumps(dict(config or {}), sort_keys=True), now()],
            )
        return self.get(id)

    def claim(self, id: str, pid: int | None = None) -> bool:
        """Queued -> running, by compare-and-set: of two workers one gets it. How far a killed one came is forgotten."""
        time = now()
        with self._store.write() as db:
            claimed = db.execute(
                "UPDATE runs SET state = 'running', pid = ?, started_at = ?, heartbeat_at = ?, error = NULL "
                "WHERE id = ? AND state = 'queued'",
                [pid or os.getpid(), time, time, id],
            ).rowcount
            if claimed:
                db.execute("DELETE FROM run_metrics WHERE run_id = ? AND name LIKE 'progress.%'", [id])
            return bool(claimed)

    def configure(self, id: str, config: Mapping[str, Any]) -> None:
        """Replace the settings of a run that has not ended, so that whoever goes on with it has the same."""
        with self._store.write() as db:
            db.execute(
                "UPDATE runs SET config = ? WHERE id = ? AND state IN ('queued', 'running')",
                [json.dumps(dict(config), sort_keys=True), id],
            )

    def heartbeat(self, id: str) -> None:
        with self._store.write() as db:
            db.execute("UPDATE runs SET heartbeat_at = ? WHERE id = ? AND state = 'running'", [now(), id])

    def metrics(self, id: str, step: int, values: Mapping[str, float]) -> None:
        """Record numbers of one step; this beats the heart too."""
        with self._store.write() as db:
            db.conn.executemany(
                "INSERT OR REPLACE INTO run_metrics(run_id, step, name, value) VALUES (?, ?, ?, ?)",
                [(id, step, name, float(value)) for name, value in values.items()],
            )
            db.execute("UPDATE runs SET heartbeat_at = ? WHERE id = ? AND state = 'running'", [now(), id])

    def metric(self, id: str, step: int, name: str, value: float) -> None:
        self.metrics(id, step, {name: value})

    def read_metrics(self, id: str, name: str | None = None) -> builtins.list[tuple[int, str, float]]:
        rows = self._store.rows(
            "SELECT step, name, value FROM run_metrics WHERE run_id = ? AND (? IS NULL OR name = ?) "
            "ORDER BY step, name",
            [id, name, name],
        )
        return [(row["step"], row["name"], row["value"]) for row in rows]

    def progress(self, id: str) -> tuple[int, int] | None:
        """(steps done, steps in all) as the worker last said, or None before it said anything.

        In the second look (`checking`) its own steps alone.
        """
        total = self._last(id, "progress.total")
        if total is None:
            return None
        before = self._last(id, "progress.second_look") or 0
        return (self._last(id, "progress.step") or 0) - before, total - before

    def tell_practising(self, id: str, count: int) -> None:
        """What `practising` reads; 0 when the base answers no more."""
        self.metrics(id, 0, {"progress.practice": count})

    def practising(self, id: str) -> int | None:
        """How many requests the base has answered, to be practised on; None: it answers none now."""
        return self._last(id, "progress.practice") or None

    def checking(self, id: str) -> bool:
        """Whether a run tests itself once more, by K-fold."""
        return self._last(id, "progress.second_look") is not None

    def _last(self, id: str, name: str) -> int | None:
        value = self._store.value(
            "SELECT value FROM run_metrics WHERE run_id = ? AND name = ? ORDER BY step DESC LIMIT 1", [id, name]
        )
        return None if value is None else int(value)

    def record_judgments(self, id: str, judgments: Iterable[tuple[str, str]]) -> None:
        """Which judgments this run learned from ("train") and was tested on ("held_out"); what it had noted before, in
        an attempt that was interrupted, goes."""
        with self._store.write() as db:
            db.execute("DELETE FROM run_judgments WHERE run_id = ?", [id])
            db.conn.executemany(
                "INSERT OR REPLACE INTO run_judgments(run_id, judgment_id, split) VALUES (?, ?, ?)",
                [(id, judgment, split) for judgment, split in judgments],
            )

    def finish(self, id: str, state: str, result: Mapping[str, Any] | None = None, error: str | None = None) -> Run:
        if state not in FINISHED:
            raise StorageError(f"a run cannot finish as {state!r}; it must be one of {', '.join(FINISHED)}")
        with self._store.write() as db:
            db.execute(
                "UPDATE runs SET state = ?, result = ?, error = ?, finished_at = ? "
                "WHERE id = ? AND state IN ('queued', 'running')",
                [state, json.dumps(dict(result or {}), sort_keys=True), error, now(), id],
            )
        self._drop_checkpoints(id)
        return self.get(id)

    def get(self, id: str) -> Run:
        """By id, unique beginning of an id, or number."""
        rows = self._store.rows("SELECT * FROM runs WHERE id = ? OR CAST(number AS TEXT) = ?", [id, id])
        if not rows and len(id) >= 4:
            rows = self._store.rows("SELECT * FROM runs WHERE substr(id, 1, ?) = ?", [len(id), id])
        if len(rows) != 1:
            raise NotFound(f"there is no run {id}" if not rows else f"{id} fits {len(rows)} runs: write more of the id")
        return _run(rows[0])

    def list(self, limit: int | None = None) -> builtins.list[Run]:
        """The newest first."""
        sql = "SELECT * FROM runs ORDER BY number DESC" + (f" LIMIT {int(limit)}" if limit is not None else "")
        return [_run(row) for row in self._store.rows(sql)]

    def latest(self, states: Sequence[str] | None = None) -> Run | None:
        where = f"WHERE state IN ({','.join('?' * len(states))})" if states else ""
        row = self._store.row(f"SELECT * FROM runs {where} ORDER BY number DESC LIMIT 1", list(states or ()))
        return _run(row) if row else None

    def active(self) -> Run | None:
        """The run under way, else the one next in the queue."""
        return self.latest(["running"]) or self.next_queued()

    def next_queued(self) -> Run | None:
        row = self._store.row("SELECT * FROM runs WHERE state = 'queued' ORDER BY number LIMIT 1")
        return _run(row) if row else None

    def request_cancel(self, id: str) -> None:
        """A queued run is cancelled at once, a running one when its worker looks next."""
        with self._store.write() as db:
            db.execute("UPDATE runs SET cancel_requested_at = ? WHERE id = ?", [now(), id])
            db.execute(
                "UPDATE runs SET state = 'cancelled', finished_at = ?, error = 'it was cancelled before it ' || "
                "iif(error IS NULL, 'began', 'went on') WHERE id = ? AND state = 'queued'",
                [now(), id],
            )
        if self.get(id).finished:
            self._drop_checkpoints(id)

    def cancel_requested(self, id: str) -> bool:
        return bool(self._store.value("SELECT cancel_requested_at FROM runs WHERE id = ?", [id]))

    def recover(self, resume: bool = True) -> builtins.list[Run]:
        """Settle the runs of dead workers and return them, so that the caller can say so.

        One that left a checkpoint is queued again, at most MAX_RESUMES times (`Run.interrupted`): whoever recovers it
        starts a worker. Others have failed; one that was to be cancelled is. resume: False lets all of them end.
        """
        found = []
        for row in self._store.rows("SELECT * FROM runs WHERE state = 'running'"):
            run = _run(row)
            if _alive(run.pid) and _age(run.heartbeat_at) < STALE_SECONDS:
                continue
            times = len(self.read_metrics(run.id, "resumed"))
            again = resume and times < MAX_RESUMES and not run.cancel_requested_at and bool(self.checkpoints(run.id))
            state = "queued" if again else "cancelled" if run.cancel_requested_at else "failed"
            with self._store.write() as db:
                changed = db.execute(
                    "UPDATE runs SET state = ?, finished_at = ?, error = ?, pid = NULL WHERE id = ? "
                    "AND state = 'running' AND heartbeat_at IS ?",
                    [state, None if again else now(), _INTERRUPTED if again else _DEAD, run.id, run.heartbeat_at],
                ).rowcount
                if changed and again:
                    self.metrics(run.id, times + 1, {"resumed": times + 1})
            if changed:
                if not again:
                    self._drop_checkpoints(run.id)
                found.append(self.get(run.id))
        return found

    def interrupted(self) -> builtins.list[Run]:
        """Runs that wait for a worker to go on with them, the oldest first."""
        rows = self._store.rows("SELECT * FROM runs WHERE state = 'queued' AND error IS NOT NULL ORDER BY number")
        return [_run(row) for row in rows]

    def checkpoints(self, id: str) -> builtins.list[Path]:
        """What a fit under way left on disk, half-written files too."""
        return sorted(paths.run_dir(self._store.home, id).glob("checkpoint-*"))

    def _drop_checkpoints(self, id: str) -> None:
        """They are of no use once the run has ended, and what they learned from may be forgotten one day."""
        for file in self.checkpoints(id):
            try:
                file.unlink(missing_ok=True)
            except OSError:
                pass  # forgetting empties the folder, and says so if it cannot


def _alive(pid: int | None) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie answers to signals but will never beat again
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _age(time: str | None) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds() if time else float("inf")
