"""Adapters: the versions of the model that judgments made. At most one is live for each base model."""

from __future__ import annotations

import builtins
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from storage import paths
from storage.erasing import REMEMBERED
from storage.errors import NotFound, StorageError
from storage.ids import now

if TYPE_CHECKING:
    from storage.store import Store

GGUF = "adapter.gguf"
#: begins the names of folders that are being written or deleted
UNFINISHED = ".tmp-"


@dataclass(frozen=True, slots=True)
class Adapter:
    """One version. `path` is relative to the home's adapters folder; `files` maps names to sha256."""

    id: str
    number: int
    model_hash: str
    parent_id: str | None
    run_id: str | None
    state: str
    verdict: str
    report: dict[str, Any]
    provisional: bool
    path: str
    files: dict[str, str]
    created_at: str
    forgotten: int = 0  #: judgments that it learned from and that were forgotten since

    @property
    def name(self) -> str:
        return f"v{self.number}"


def _adapter(row: Mapping[str, Any]) -> Adapter:
    return Adapter(
        **{
            **row,
            "report": json.loads(row["report"]),
            "files": json.loads(row["files"]),
            "provisional": bool(row["provisional"]),
        }
    )


class Adapters:
    def __init__(self, store: Store) -> None:
        self._store = store

    def register(
        self,
        id: str,
        *,
        model_hash: str,
        files: Mapping[str, str],
        run_id: str | None = None,
        parent_id: str | None = None,
        path: str | None = None,
        state: str = "candidate",
        verdict: str = "",
        report: Mapping[str, Any] | None = None,
        provisional: bool = False,
    ) -> Adapter:
        """Add a version whose files are in place already: the row comes last."""
        with self._store.write() as db:
            db.execute(
                "INSERT INTO adapters(id, number, model_hash, parent_id, run_id, state, verdict, report, provisional, "
                "path, files, created_at, forgotten) VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM adapters "
                "WHERE model_hash = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT count(*) FROM run_judgments r "
                "JOIN judgments j ON j.id = r.judgment_id "  # while the run was under way
                f"WHERE r.run_id = ? AND r.split = 'train' AND {REMEMBERED}))",
                [
                    id,
                    model_hash,
                    model_hash,
                    parent_id,
                    run_id,
                    state,
                    verdict,
                    json.dumps(dict(report or {}), sort_keys=True),
                    int(provisional),
                    path or id,
                    json.dumps(dict(files), sort_keys=True),
                    now(),
                    run_id,
                ],
            )
        return self.get(id)

    def get(self, name: str, model_hash: str | None = None) -> Adapter:
        """By id, unique beginning of an id, or version ("v3"; of model_hash where several models have one)."""
        sql, parameters = "SELECT * FROM adapters WHERE id = ?", [name]
        rows = self._store.rows(sql, parameters)
        if not rows and name[:1] in "vV" and name[1:].isdigit():
            rows = self._store.rows("SELECT * FROM adapters WHERE number = ?", [int(name[1:])])
            if model_hash is not None:
                rows = [row for row in rows if row["model_hash"] == model_hash]
        if not rows and len(name) >= 4:
            rows = self._store.rows("SELECT * FROM adapters WHERE substr(id, 1, ?) = ?", [len(name), name])
        if not rows:
            raise NotFound(f"there is no adapter {name!r}; `hone adapters list` shows those there are")
        if len(rows) > 1:
            raise NotFound(f"{name!r} fits {len(rows)} adapters: write more of the id")
        return _adapter(rows[0])

    def list(self, model_hash: str | None = None) -> list[Adapter]:
        """The oldest first."""
        rows = self._store.rows(
            "SELECT * FROM adapters WHERE ? IS NULL OR model_hash = ? ORDER BY created_at", [model_hash, model_hash]
        )
        return [_adapter(row) for row in rows]

    def live(self, model_hash: str) -> Adapter | None:
        """The one that answers now; None is the base itself."""
        row = self._store.row("SELECT * FROM adapters WHERE model_hash = ? AND state = 'live'", [model_hash])
        return _adapter(row) if row else None

    def learned_from(self, adapter: Adapter) -> dict[str, builtins.list[str]]:
        """Ids of the judgments behind a version, with those of the versions it went on from: what it was trained on
        ("train") and what it was tested on ("held_out"), the oldest first."""
        rows = self._store.rows(
            "SELECT x.judgment_id, x.split FROM run_judgments x JOIN judgments j ON j.id = x.judgment_id "
            "WHERE x.run_id = ? ORDER BY j.seq",
            [adapter.run_id],
        )
        return {split: [r["judgment_id"] for r in rows if r["split"] == split] for split in ("train", "held_out")}

    def update(
        self,
        id: str,
        *,
        state: str | None = None,
        verdict: str | None = None,
        report: Mapping[str, Any] | None = None,
        provisional: bool | None = None,
    ) -> None:
        """Change what is known of a version that is not live yet."""
        values = {
            "state": state,
            "verdict": verdict,
            "report": None if report is None else json.dumps(dict(report), sort_keys=True),
            "provisional": None if provisional is None else int(provisional),
        }
        changes = {name: value for name, value in values.items() if value is not None}
        with self._store.write() as db:
            for name, value in changes.items():
                db.execute(f"UPDATE adapters SET {name} = ? WHERE id = ?", [value, id])

    def promote(self, id: str, expected_live_id: str | None) -> bool:
        """Make it live if the live one is still the expected one (None: the base). False: somebody changed it."""
        with self._store.write():
            adapter = self.get(id)
            live = self.live(adapter.model_hash)
            if (live.id if live else None) != expected_live_id:
                return False
            self._make_live(adapter, live)
        return True

    def use(self, id: str | None, model_hash: str) -> Adapter | None:
        """Make a version (None: the base) live by hand. Automatic promotion pauses until there are new judgments."""
        with self._store.write():
            adapter = self.get(id, model_hash) if id is not None else None
            if adapter is not None and adapter.model_hash != model_hash:
                raise StorageError(
                    f"{adapter.name} was trained for another model ({adapter.model_hash[:12]}); "
                    "`hone adapters list` shows those of this one"
                )
            if adapter is not None:
                self.need(adapter)
            live = self.live(model_hash)
            if (live.id if live else None) != (adapter.id if adapter else None):
                self._make_live(adapter, live)
            self._pause(model_hash)
        return adapter

    def rollback(self, model_hash: str) -> Adapter | None:
        """Go back to what was live before the live one; returns it (None: the base). See `way_back`."""
        with self._store.write():
            before, _ = self.way_back(model_hash)
            return self.use(before.id if before else None, model_hash)

    def way_back(self, model_hash: str) -> tuple[Adapter | None, builtins.list[Adapter]]:
        """What a rollback would make live (None: the base), and what it would pass over, since its files are gone."""
        live = self.live(model_hash)
        if live is None:
            raise StorageError("the base model itself is in use: there is nothing to roll back")
        return self.before(live)

    def before(self, adapter: Adapter) -> tuple[Adapter | None, builtins.list[Adapter]]:
        """The version that one came after (None: the base), and those passed over, since their files are gone."""
        gone: builtins.list[Adapter] = []
        id = adapter.parent_id
        while id is not None:
            before = self.get(id)
            if self.there(before):
                return before, gone
            gone.append(before)
            id = before.parent_id
        return None, gone

    def there(self, adapter: Adapter) -> bool:
        """Whether its files are."""
        return self.gguf(adapter).exists()

    def need(self, adapter: Adapter) -> None:
        """Raise StorageError where its files are gone."""
        if not self.there(adapter):
            raise StorageError(
                f"the files of {adapter.name} are gone from {self.dir(adapter)}: choose another version "
                "(`hone adapters list`), or train again"
            )

    def remove(self, id: str, model_hash: str | None = None) -> Adapter:
        """Delete a version's files; its row, with what it learned from and its verdict, stays. Never the live one's."""
        adapter = self.get(id, model_hash)
        if adapter.state == "live":
            raise StorageError(
                f"{adapter.name} is the one in use: go back first (`hone adapters rollback`, or `hone adapters use` "
                "another), then remove it"
            )
        self._delete(self.dir(adapter))
        return adapter

    def remove_orphans(self) -> None:
        """Delete the files of runs that ended before they wrote their version's row. Not while another run goes on.

        Only folders that are named like our ids, or as half-written ones are, are taken for such.
        """
        known = {adapter.path for adapter in self.list()}
        for folder in paths.adapters_dir(self._store.home).iterdir():
            try:
                UUID(folder.name)
            except ValueError:
                if not folder.name.startswith(UNFINISHED):
                    continue
            if folder.name not in known:
                self._delete(folder)

    def _delete(self, folder: Path) -> None:
        try:
            if folder.is_dir() and folder.parent == paths.adapters_dir(self._store.home):
                # out of sight first: killed in the middle, it leaves no half of a version
                doomed = folder if folder.name.startswith(UNFINISHED) else folder.with_name(UNFINISHED + folder.name)
                folder.rename(doomed)
                shutil.rmtree(doomed)
        except OSError as error:
            raise StorageError(
                f"cannot delete {folder}: {error.strerror or error}. Mend its permissions and try again"
            ) from error

    def promotion_paused(self, model_hash: str) -> bool:
        """True after a rollback or choice by hand, until one more judgment was recorded."""
        paused = self._store.meta_get(f"promotion_paused:{model_hash}")
        if paused is None:
            return False
        return int(self._newest_judgment()) <= int(paused)

    def dir(self, adapter: Adapter) -> Path:
        return paths.adapter_dir(self._store.home, adapter.path)

    def gguf(self, adapter: Adapter) -> Path:
        return self.dir(adapter) / GGUF

    def _make_live(self, adapter: Adapter | None, live: Adapter | None) -> None:
        if live is not None:
            self.update(live.id, state="retired")
        if adapter is not None:
            self.update(adapter.id, state="live")

    def _pause(self, model_hash: str) -> None:
        self._store.meta_set(f"promotion_paused:{model_hash}", str(self._newest_judgment()))

    def _newest_judgment(self) -> int:
        """The latest that can teach: a note, a duel or a pair that is judged again to compare says nothing new."""
        sql = (
            "SELECT seq FROM judgments WHERE source IN ('chat', 'judge') AND kind NOT IN ('note', 'duel') "
            "AND json_extract(payload, '$.reasked') IS NULL ORDER BY seq DESC LIMIT 1"
        )
        return int(self._store.value(sql) or 0)
