"""What follows from the data's size and the model's; and what a run is said to need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chatapp.engine.model_files import bundled
from trainer import needs, rules
from trainer.config import PpoConfig, TrainConfig
from trainer.errors import TooLittleDisk, TooLittleMemory

DEFAULT = needs.Shape(30, 576, 1536, 9, 3, 49_152, True, 92_000_000)
MEMORY = {"dtype_bytes": 2, "tokens": 40_000, "longest": 900, "keep_bytes": 1 << 30}


@pytest.mark.parametrize("turns", [10, 40, 160, 320])
def test_the_default_model_keeps_what_was_measured_with_it(turns: int) -> None:
    assert rules.recipe(turns, DEFAULT.parameters, DEFAULT.layers) == {}


def test_many_turns_are_gone_over_once_in_larger_steps() -> None:
    plain = TrainConfig()
    few = replace(plain, **rules.recipe(400, DEFAULT.parameters, 30))
    assert few == replace(plain, epochs=1)
    many = rules.recipe(4000, DEFAULT.parameters, 30)
    assert (replace(plain, **many).epochs, many["turns_per_step"]) == (1, 10)
    assert many["learning_rate"] == pytest.approx(plain.learning_rate * (10 / plain.turns_per_step) ** 0.5, rel=0.01)
    assert rules.recipe(1_000_000, DEFAULT.parameters, 30)["turns_per_step"] == rules.MOST_TURNS


def test_larger_models_learn_in_smaller_steps() -> None:
    plain = TrainConfig()
    one, eight = (rules.recipe(40, s.parameters, s.layers) for s in (needs.SHAPE_1B, needs.SHAPE_8B))
    assert plain.learning_rate > one["learning_rate"] > eight["learning_rate"] > 0.1 * plain.learning_rate
    assert "layer_share" not in one
    assert eight["layer_share"] == min(plain.layer_share, rules.LARGE_SHARE)
    assert rules.recipe(40, 100_000, 2) == {"layer_share": 1.0}  # a tiny one: all layers, no larger rate


def test_what_was_given_stays() -> None:
    config = TrainConfig(learning_rate=1e-5, epochs=7)
    found = rules.apply(config, {"learning_rate"}, 4000, needs.SHAPE_8B.parameters, 32)
    assert (found.learning_rate, found.epochs, found.turns_per_step) == (1e-5, 1, 10)


def test_parameters_are_counted() -> None:
    """SmolLM2-135M has 134 515 008, Llama 3.2 1B 1 235 814 400, Llama 3.1 8B 8 030 261 248; without the norms' here."""
    for shape, known in ((DEFAULT, 134_515_008), (needs.SHAPE_1B, 1_235_814_400), (needs.SHAPE_8B, 8_030_261_248)):
        assert shape.parameters == pytest.approx(known, rel=1e-3)
    # rank 16 on one layer: 16 * (2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536)) = 162 816
    one = TrainConfig(rank=16, layer_share=1 / 30, modules=())
    assert DEFAULT.lora_parameters(one) == 162_816
    # o, up and v alone: 16 * (576 + 576 + 576 + 1536 + 576 + 192)
    assert DEFAULT.lora_parameters(replace(one, modules=("o_proj", "up_proj", "v_proj"))) == 64_512


def test_the_shape_is_read_from_the_file(tmp_path: Path) -> None:
    found = needs.shape_of(bundled(), 49_152, tmp_path)
    assert replace(found, file_bytes=0, tied=True) == replace(DEFAULT, file_bytes=0)
    assert not found.tied  # not known yet: the larger
    (tmp_path / "config.json").write_text('{"tie_word_embeddings": true}')
    assert needs.shape_of(bundled(), 49_152, tmp_path).tied


def test_estimates_grow_with_what_they_are_of() -> None:
    config = TrainConfig()
    totals = [needs.estimate(s, config, **MEMORY).total for s in (DEFAULT, needs.SHAPE_1B, needs.SHAPE_8B)]
    assert totals[0] < 2.5e9 < totals[1] < 8e9 < totals[2] < 40e9
    plain = needs.estimate(DEFAULT, config, **MEMORY)
    assert needs.estimate(DEFAULT, replace(config, micro_tokens=4096), **MEMORY).total > plain.total
    assert needs.estimate(DEFAULT, replace(config, layer_share=1.0), **MEMORY).states == 0
    assert needs.estimate(needs.SHAPE_8B, config, **MEMORY, cached=False).total > 8e9 * 4 * 2


def test_memory_is_made_to_fit_or_refused_with_the_figures() -> None:
    config = TrainConfig(micro_tokens=4096)
    whole = needs.estimate(DEFAULT, config, **MEMORY).total
    fitted, found = needs.fit_memory(DEFAULT, config, False, whole - 1, **MEMORY)
    assert fitted == replace(config, micro_tokens=2048)
    assert found.total < whole
    with pytest.raises(TooLittleMemory, match=r"needs about .* GB of memory and .* GB is free .* \(now 4096\)"):
        needs.fit_memory(DEFAULT, config, True, whole - 1, **MEMORY)
    with pytest.raises(TooLittleMemory, match=r"lower micro_tokens \(now \d+\)"):
        needs.fit_memory(DEFAULT, config, False, 10_000, **MEMORY)
    assert needs.fit_memory(DEFAULT, config, False, None, **MEMORY)[0] == config  # not known: tried


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, cache = tmp_path / "home", tmp_path / "cache" / "deep"
    assert needs.check_disk(DEFAULT, TrainConfig(), home, cache, cached=True) > 0
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 200_000_000}))
    with pytest.raises(TooLittleDisk, match=r"training writes about 0.* GB below .* and 0.2 GB is free there"):
        needs.check_disk(DEFAULT, TrainConfig(), home, cache, cached=False)
    assert needs.check_disk(DEFAULT, TrainConfig(), home, cache, cached=True) < 200_000_000
    with pytest.raises(TooLittleDisk, match=r"about 0.* GB below"):  # what another form of the model takes counts too
        needs.check_disk(DEFAULT, TrainConfig(), home, cache, cached=True, copied=270_000_000)


def test_what_is_available_is_the_least_of_system_and_groups(tmp_path: Path) -> None:
    group = tmp_path / "a" / "b"
    group.mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/a/b\n")
    for folder, limit in ((group, "max"), (group.parent, "1000000")):
        (folder / "memory.max").write_text(limit + "\n")
        (folder / "memory.current").write_text("700000\n")
        (folder / "memory.stat").write_text("anon 500000\ninactive_file 100000\n")
    assert needs.cgroup_memory(tmp_path, own) == [400_000]
    assert needs.cgroup_memory(tmp_path, tmp_path / "none") == []
    available = needs.available_memory()
    assert available is None or available > 0
    told = "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free: 10.\nPages inactive: 5.\n"
    assert needs.vm_stat_bytes(told) == 15 * 16384
    assert needs.vm_stat_bytes("") is None


def test_another_methods_rate_is_its_own() -> None:
    """Of a model four times as wide: a quarter of PPO's rate, not of DPO's."""
    config = rules.apply(PpoConfig(), set(), 40, 16 * 135_000_000, 30)
    assert config.learning_rate == pytest.approx(PpoConfig().learning_rate / 4, rel=0.02)
