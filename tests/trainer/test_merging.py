"""A version merged into its base: what llama.cpp makes of it, and the file itself."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

from chatapp.engine.base import EngineConfig
from chatapp.engine.llama import LlamaEngine
from chatapp.engine.model_files import bundled
from storage.errors import DiskFull, StorageError
from storage.store import Store
from tests.trainer.conftest import tiny_lora, tiny_model, tiny_qwen2, write_tiny_gguf
from tests.version_of_a_model import add_version, write_adapter, write_model
from trainer import adapter_file, gguf_copy, merging
from trainer.base_model import check_text, kl_divergence
from trainer.errors import TrainerError

IDS = [1, *(3 + (7 * i) % 250 for i in range(120))]


def merged(base: Path, adapter: Path, target: Path) -> Path:
    reader = gguf_copy.open_gguf(base)
    changed = merging.changes(reader, adapter, base.name)
    gguf_copy.copy(reader, target, changed)
    assert target.stat().st_size == gguf_copy.copied_bytes(reader, changed)
    return target


def tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in GGUFReader(str(path)).tensors}


def keys(path: Path) -> dict[str, bytes]:
    """The bytes of every key with its value."""
    fields = GGUFReader(str(path)).fields
    return {name: b"".join(part.tobytes() for part in field.parts) for name, field in fields.items()}


def logits(base: Path, ids: list[int], adapter: Path | None = None) -> torch.Tensor:
    with LlamaEngine(EngineConfig(base, context_size=512, adapter_path=adapter)) as engine:
        return torch.from_numpy(engine.logits(ids))


@pytest.mark.parametrize("kind", ["Q8_0", "F16", "F32", "BF16"])
def test_a_touched_weight_is_the_base_and_the_product(tmp_path: Path, kind: str) -> None:
    """alpha 4 at rank 2: W + 2 B A, in half precision but where the base is finer or coarser by choice."""
    base, adapter = write_model(tmp_path / "base.gguf", kind), write_adapter(tmp_path / "a.gguf")
    before, after, parts = (tensors(path) for path in (base, merged(base, adapter, tmp_path / "m.gguf"), adapter))
    name = "blk.0.attn_q.weight"
    old = dequantize(before[name].data, before[name].tensor_type)
    wanted = old + 2 * parts[f"{name}.lora_b"].data @ parts[f"{name}.lora_a"].data
    written = after[name].tensor_type.name
    assert written == {"Q8_0": "F16"}.get(kind, kind)
    found = dequantize(after[name].data, after[name].tensor_type)
    assert np.allclose(found, wanted, rtol={"F32": 1e-6, "F16": 1e-3, "BF16": 8e-3}[written], atol=1e-6)
    for other in ("blk.1.attn_q.weight", "blk.0.attn_norm.weight"):
        assert after[other].tensor_type == before[other].tensor_type
        assert after[other].data.tobytes() == before[other].data.tobytes()


def test_keys_are_the_bases_but_for_the_type_of_the_file(tmp_path: Path) -> None:
    base, adapter = write_model(tmp_path / "base.gguf"), write_adapter(tmp_path / "a.gguf")
    before, after = keys(base), keys(merged(base, adapter, tmp_path / "m.gguf"))
    assert [name for name in before if before[name] != after[name]] == []  # as much is still Q8_0 as is F16
    assert list(after) == list(before)
    reader = gguf_copy.open_gguf(base)
    gguf_copy.copy(reader, tmp_path / "f32.gguf", {t.name: gguf_copy.Changed("F32") for t in reader.tensors})
    after = keys(tmp_path / "f32.gguf")
    assert [name for name in before if before[name] != after[name]] == ["general.file_type"]
    assert GGUFReader(str(tmp_path / "f32.gguf")).fields["general.file_type"].contents() == 0


@pytest.mark.parametrize("half", [False, True], ids=["f32", "f16"])
@pytest.mark.parametrize("made", [tiny_model, tiny_qwen2], ids=["llama, permuted", "qwen2, not permuted"])
def test_llama_cpp_says_the_same_of_the_merged_file(tmp_path: Path, made: Any, half: bool) -> None:
    """Mean KL at most 1e-6 (fp32) and 1e-5 (f16) nats a token. Seen: 3e-8 and 3e-7."""
    model, base = made(), tmp_path / "base.gguf"
    write_tiny_gguf(base, model, half=half)
    permuted = adapter_file.permuted_projections(base, model)
    lora = tiny_lora(model=model)
    adapter_file.write_folder(tmp_path / "one", lora, architecture=model.config.model_type, permuted=permuted)
    adapter = tmp_path / "one" / "adapter.gguf"
    plain, adapted = logits(base, IDS), logits(base, IDS, adapter)
    found = logits(merged(base, adapter, tmp_path / "m.gguf"), IDS)
    assert kl_divergence(plain, found).mean() > 0.01
    assert kl_divergence(adapted, found).mean() < (1e-5 if half else 1e-6)


@pytest.mark.real
def test_the_real_model_merged_is_the_model_with_its_adapter(tmp_path: Path) -> None:
    """Mean KL at most 0.01 nats a token, where the adapter changes 0.15. Seen: 0.0037.

    That is what llama.cpp loses on 4-bit weights, as it rounds what it multiplies them with to 8 bits: from the model
    in fp32 with the adapter, the 4-bit file with it was 0.0032 away, the merged one 0.0008.
    """
    base, adapter = bundled(), tmp_path / "adapter.gguf"
    random_adapter(base, adapter)
    with LlamaEngine(EngineConfig(base, context_size=512)) as engine:
        ids = engine.vocab.tokenize(check_text())[:96]
        plain = torch.from_numpy(engine.logits(ids))
        engine.swap(adapter)
        adapted = torch.from_numpy(engine.logits(ids))
    found = logits(merged(base, adapter, tmp_path / "m.gguf"), ids)
    assert kl_divergence(plain, found).mean() > 0.1
    assert kl_divergence(adapted, found).mean() < 0.01
    before, after = keys(base), keys(tmp_path / "m.gguf")
    assert [name for name in before if before[name] != after[name]] == ["general.file_type"]
    assert GGUFReader(str(tmp_path / "m.gguf")).fields["general.file_type"].contents() == 1  # mostly F16


def random_adapter(base: Path, path: Path) -> None:
    """Rank 8 on every matrix of every layer."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 16.0)
    rng = np.random.default_rng(0)
    for tensor in GGUFReader(str(base)).tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2:
            width, height = (int(n) for n in tensor.shape)
            low = rng.standard_normal((8, width), dtype=np.float32) / width**0.5
            writer.add_tensor(f"{tensor.name}.lora_a", low)
            writer.add_tensor(f"{tensor.name}.lora_b", rng.standard_normal((height, 8), dtype=np.float32) * 0.05)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# -- what does not fit, and what goes wrong ----------------------------------------------------------------------------


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base.gguf")
    cases = [
        ({"architecture": "qwen2"}, "is no LoRA for the architecture llama"),
        ({"width": 64}, "was trained for another model"),
        ({"tensor": "blk.9.attn_q.weight"}, "blk.9.attn_q.weight is not whole"),
    ]
    for at, (changes, why) in enumerate(cases):
        adapter = write_adapter(tmp_path / f"{at}.gguf", **changes)
        with pytest.raises(TrainerError, match=why):
            merging.changes(gguf_copy.open_gguf(base), adapter, base.name)
    (tmp_path / "torn.gguf").write_bytes(base.read_bytes()[:200])
    with pytest.raises(TrainerError, match="cannot be read as a GGUF"):
        gguf_copy.open_gguf(tmp_path / "torn.gguf")


