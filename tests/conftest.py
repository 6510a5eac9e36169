"""A home of its own for each test, and the model cache of the machine for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.store import Store


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tester's own home and settings are never read, let alone written."""
    import os

    for name in list(os.environ):
        if name.startswith("HONE_") and name != "HONE_CACHE":
            monkeypatch.delenv(name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("HONE_HOME", str(folder))
    return folder


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    with Store.open(home) as opened:
        yield opened


#: files with real runs of a minute: begun last, one of two workers would wait for the other
LONG = ("trainer/test_worker", "trainer/test_adapter_file", "commands/test_reward", "trainer/test_merging")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.removeprefix("tests/").startswith(LONG))
