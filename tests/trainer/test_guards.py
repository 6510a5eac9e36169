"""The strength of an adapter is set by what ordinary text bears, before it is tested."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from storage.assets import asset
from tests.trainer.conftest import random_turns, shake, tiny_lora, tiny_model
from trainer import guards
from trainer.logprobs import hidden_states, use_shared_prefix
from trainer.lora import Lora


def settled(size: float, monkeypatch: pytest.MonkeyPatch, *, kl: float, rise: float = 1.0) -> Any:
    """Before, after, the scale found, and by how much each weight was scaled; the aims are given."""
    monkeypatch.setattr(guards, "AIM_KL", kl)
    monkeypatch.setattr(guards, "AIM_RISE", rise)  # the tiny model is random: its NLL on any text is about the same
    lora = tiny_lora()
    shake(lora, size)
    text = guards.NeutralText(random_turns(), budget=40, wait=lambda: None)
    before, first = lora.state(), text.measure(lora)
    found, scale = guards.set_strength(lora, text)
    assert found == text.measure(lora)  # what is reported is how the adapter is left
    for name, tensor in lora.state().items():
        assert torch.allclose(tensor, before[name] * (scale if "lora_B" in name else 1.0), rtol=1e-4)
    return first, found, scale


def test_a_strong_adapter_is_held_back_to_the_aim(monkeypatch: pytest.MonkeyPatch) -> None:
    first, found, scale = settled(0.1, monkeypatch, kl=0.1)
    assert first.kl > 0.11 >= found.kl
    assert guards.MIN_SCALE <= scale < 1


def test_a_weak_adapter_goes_on_in_its_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    first, found, scale = settled(0.02, monkeypatch, kl=10.0)
    assert scale == guards.MAX_SCALE
    assert found.kl > 2 * first.kl


def test_it_does_not_go_on_where_ordinary_text_would_suffer(monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, _ = settled(0.05, monkeypatch, kl=10.0)
    limit = abs(first.rise) * 1.2 + 1e-6
    _, found, scale = settled(0.05, monkeypatch, kl=10.0, rise=limit)
    assert found.rise <= limit
    assert guards.MIN_SCALE <= scale <= guards.MAX_SCALE


def test_what_no_scale_mends_is_left_to_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found, scale = settled(0.1, monkeypatch, kl=1e-9)
    assert scale == guards.MIN_SCALE
    assert not found.kept


@torch.no_grad()
def test_neutral_text_is_measured_as_written_out() -> None:
    """Against one plain pass a text, the whole vocabulary at once."""
    lora, turns = tiny_lora(), random_turns()
    found = guards.NeutralText(turns, budget=1000, wait=lambda: None).measure(lora)
    base_nll, new_nll, kl, count = 0.0, 0.0, 0.0, 0
    for turn in turns:
        for response in turn.responses:
            ids = torch.tensor([[*turn.prompt, *response]])
            rows = slice(len(turn.prompt) - 1, -1)
            p = torch.log_softmax(lora.model(input_ids=ids).logits[0, rows].double(), -1)
            with lora.disabled():
                q = torch.log_softmax(lora.model(input_ids=ids).logits[0, rows].double(), -1)
            for at, label in enumerate(response):
                new_nll -= float(p[at, label])
                base_nll -= float(q[at, label])
                kl += float((p[at].exp() * (p[at] - q[at])).sum())
                count += 1
    assert found.base_nll == pytest.approx(base_nll / count, rel=1e-4)
    assert found.new_nll == pytest.approx(new_nll / count, rel=1e-4)
    assert found.kl == pytest.approx(kl / count, rel=1e-3)


def test_the_base_is_computed_once_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lora, turns, file = tiny_lora(), random_turns(7), tmp_path / "cache" / "states.safetensors"
    first = guards.NeutralText(turns, budget=40, wait=lambda: None, cache=file)
    third = first.measure(lora, part=True)
    assert not file.exists()  # a part is not kept
    whole = first.measure(lora)
    assert file.exists()

    def never() -> None:
        raise AssertionError("the base was computed again")

    with monkeypatch.context() as patch:
        patch.setattr(lora, "disabled", never)
        again = guards.NeutralText(turns, budget=400, wait=lambda: None, cache=file)
        for mine, theirs in ((again.measure(lora), whole), (again.measure(lora, part=True), third)):
            assert (mine.base_nll, mine.new_nll) == pytest.approx((theirs.base_nll, theirs.new_nll), rel=1e-5)
            assert mine.kl == pytest.approx(theirs.kl, rel=1e-3)
    file.write_bytes(b"torn")
    assert guards.NeutralText(turns, budget=40, wait=lambda: None, cache=file).measure(lora).kl == pytest.approx(
        whole.kl
    )


def test_public_texts_enter_the_adapted_layers_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was computed of some of them in one run, another need not compute."""
    turns, file = random_turns(4), tmp_path / "cache" / "lower-1.safetensors"

    def upper() -> Lora:
        model = tiny_model(0)
        use_shared_prefix(model)
        return Lora(model, rank=4, alpha=4, seed=0, layers=[1])

    first = upper()
    whole = hidden_states(first.model, first.pack(turns[:3]))
    assert guards.recall(first.trunk, turns, file) == set()
    guards.keep(first.trunk, turns, file, set())
    second = upper()
    known = guards.recall(second.trunk, turns, file)
    assert known == {"0", "1", "2"}
    with monkeypatch.context() as patch:
        patch.setattr(second.trunk, "_compute", None)
        assert torch.equal(hidden_states(second.model, second.pack(turns[:3])), whole)
    written = file.stat().st_mtime_ns
    guards.keep(second.trunk, turns, file, known)
    assert file.stat().st_mtime_ns == written  # nothing new
    second.pack(turns)
    guards.keep(second.trunk, turns, file, known)
    assert guards.recall(upper().trunk, turns, file) == {"0", "1", "2", "3"}


def test_what_training_sees_is_not_what_the_gate_reads() -> None:
    def sentences(name: str) -> set[str]:
        rows = [json.loads(line) for line in asset(name).read_text(encoding="utf-8").splitlines()]
        texts = [r["text"] if "text" in r else " ".join(m["content"] for m in r["messages"]) for r in rows]
        return {s.strip() for text in texts for s in re.split(r"[.?!\n]", text) if len(s.strip()) > 20}

    assert sentences("neutral.jsonl")
    assert sentences("ordinary.jsonl")
    assert not sentences("neutral.jsonl") & sentences("ordinary.jsonl")


def test_how_far_ordinary_text_bears_it_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.001 s + 0.002 s^2 = 0.009 at s = (sqrt(1 + 72) - 1) / 4."""
    monkeypatch.setattr(guards, "AIM_RISE", 0.009)
    assert guards._reach(0.003, 2 * 0.001 + 4 * 0.002, 2.0) == pytest.approx((73**0.5 - 1) / 4)
    assert guards._reach(0.003, 0.003, 1.0) == float("inf")  # one measurement says nothing of another scale
    assert guards._reach(-0.001, -0.002, 2.0) == float("inf")  # it becomes better at it