def test_values_beyond_half_precision_are_said(tmp_path: Path) -> None:
    reader = gguf_copy.open_gguf(write_model(tmp_path / "base.gguf"))
    huge = {"blk.0.attn_q.weight": gguf_copy.Changed("F16", lambda _, old: old * 1e9)}
    with pytest.raises(TrainerError, match="half precision cannot"):
        gguf_copy.copy(reader, tmp_path / "m.gguf", huge)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=["stop", "full"])
def test_what_is_interrupted_leaves_nothing(store: Store, tmp_path: Path, error: BaseException) -> None:
    base = write_model(tmp_path / "base.gguf")
    adapter = add_version(store, base)
    out = tmp_path / "out"
    out.mkdir()

    def stop(done: int, of: int) -> None:
        raise error

    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else DiskFull):
        merging.write(store, adapter, base, out / "m.gguf", force=False, progress=stop)
    assert list(out.iterdir()) == []


def test_a_damaged_adapter_and_the_base_itself_are_refused(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base.gguf")
    adapter = add_version(store, base)
    before = base.read_bytes()
    with pytest.raises(TrainerError, match="is the base model itself"):
        merging.write(store, adapter, base, base, force=True, progress=lambda *_: None)
    with open(store.adapters.gguf(adapter), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    with pytest.raises(StorageError, match="is not the file that its lesson wrote"):
        merging.write(store, adapter, base, tmp_path / "m.gguf", force=False, progress=lambda *_: None)
    assert base.read_bytes() == before
    assert not (tmp_path / "m.gguf").exists()


def start(store: Store, base: Path, *words: str) -> subprocess.Popen[str]:
    asked = [sys.executable, "-m", "trainer", "merge", *words, "--json", "--model", str(base)]
    environment = {**os.environ, "HONE_CACHE": str(store.home / "models")}
    asked += ["--home", str(store.home)]
    return subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_the_process_that_merges_says_how_far_it_is(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base.gguf")
    adapter = add_version(store, base)
    out, err = start(store, base, adapter.id, "-o", str(tmp_path / "m.gguf")).communicate()
    assert err == ""
    *progress, report = [json.loads(line) for line in out.splitlines()]
    size = (tmp_path / "m.gguf").stat().st_size
    assert report == {"version": "v1", "path": str(tmp_path / "m.gguf"), "bytes": size}
    assert progress
    assert all(0 < line["done"] <= line["of"] == size for line in progress)
    out, err = start(store, base, adapter.id, "-o", str(tmp_path / "m.gguf")).communicate()
    assert (out, "already" in err, "Traceback" in err) == ("", True, False)


def test_a_merge_that_is_ended_leaves_nothing(store: Store, tmp_path: Path) -> None:
    """SIGTERM in the middle, where it waits until somebody reads how far it is."""
    base = write_model(tmp_path / "base.gguf")
    adapter = add_version(store, base)
    out = tmp_path / "out"
    os.mkfifo(tmp_path / "said")
    out.mkdir()
    code = (
        "import sys, time, trainer.merging, trainer.gguf_copy as c; copy = c.copy\n"
        "def slow(reader, made, changed, progress):\n"
        "    copy(reader, made, changed, progress); print('{}', flush=True); time.sleep(60)\n"
        "c.copy = slow\n"
        "from trainer.__main__ import main; sys.exit(main())"
    )
    asked = [sys.executable, "-c", code, "merge", adapter.id, "-o", str(out / "m.gguf"), "--json"]
    environment = {**os.environ, "HONE_CACHE": str(store.home / "models")}
    asked += ["--home", str(store.home), "--model", str(base)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert any(line == "{}\n" for line in child.stdout)
        assert len(list(out.iterdir())) == 1
        child.send_signal(signal.SIGTERM)
        assert "interrupted; nothing was changed" in child.stderr.read()
    assert child.returncode == 1
    assert list(out.iterdir()) == []


def test_merging_needs_no_torch(store: Store, tmp_path: Path) -> None:
    base = write_model(tmp_path / "base.gguf")
    adapter = add_version(store, base)
    code = (
        "import sys; from trainer.__main__ import main; code = main()\n"
        "sys.exit(code or str({'torch', 'transformers', 'peft', 'llama_cpp'} & set(sys.modules) or ''))"
    )
    asked = [sys.executable, "-c", code, "merge", adapter.id, "-o", str(tmp_path / "m.gguf"), "--model", str(base)]
    done = subprocess.run([*asked, "--home", str(store.home)], capture_output=True, text=True)
    assert done.stderr.strip() == ""
    assert hashlib.sha256((tmp_path / "m.gguf").read_bytes()).hexdigest() != adapter.model_hash
