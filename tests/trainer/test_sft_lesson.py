"""Runs that learn from demonstrations alone, on the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatapp.engine.model_files import file_hash
from storage.preferences import Item
from storage.store import Store
from tests.trainer import tiny_runs
from trainer import lesson
from trainer.config import SftConfig
from trainer.errors import BadSetting
from trainer.outcome import Outcome
from trainer.worker import work


@pytest.fixture
def gguf(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_runs.calm(monkeypatch)
    return tiny_runs.tiny_gguf(tmp_path_factory.getbasetemp())


def learn(store: Store, gguf: Path, **overrides: Any) -> Outcome:
    settings = {"layer_share": 0.5, "ordinary_weight": 0.0, "rank": 4, "learning_rate": 3e-3, "epochs": 3, **overrides}
    return work(store.home, gguf.parent / "cache", str(gguf), method="sft", overrides=settings)


def test_corrections_are_learned_and_nothing_else(store: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rankings are what it is tested on; of those to train on none is seen."""
    tiny_runs.correct(store, gguf, 20)
    tiny_runs.judge(store, gguf, 10, first=100)
    seen = []
    fitted = lesson.fit

    def fit(lora: Any, works: Any, *arguments: Any, **named: Any) -> Any:
        seen.extend(work.turn for work in works)
        return fitted(lora, works, *arguments, **named)

    monkeypatch.setattr(lesson, "fit", fit)
    found = learn(store, gguf)
    assert found.state in ("done", "rejected"), found.error
    assert seen
    assert all(turn.demos and not turn.pairs and not turn.singles for turn in seen)
    assert all(len(turn.responses) == 1 for turn in seen)
    assert found.metrics["gate.gain"] > 0, "what it wrote instead is likelier now"
    adapter = store.adapters.get(found.adapter or "")
    kinds = {store.judgments.get(id).kind for id in store.adapters.learned_from(adapter)["train"]}
    assert kinds == {"correction"}
    held_out = {store.judgments.get(id).kind for id in store.adapters.learned_from(adapter)["held_out"]}
    assert "ranking" in held_out
    assert found.metrics["start.warm"] == 0


def test_without_corrections_it_says_what_to_do(store: Store, gguf: Path) -> None:
    tiny_runs.judge(store, gguf, 12)
    tiny_runs.correct(store, gguf, 3, first=50)
    found = learn(store, gguf)
    assert found.state == "failed"
    assert "for at least 8 different prompts; there are 3: correct answers in the chat (e)" in (found.error or "")


def test_settings_of_preferences_are_none_of_its() -> None:
    with pytest.raises(BadSetting, match="'dpop' is no setting of such a run"):
        SftConfig.read({"dpop": 1.0})
    assert SftConfig.read({"epochs": 4}).epochs == 4


def test_a_demonstration_without_a_judgment_counts_as_good_in_the_test(store: Store, gguf: Path) -> None:
    """As of an import: the only answer to its prompt."""
    model = file_hash(gguf, store.home)
    with store.write():
        for number in range(20):
            thread = store.threads.new(f"Demo {number}")
            message = store.threads.add_message(thread.id, None, "user", f"Number {number}?")
            answer = store.threads.add_message(thread.id, message.id, "assistant", "aaaa")
            store.judgments.record(message.id, "correction", [Item(answer.id, rank=0)])
    tiny_runs.know(store, gguf, model)
    found = learn(store, gguf)
    assert found.state in ("done", "rejected"), found.error
    assert found.metrics["gate.prompts"] > 0
