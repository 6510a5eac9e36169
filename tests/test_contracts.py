"""What may import what: import-linter reads the source, this looks at what a running interpreter loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "peft", "llama_cpp", "textual"}


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("chatapp.cli", HEAVY),
        ("chatapp.session", HEAVY),
        ("chatapp.app", HEAVY - {"textual"}),
        ("chatapp.plain", HEAVY),
        ("chatapp.engine.process", HEAVY | {"numpy", "storage", "trainer"}),
        ("storage.store", HEAVY | {"chatapp", "trainer", "numpy", "pandas"}),
        ("trainer.config", {"textual", "chatapp.cli", "chatapp.app"}),
    ],
)
def test_importing_loads_nothing_that_it_must_not(module: str, forbidden: set[str]) -> None:
    code = f"import sys, {module}; found = {forbidden!r} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_the_store_does_without_can_be_imported_after_it() -> None:
    """sqlite_utils would import both; they are hidden from it alone."""
    pytest.importorskip("pandas")
    code = "import storage.store, pandas, numpy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
