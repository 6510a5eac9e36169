"""Finding model files, and refusing what is none with a sentence that helps."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from chatapp.engine import model_files
from chatapp.engine.base import EngineConfig, ModelFileError
from chatapp.engine.llama import LlamaEngine
from chatapp.engine.model_files import bundled, file_hash, read_metadata, resolve
from chatapp.engine.vocab import Vocab


def test_the_bundled_model_is_the_default(tmp_path: Path) -> None:
    found = resolve(None, tmp_path)
    assert (found.source, found.path) == ("bundled", bundled())
    assert read_metadata(found.path)["general.architecture"] == "llama"


def test_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m.gguf").symlink_to(bundled())
    assert resolve("~/m.gguf", tmp_path).path == tmp_path / "m.gguf"


def test_ollamas_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    manifest = tmp_path / "manifests/registry.ollama.ai/library/smol/135m"
    manifest.parent.mkdir(parents=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:00"},
        {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:abc"},
    ]
    manifest.write_text(json.dumps({"layers": layers}))
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/sha256-abc").symlink_to(bundled())
    found = resolve("ollama:smol:135m", tmp_path)
    assert (found.path, found.name) == (tmp_path / "blobs/sha256-abc", "smol:135m")
    with pytest.raises(ModelFileError, match=r"no model smol:latest in .*ollama pull smol"):
        resolve("ollama:smol", tmp_path)
    with pytest.raises(ModelFileError, match="not an Ollama model name"):
        resolve("ollama:../../etc", tmp_path)


def test_a_hub_name_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"hf:OWNER/REPO/FILE\.gguf"):
        resolve("hf:owner/repo", tmp_path)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fail(*_: object, **__: object) -> str:
        raise OSError("Network is unreachable\nmore")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(
        ModelFileError, match=r"f\.gguf of huggingface\.co/o/r could not be fetched: Network is unreachable"
    ):
        resolve("hf:o/r/f.gguf", tmp_path)


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "m"
    file.write_bytes(b"one")
    first = file_hash(file, tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(model_files.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert file_hash(file, tmp_path / "cache") == first
    file.write_bytes(b"three")
    assert file_hash(file, tmp_path / "cache") != first
    (tmp_path / "cache" / "model-hashes.json").write_text("{broken")
    assert len(file_hash(file, tmp_path / "cache")) == 64


def broken_file(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.gguf"
    whole = bundled().read_bytes()
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("I am a model, honestly.\n" * 10)
    elif kind == "magic alone":
        path.write_bytes(whole[:9])
    elif kind == "version":
        path.write_bytes(whole[:4] + struct.pack("<I", 99) + whole[8:64])
    elif kind == "cut in the header":
        path.write_bytes(whole[:5000])
    elif kind == "cut in the tensors":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "architecture":
        mark = b"general.architecture" + struct.pack("<IQ", 8, 5)
        assert whole.count(mark + b"llama") == 1
        path.write_bytes(whole.replace(mark + b"llama", mark + b"lemma"))
    return path


@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "There is no model file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "is not a GGUF model: it starts with b'I am'"),
        ("magic alone", "ends after 9 bytes"),
        ("version", "of version 99"),
        ("cut in the header", "llama.cpp cannot load"),
        ("cut in the tensors", "not within the file bounds"),
        ("architecture", "unknown model architecture: 'lemma'"),
    ],
)
def test_broken_files_are_refused_with_the_reason(kind: str, reason: str, tmp_path: Path) -> None:
    path = broken_file(kind, tmp_path)
    with pytest.raises(ModelFileError, match=reason) as caught:
        LlamaEngine(EngineConfig(path))
    assert str(path) in str(caught.value)
    if kind in ("missing", "text", "cut in the header"):
        with pytest.raises(ModelFileError):
            Vocab.open(path)
        with pytest.raises(ModelFileError):
            read_metadata(path)
