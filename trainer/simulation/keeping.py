"""Rounds of a simulation that take hours go on where they stopped: the home after each round, and its row.

In the folder: `rounds.json`, and `home-N` as it was after N rounds. A round is worked on in a copy, so one that was
interrupted is begun again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.locks import FileLock
from trainer.errors import BadSetting, TrainerError

FILE, WORKING, LOCK = "rounds.json", "working", "lock"


class Kept:
    """Rounds that are done. `rows` are theirs, as JSON has them."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        """plan: what makes it the same simulation. Raises BadSetting where the folder holds something else."""
        self.folder = folder
        self._plan = json.loads(json.dumps(dict(plan)))
        if folder.exists() and not folder.is_dir():
            raise BadSetting(f"{folder} is no folder: name one that is empty or new")
        self.rows = self._read()  # before anything is written into what may be somebody's folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / LOCK)

    def __enter__(self) -> Kept:
        if not self._lock.acquire(blocking=False):
            raise BadSetting(f"another simulation works on the rounds in {self.folder}: wait for it, or name another")
        self.rows = self._read()  # whoever had the lock may have done some
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _read(self) -> list[dict[str, Any]]:
        folder = self.folder
        try:
            found = json.loads((folder / FILE).read_text(encoding="utf-8"))
            rows, theirs = list(found["rows"]), dict(found["plan"])
        except FileNotFoundError:
            if folder.exists() and {path.name for path in folder.iterdir()} - {WORKING, LOCK, "home-1"}:
                raise BadSetting(f"{folder} holds something else than rounds: name one that is empty or new") from None
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadSetting(f"{folder / FILE} cannot be read ({error}): name another folder") from None
        for name, mine in self._plan.items():
            if theirs.get(name) != mine:
                raise BadSetting(
                    f"the rounds kept in {folder} have {name} {theirs.get(name)!r}, not {mine!r}: name another folder"
                )
        if rows and not self._home(len(rows)).is_dir():
            raise BadSetting(f"the home after round {len(rows)} is gone from {folder}: name another folder")
        return rows

    @contextmanager
    def round(self) -> Iterator[Path]:
        """A home for the next round: as the last one left it, or a folder that does not exist yet."""
        working = self.folder / WORKING
        shutil.rmtree(working, ignore_errors=True)
        try:
            if self.rows:
                shutil.copytree(self._home(len(self.rows)), working)
        except OSError as error:
            raise TrainerError(f"the home in {self.folder} cannot be copied for the next round: {error}") from error
        yield working

    def done(self, row: Mapping[str, Any]) -> None:
        """The round is whole. Its home must be closed."""
        before, after = self._home(len(self.rows)), self._home(len(self.rows) + 1)
        self.rows.append(dict(row))
        unfinished = self.folder / f"{FILE}.tmp"
        try:
            shutil.rmtree(after, ignore_errors=True)  # of a round that was killed right here
            (self.folder / WORKING).rename(after)
            unfinished.write_text(json.dumps({"plan": self._plan, "rows": self.rows}, indent=1), encoding="utf-8")
            os.replace(unfinished, self.folder / FILE)
        except OSError as error:
            raise TrainerError(f"round {len(self.rows)} cannot be kept in {self.folder}: {error.strerror}") from error
        shutil.rmtree(before, ignore_errors=True)

    def _home(self, number: int) -> Path:
        return self.folder / f"home-{number}"
