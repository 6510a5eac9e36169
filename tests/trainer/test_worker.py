"""Runs on the real model in a temporary home: to a verdict, killed, cancelled, and refused before they begin."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from chatapp.engine.base import Candidate, Timings
from chatapp.engine.model_files import bundled, file_hash
from chatapp.engine.vocab import Vocab
from storage import paths
from storage.locks import FileLock
from storage.store import Store
from trainer import answers, gate
from trainer.bench.loop import letters_a_word, record_rankings
from trainer.worker import _explain, work

#: short answers in plain and in long words; the rule prefers the plain ones
PLAIN = ["It is a good day to go out and see the sun.", "You can eat a big red pie now."]
LONG = [
    "Meteorological circumstances necessitate considerable deliberation.",
    "Nutritional considerations predominate.",
]


def judge(store: Store, prompts: int, first: int = 0) -> None:
    """Rankings of two plain and two long answers to each prompt, as the bundled model might have given them."""
    gguf = bundled()
    with Vocab.open(gguf) as vocab:
        answered = [
            (
                f"Say something, number {i}.",
                [
                    Candidate(at, text, vocab.response_ids(text), "stop", at, 20, 0, 0, Timings(1, 1, 1))
                    for at, text in enumerate([*PLAIN, *LONG])
                ],
            )
            for i in range(first, first + prompts)
        ]
    record_rankings(store, gguf, file_hash(gguf, store.home), answered, letters_a_word)


@pytest.fixture
def judged(store: Store) -> Store:
    judge(store, 20)
    return store


def settings(text: str) -> list[str]:
    """Command-line arguments for "a=1 b=2"."""
    return [argument for value in text.split() for argument in ("--set", value)]


def worker(home: Path, cache: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trainer", "run", "--home", str(home), "--json", *arguments],
        env={**os.environ, "HONE_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.real
def test_a_run_learns_passes_its_gate_and_goes_live(judged: Store, model_cache: Path) -> None:
    """How the next one is measured against it is tested on the tiny model, in test_lesson.py."""
    model_hash = file_hash(bundled(), model_cache)
    process = worker(judged.home, model_cache, *settings("epochs=1 min_steps=4 turns_per_step=4 practice_share=0.2"))
    out, err = process.communicate(timeout=200)
    assert err == ""
    result = json.loads(out)
    live = judged.adapters.live(model_hash)
    run = judged.runs.get(result["run"])
    # with such answers a guard may refuse it; either way the verdict and the figures are there
    assert result["metrics"]["gate.new_loss"] < result["metrics"]["gate.live_loss"]
    assert result["metrics"]["gate.bound"] > 0
    assert (process.returncode, run.state) in ((0, "done"), (3, "rejected"))
    assert (live is not None) == (run.state == "done")
    assert run.result["seconds"]["training"] > 0
    assert 0 < result["metrics"]["memory.peak_mb"] < 2500
    assert result["metrics"]["memory.estimate_mb"] > 0
    assert result["metrics"]["answers.limit"] <= answers.LIMIT
    assert result["metrics"]["practice.turns"] == 4
    assert judged.runs.progress(run.id) == (5, 5)
    assert judged.judgments.waiting(model_hash) == 0
    adapter = judged.adapters.get(result["adapter"])
    assert set(adapter.files) == {"adapter.gguf", "adapter_config.json", "adapter_model.safetensors"}
    assert adapter.provisional == (run.state == "done")
    assert [p.name for p in paths.adapters_dir(judged.home).iterdir()] == [adapter.id]
    # nothing that was said stands in a log
    for log in judged.home.rglob("*.log"):
        assert "circumstances" not in log.read_text()


@pytest.mark.real
def test_kill_leaves_the_old_version_and_a_row_that_says_what_comes_next(judged: Store, model_cache: Path) -> None:
    model_hash = file_hash(bundled(), model_cache)
    queued = judged.runs.queue("dpo", {"epochs": 50}, model_hash)
    process = worker(judged.home, model_cache, "--run", queued.id)
    wait_for(lambda: judged.runs.progress(queued.id), process)
    assert judged.runs.get(queued.id).state == "running"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    left = bool(judged.runs.checkpoints(queued.id))  # whether five seconds of training had gone by
    (dead,) = judged.runs.recover()
    assert (dead.id, dead.state) == (queued.id, "queued" if left else "failed")
    judged.runs.request_cancel(queued.id)
    assert judged.runs.get(queued.id).finished
    assert judged.runs.checkpoints(queued.id) == []
    assert judged.adapters.live(model_hash) is None
    assert judged.judgments.waiting(model_hash) == 20
    lock = FileLock(paths.trainer_lock(judged.home))
    assert lock.acquire(blocking=False)
    lock.release()


@pytest.mark.real
def test_cancel_ends_a_run_between_steps(judged: Store, model_cache: Path) -> None:
    model_hash = file_hash(bundled(), model_cache)
    queued = judged.runs.queue("dpo", {"epochs": 50}, model_hash)
    process = worker(judged.home, model_cache, "--run", queued.id)
    wait_for(lambda: judged.runs.progress(queued.id), process)
    judged.runs.request_cancel(queued.id)
    out, err = process.communicate(timeout=30)
    assert json.loads(out)["state"] == "cancelled"
    assert err == "trainer: the run was cancelled; nothing was changed\n"
    assert process.returncode == 1
    assert judged.runs.get(queued.id).state == "cancelled"


def test_too_few_judgments_are_said_plainly(store: Store, model_cache: Path) -> None:
    judge(store, gate.MIN_PROMPTS - 1)
    outcome = work(store.home, model_cache)
    assert outcome.state == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith("training needs judgments of at least 8 different prompts")
    assert outcome.error.endswith("there are 7 that prefer one answer to another or call one good or bad")
    assert store.runs.get(outcome.run).error == outcome.error


def test_a_wrong_setting_is_named(store: Store, model_cache: Path) -> None:
    judge(store, 1)
    outcome = work(store.home, model_cache, overrides={"learning_rate": -1})
    assert outcome.error == "learning_rate is -1; it must be above 0 and at most 0.1"
    outcome = work(store.home, model_cache, overrides={"learning_rat": 1})
    assert outcome.error is not None
    assert outcome.error.startswith("'learning_rat' is no setting of such a run")
    assert not list(store.home.rglob("error.log"))


def test_a_run_is_done_once(store: Store, model_cache: Path) -> None:
    queued = store.runs.queue("dpo", {}, file_hash(bundled(), model_cache))
    assert store.runs.claim(queued.id, os.getpid())
    process = worker(store.home, model_cache, "--run", queued.id)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == "trainer: run 1 cannot be started: it is running already\n"


def test_a_removed_home_stays_removed(tmp_path: Path) -> None:
    home = tmp_path / "gone"
    assert _explain(RuntimeError("no such table"), home, "run") == "the trainer failed: RuntimeError: no such table"
    assert not home.exists()
    home.mkdir()
    assert "error.log" in _explain(RuntimeError("no such table"), home, "run")


def test_a_broken_model_is_said_in_one_sentence(store: Store, model_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    process = worker(store.home, model_cache, "--model", str(tmp_path / "broken.gguf"))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.startswith("trainer: ")
    assert "Traceback" not in err
    assert err.count("\n") == 1
