"""A fit that was interrupted gives what it would have given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.conftest import tiny_lora
from tests.trainer.test_fit import CONFIG, turns
from trainer import checkpoint
from trainer.checkpoint import Checkpoint, fingerprint
from trainer.errors import Cancelled
from trainer.features import Callbacks, prepare
from trainer.fit import fit
from trainer.logprobs import TokenTurn
from trainer.lora import Lora
from trainer.team import Team

TEXTS = [TokenTurn([40 + i, 41 + i], [[50 + i, 60 + i]]) for i in range(5)]


def fitted(kept: Checkpoint | None, stop_at: int = -1) -> tuple[Lora, dict[str, float], list[int]]:
    """(the adapter, the last pass's metrics, the steps that were done); stopped after a step, if one is given."""
    lora, steps = tiny_lora(), []
    work = prepare(turns("pairs"), lora, CONFIG, None, Callbacks())
    calls = Callbacks(
        progress=lambda step, *_: steps.append(step), cancelled=lambda: bool(steps) and steps[-1] == stop_at
    )
    last: dict[str, float] = {}
    try:
        last = fit(lora, work, CONFIG, Team(), calls, TEXTS, checkpoint=kept)
    except Cancelled:
        assert stop_at > 0
    return lora, last, steps


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    monkeypatch.setattr(checkpoint, "MAX_COST", 1e9)
    return Checkpoint(tmp_path / "run", "main", "of these judgments")


def test_a_fit_goes_on_where_it_was_interrupted(kept: Checkpoint) -> None:
    """8 turns, 2 a step, 8 passes: 32 steps; stopped within the fifth pass."""
    whole, wanted, _ = fitted(None)
    fitted(kept, stop_at=18)
    again = Checkpoint(kept.folder, kept.name, kept.fingerprint)
    lora, last, steps = fitted(again)
    assert again.resumed_at == 18
    assert steps == list(range(19, 33))
    for name, tensor in whole.state().items():
        assert torch.allclose(tensor, lora.state()[name], atol=1e-6), name
    for name in ("loss", "accuracy", "ordinary_nll", "grad_norm"):
        assert last[name] == pytest.approx(wanted[name], abs=1e-5)
    # and one that was done is not done again
    done = Checkpoint(kept.folder, kept.name, kept.fingerprint)
    lora, last, steps = fitted(done)
    assert steps == []
    assert last["loss"] == pytest.approx(wanted["loss"], abs=1e-5)
    assert all(torch.equal(tensor, lora.state()[name]) for name, tensor in again_state(done).items())
    assert [path.name for path in kept.folder.iterdir()] == ["checkpoint-main.safetensors"]


def again_state(kept: Checkpoint) -> dict[str, torch.Tensor]:
    found = kept.load()
    assert found is not None
    return found.weights


def test_another_fits_checkpoint_is_not_gone_on_with(kept: Checkpoint) -> None:
    fitted(kept, stop_at=2)
    assert kept.load() is not None
    other = Checkpoint(kept.folder, kept.name, "of others")
    assert other.load() is None
    assert other.resumed_at is None
    kept.path.write_bytes(kept.path.read_bytes()[:100])  # a power cut
    assert kept.load() is None
    kept.path.unlink()
    assert kept.load() is None


def test_the_fingerprint_is_of_what_the_result_depends_on() -> None:
    def of(**change: Any) -> str:
        made = turns("pairs")
        made[0].pairs = made[0].pairs * change.pop("pairs", 1)
        return fingerprint(made, CONFIG.__class__(**{**CONFIG.as_dict(), **change}), "model")

    assert of() == of() == of(micro_tokens=4096)
    assert len({of(), of(pairs=2), of(seed=1), of(learning_rate=0.01 / 3)}) == 4


def test_a_full_disk_costs_the_checkpoint_only(kept: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    _, last, steps = fitted(kept)
    assert len(steps) == 32
    assert last["accuracy"] == 1.0
    assert kept.written == 0


def test_writing_takes_at_most_a_hundredth_of_the_time(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path, "main", "")
    assert not kept.due
    kept.last -= checkpoint.EVERY
    assert kept.due
    kept.cost = 1.0  # a slow disk
    assert not kept.due
    kept.last -= 100
    assert kept.due
