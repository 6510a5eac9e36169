"""A file that is whole or as it was, on a disk that is full: simulated by a limit on the size of files."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.conftest import tiny_lora
from trainer import adapter_file, tensor_file
from trainer.checkpoint import Checkpoint, Progress
from trainer.errors import TrainerError
from trainer.features import ReferenceCache
from trainer.logprobs import TokenTurn


@contextmanager
def full_disk(room: int = 500) -> Iterator[None]:
    """No file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler: Any = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_old_file_stays_where_the_new_one_finds_no_room(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.safetensors"
    tensor_file.write(path, {"a": torch.ones(2)[::1]}, {"about": "this"})
    with full_disk(), pytest.raises(OSError, match=r"."):
        tensor_file.write(path, {"a": torch.zeros(1000)})
    assert load_file(path)["a"].tolist() == [1, 1]
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_costs_a_checkpoint_and_a_cache_and_no_more(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "main", "f")
    cache = ReferenceCache(tmp_path / "cache" / "reference.safetensors")
    cache.add(TokenTurn([1], [[i] for i in range(200)]), [-1.0] * 200)
    with full_disk():
        checkpoint.save(Progress(1, {"w": torch.zeros(1000)}, {}, []))
        cache.save()
    assert checkpoint.load() is None
    assert not any(file.is_file() for file in tmp_path.rglob("*"))


def test_an_adapter_that_finds_no_room_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "adapters" / "one"
    lora = tiny_lora()
    lora.save(tmp_path / "room")
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "room").iterdir()}
    room = sizes["adapter_config.json"] + 10
    assert room < sizes["adapter_model.safetensors"]
    with full_disk(room), pytest.raises(TrainerError, match=r"cannot write the adapter to .*Free some space"):
        adapter_file.write_folder(folder, lora, architecture="llama", permuted={"q_proj": True, "k_proj": True})
    assert not any(folder.parent.iterdir())
