"""Learning, as the chat sees it: when a training run starts, how far it is, what came of it.

The trainer is another process. This side queues a row, starts `python -m trainer run` at the lowest priority, and
reads rows; it never waits for the trainer, and the trainer outlives the chat.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatapp.config import Settings
from chatapp.gate_words import lacks_judgments, told
from chatapp.session import Note
from chatapp.switching import HELD
from chatapp.trainer_process import Spawn, log_file, start_worker

if TYPE_CHECKING:
    from storage.runs import Run
    from storage.store import Store


@dataclass(frozen=True, slots=True)
class Progress:
    """What the status line shows."""

    waiting: int
    needed: int  #: judgments that start the next lesson: more than usual after one that failed or was cancelled
    running: bool = False
    step: int = 0
    total: int = 0
    paused: bool = False  #: by the user: lessons do not start by themselves
    held: bool = False  #: a version was chosen by hand, and nothing was judged since
    checking: bool = False  #: the steps are those of the second look, which few judgments can ask for
    practising: int | None = None  #: requests that the base has answered, to be practised on, while it does

    @property
    def text(self) -> str:
        if self.running:
            if not self.total:
                return f"learning: practice {self.practising}" if self.practising else "learning: starting"
            if self.step >= self.total:
                return "testing"  # for how long is not known; what is learned is learned
            filled = round(8 * self.step / self.total)
            doing = "testing" if self.checking else "learning"
            return f"{doing} {'━' * filled}{'╌' * (8 - filled)} {100 * self.step // self.total}%"
        if self.paused:
            return f"{self.waiting} waiting, learning paused"
        if self.held:
            return HELD
        return f"{self.waiting}/{self.needed} to next lesson" if self.more else "lesson at the next pause"

    @property
    def more(self) -> int:
        """Judgments that the next lesson waits for; 0: it begins when nobody types and nothing is generated."""
        return max(0, self.needed - self.waiting)

    @property
    def words(self) -> str:
        """`text` for the ear: without a bar."""
        if self.running and self.total and self.step < self.total:
            return f"{'testing' if self.checking else 'learning'}: {100 * self.step // self.total} percent"
        if self.running:
            return self.text
        if self.paused:
            return f"{judgments(self.waiting)} waiting, learning paused"
        if self.held:
            return HELD
        return f"{judgments(self.more, ' more')} to the next lesson" if self.more else self.text

    @property
    def next_one(self) -> str:
        """When lessons go on; empty where that does not hang on a number of judgments."""
        if self.paused or self.held:
            return ""
        return f"the next lesson comes after {judgments(max(1, self.more), ' more')}"


def judgments(count: int, which: str = "") -> str:
    """ "1 judgment", "3 more judgments"."""
    return f"{count}{which} judgment{'s' if count != 1 else ''}"


class Lessons:
    """Watches the runs of one model and starts them. Every method is quick; call them from one thread."""

    def __init__(self, store: Store, settings: Settings, model_hash: str, spawn: Spawn | None = None) -> None:
        self.store = store
        self.settings = settings
        self.model_hash = model_hash
        self.paused = not settings.auto_train  #: by the user
        self._spawn = spawn
        self._child: subprocess.Popen[bytes] | None = None
        self._child_run: str | None = None
        self._count: int | None = None  # waiting judgments; None: count again
        self._version: int | None = None  # of the database, when it was counted
        self._not_before = 0  # judgments that must wait before the next try, after one that failed
        latest = next((run for run in store.runs.list() if run.kind == "dpo"), None)
        self._told: set[str] = {run.id for run in store.runs.list() if run.finished}
        if latest is not None and latest.state in ("failed", "cancelled") and latest.model_hash == model_hash:
            self._not_before = self._waiting() + 1

    def recover(self) -> tuple[Note, ...]:
        """Say which lessons ended with their process, and start a worker for those that can be gone on with."""
        found = self.store.runs.recover()
        self._told |= {run.id for run in found if run.finished}
        notes = [Note(f"Lesson {run.number} did not finish: {run.error}.", error=True) for run in found if run.finished]
        again = [run for run in found if run.interrupted and run.model_hash == self.model_hash]
        return (*notes, *(self._go_on(run) for run in again or self._left_waiting()))

    def _left_waiting(self) -> list[Run]:
        """An interrupted lesson that another command queued again, unless our own worker is about to take it."""
        if self._child is not None or not self.model_hash or self.store.runs.latest(["running"]) is not None:
            return []
        return [run for run in self.store.runs.interrupted() if run.model_hash == self.model_hash][:1]

    def _go_on(self, run: Run) -> Note:
        return self._begin(run, f"Lesson {run.number} was interrupted and goes on from its last checkpoint.")

    def _begin(self, run: Run, line: str) -> Note:
        """Start a worker for a queued run; the line, or what was in the way."""
        try:
            self._child = start_worker(self.settings, run.id, self._spawn)
        except OSError as error:
            self.store.runs.finish(run.id, "failed", error=f"the trainer could not be started: {error}")
            return self._tell(run.id)
        self._child_run = run.id
        return Note(line)

    def recount(self) -> None:
        """A judgment was recorded or taken back."""
        self._count = None

    def _waiting(self) -> int:
        # counting looks at every judgment: only when something was written
        version = self.store.data_version()
        if self._count is None or version != self._version:
            self._version = version
            self._count = self.store.judgments.waiting(self.model_hash)
        return self._count

    def progress(self) -> Progress:
        run = self.store.runs.active()
        step, total = (self.store.runs.progress(run.id) or (0, 0)) if run else (0, 0)
        checking = run is not None and self.store.runs.checking(run.id)
        practising = self.store.runs.practising(run.id) if run and not total else None
        return Progress(
            self._waiting(), self._needed(), run is not None, step, total, self.paused, self._held(), checking,
            practising,
        )  # fmt: skip

    def _needed(self) -> int:
        return max(self.settings.train_after, self._not_before)

    def _held(self) -> bool:
        return self.store.adapters.promotion_paused(self.model_hash)

    def tick(self, idle: bool) -> tuple[Note, ...]:
        """Look at the runs, say what is new, and start one if it is time. idle: nobody types, nothing is generated."""
        notes = [*self.recover(), *self._watch_child(), *self._verdicts()]
        if (
            idle
            and not self.paused
            and not self._held()
            and self.store.runs.active() is None
            and self._waiting() >= self._needed()
        ):
            notes.append(self.start())
        return tuple(notes)

    def start(self) -> Note:
        """Start a lesson now. The line says what became of it."""
        if not self.model_hash:
            return Note("There is no model to teach.", error=True)
        active = self.store.runs.active()
        if active is not None and active.kind != "dpo":
            return Note(f"Run {active.number} ({active.kind}) is under way: a lesson can begin after it.")
        if active is not None and active.state == "running":
            return Note(f"Lesson {active.number} is under way already.")
        if active is not None and self._child is not None and self._child.poll() is None:
            return Note(f"Lesson {active.number} is about to begin.")
        waiting = self._waiting()
        if active is None and waiting == 0:
            return Note("There is nothing new to learn from yet: judge some answers first.")
        run = active or self.store.runs.queue(kind="dpo", model_hash=self.model_hash)
        return self._begin(run, f"Lesson {run.number} begins, with {judgments(waiting, ' new')}. You can go on.")

    def cancel(self) -> Note:
        """End the lesson under way at its next step."""
        run = self.store.runs.active()
        if run is None:
            return Note("No lesson is under way.")
        self.store.runs.request_cancel(run.id)
        return Note(f"Lesson {run.number} will stop at its next step.")

    def toggle(self) -> Note:
        """Let lessons start by themselves, or no longer."""
        self.paused = not self.paused
        if self.paused:
            return Note("Lessons no longer start by themselves. Judgments go on being recorded.")
        after = self.progress().next_one
        return Note(f"Lessons start by themselves again{f': {after}' if after else ''}.")

    def _watch_child(self) -> list[Note]:
        """A worker that died before it claimed its run, or in it."""
        if self._child is None or self._child_run is None or self._child.poll() is None:
            return []
        code, id = self._child.returncode, self._child_run
        self._child = self._child_run = None
        run = self.store.runs.get(id)
        if not run.finished and not run.interrupted:
            self.store.runs.finish(
                id, "failed", error=f"the trainer ended (exit code {code}); its log is {log_file(self.store.home)}"
            )
        return []  # _verdicts tells it

    def _verdicts(self) -> list[Note]:
        """What finished runs found, said once each."""
        fresh = [run for run in self.store.runs.list(limit=20) if run.finished and run.id not in self._told]
        return [self._tell(run.id) for run in reversed(fresh)]

    def _tell(self, run_id: str) -> Note:
        run = self.store.runs.get(run_id)
        self._told.add(run.id)
        if run.state in ("failed", "cancelled") and run.kind == "dpo":
            self._not_before = self._waiting() + self.settings.train_after
        elif run.state in ("done", "rejected") and run.kind != "reward" and run.model_hash == self.model_hash:
            self._not_before = 0  # what waited has been learned from
        return _verdict(run, self.progress().next_one)


def _verdict(run: Run, next_one: str) -> Note:
    verdict = str(run.result.get("verdict") or "").strip()
    said = told(verdict)
    if run.kind == "reward":
        how = {"done": "is done", "rejected": "was refused", "failed": "failed"}.get(run.state, "was cancelled")
        return Note(
            f"Reward model {run.number} {how}: {run.error or said or 'no more was said'}", run.state == "failed"
        )
    after = f"; {next_one}" if next_one else ""
    if run.state == "failed":
        return Note(f"Lesson {run.number} failed: {run.error or said}", error=True)
    if run.state == "cancelled":
        return Note(f"Lesson {run.number} was cancelled. Its judgments are still waiting{after}.")
    if run.state == "done":
        return Note(f"Lesson {run.number} is done: {said or 'no verdict was given'}")
    if lacks_judgments(verdict):
        next_one = f" More judgments help{': ' + next_one if next_one else ''}."
    elif next_one:
        next_one = f" {next_one[0].upper()}{next_one[1:]}."
    return Note(f"Lesson {run.number} is not used: {said or 'no verdict was given'}{next_one}")
