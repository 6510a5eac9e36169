from __future__ import annotations

from pathlib import Path

import pytest

from storage.store import Store
from tests.storage.forgettable import World


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    """A home of which every word can be looked for in its files."""
    return World(store, tmp_path / "outside")
