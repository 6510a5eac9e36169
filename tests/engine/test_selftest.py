"""The self-test: what it remembers, and what it says when the library dies."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from chatapp.engine import selftest
from chatapp.engine.selftest import self_test


@pytest.mark.real
def test_success_is_remembered_until_something_changes(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = self_test(model_path, tmp_path)
    assert first.ok, first.message
    assert first.details["tokens_per_second"] > 0
    assert "AVX" in first.details["system"] or first.details["system"]
    monkeypatch.setattr(selftest, "_run", lambda *_: pytest.fail("tested again"))
    assert self_test(model_path, tmp_path) == first
    monkeypatch.setattr(selftest, "_cpu", lambda: "another CPU")
    with pytest.raises(pytest.fail.Exception, match="tested again"):
        self_test(model_path, tmp_path)


def test_a_crash_names_the_signal_and_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", crashing_python(tmp_path, "kill -SEGV $$"))
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    result = self_test(tmp_path / "m.gguf", tmp_path)
    assert not result.ok
    assert "SIGSEGV" in result.message
    assert 'CXXFLAGS="-fno-tree-dse -fno-dse"' in result.message
    assert "-mno-amx-tile" in result.message
    assert result.details["signal"] == signal.SIGSEGV
    assert not self_test(tmp_path / "m.gguf", tmp_path).ok  # a failure is not remembered


def test_a_hang_and_a_bad_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(sys, "executable", crashing_python(tmp_path, "exec sleep 20"))
    assert "no answer within 0 seconds" in self_test(tmp_path / "m.gguf", tmp_path, timeout=0.3).message
    monkeypatch.setattr(sys, "executable", crashing_python(tmp_path, "echo no such symbol >&2; exit 3"))
    assert "exit code 3: no such symbol" in self_test(tmp_path / "m.gguf", tmp_path).message


@pytest.mark.real
def test_a_broken_model_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("text")
    result = self_test(tmp_path / "m.gguf", tmp_path)
    assert not result.ok
    assert "is not a GGUF model" in result.message
    assert "cannot be read" in self_test(tmp_path / "none.gguf", tmp_path).message


def crashing_python(folder: Path, script: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)
