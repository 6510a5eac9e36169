"""`hone bench fooled`, cut down, on the tiny model whose answers llama.cpp draws."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from chatapp.config import Settings
from tests.trainer import tiny_runs
from trainer.bench import fooled
from trainer.errors import TrainerError
from trainer.practice import Drill


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    tiny_runs.calm(monkeypatch)
    gguf = tiny_runs.tiny_gguf(tmp_path_factory.getbasetemp())
    return Settings(tmp_path / "home", tmp_path / "none.toml", tmp_path / "cache", model=str(gguf))


def test_a_seed_tells_its_batches_what_ended_it_and_what_the_gate_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(0)
    known = [
        Drill(f"Number {i}?", [[draw.choice((100, 101, 102)) for _ in range(9)] for _ in range(4)]) for i in range(20)
    ]
    monkeypatch.setattr(fooled, "drills", lambda *_: known)
    monkeypatch.setattr(fooled, "RANKINGS", 10)
    monkeypatch.setattr(fooled, "HELD_OUT", 4)
    monkeypatch.setattr(fooled, "LAST", 4)
    monkeypatch.setattr(fooled, "USERS", {fooled.USER: SimpleNamespace(score=lambda text: text.count("a"))})
    found = fooled.measure(settings, quick=True)
    (row,) = found["seeds"]
    assert row["batches"][0]["kl"] == 0.0
    assert row["batches"][0]["wins"] == 0.5, "the base against its own answers"
    assert len(row["batches"]) == 2
    assert isinstance(row["gate"]["promote"], bool)
    assert "by how like its own answers, rather than those of the base" in row["gate"]["sentence"]
    assert 0 < row["handed_over"]["scale"] <= 1
    assert 0 <= row["handed_over"]["wins"] <= 1


def test_too_few_answers_of_the_base_are_said(settings: Settings) -> None:
    with pytest.raises(TrainerError, match="answers to 74 requests and has 0: measure the bundled model"):
        fooled.measure(settings, quick=True)
