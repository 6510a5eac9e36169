"""`hone adapters export`, as it is typed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from gguf import GGUFReader

from storage.adapters import Adapter
from storage.store import Store
from storage.threads import NewAnswer
from tests.commands.shell import Shell
from tests.version_of_a_model import add_version, write_model

SECRET = "Why do apples keep?"


@pytest.fixture
def model(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings' model; the test stands in a folder of its own."""
    (tmp_path / "models").mkdir()
    path = write_model(tmp_path / "models" / "tiny one.gguf")
    monkeypatch.setenv("HONE_MODEL", str(path))
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return path


@pytest.fixture
def version(home: Path, model: Path) -> Adapter:
    """Learned from a pick and a thumb, tested on a rating."""
    hash = hashlib.sha256(model.read_bytes()).hexdigest()
    with Store.open(home) as store:
        store.add_model(hash, "Tiny One", "llama", "t", str(model))
        thread = store.threads.new(SECRET)
        asked = store.threads.add_message(thread.id, None, "user", SECRET)
        new = [NewAnswer(f"{SECRET} {at}", at, hash, None, {}, 7, [1], 3, "stop") for at in range(2)]
        ids = [message.id for message in store.threads.add_answers(thread.id, asked.id, new)]
        train = [store.judgments.pick(asked.id, ids[0], ids), store.judgments.thumb(asked.id, ids[0], 1)]
        split = [(judgment.id, "train") for judgment in train]
        held = store.judgments.rate(asked.id, {ids[0]: 7, ids[1]: 2})
        return add_version(
            store, model, [*split, (held.id, "held_out")], verdict="Adopted: it orders 9 of 10 held-out pairs."
        )


def sizes(path: Path) -> dict[str, int]:
    files = path.iterdir() if path.is_dir() else [path]
    return {file.name: file.stat().st_size for file in files}


