"""Whole runs on the tiny model that practise beside the judgments."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from chatapp.engine.vocab import Vocab
from storage.store import Store
from tests.trainer import tiny_runs
from trainer import checkpoint, gate, lesson, practice
from trainer.outcome import Outcome
from trainer.practice import Drill
from trainer.worker import work

SETTINGS = {**tiny_runs.SETTINGS, "practice_share": 0.5}


@pytest.fixture
def gguf(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_runs.calm(monkeypatch)
    return tiny_runs.tiny_gguf(tmp_path_factory.getbasetemp())


@pytest.fixture
def judged(store: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Answers in a's are liked, and twenty requests of our own have answers in a's and in b's."""
    with Vocab.open(gguf) as vocab:
        bank = [Drill(f"Request {i}?", [vocab.response_ids(t) for t in ("bb aaaa", "bbbb bb")]) for i in range(20)]
    monkeypatch.setattr(practice, "drills", lambda *_: bank)
    monkeypatch.setattr(practice, "write", lambda *_, **__: pytest.fail("there are enough"))
    tiny_runs.judge(store, gguf, 20)
    return store


def learn(store: Store, gguf: Path, **settings: Any) -> Outcome:
    return work(store.home, gguf.parent / "cache", str(gguf), run_id=None, overrides={**SETTINGS, **settings})


def test_a_run_practises_as_much_as_it_learns_and_lists_judgments_alone(judged: Store, gguf: Path) -> None:
    found = learn(judged, gguf)
    assert found.metrics["data.prompts"] == 20
    train = 20 - found.metrics["data.held_out_prompts"]
    assert found.metrics["practice.turns"] == train == 16
    assert found.metrics["practice.requests"] == 20
    assert found.metrics["practice.accuracy"] > 0.9
    assert {"practice", "features", "training", "gate"} <= set(found.seconds)
    listed = judged.rows("SELECT judgment_id FROM run_judgments WHERE run_id = ?", [found.run])
    assert {row["judgment_id"] for row in listed} == {j.id for j in judged.judgments.live()}
    without = learn(judged, gguf, practice_share=0.0)
    assert without.metrics["practice.turns"] == 0
    one, two = tiny_runs.weights(judged, found), tiny_runs.weights(judged, without)
    assert any(not torch.allclose(one[name], two[name]) for name in one)


def test_who_judges_by_dice_practises_nothing(judged: Store, gguf: Path) -> None:
    """Every second ranking is turned round: words say nothing of it."""
    for at, judgment in enumerate(judged.judgments.live()):
        if at % 2:
            groups = [[item.message_id] for item in reversed(judgment.items)]
            judged.judgments.rank(judgment.prompt_id, groups, source="judge")
    found = learn(judged, gguf)
    assert found.metrics["practice.turns"] == 0


def test_a_second_look_practises_without_what_it_predicts(
    judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "wants_second_look", lambda _: True)
    fits: list[list[str]] = []
    fitted = lesson.fit

    def noted(lora: Any, works: Any, *rest: Any, checkpoint: checkpoint.Checkpoint, **others: Any) -> Any:
        fits.append([w.turn.key for w in works])
        return fitted(lora, works, *rest, checkpoint=checkpoint, **others)

    monkeypatch.setattr(lesson, "fit", noted)
    found = learn(judged, gguf)
    assert len(fits) == 1 + gate.FOLDS
    for keys in fits:
        practised = [key for key in keys if key.startswith("practice:")]
        assert len(practised) == min(20, len(keys) - len(practised))
    assert math.isfinite(found.metrics["gate.gain"])
    assert found.metrics["gate.gain"] > 0


def test_a_run_that_goes_on_practises_on_what_it_had(
    judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More answers would be other pairs, and what was learned of the first would be lost."""
    there = practice.drills(gguf.parent, "")
    asked: list[int] = []

    def write(*_: Any, **__: Any) -> list[Drill]:
        asked.append(len(there))
        return there

    monkeypatch.setattr(practice, "write", write)
    wants_more = {**SETTINGS, "practice_share": 0.6}
    id = tiny_runs.killed(judged, gguf, monkeypatch, 5, **wants_more)
    assert asked == [20]
    assert judged.runs.practising(id) is None
    again = tiny_runs.learn(judged, gguf, id)
    assert asked == [20]
    assert again.metrics["practice.turns"] == 20
    assert again.metrics["resume.step"] == 4


def test_nothing_is_written_for_a_run_that_cannot_be_tested(
    judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(practice, "ready", lambda *_, **__: pytest.fail("nothing is to be practised"))
    monkeypatch.setattr(lesson, "ready", practice.ready)
    monkeypatch.setattr(gate, "MIN_HELD_OUT", 100)
    found = learn(judged, gguf)
    assert found.state == "failed"
    assert "the test needs at least 100 prompts" in (found.error or "")
