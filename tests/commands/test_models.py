"""`hone models`: what is on the disk, as a user sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatapp.engine.model_files import bundled, write_json
from storage.store import Store
from tests.commands.shell import Shell
from tests.engine.headers import gguf

HASH = "ab" * 32


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of models: two of the Hub's, one that is no model."""
    for name in ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / ".cache/huggingface/hub/models--someone--A-rather-long-name-8B-Instruct-GGUF"
    for at, file in enumerate(["big-Q4_K_M.gguf", "small.gguf"]):
        gguf(folder / "blobs" / (HASH if at == 0 else "cd" * 32), bytes=2_400_000 + at, size_label="8B")
        path = folder / "snapshots/c1" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(folder / "blobs" / (HASH if at == 0 else "cd" * 32))
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("c1")
    gguf(tmp_path / "own/nomic.gguf", architecture="nomic-bert")
    monkeypatch.setenv("HONE_MODEL_DIRS", str(tmp_path / "own"))
    return tmp_path


SPEC = "hf:someone/A-rather-long-name-8B-Instruct-GGUF/big-Q4_K_M.gguf"


def test_the_list_says_all_that_choosing_needs(hone: Shell, home: Path, disk: Path) -> None:
    with Store.open(home) as store:
        store.add_model(HASH, "big", "llama", "t", "x")
        for at in range(2):
            store.adapters.register(str(at) * 32, model_hash=HASH, files={})
        run = store.runs.queue("dpo", {}, "cd" * 32)
        error = "small.gguf cannot be trained: transformers cannot load this file (no such architecture)."
        store.runs.finish(run.id, "failed", error=error)
    write_json(disk / "cache/models" / HASH / "check.json", {"kl": 0.001})
    said = hone.json("models", "--model", SPEC)
    rows = {row["spec"]: row for row in said["models"]}
    small = SPEC.replace("big-Q4_K_M", "small")
    assert list(rows) == ["none", SPEC, small]
    assert [row["current"] for row in rows.values()] == [False, True, False]
    big = rows[SPEC]
    assert (big["bytes"], big["parameters"], big["quantisation"], big["versions"]) == (2_400_000, "8B", "Q4_K_M", 2)
    assert (big["hash"], big["trainable"], rows["none"]["trainable"]) == (HASH, "yes", "unknown")
    assert rows[small]["trainable"] == "no"
    assert rows[small]["reason"].startswith("transformers cannot load this file")
    assert [Path(one["path"]).name for one in said["left_out"]] == ["nomic.gguf"]


def test_the_table_fits_a_small_terminal(hone: Shell, disk: Path) -> None:
    gguf(disk / "own/with space.gguf", architecture="a-very-long-architecture", size_label="128x22B")
    out = hone("models", "--model", SPEC)
    assert all(len(line) <= 80 for line in out.splitlines()), out
    assert f"* {SPEC}" in out
    assert "~/'own/with space.gguf'" in out, "it can be pasted"
    assert f"{bundled().stem} (bundled)" in out
    assert "left out (1):\n  ~/own/nomic.gguf\n    an embedding model" in out
    assert "not tried yet" in out


def test_the_one_in_use_is_marked(hone: Shell, disk: Path) -> None:
    def current(*arguments: object) -> list[str]:
        return [row["spec"] for row in hone.json("models", *arguments)["models"] if row["current"]]

    assert current() == ["none"]
    away = gguf(disk / "far/away.gguf")
    assert current("--model", away) == [str(away)]
    hub = disk / ".cache/huggingface/hub/models--someone--A-rather-long-name-8B-Instruct-GGUF/snapshots/c1"
    assert current("--model", hub / "big-Q4_K_M.gguf") == [SPEC]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("/no/such.gguf", "There is no model file /no/such.gguf"),
        ("hf:o/r/f.gguf", "not on this disk yet"),
        ("hf:nonsense", "not on this disk yet"),
        ("ollama:gone", "ollama pull gone"),
    ],
)
def test_a_model_that_is_not_there_is_named_and_nothing_is_fetched(
    hone: Shell, disk: Path, spec: str, why: str
) -> None:
    said = hone.json("models", "--model", spec)
    assert not [row for row in said["models"] if row["current"]]
    assert why in next(one["why"] for one in said["left_out"] if one["path"] == spec)
