"""An adapter that drifted too far is held back before it is tested."""

from __future__ import annotations

import pytest
import torch

from tests.trainer.conftest import random_turns, shake, tiny_lora
from trainer import guards


def drifted(
    scale: float,
) -> tuple[guards.Neutral, float, guards.Neutral, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    lora = tiny_lora()
    shake(lora, scale)
    before = lora.state()
    first = guards.neutral(lora, random_turns(), budget=1000, wait=lambda: None)
    found, factor = guards.hold_back(lora, random_turns(), budget=1000, wait=lambda: None)
    return first, factor, found, before, lora.state()


def test_a_quiet_adapter_is_left_as_it_is() -> None:
    first, factor, found, before, after = drifted(0.001)
    assert first.kl < guards.AIM_KL
    assert factor == 1.0
    assert found == first
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_adapter_that_drifted_is_shrunk_until_it_keeps_the_aim(monkeypatch: pytest.MonkeyPatch) -> None:
    first = drifted(0.1)[0]
    monkeypatch.setattr(guards, "AIM_RISE", 1.0)  # the tiny model is random: only its drift means something
    monkeypatch.setattr(guards, "AIM_KL", first.kl * 0.7)
    first, factor, found, before, after = drifted(0.1)
    assert first.kl > guards.AIM_KL >= found.kl
    assert factor in (guards.SHRINK, pytest.approx(guards.SHRINK**2))
    for name in before:
        expected = before[name] * (factor if "lora_B" in name else 1.0)
        assert torch.allclose(after[name], expected)


def test_what_no_scale_mends_is_left_to_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "AIM_KL", -1.0)
    assert guards.SMALLEST_SCALE * guards.SHRINK < drifted(0.1)[1] < guards.SMALLEST_SCALE
