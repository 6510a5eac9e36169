"""What is on the disk is found wherever other programs keep it, and what cannot chat is left out by name."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from chatapp.engine.found_models import MAX_KL, FoundModel, find, named, trainable
from chatapp.engine.model_files import bundled, file_hash, resolve, write_json
from tests.engine.headers import CHAT, gguf, header

HASH = "ab" * 32


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with nothing in it yet."""
    for name in ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def ollama(store: Path, name: str, blob: str = f"sha256-{HASH}", host: str = "registry.ollama.ai/library") -> Path:
    model, _, tag = name.partition(":")
    manifest = store / "manifests" / host / model / tag
    manifest.parent.mkdir(parents=True, exist_ok=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": blob.replace("-", ":")}
    manifest.write_text(json.dumps({"layers": [{"mediaType": "x", "digest": "y"}, layer]}))
    return store / "blobs" / blob


def hub(cache: Path, repo: str, file: str, commit: str = "c1", main: bool = True, blob: str = HASH) -> Path:
    """A link to a blob, as the Hub's cache has it."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    path = folder / "snapshots" / commit / file
    path.parent.mkdir(parents=True)
    gguf(folder / "blobs" / blob)
    path.symlink_to(os.path.relpath(folder / "blobs" / blob, path.parent))
    if main:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
    return path


def rest(found: list[FoundModel]) -> list[FoundModel]:
    assert found[0].source == "bundled"
    return found[1:]


def test_the_bundled_one_is_there_as_it_is(user: Path) -> None:
    (only,), left = find(user / "cache")
    assert (only.source, only.architecture, only.quantisation, only.parameters) == ("bundled", "llama", "Q4_1", "135M")
    assert only.bytes == bundled().stat().st_size
    assert resolve(None if only.spec == "none" else only.spec, user).path == only.path
    assert left == []


def test_every_tag_of_ollamas_is_a_name(user: Path) -> None:
    store = user / ".ollama/models"
    gguf(ollama(store, "llama3.2:3b"), file_type=7)
    ollama(store, "llama3.2:latest")
    ollama(store, "x-GGUF:Q4_K_M", host="hf.co/someone")
    ollama(store, "own:latest", host="registry.ollama.ai/me")
    found = rest(find(user / "cache")[0])
    specs = ["ollama:hf.co/someone/x-GGUF:Q4_K_M", "ollama:llama3.2:3b", "ollama:llama3.2:latest"]
    assert sorted(m.spec for m in found) == [*specs, "ollama:me/own:latest"]
    assert {(m.hash, m.quantisation, m.bytes) for m in found} == {(HASH, "Q8_0", 2000)}, "the blob's name is its hash"
    for model in found:
        assert resolve(model.spec, user / "cache").path == model.path


def test_what_ollama_lacks_is_named(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = user / "elsewhere"
    monkeypatch.setenv("OLLAMA_MODELS", str(store))
    ollama(store, "gone:latest")
    cloud = store / "manifests/registry.ollama.ai/library/big/cloud"
    cloud.parent.mkdir()
    cloud.write_text('{"layers": []}')
    cloud.with_name("torn").write_text('{"layers":')
    found, left = find(user / "cache")
    assert rest(found) == []
    said = {one.path.name: one.why for one in left}
    assert "is gone; download the model again" in said[f"sha256-{HASH}"]
    assert "it has no layer of weights" in said["cloud"]
    assert "names no model" in said["torn"]


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", None])
def test_the_hubs_cache_is_used_as_it_is(user: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    root = user / ".cache/huggingface"
    if variable:
        root = user / "hf"
        monkeypatch.setenv(variable, str(root / "hub" if variable == "HF_HUB_CACHE" else root))
    path = hub(root / "hub", "owner/repo", "sub/model.gguf")
    old = hub(root / "hub", "owner/repo", "sub/model.gguf", commit="c0", main=False, blob="cd" * 32)
    ours = hub(user / "cache/hub", "owner/other", "m.gguf", blob="ef" * 32)
    (path.parent / "gone.gguf").symlink_to("../../blobs/gone")
    (path.parent / "README.md").touch()
    found, left = find(user / "cache")
    there = {m.spec: (m.path, m.hash) for m in rest(found)}
    assert there == {
        "hf:owner/repo/sub/model.gguf": (path, HASH),
        str(old): (old, "cd" * 32),
        "hf:owner/other/m.gguf": (ours, "ef" * 32),
    }
    for spec, (file, _) in there.items():
        assert resolve(spec, user / "cache").path == file, "no network is asked for it"
    assert [(one.path.name, "link" in one.why) for one in left] == [("gone.gguf", True)]


def test_lm_studio_and_folders_of_ones_own(user: Path) -> None:
    studio = gguf(user / ".lmstudio/models/publisher/repo/a.gguf", architecture="qwen3", file_type=99)
    own = gguf(user / "own/deep/er/B.GGUF", size_label="7B")
    (user / "own/up").symlink_to(user / "own")
    (user / "own/same.gguf").symlink_to(studio)
    found, left = find(user / "cache", [user / "own", user / "nowhere"])
    assert [(m.spec, m.source) for m in rest(found)] == [(str(studio), "lmstudio"), (str(own), "folder")]
    assert (found[1].architecture, found[1].quantisation, found[2].parameters) == ("qwen3", "type 99", "7B")
    assert [one.path for one in left] == [user / "nowhere"]
    assert found[1].hash is None, "no file is read as a whole for a list"
    digest = file_hash(studio, user / "cache")
    assert find(user / "cache", [user / "own"])[0][1].hash == digest, "it is known once it was used"


def test_the_configured_one_is_listed_wherever_it_lies(user: Path) -> None:
    path = gguf(user / "far/away.gguf")
    found = rest(find(user / "cache", configured=named("~/far/away.gguf", path))[0])
    assert [(m.spec, m.source) for m in found] == [("~/far/away.gguf", "path")]
    assert len(rest(find(user / "cache", [user / "far"], named("x", path))[0])) == 1


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"general.architecture": "nomic-bert"}, "an embedding model"),
        ({"qwen3.pooling_type": 3, "general.architecture": "qwen3"}, "an embedding model"),
        ({"general.architecture": "clip"}, "no model by itself"),
        ({"general.type": "mmproj"}, "no model by itself"),
        ({"general.type": "adapter"}, "an adapter"),
        ({"general.architecture": "t5"}, "an encoder"),
    ],
)
def test_what_cannot_chat_is_left_out_with_the_reason(user: Path, fields: dict[str, str | int], why: str) -> None:
    header(user / "own/m.gguf", CHAT | fields)
    found, left = find(user / "cache", [user / "own"])
    assert rest(found) == []
    assert [why in one.why for one in left] == [True]


def test_broken_files_are_named_and_the_rest_is_listed(user: Path) -> None:
    own = user / "own"
    good = gguf(own / "good.gguf")
    (own / "empty.gguf").touch()
    (own / "text.gguf").write_text("I am a model, honestly.")
    (own / "cut.gguf").write_bytes(good.read_bytes()[:60])
    (own / "link.gguf").symlink_to("nowhere")
    header(own / "picture.gguf", {"general.architecture": "flux"})
    found, left = find(user / "cache", [own])
    assert [m.name for m in rest(found)] == ["good"]
    said = {one.path.stem: one.why for one in left}
    assert set(said) == {"empty", "text", "cut", "link", "picture"}
    assert "is empty" in said["empty"]
    assert "not a GGUF" in said["text"]
    assert "header" in said["cut"]
    assert "no vocabulary" in said["picture"]


def test_a_folder_that_may_not_be_read_is_named(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, closed = gguf(user / "own/good.gguf"), user / "own/closed"
    closed.mkdir()
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if Path(folder) == closed:  # by hand: root may read everything
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found, left = find(user / "cache", [user / "own"])
    assert [m.path for m in rest(found)] == [good]
    assert [(one.path, one.why) for one in left] == [(closed, "the folder cannot be read: Permission denied")]


def test_a_model_in_several_files_is_one(user: Path) -> None:
    for at in (1, 2, 3):
        gguf(user / f"own/big-0000{at}-of-00003.gguf", bytes=1000 * at)
    gguf(user / "own/half-00002-of-00002.gguf")
    found, left = find(user / "cache", [user / "own"])
    (big,) = rest(found)
    assert (big.name, big.files, big.bytes) == ("big", 3, 6000)
    assert big.path.name == "big-00001-of-00003.gguf", "what llama.cpp is given"
    assert trainable(big, user)[0] == "no"
    assert [one.why for one in left] == ["part 1 of 2 is missing beside it; download the model again"]
    (user / "own/big-00003-of-00003.gguf").unlink()
    assert "part 3 of 3" in " ".join(one.why for one in find(user / "cache", [user / "own"])[1])


def test_whether_it_learns_is_what_the_trainer_measured(user: Path) -> None:
    gguf(ollama(user / ".ollama/models", "m:latest"))
    model = find(user / "cache")[0][1]
    check = user / "cache/models" / HASH / "check.json"
    assert trainable(model, user / "cache") == ("unknown", "not tried yet")
    write_json(check, {"kl": MAX_KL / 2})
    assert trainable(model, user / "cache")[0] == "yes"
    write_json(check, {"kl": MAX_KL * 2})
    says, why = trainable(model, user / "cache")
    assert says == "no"
    assert "0.040" in why


def test_quantisations_are_called_as_their_makers_call_them(user: Path) -> None:
    from gguf import LlamaFileType

    for kind in LlamaFileType:
        gguf(user / f"own/{kind.value}.gguf", file_type=kind.value)
    names = {m.name: m.quantisation for m in rest(find(user / "cache", [user / "own"])[0])}
    for kind in LlamaFileType:
        if kind.name != "GUESSED":
            assert names[str(kind.value)] == kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")


def test_odd_files_are_passed_over_or_named(user: Path) -> None:
    store = user / ".ollama" / "models"
    ollama(store, "tiny")
    (store / "manifests" / ".DS_Store").touch()
    (store / "manifests" / "stray").write_text("?")
    own = user / "own"
    own.mkdir()
    os.mkfifo(own / "pipe.gguf")
    endless = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 4, 1 << 62)
    (own / "endless.gguf").write_bytes(endless.ljust(2000, b"\0"))
    _, left = find(user / "cache", [own])
    said = {one.path.stem: one.why for one in left}
    assert "a pipe" in said["pipe"]
    assert "header" in said["endless"]
