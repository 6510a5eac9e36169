"""A version's files, handed out: checked, whole or not at all, and nothing of others' is ever replaced."""

from __future__ import annotations

import hashlib
import os
import time
from functools import partial
from pathlib import Path

import pytest

from storage import version_files
from storage.errors import DiskFull, StorageError
from storage.store import Store
from storage.version_files import Kept, kept, making, write_file, write_folder


@pytest.fixture
def one(tmp_path: Path) -> Kept:
    """A file of a version."""
    path = tmp_path / "kept" / "adapter.gguf"
    path.parent.mkdir()
    path.write_bytes(b"GGUF" + b"x" * 5000)
    return Kept("v1", path, hashlib.sha256(path.read_bytes()).hexdigest(), 5004)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_file_and_a_folder_are_written_whole(home: Path, out: Path, one: Kept) -> None:
    write_file(home, out / "a.gguf", one, force=False)
    write_folder(home, out / "both", {"adapter.gguf": one, "README.md": "About it: é."}, force=False)
    assert (out / "a.gguf").read_bytes() == one.path.read_bytes()
    assert names(out / "both") == ["README.md", "adapter.gguf"]
    assert (out / "both" / "README.md").read_text(encoding="utf-8") == "About it: é."
    assert names(out) == ["a.gguf", "both"]


def test_a_damaged_file_is_not_handed_out(home: Path, out: Path, one: Kept) -> None:
    one.path.write_bytes(b"GGUF" + b"y" * 5000)
    with pytest.raises(StorageError, match=r"adapter\.gguf of v1 is not the file that its lesson wrote"):
        one.check()
    with pytest.raises(StorageError, match="is not the file that its lesson wrote"):
        write_file(home, out / "a.gguf", one, force=False)
    with pytest.raises(StorageError, match="is not the file that its lesson wrote"):
        write_folder(home, out / "f", {"README.md": "x", "adapter.gguf": one}, force=False)
    assert names(out) == []


def test_what_is_there_is_not_replaced_unless_asked(home: Path, out: Path, one: Kept) -> None:
    (out / "a.gguf").write_bytes(b"GGUFold")
    (out / "f").mkdir()
    (out / "f" / "README.md").write_text("old")
    with pytest.raises(StorageError, match="there is a file"):
        write_file(home, out / "a.gguf", one, force=False)
    with pytest.raises(StorageError, match="there is a folder"):
        write_folder(home, out / "f", {"README.md": "new"}, force=False)
    assert (out / "a.gguf").read_bytes() == b"GGUFold"
    write_file(home, out / "a.gguf", one, force=True)
    write_folder(home, out / "f", {"README.md": "new"}, force=True)
    assert (out / "a.gguf").read_bytes() == one.path.read_bytes()
    assert (out / "f" / "README.md").read_text() == "new"
    assert names(out) == ["a.gguf", "f"]


def test_what_others_wrote_is_never_replaced(home: Path, out: Path, one: Kept) -> None:
    (out / "letter.txt").write_text("Dear")
    (out / "f").mkdir()
    (out / "f" / "README.md").write_text("old")
    (out / "f" / "thesis.txt").write_text("years")
    (out / "link").symlink_to(out / "f")
    for name, why in (("letter.txt", "is no GGUF file"), ("f", "is no GGUF file"), ("link", "is no GGUF file")):
        with pytest.raises(StorageError, match=why):
            write_file(home, out / name, one, force=True)
    for name, why in (
        ("letter.txt", "no folder"),
        ("f", r"what no export wrote \(thesis.txt\)"),
        ("link", "is a link"),
    ):
        with pytest.raises(StorageError, match=why):
            write_folder(home, out / name, {"README.md": "new"}, force=True)
    assert names(out) == ["f", "letter.txt", "link"]
    assert (out / "f" / "README.md").read_text() == "old"


@pytest.mark.parametrize("folder", [False, True], ids=["a file", "a folder"])
@pytest.mark.parametrize("number", [28, 13], ids=["no space", "no permission"])
def test_a_failed_write_leaves_what_was_there(
    home: Path, out: Path, one: Kept, folder: bool, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "f").mkdir()
    (out / "f" / "README.md").write_text("old")
    (out / "a.gguf").write_bytes(b"GGUFold")

    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    write = partial(write_folder, home, out / "f", {"README.md": "new"})
    if not folder:
        write = partial(write_file, home, out / "a.gguf", one)
    with pytest.raises(DiskFull if number == 28 else StorageError, match=os.strerror(number)):
        write(force=True)
    assert names(out) == ["a.gguf", "f"]
    assert (out / "f" / "README.md").read_text() == "old"
    assert (out / "a.gguf").read_bytes() == b"GGUFold"


def test_a_folder_that_cannot_take_the_name_leaves_the_old_one(
    home: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "f").mkdir()
    (out / "f" / "README.md").write_text("old")
    rename = Path.rename

    def refuses(self: Path, target: Path) -> Path:
        if target == out / "f" and (self / "README.md").read_text() == "new":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(StorageError, match="Input/output error"):
        write_folder(home, out / "f", {"README.md": "new"}, force=True)
    assert (out / "f" / "README.md").read_text() == "old"
    assert names(out) == ["f"]


def test_places_that_cannot_be(home: Path, out: Path, one: Kept, store: Store) -> None:
    (out / "file").write_text("x")
    cases = [
        (out / "none" / "a.gguf", "there is no folder"),
        (out / "file" / "a.gguf", "file is a file and no folder"),
        (home / "adapters" / "a.gguf", "among Hone's own files"),
        (home / "cache" / ".." / "adapters" / "a.gguf", "among Hone's own files|there is no folder"),
        (home / "adapters", "among Hone's own files"),
        (Path("/"), "no name for a file"),
        (out / ("n" * 300), "cannot write"),
    ]
    for target, why in cases:
        with pytest.raises(StorageError, match=why):
            write_file(home, target, one, force=True)
    assert names(out) == ["file"]


def test_too_little_space_is_said_before_anything_is_written(
    home: Path, out: Path, one: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(version_files.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(DiskFull, match="do not fit into"):
        write_file(home, out / "a.gguf", one, force=False)
    assert names(out) == []


def test_an_interruption_leaves_nothing(home: Path, out: Path) -> None:
    def half() -> None:
        with making(home, out / "a.gguf", None, False) as made:
            made.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert names(out) == []


def test_what_killed_processes_left_is_cleared(home: Path, out: Path, one: Kept) -> None:
    old, young, other = out / ".a.gguf.0123abcd.part", out / ".a.gguf.4567abcd.part", out / ".b.gguf.0123abcd.part"
    for path in (old, young, other):
        path.write_bytes(b"half")
    past = time.time() - 2 * version_files.STALE
    os.utime(old, (past, past))
    os.utime(other, (past, past))
    write_file(home, out / "a.gguf", one, force=False)
    assert names(out) == sorted(["a.gguf", young.name, other.name])


def test_files_of_a_version_that_are_gone_or_unknown_are_named(store: Store) -> None:
    adapter = store.adapters.register("a1", model_hash="m" * 64, files={})
    with pytest.raises(StorageError, match="the files of v1 are gone"):
        kept(store, adapter, "adapter.gguf")
    store.adapters.dir(adapter).mkdir(parents=True)
    store.adapters.gguf(adapter).write_bytes(b"GGUF")
    with pytest.raises(StorageError, match=r"v1 has no adapter\.gguf .* that could be checked"):
        kept(store, adapter, "adapter.gguf")
