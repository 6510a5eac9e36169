"""Whole runs on the tiny model, served from a GGUF as any other: what a worker does, in seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from chatapp.engine.base import Candidate, Timings
from chatapp.engine.model_files import file_hash
from chatapp.engine.vocab import Vocab
from storage.store import Store
from tests.trainer.conftest import tiny_model, write_tiny_gguf
from trainer import answers, checkpoint, gate, guards
from trainer.bench.loop import record_rankings
from trainer.outcome import Outcome
from trainer.simulation.judging import Correction, Thumbs, Turn, record
from trainer.worker import work

#: enough for the lesson to be learned by a model of random weights; prompts and answers of its context of 256 bytes
SETTINGS = {
    "epochs": 2, "min_steps": 1, "learning_rate": 3e-3, "rank": 4, "layer_share": 0.5, "ordinary_weight": 0.0,
    "practice_share": 0.0,
}  # fmt: skip


CALM = answers.Sampled(gate.Answers(8, 0.0, 12), None, answers.Refusals(0, 16), answers.Refusals(0, 16))


def calm(patch: pytest.MonkeyPatch) -> None:
    """Little neutral text and no engine in the gate: those have tests of their own."""
    texts = guards.plain_turns
    patch.setattr(guards, "plain_turns", lambda vocab, name: texts(vocab, name)[::12])
    patch.setattr(answers, "sample", lambda *_, **__: CALM)
    patch.setattr("trainer.base_model.usable_cores", lambda: 1)  # threads cost more than such products


def weights(store: Store, outcome: Outcome) -> dict[str, Tensor]:
    """Of the version that a run made."""
    folder = store.adapters.dir(store.adapters.get(outcome.adapter or ""))
    return load_file(str(folder / "adapter_model.safetensors"))


def tiny_gguf(folder: Path) -> Path:
    path = folder / "tiny.gguf"
    if not path.exists():
        write_tiny_gguf(path, tiny_model())
    return path


def thumb(store: Store, gguf: Path, prompts: int) -> None:
    """One answer to each prompt, in turn one of a's that is good and one of b's that is bad: nothing makes a pair."""
    model = file_hash(gguf, store.home)
    with Vocab.open(gguf) as vocab:
        store.add_model(model, vocab.name, vocab.architecture, vocab.chat_template_hash, str(gguf))
        for i in range(prompts):
            text, value = (("aaaa", 1), ("bbbb", -1))[i % 2]
            answer = Candidate(0, text, vocab.response_ids(text), "stop", 0, 9, 0, 0, Timings(1, 1, 1))
            record(store, model, None, Turn(f"Number {i}?", [answer], Thumbs({0: value}), 1))


def judge(
    store: Store, gguf: Path, prompts: int, first: int = 0, adapter_id: str | None = None, *, turned: bool = False
) -> None:
    """Rankings of answers, as if that version had given them, the ones in a's best; turned: worst."""
    sign = -1 if turned else 1
    texts = ["aaaa", "abab", "bbbb"]
    with Vocab.open(gguf) as vocab:
        answered = [
            (
                f"Number {i}?",
                [
                    Candidate(at, text, vocab.response_ids(text), "stop", at, 9, 0, 0, Timings(1, 1, 1))
                    for at, text in enumerate(texts)
                ],
            )
            for i in range(first, first + prompts)
        ]
    record_rankings(store, gguf, file_hash(gguf, store.home), answered, lambda text: sign * text.count("b"), adapter_id)


def contradict(store: Store, gguf: Path, prompts: int) -> None:
    """Every question is judged twice, once turned round, so no model can gain on them: log s(x) + log s(-x) is largest
    at 0. Judgments by a draw do tell something of the rest, in one draw of twenty."""
    judge(store, gguf, prompts)
    judge(store, gguf, prompts, turned=True)


def correct(store: Store, gguf: Path, prompts: int, first: int = 0) -> None:
    """Answers in b's, corrected to ones in a's."""
    model = file_hash(gguf, store.home)
    know(store, gguf, model)
    with Vocab.open(gguf) as vocab:
        for i in range(first, first + prompts):
            answer = Candidate(0, "bbbb", vocab.response_ids("bbbb"), "stop", 0, 9, 0, 0, Timings(1, 1, 1))
            record(store, model, None, Turn(f"Number {i}?", [answer], Correction(0, "aaaa", [0]), 1))


def know(store: Store, gguf: Path, model: str) -> None:
    """Register the model."""
    with Vocab.open(gguf) as vocab:
        store.add_model(model, vocab.name, vocab.architecture, vocab.chat_template_hash, str(gguf))


class Killed(BaseException):
    """What no handler of the trainer catches."""


def learn(store: Store, gguf: Path, run_id: str | None = None, **settings: Any) -> Outcome:
    values = {**SETTINGS, **settings}
    return work(store.home, gguf.parent / "cache", str(gguf), run_id=run_id, overrides={} if run_id else values)


def killed(
    store: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch, step: int, method: str = "dpo", **settings: Any
) -> str:
    """A run whose worker died at that step, found by whoever looks next; its id."""
    metrics = type(store.runs).metrics

    def fatal(self: Any, id: str, at: int, values: Any) -> None:
        metrics(self, id, at, values)
        if at == step and "progress.step" in values:
            raise Killed

    values = {**SETTINGS, **settings} if method == "dpo" else settings
    run = store.runs.queue(method, values, file_hash(gguf, store.home))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "EVERY", 0.0)
        patch.setattr(checkpoint, "MAX_COST", 1e9)
        patch.setattr(type(store.runs), "metrics", fatal)
        with pytest.raises(Killed):
            learn(store, gguf, run.id)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.communicate()
    assert store.runs.get(run.id).pid == os.getpid()
    with store.write() as db:  # this process lives on: its number would say that the worker does
        db.execute("UPDATE runs SET pid = ? WHERE id = ?", [child.pid, run.id])
    (found,) = store.runs.recover()
    assert found.interrupted
    return run.id
