"""`hone train` and its workers, without a model: who waits, who goes on, what ends it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chatapp import trainer_process
from chatapp.commands import train
from chatapp.engine.model_files import bundled, file_hash
from chatapp.watching import doing
from storage import paths
from storage.store import Store
from tests.commands.shell import TURN, Shell, lines
from trainer import worker
from trainer.outcome import Outcome


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[Store, str], None]]:
    """What the next workers do, each in its turn; then Ctrl+C. A worker has ended when `hone` first looks at it."""
    plan: list[Callable[[Store, str], None]] = []

    def start(settings: Any, run_id: str, spawn: Any = None) -> Any:
        with Store.open(settings.home) as store:
            plan.pop(0)(store, run_id)
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        return process

    def sleep(seconds: float) -> None:
        if seconds == train.WATCH_SECONDS and not plan:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer_process, "start_worker", start)
    monkeypatch.setattr(train.time, "sleep", sleep)
    return plan


def done(store: Store, run_id: str) -> None:
    assert store.runs.claim(run_id)
    store.runs.record_judgments(run_id, [(judgment.id, "train") for judgment in store.judgments.live()])
    store.runs.finish(run_id, "done", {"verdict": "Better."})


def dies(store: Store, run_id: str) -> None:
    """Killed in the middle, with a checkpoint."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert store.runs.claim(run_id, child.pid)
    folder = paths.run_dir(store.home, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint-main.safetensors").write_bytes(b"weights")


def judge(hone: Shell, folder: Path, *prompts: str) -> None:
    hone("judge", "--file", lines(folder / "turns.jsonl", *({**TURN, "prompt": p, "pick": 1} for p in prompts)))


def states(home: Path) -> list[tuple[str, str | None]]:
    with Store.open(home) as store:
        return [(run.state, run.error) for run in reversed(store.runs.list())]


def test_watch_trains_whenever_enough_is_new(
    hone: Shell, home: Path, tmp_path: Path, spawned: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_TRAIN_AFTER", "2")
    judge(hone, tmp_path, "one?", "two?")

    def then_more(store: Store, run_id: str) -> None:
        done(store, run_id)
        judge(hone, tmp_path, "three?", "four?")

    spawned += [then_more, done]
    hone("train", "--watch", code=130)
    assert states(home) == [("done", None), ("done", None)]
    hone("train", "--watch", code=130)  # nothing new: nothing is trained
    assert len(states(home)) == 2


def test_watch_goes_on_with_a_killed_run_and_gives_up_the_third_time(
    hone: Shell, home: Path, tmp_path: Path, spawned: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_TRAIN_AFTER", "1")
    judge(hone, tmp_path, "one?")
    spawned += [dies, dies, dies]
    hone("train", "--watch", code=130)  # and it is not tried again on the same judgments
    ((state, error),) = states(home)
    assert state == "failed"
    assert error is not None
    assert error.startswith("the trainer ended before it was done")


def test_wait_goes_on_with_a_killed_run(hone: Shell, home: Path, tmp_path: Path, spawned: list[Any]) -> None:
    judge(hone, tmp_path, "one?")
    spawned += [dies, done]
    assert "Better." in hone("train", "--wait")
    assert hone.err == "run 1: the trainer was interrupted; the run goes on from its last checkpoint\n"
    assert states(home) == [("done", None)]


def test_a_run_interrupted_earlier_is_taken_up_by_the_next_command(
    hone: Shell, home: Path, tmp_path: Path, spawned: list[Any]
) -> None:
    judge(hone, tmp_path, "one?")
    spawned += [dies, done]
    hone("train")
    assert "interrupted" in hone("runs")
    hone("train", "--wait")
    assert states(home) == [("done", None)]


def test_runs_says_what_a_run_is_at(hone: Shell, home: Path, tmp_path: Path) -> None:
    judge(hone, tmp_path, "one?")
    with Store.open(home) as store:
        run = store.runs.queue("dpo", {})
        assert "waiting for its turn" in hone("runs")
        assert store.runs.claim(run.id)
        assert "reading judgments" in hone("runs")
        store.runs.metrics(run.id, 2, {"progress.step": 2, "progress.total": 8, "train.step_seconds": 2.0})
        assert "learning 2/8 · about 12 s left, then a test" in hone("runs", "1")


def test_one_run_is_told_in_sentences_and_its_raw_figures_are_json(hone: Shell, home: Path, tmp_path: Path) -> None:
    judge(hone, tmp_path, "one?")
    metrics = {"gate.new_loss": 0.4, "gate.live_loss": 0.6931471805599453, "answers.base_length": 47.327586206896555}
    with Store.open(home) as store:
        run = store.runs.queue("dpo", {"epochs": 2})
        assert store.runs.claim(run.id)
        store.runs.record_judgments(run.id, [(judgment.id, "train") for judgment in store.judgments.live()])
        for step, loss in enumerate((0.7, 0.4)):
            store.runs.metrics(run.id, step, {**metrics, "train.loss": loss})
        store.runs.finish(run.id, "done", {"verdict": "Better.", "metrics": metrics})
    said = hone("runs", "show", 1)
    assert "Better." in said
    assert "settings given: epochs=2" in said
    assert "Learned from 1 judgment " in said
    assert "Log-loss on what it was tested on: 0.400, before 0.693" in said
    assert "loss: 0.7, then 0.4 (by step" in said
    assert "All 3 figures, and the seconds of each part: hone runs 1 --json" in said
    assert not re.search(r"\d\.\d{4}|gate\.|answers\.", said)
    assert hone.json("runs", "show", 1)["metrics"] == metrics


def test_settings_are_kept_with_the_run(hone: Shell, home: Path, tmp_path: Path, spawned: list[Any]) -> None:
    judge(hone, tmp_path, "one?")
    spawned.append(done)
    hone("train", "--set", "epochs=1", "--set", "start=refit")
    with Store.open(home) as store:
        run = store.runs.list()[0]
        assert run.config == {"epochs": 1, "include": [], "start": "refit"}
        waiting = store.runs.queue("dpo", {"epochs": 1})
        store.runs.configure(waiting.id, {"epochs": 2})
        assert store.runs.get(waiting.id).config == {"epochs": 2}
        store.runs.configure(run.id, {})  # it has ended: what it used stays
        assert store.runs.get(run.id).config == run.config
    assert "it must be NAME=VALUE" in hone("train", "--set", "epochs", code=1)


def test_interrupting_the_wait_cancels_the_run(
    hone: Shell, home: Path, tmp_path: Path, spawned: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(hone, tmp_path, "one?")
    spawned.append(lambda store, run_id: None)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "time", SimpleNamespace(sleep=interrupt))  # a store that waits for a lock sleeps too
    other = SimpleNamespace(id="other", number=8, kind="ppo")
    monkeypatch.setattr("storage.runs.Runs.latest", lambda *_: other)  # another worker holds the lock
    found = hone.json("train", "--wait", code=130)
    assert hone.err.splitlines() == ["run 1 waits for run 8 (ppo)", "", "cancelled; nothing was changed"]
    monkeypatch.undo()
    assert states(home) == [("cancelled", "it was cancelled before it began")]
    assert (found["state"], found["verdict"]) == ("cancelled", "it was cancelled before it began")


def test_cancelling_says_what_comes_of_it(hone: Shell, home: Path) -> None:
    with Store.open(home) as store:
        queued, begun = store.runs.queue("ppo"), store.runs.queue("ppo")
        assert store.runs.claim(begun.id)
        assert hone("runs", "1", "--cancel") == "run 1 is cancelled: it was cancelled before it began\n"
        assert "it was cancelled before it began" in hone("runs", "1")
        assert hone("runs", "2", "--cancel").startswith("run 2 is being cancelled: it ends after the step")
        assert hone.json("runs", "2", "--cancel")["state"] == "running"
        assert "run 2 is being cancelled" in hone.err
        store.runs.finish(begun.id, "done")
        before = store.runs.get(begun.id)
        assert hone("runs", "2", "--cancel") == "run 2 has ended already (done); nothing was changed\n"
        assert store.runs.get(begun.id) == before
        assert store.runs.get(queued.id).state == "cancelled"


def test_two_workers_work_one_after_the_other(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Started at once on one home: the second waits until the first is done, and then does its own run."""
    cache = tmp_path / "cache"
    model_hash = file_hash(bundled(), cache)
    runs = [store.runs.queue("dpo", {}, model_hash).id for _ in range(2)]
    working, go_on = threading.Semaphore(0), threading.Event()
    at_once: list[int] = []
    inside: list[str] = []

    def run(store: Store, run_id: str, *_: Any) -> Outcome:
        inside.append(run_id)
        at_once.append(len(inside))
        working.release()
        assert go_on.wait(30)
        inside.remove(run_id)
        store.runs.finish(run_id, "done")
        return Outcome(run_id, "done")

    monkeypatch.setattr(worker, "_run", run)
    monkeypatch.setattr(worker, "_POLL", 0.01)
    threads = [threading.Thread(target=worker.work, args=(store.home, cache), kwargs={"run_id": id}) for id in runs]
    for thread in threads:
        thread.start()
    assert working.acquire(timeout=30)
    assert sorted(store.runs.get(id).state for id in runs) == ["queued", "running"]
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert at_once == [1, 1]
    assert [store.runs.get(id).state for id in runs] == ["done", "done"]


def test_waiting_says_what_goes_on_from_the_start(store: Store) -> None:
    run = store.runs.queue()
    assert doing(store, run) == "waiting for its turn"
    assert store.runs.claim(run.id)
    run = store.runs.get(run.id)
    assert doing(store, run) == "reading judgments"
    store.runs.tell_practising(run.id, 7)
    assert doing(store, run) == "practice: request 7"
    store.runs.metrics(run.id, 1, {"progress.step": 1, "progress.total": 20})
    assert doing(store, run) == "learning 1/20"
    store.runs.metrics(run.id, 20, {"progress.step": 20, "progress.total": 20})
    assert doing(store, run) == "testing"
    store.runs.metrics(run.id, 20, {"progress.second_look": 20, "progress.step": 20, "progress.total": 60})
    assert doing(store, run) == "testing 0/40"
    store.runs.metrics(run.id, 60, {"progress.step": 60, "progress.total": 60})
    assert doing(store, run) == "testing"
    with store.write() as db:  # its worker is killed, and another one goes on with it
        db.execute("UPDATE runs SET state = 'queued'")
    assert doing(store, store.runs.get(run.id)) == "waiting for its turn"
    assert store.runs.claim(run.id)
    assert doing(store, store.runs.get(run.id)) == "reading judgments"
