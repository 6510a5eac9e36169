"""One engine for the whole folder: loading is quick, but its cache is what several tests are about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chatapp.engine.base import EngineConfig, Message
from chatapp.engine.llama import LlamaEngine
from chatapp.engine.model_files import bundled
from chatapp.engine.vocab import Vocab


def user(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


@pytest.fixture(scope="session")
def model_path() -> Path:
    return bundled()


@pytest.fixture(scope="session")
def vocab(model_path: Path) -> Iterator[Vocab]:
    with Vocab.open(model_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def engine(model_path: Path) -> Iterator[LlamaEngine]:
    with LlamaEngine(EngineConfig(model_path, context_size=2048)) as started:
        yield started


@pytest.fixture(scope="session")
def small(model_path: Path) -> Iterator[LlamaEngine]:
    """With a context that a few sentences fill."""
    with LlamaEngine(EngineConfig(model_path, context_size=256)) as started:
        yield started


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two random adapters for the bundled model, strong enough to change every answer."""
    folder = tmp_path_factory.mktemp("adapters")
    return write_adapter(folder / "a.gguf", seed=1), write_adapter(folder / "b.gguf", seed=2)


def write_adapter(path: Path, seed: int, architecture: str = "llama", width: int = 576) -> Path:
    import gguf

    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for layer in (0, 7, 29):
        for name, out in (("attn_q", width), ("attn_v", 192), ("ffn_up", 1536)):
            a = random.normal(0, 0.05, (8, width)).astype(np.float32)
            b = random.normal(0, 0.05, (out, 8)).astype(np.float32)
            writer.add_tensor(f"blk.{layer}.{name}.weight.lora_a", a)
            writer.add_tensor(f"blk.{layer}.{name}.weight.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
