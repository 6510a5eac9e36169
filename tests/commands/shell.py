"""Runs `hone` in the test's process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatapp.cli import main

TURN: dict[str, Any] = {"prompt": "why?", "responses": ["one", "two", "three"]}


class Shell:
    """Runs `hone ARGUMENTS` in this process and returns what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object, code: int = 0) -> str:
        result = main([str(a) for a in arguments])
        self.out, self.err = self._capsys.readouterr()
        assert result == code, self.err or self.out
        return self.out if code == 0 else self.err

    def json(self, *arguments: object, code: int = 0) -> Any:
        self(*arguments, "--json", code=code)
        return json.loads(self.out)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path
