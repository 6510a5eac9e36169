"""Adapters: a swapped engine is exactly one that was started with the adapter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chatapp.engine.base import AdapterFileError, EngineConfig, Sampling
from chatapp.engine.llama import LlamaEngine
from tests.engine.conftest import user, write_adapter

pytestmark = pytest.mark.real

CHAT = user("What do dragons eat?")


def test_swapping_is_exact(engine: LlamaEngine, model_path: Path, adapters: tuple[Path, Path]) -> None:
    ids = engine.vocab.prompt_ids(CHAT)
    engine.swap(None)
    base = engine.logits(ids)
    for path in adapters:
        engine.generate(CHAT, 2, Sampling(max_tokens=4))  # something of the old adapter in the cache
        assert engine.swap(path) < 1000
        assert engine.info.adapter_path == str(path)
        swapped = engine.logits(ids)
        with LlamaEngine(EngineConfig(model_path, context_size=2048, adapter_path=path)) as fresh:
            assert np.array_equal(swapped, fresh.logits(ids))
            greedy = Sampling(temperature=0, max_tokens=8)
            assert fresh.generate(CHAT, 1, greedy)[0].token_ids == engine.generate(CHAT, 1, greedy)[0].token_ids
        assert np.abs(swapped - base).max() > 0.1
    engine.swap(None)
    assert np.array_equal(engine.logits(ids), base)
    assert engine.info.adapter_path is None


def test_the_cache_of_another_adapter_is_not_used(engine: LlamaEngine, adapters: tuple[Path, Path]) -> None:
    engine.generate(CHAT, 1, Sampling(max_tokens=2))
    engine.swap(adapters[0])
    assert engine.generate(CHAT, 1, Sampling(max_tokens=2))[0].cached_tokens == 0
    engine.swap(None)


@pytest.mark.parametrize("kind", ["missing", "text", "cut", "model", "width", "architecture"])
def test_a_refused_adapter_changes_nothing(
    engine: LlamaEngine, adapters: tuple[Path, Path], tmp_path: Path, model_path: Path, kind: str
) -> None:
    bad = tmp_path / "bad.gguf"
    if kind == "text":
        bad.write_text("no adapter " * 9)
    elif kind == "cut":
        bad.write_bytes(adapters[0].read_bytes()[:-5000])
    elif kind == "model":
        bad.symlink_to(model_path)
    elif kind == "width":
        write_adapter(bad, seed=1, width=960)  # of SmolLM2-360M
    elif kind == "architecture":
        write_adapter(bad, seed=1, architecture="qwen2")
    engine.swap(adapters[0])
    ids = engine.vocab.prompt_ids(CHAT)
    before = engine.logits(ids)
    with pytest.raises(AdapterFileError, match="adapter") as caught:
        engine.swap(bad)
    assert str(bad) in str(caught.value)
    assert engine.info.adapter_path == str(adapters[0])
    assert np.array_equal(engine.logits(ids), before)
    engine.swap(None)
