"""The commands as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.shell import Shell


@pytest.fixture
def hone(home: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)
