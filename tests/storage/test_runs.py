"""Runs whose worker died: gone on with, given up, cancelled."""

from __future__ import annotations

import subprocess
import sys

from storage import forgetting, paths
from storage.store import Store


def dead(store: Store, checkpoint: bool = True, **config: int) -> str:
    """A run whose worker died, as it is found; its id."""
    run = store.runs.queue(model_hash="m", config=config)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.communicate()
    store.runs.claim(run.id, child.pid)
    return again_dead(store, run.id, child.pid, checkpoint)


def again_dead(store: Store, id: str, pid: int, checkpoint: bool = True) -> str:
    if store.runs.get(id).state == "queued":
        assert store.runs.claim(id, pid)
    folder = paths.run_dir(store.home, id)
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint:
        (folder / "checkpoint-main.safetensors").write_bytes(b"weights")
    return id


def test_a_run_with_a_checkpoint_is_queued_again_twice(store: Store) -> None:
    id = dead(store, epochs=3)
    pid = store.runs.get(id).pid or 0
    for _ in range(2):
        (found,) = store.runs.recover()
        assert found.interrupted
        assert (found.state, found.pid, found.config) == ("queued", None, {"epochs": 3})
        assert "goes on from its last checkpoint" in (found.error or "")
        assert [run.id for run in store.runs.interrupted()] == [id]
        assert store.runs.recover() == []
        again_dead(store, id, pid)
        assert not store.runs.get(id).interrupted
    (found,) = store.runs.recover()
    assert found.state == "failed"
    assert store.runs.checkpoints(id) == []


def test_without_a_checkpoint_or_when_nobody_wants_it_a_dead_run_ends(store: Store) -> None:
    for checkpoint, cancelled, resume, state in (
        (False, False, True, "failed"),
        (True, False, False, "failed"),
        (True, True, True, "cancelled"),
    ):
        id = dead(store, checkpoint)
        if cancelled:
            store.runs.request_cancel(id)
        (found,) = store.runs.recover(resume=resume)
        assert (found.id, found.state) == (id, state)
        assert store.runs.checkpoints(id) == []


def test_checkpoints_go_when_the_run_ends(store: Store) -> None:
    id = dead(store)
    store.runs.recover()
    assert store.runs.checkpoints(id)
    store.runs.request_cancel(id)  # while it waits to be gone on with
    assert store.runs.get(id).state == "cancelled"
    assert store.runs.checkpoints(id) == []
    other = again_dead(store, dead(store), 0)
    store.runs.finish(other, "done")
    assert store.runs.checkpoints(other) == []


def test_forgetting_ends_what_would_be_gone_on_with(store: Store) -> None:
    """The checkpoint holds weights that learned from it, whether or not the run said what it read."""
    thread = store.threads.new()
    prompt = store.threads.add_message(thread.id, None, "user", "my secret")
    answers = [store.threads.add_message(thread.id, prompt.id, "assistant", text).id for text in ("one", "two")]
    store.judgments.pick(prompt.id, answers[0], answers)
    waiting = dead(store)
    store.runs.recover()
    running = dead(store)
    forgetting.forget(store, [prompt.id])
    assert store.runs.get(waiting).state == "cancelled"
    assert store.runs.get(running).state == "failed"
    assert not list((store.home / "runs").rglob("checkpoint-*"))
