"""`hone bench train`: both sides on a tiny shape, and how figures become ratios."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from chatapp.config import Settings
from trainer import bench
from trainer.bench import child, side, train, with_trl
from trainer.bench.side import HONE, TRL, TUNED, Job
from trainer.errors import TrainerError


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Such small products are slower on two."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(side, "_cores", lambda: 1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tiny() -> Job:
    pairs, rankings = train.random_turns("tiny", 3, 1)
    return Job(HONE, [*pairs, *rankings], epochs=2, batch=3, shape="tiny")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_both_sides_do_the_same_work_and_end_alike(
    tiny: Job, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9 pairs, 2 epochs, 3 a step: TRL takes 3 steps an epoch; Hone has 4 turns of 2.25 pairs, so 1 turn a step.

    At a high rate both fit these few pairs, and end below the base's log 2 by about as much.
    """
    monkeypatch.setattr(side, "RATE", 5e-3)
    found = {
        name: side.run(replace(tiny, side=name, micro=3 if name == TUNED else None)) for name in (HONE, TRL, TUNED)
    }
    assert [found[name]["steps"] for name in (HONE, TRL, TUNED)] == [8, 6, 6]
    assert len({result["learned_parameters"] for result in found.values()}) == 1, "the same LoRA"
    for result in found.values():
        assert result["loss"] < 0.6
        assert result["accuracy"] > 0.8
        assert result["train_seconds"] > 0
        assert result["reference_seconds"] > 0
        assert result["peak_mb"] > 50
    assert found[TRL]["loss"] == pytest.approx(found[TUNED]["loss"], abs=0.02)


def test_trl_computes_each_pair_by_itself(tiny: Job) -> None:
    ranking = tiny.turns[-1]
    apart = ranking.apart()
    assert len(apart) == 6
    answers = sum(map(len, ranking.responses))
    assert sum(pair.tokens for pair in apart) == 12 * len(ranking.prompt) + 3 * answers


def test_a_job_survives_its_file(tiny: Job, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(asdict(tiny)))
    assert Job.read(path).turns == tiny.turns


def result(reference: float, training: float, peak: float = 100.0) -> dict[str, Any]:
    figures = {"cpu_seconds": 2.0, "setup_seconds": 1.0, "epochs": 3, "steps": 6, "loss": 0.5, "accuracy": 1.0}
    return {
        **figures, "reference_seconds": reference, "train_seconds": training, "peak_mb": peak, "margin": 0.1,
        "dtype": "torch.float32",
    }  # fmt: skip


def test_ratios_are_of_medians_with_and_without_the_reference(tiny: Job) -> None:
    """Hone: median of 1 + 3, 1 + 4 and 1 + 9 seconds is 1 + 4; TRL: 0 + 30. So 30 / 5 and 30 / 4."""
    ours = [result(1, 3), result(1, 4, peak=300), result(1, 9)]
    rows = [train.row("pairs", HONE, tiny.turns, ours), train.row("pairs", TRL, tiny.turns, [result(0, 30)])]
    assert (rows[0]["seconds"], rows[0]["peak_mb"], rows[0]["times"], rows[0]["pairs"]) == (5, 300, 3, 9)
    ratios = train.compare(rows)
    assert ratios["pairs"][f"{TRL} / {HONE}"] == {"with_reference": 6.0, "without_reference": 7.5, "cpu": 1.0}
    assert not train.reached({"rankings": {}, **ratios}, on_gpu=False)
    assert train.reached(ratios, on_gpu=True)


def test_what_does_not_fit_into_memory_is_a_row_without_a_ratio(tiny: Job) -> None:
    failed = {"failed": "it does not fit into the GPU's memory"}
    rows = [train.row("pairs", HONE, tiny.turns, [result(1, 3)]), train.row("pairs", TRL, tiny.turns, [failed])]
    assert rows[1]["failed"] == failed["failed"]
    assert train.compare(rows) == {"pairs": {}}


def test_a_measurement_takes_the_quickest_way_of_tuned_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sides alternate, so that a change of the machine's speed meets both; Hone's own recipe is marked as different."""
    asked: list[Job] = []

    def fake(job: Job) -> dict[str, Any]:
        asked.append(job)
        return {"pair": {1: 1.5, 4: 1.0}[job.micro or 4]} if job.trial else result(1, 4 if job.side == HONE else 39)

    monkeypatch.setattr(train, "_run", fake)
    found = train.measure(Settings(tmp_path, tmp_path / "config.toml", tmp_path), shape="tiny")
    assert [job.side for job in asked if not job.trial] == [HONE, TRL, HONE, TUNED, HONE, side.RECIPE] * 2
    assert {job.micro for job in asked if job.side == TUNED and not job.trial} == {4}
    assert found["seconds_a_pair_by_micro_batch"] == {TUNED: {1: 1.5, 4: 1.0}}
    assert [row["side"] for row in found["rows"] if not row["same_mathematics"]] == [side.RECIPE] * 2
    assert found["trl_over_hone"]["rankings"][f"{TUNED} / {HONE}"]["with_reference"] == 8
    assert [row["pairs"] for row in found["rows"][::4]] == [8, 12]


def test_sizes_fit_the_budget() -> None:
    """40 pairs and 8 rankings of six are 88 pairs: 352 s at 4 s a pair, 440 at 5."""
    assert train.fitting(train.SIZES, 4.0, 400) == (40, 8)
    assert train.fitting(train.SIZES, 5.0, 400) == train.SIZES[1]
    assert train.fitting(train.SIZES, 500.0, 400) == train.SIZES[-1]


def test_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path / "config.toml", tmp_path)
    monkeypatch.setattr(train, "_has_gpu", lambda: False)
    with pytest.raises(TrainerError, match="1B needs a CUDA GPU"):
        train.measure(settings, shape="1B")
    with pytest.raises(TrainerError, match="--shape belongs to `bench train`"):
        bench.measure("parity", settings, quick=True, options={"shape": "1B"})
    monkeypatch.setattr(with_trl, "find_spec", lambda name: None)
    with pytest.raises(TrainerError, match="pip install"):
        train.measure(settings)


def test_a_child_that_fails_says_its_last_line() -> None:
    with pytest.raises(TrainerError, match=r"measuring this failed: .*No module named trainer\.bench\.nothing"):
        child.run("trainer.bench.nothing", {}, "measuring this")
