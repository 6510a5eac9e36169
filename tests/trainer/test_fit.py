"""The loop on the tiny model: it learns each kind of judgment, is repeatable, and stops when asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.trainer.conftest import VOCABULARY, tiny_lora
from trainer.config import TrainConfig
from trainer.dataset import DemoRef, PairRef, SingleRef, Turn
from trainer.errors import Cancelled
from trainer.features import Callbacks, ReferenceCache, Work, prepare
from trainer.fit import fit
from trainer.logprobs import TokenTurn, score
from trainer.lora import Lora
from trainer.team import Team

CONFIG = TrainConfig(rank=4, epochs=8, learning_rate=1e-2, turns_per_step=2, micro_tokens=64)


def turns(kind: str, count: int = 8) -> list[Turn]:
    """Token 10 is liked, token 20 is not."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for i in range(count):
        prompt = torch.randint(30, VOCABULARY, (6 + i % 3,), generator=generator).tolist()
        turn = Turn(f"turn {i}", "train", [], prompt, [[10, 2], [20, 2]])
        if kind == "pairs":
            turn.pairs = [PairRef(0, 1, 1.0)]
        elif kind == "demos":
            turn.demos = [DemoRef(0, 1.0)]
        else:
            turn.singles = [SingleRef(i % 2, i % 2 == 0, 1.0)]
        made.append(turn)
    return made


def ratios(lora: Lora, work: list[Work]) -> list[list[float]]:
    found = score(lora.model, [w.turn.tokens for w in work], budget=1000)
    return [[a - b for a, b in zip(mine, w.reference, strict=False)] for w, mine in zip(work, found, strict=True)]


@pytest.mark.parametrize("kind", ["pairs", "demos", "singles"])
def test_each_kind_is_learned(kind: str) -> None:
    lora = tiny_lora()
    work = prepare(turns(kind), lora, CONFIG, None, Callbacks())
    seen: list[tuple[int, int]] = []
    fit(lora, work, CONFIG, Team(), Callbacks(progress=lambda step, total, _: seen.append((step, total))))
    assert seen == [(i + 1, 32) for i in range(32)]
    for good, bad in ratios(lora, work):
        assert good > bad + (1.0 if kind != "demos" else 0.0)


def test_the_same_seed_gives_the_same_adapter() -> None:
    found = []
    for _ in range(2):
        lora = tiny_lora()
        fit(lora, prepare(turns("pairs"), lora, CONFIG, None, Callbacks()), CONFIG, Team(), Callbacks())
        found.append(lora.state())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_micro_batches_do_not_change_the_step() -> None:
    """One micro-batch a turn or all turns of the step in one: the same gradients, up to rounding."""
    found = []
    for tokens in (64, 4096):
        config = TrainConfig(rank=4, epochs=1, min_steps=1, learning_rate=1e-3, turns_per_step=4, micro_tokens=tokens)
        lora = tiny_lora()
        work = prepare(turns("pairs"), lora, config, None, Callbacks())
        fit(lora, work, config, Team(), Callbacks())
        found.append(ratios(lora, work))
    for a, b in zip(*found, strict=True):
        assert a == pytest.approx(b, abs=2e-3)


def test_ordinary_text_holds_its_place() -> None:
    """What judgments say nothing about is pulled along without it, and kept with it."""
    texts = [TokenTurn([40 + i, 41 + i], [[50 + i, 60 + i, 70 + i]]) for i in range(4)]
    nll = {}
    for weight in (0.0, 1.0):
        config = replace(CONFIG, ordinary_weight=weight)
        lora = tiny_lora()
        work = prepare(turns("pairs"), lora, config, None, Callbacks())
        last = fit(lora, work, config, Team(), Callbacks(), texts)
        nll[weight] = -sum(x for sums in score(lora.model, texts, budget=1000) for x in sums)
        assert ("ordinary_nll" in last) == (weight > 0)
        for good, bad in ratios(lora, work):
            assert good > bad + 1.0
    assert nll[1.0] < nll[0.0] - 1.0


def test_cancelling_stops_within_a_step() -> None:
    lora = tiny_lora()
    work = prepare(turns("pairs"), lora, CONFIG, None, Callbacks())
    steps: list[int] = []
    calls = Callbacks(progress=lambda step, *_: steps.append(step), cancelled=lambda: len(steps) == 3)
    with pytest.raises(Cancelled):
        fit(lora, work, CONFIG, Team(), calls)
    assert steps == [1, 2, 3]


def test_the_chat_is_asked_before_every_micro_batch() -> None:
    lora, waits = tiny_lora(), []
    config = TrainConfig(rank=4, epochs=1, min_steps=1, turns_per_step=4, micro_tokens=64)
    calls = Callbacks(wait=lambda: waits.append(1))
    work = prepare(turns("pairs"), lora, config, None, calls)
    before = len(waits)
    assert before >= 1
    fit(lora, work, config, Team(), calls)
    assert len(waits) - before >= 2


def test_reference_is_the_base_and_is_kept_on_disk(tmp_path: Path) -> None:
    lora, path = tiny_lora(), tmp_path / "cache" / "reference.safetensors"
    first = prepare(turns("pairs"), lora, CONFIG, path, Callbacks())
    asked: list[int] = []
    calls = Callbacks(wait=lambda: asked.append(1))
    again = prepare(turns("pairs"), lora, CONFIG, path, calls)
    assert not asked  # nothing was computed
    for a, b in zip(first, again, strict=True):
        assert a.reference == pytest.approx(b.reference)
    with lora.disabled():
        assert score(lora.model, [w.tokens for w in first], budget=64) == [
            pytest.approx(w.reference, abs=1e-4) for w in first
        ]
    path.write_bytes(b"broken")
    assert ReferenceCache(path).values == {}


def test_cache_keys_tell_prompt_from_response() -> None:
    assert ReferenceCache.key([1, 2], [3]) != ReferenceCache.key([1], [2, 3])
    cache = ReferenceCache(None)
    cache.add(TokenTurn([1], [[2], [3]]), [-1.0, -2.0])
    assert cache.get(TokenTurn([1], [[3]])) == [-2.0]
    assert not cache.covers(TokenTurn([1], [[4]]))
    assert not cache.covers(TokenTurn([1], [[3]], temperature=0.8))
