"""The GGUF adapter in llama.cpp against the PEFT adapter in torch, and the files themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from chatapp.engine.base import EngineConfig
from chatapp.engine.llama import LlamaEngine
from chatapp.engine.model_files import bundled
from tests.trainer.conftest import shake, tiny_lora, tiny_model, tiny_qwen2, write_tiny_gguf
from trainer import adapter_file
from trainer.base_model import check_text, kl_divergence, load_base, logits
from trainer.errors import TrainerError
from trainer.lora import Lora, read_weights

IDS = [1, *(3 + (7 * i) % 250 for i in range(120))]


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    write_tiny_gguf(path, tiny_model())
    return path


def test_permutation_is_the_converters() -> None:
    """One head of 4 rows: halves (0 1 | 2 3) become neighbours 0 2 1 3."""
    assert adapter_file.permute(torch.arange(4)[:, None], 1)[:, 0].tolist() == [0, 2, 1, 3]
    assert adapter_file.permute(torch.arange(8)[:, None], 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_row_order_is_seen_in_the_weights(tiny_gguf: Path) -> None:
    assert adapter_file.permuted_projections(tiny_gguf, tiny_model()) == {"q_proj": True, "k_proj": True}


def test_tiny_adapter_is_the_same_in_torch_and_llama_cpp(tiny_gguf: Path, tmp_path: Path) -> None:
    lora = tiny_lora()
    folder = tmp_path / "adapters" / "one"
    permuted = adapter_file.permuted_projections(tiny_gguf, lora.decoder())
    files = adapter_file.write_folder(folder, lora, architecture="llama", permuted=permuted)
    assert set(files) == {"adapter.gguf", "adapter_config.json", "adapter_model.safetensors"}
    with LlamaEngine(EngineConfig(tiny_gguf, context_size=256)) as engine:
        base = torch.from_numpy(engine.logits(IDS))
        engine.swap(folder / "adapter.gguf")
        adapted = torch.from_numpy(engine.logits(IDS))
    ours = logits(lora.model, IDS)
    with lora.disabled():
        assert kl_divergence(base, logits(lora.model, IDS)).mean() < 1e-4
    assert kl_divergence(base, adapted).mean() > 0.05  # it does change the model
    assert kl_divergence(adapted, ours).mean() < 1e-4


@pytest.mark.parametrize("layers", [None, [1]], ids=["all layers", "the upper layer"])
@pytest.mark.parametrize(
    ("made", "order"), [(tiny_model, True), (tiny_qwen2, False)], ids=["llama, permuted", "qwen2, not permuted"]
)
def test_adapter_on_an_f16_file_gives_what_peft_gives(
    made: Callable[[], Any], order: bool, layers: list[int] | None, tmp_path: Path
) -> None:
    """Mean KL(llama.cpp || PEFT) at most 1e-3 nats a token, by PEFT's own forward pass from the files that it reads.

    Seen: 2e-7 to 6e-7, and 3e-3 to 0.18 with the rows of q and k in the wrong order.
    """
    from peft import PeftModel

    model, path = made(), tmp_path / "half.gguf"
    write_tiny_gguf(path, model, half=True)
    rounded = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    permuted = adapter_file.permuted_projections(path, model)
    assert permuted == {"q_proj": order, "k_proj": order}
    lora = tiny_lora(model=model, layers=layers)
    shake(lora, scale=0.3)
    folder, mistaken = tmp_path / "one", tmp_path / "mistaken"
    architecture = model.config.model_type
    adapter_file.write_folder(folder, lora, architecture=architecture, permuted=permuted)
    adapter_file.write_folder(mistaken, lora, architecture=architecture, permuted=dict.fromkeys(permuted, not order))
    plain = made()
    plain.load_state_dict(rounded)
    peft = PeftModel.from_pretrained(plain, str(folder)).eval()
    with LlamaEngine(EngineConfig(path, context_size=256)) as engine:
        base = torch.from_numpy(engine.logits(IDS))
        engine.swap(folder / "adapter.gguf")
        adapted = torch.from_numpy(engine.logits(IDS))
        engine.swap(mistaken / "adapter.gguf")
        wrong = torch.from_numpy(engine.logits(IDS))
    assert kl_divergence(adapted, logits(peft, IDS)).mean() <= 1e-3
    assert kl_divergence(adapted, logits(lora.model, IDS)).mean() <= 1e-3
    with peft.disable_adapter():
        assert kl_divergence(base, logits(peft, IDS)).mean() <= 1e-3
    assert kl_divergence(base, adapted).mean() > 0.05  # it does change the model
    assert kl_divergence(wrong, logits(peft, IDS)).mean() > 2e-3  # and the other order of rows would show


def test_wrong_row_order_would_show(tiny_gguf: Path, tmp_path: Path) -> None:
    """The test above is not blind to the permutation."""
    lora = tiny_lora()
    folder = tmp_path / "one"
    adapter_file.write_folder(folder, lora, architecture="llama", permuted={})
    with LlamaEngine(EngineConfig(tiny_gguf, context_size=256, adapter_path=folder / "adapter.gguf")) as engine:
        adapted = torch.from_numpy(engine.logits(IDS))
    assert kl_divergence(adapted, logits(lora.model, IDS)).mean() > 1e-3


def test_folder_loads_in_peft(tmp_path: Path) -> None:
    from peft import PeftModel

    lora = tiny_lora()
    adapter_file.write_folder(tmp_path / "one", lora, architecture="llama", permuted={})
    loaded = PeftModel.from_pretrained(tiny_model(), str(tmp_path / "one")).eval()
    assert (logits(loaded, IDS) - logits(lora.model, IDS)).abs().max() < 1e-3


def test_weights_survive_the_round_trip(tmp_path: Path) -> None:
    lora = tiny_lora()
    lora.save(tmp_path)
    other = tiny_lora(seed=0)
    other.reset(5)
    other.load_state(read_weights(tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(lora.parameters(), other.parameters(), strict=True))
    with pytest.raises(TrainerError, match="does not fit"):
        tiny_lora(rank=8).load_state(read_weights(tmp_path))


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainerError, match="No space left"):
        adapter_file.write_folder(tmp_path / "one", tiny_lora(), architecture="llama", permuted={})
    assert list(tmp_path.iterdir()) == []


def test_stale_folders_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-dead").mkdir()
    (tmp_path / "alive").mkdir()
    assert adapter_file.remove_stale(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["alive"]


@pytest.mark.real
def test_real_adapter_is_the_same_in_torch_and_llama_cpp(model_cache: Path, tmp_path: Path) -> None:
    """The served 4-bit base against its dequantised weights: llama.cpp rounds activations, so a small KL remains."""
    base = load_base(bundled(), model_cache, dtype=torch.float32)
    assert base.check["kl"] < 0.01
    lora = Lora(base.model, rank=4, alpha=4, seed=0)
    shake(lora, scale=0.3)
    adapter_file.write_folder(tmp_path / "one", lora, architecture="llama", permuted=base.check["permuted"])
    with LlamaEngine(EngineConfig(bundled(), context_size=256)) as engine:
        ids = engine.vocab.tokenize(check_text())[:160]
        plain = torch.from_numpy(engine.logits(ids))
        engine.swap(tmp_path / "one" / "adapter.gguf")
        theirs = torch.from_numpy(engine.logits(ids))
    ours = logits(lora.model, ids)
    assert kl_divergence(plain, theirs).mean() > 0.05
    assert kl_divergence(theirs, ours).mean() < 0.01