def test_peft_is_a_folder_with_a_card_that_tells_no_secret(
    hone: Shell, home: Path, model: Path, version: Adapter, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "v1"
    out.parent.mkdir()
    report = hone.json("adapters", "export", "v1", "peft", "-o", out)
    files = sizes(out)
    assert set(files) == {"adapter_model.safetensors", "adapter_config.json", "README.md"}
    assert report == {
        "version": "v1", "id": version.id, "format": "peft", "path": str(out), "files": files,
        "bytes": sum(files.values()),
    }  # fmt: skip
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == version.files[name]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"Tiny One, the file `tiny one.gguf` (architecture llama, sha256 `{version.model_hash}`)" in card
    assert "dequantised" in card
    assert "**Learned from** 2 judgments: 1 thumb, 1 pick." in card
    assert "**Tested on** 1 held out." in card
    assert "Adopted: it orders 9 of 10 held-out pairs." in card
    assert SECRET not in card
    assert str(tmp_path) not in card


def test_gguf_is_the_adapter_alone_and_has_a_name_of_its_own(
    hone: Shell, home: Path, version: Adapter, tmp_path: Path
) -> None:
    said = hone("adapters", "export", "live", "gguf")
    here = tmp_path / "here" / "tiny-one-v1-adapter.gguf"
    assert f"v1 is in {here}" in said
    assert hashlib.sha256(here.read_bytes()).hexdigest() == version.files["adapter.gguf"]
    assert "there is a file" in hone("adapters", "export", "v1", "gguf", code=1)
    hone("adapters", "export", "v1", "gguf", "--force")
    assert sizes(here.parent) == {here.name: here.stat().st_size}


def test_ollama_gets_a_modelfile_with_the_settings(
    hone: Shell, home: Path, model: Path, version: Adapter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "here" / "o"
    said = hone("adapters", "export", "v1", "ollama", "-o", "o", "--temperature", 0.5, "--context-size", 2048)
    assert set(sizes(out)) == {"adapter.gguf", "Modelfile"}
    lines = (out / "Modelfile").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        f"FROM {model}", "ADAPTER ./adapter.gguf", "PARAMETER temperature 0.5", "PARAMETER top_p 0.95",
        "PARAMETER min_p 0.05", "PARAMETER top_k 0", "PARAMETER repeat_penalty 1", "PARAMETER num_ctx 2048",
    ]  # fmt: skip
    assert "ollama create hone-v1 -f Modelfile" in lines[0]
    assert "ollama create hone-v1 -f Modelfile" in said
    assert "Ollama 0.34.1 and newer take no adapters: `hone adapters export v1 merged`" in hone.err
    assert "names Llama, Mistral and Gemma" not in hone.err


def test_a_model_of_ollamas_is_named_as_ollama_does(
    hone: Shell, home: Path, model: Path, version: Adapter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = tmp_path / "ollama"
    digest = f"sha256:{version.model_hash}"
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "2b"
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": digest}
    manifest.write_text(json.dumps({"layers": [layer]}))
    (store / "blobs").mkdir()
    (store / "blobs" / digest.replace(":", "-")).write_bytes(model.read_bytes())
    monkeypatch.setenv("OLLAMA_MODELS", str(store))
    report = hone.json("adapters", "export", "v1", "ollama", "--model", "ollama:tiny:2b")
    assert report["path"] == str(tmp_path / "here" / "tiny-2b-v1-ollama")
    assert "\nFROM tiny:2b\n" in (Path(report["path"]) / "Modelfile").read_text()


def test_an_architecture_that_ollama_does_not_name_is_said(hone: Shell, home: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.gguf", architecture="qwen2")
    with Store.open(home) as store:
        add_version(store, other)
    hone("adapters", "export", "v1", "ollama", "-o", tmp_path / "o", "--model", other)
    assert "names Llama, Mistral and Gemma for adapters, not qwen2" in hone.err


def test_merged_is_one_file_of_the_whole_model(hone: Shell, home: Path, model: Path, version: Adapter) -> None:
    report = hone.json("adapters", "export", "v1", "merged", "-o", "m.gguf")
    assert (report["version"], report["format"], report["files"]) == ("v1", "merged", sizes(Path(report["path"])))
    whole = GGUFReader(report["path"])
    assert [t.name for t in whole.tensors] == [t.name for t in GGUFReader(str(model)).tensors]
    assert whole.fields["tokenizer.chat_template"].contents() == "{{ messages }}"
    assert "there is a file" in hone("adapters", "export", "v1", "merged", "-o", "m.gguf", code=1)
    hone("adapters", "export", "v1", "merged", "-o", "m.gguf", "--force")


def test_what_cannot_be_exported_is_said(
    hone: Shell, home: Path, model: Path, version: Adapter, tmp_path: Path
) -> None:
    def refused(*words: object) -> str:
        said = hone("adapters", "export", *words, code=1)
        assert said.startswith("hone: ")
        assert said.count("\n") == 1
        return said

    before = model.read_bytes()
    assert "base is the model itself, not a version" in refused("base", "peft")
    assert "there is no adapter 'v7'" in refused("v7", "gguf")
    assert f"there is no folder {tmp_path / 'no'}" in refused("v1", "gguf", "-o", tmp_path / "no" / "a.gguf")
    for format in ("gguf", "merged"):
        assert "is the base model itself" in refused("v1", format, "-o", model, "--force")
    other = write_model(tmp_path / "other.gguf", name="Another")
    assert "was trained for another model" in refused(version.id, "gguf", "--model", other)
    (tmp_path / "here" / "mine").mkdir()
    (tmp_path / "here" / "mine" / "thesis.txt").write_text("years")
    for format in ("peft", "ollama"):
        assert "holds what no export wrote (thesis.txt)" in refused("v1", format, "-o", "mine", "--force")
    with Store.open(home) as store:
        weights = store.adapters.dir(version) / "adapter_model.safetensors"
        weights.write_bytes(b"other")
        assert "adapter_model.safetensors of v1 is not the file" in refused("v1", "peft")
        with open(store.adapters.gguf(version), "ab") as file:
            file.write(b"!")
        for format in ("gguf", "ollama", "merged"):
            assert "adapter.gguf of v1 is not the file that its lesson wrote" in refused("v1", format)
        store.adapters.use(None, version.model_hash)
        assert "no version is in use" in refused("live", "gguf")
        store.adapters.remove(version.id)
    assert "the files of v1 are gone" in refused("v1", "gguf")
    assert model.read_bytes() == before
    assert sizes(tmp_path / "here" / "mine") == {"thesis.txt": 5}
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["mine"]


def test_what_was_forgotten_since_is_said(hone: Shell, home: Path, version: Adapter) -> None:
    with Store.open(home) as store:
        pick = store.adapters.learned_from(version)["train"][0]
    hone("forget", pick, "-y")
    hone("adapters", "export", "v1", "gguf")
    assert "v1 learned from a judgment forgotten since, and may still remember" in hone.err
    report = hone.json("adapters", "export", "v1", "peft")
    assert "1 of them were forgotten since" in (Path(report["path"]) / "README.md").read_text()
