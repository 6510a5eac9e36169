"""The disk that versions and caches take, and what of it can be freed without taking a choice from the user.

Kept of each model are the files of the version in use, of the one that a rollback would go to, of the two newest that
were in use beside it, and of candidates that no later version has overtaken. The rest goes, refused ones too: who asks
for the disk does not want those. Rows stay, with what was learned from and the verdict. Caches go too, while no run
reads them: the next lesson computes them again.

What it costs: answers that a version drew count as the base's in the test of later ones once its files are gone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storage import paths
from storage.adapters import Adapter
from storage.errors import StorageError

if TYPE_CHECKING:
    from storage.store import Store

#: versions that were in use, the newest, that stay beside the live one
KEPT = 2


@dataclass(frozen=True, slots=True)
class Size:
    """Of a version's files."""

    adapter: Adapter
    bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What can be freed, and what all of it takes."""

    prunable: list[Size]  #: the oldest first
    versions: int  #: bytes of all versions' files
    caches: int  #: bytes of the caches that can go now
    held: int  #: bytes of those that a run under way reads

    @property
    def freed(self) -> int:
        """Bytes that `prune` would free."""
        return sum(size.bytes for size in self.prunable) + self.caches


def size(folder: Path) -> int:
    """Bytes of the files below a folder; 0 where there is none."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += 0 if file.is_symlink() or not file.is_file() else file.stat().st_size
        except OSError:
            pass  # gone meanwhile
    return total


def usage(store: Store) -> Usage:
    """Look at the files of all models' versions."""
    adapters = [adapter for adapter in store.adapters.list() if store.adapters.dir(adapter).is_dir()]
    sizes = {adapter.id: size(store.adapters.dir(adapter)) for adapter in adapters}
    kept = {id for model in {adapter.model_hash for adapter in adapters} for id in _kept(store, model)}
    caches = size(paths.cache_dir(store.home))
    running = store.runs.latest(["running"]) is not None
    return Usage(
        [Size(adapter, sizes[adapter.id]) for adapter in adapters if adapter.id not in kept],
        sum(sizes.values()),
        0 if running else caches,
        caches if running else 0,
    )


def _kept(store: Store, model_hash: str) -> set[str]:
    """Versions of a model that stay."""
    there = [adapter for adapter in store.adapters.list(model_hash) if store.adapters.there(adapter)]
    live = store.adapters.live(model_hash)
    kept = [live] if live is not None else []
    if live is not None and (back := store.adapters.way_back(model_hash)[0]) is not None:
        kept.append(back)
    retired = [adapter for adapter in there if adapter.state == "retired"]
    kept += sorted(retired, key=lambda adapter: adapter.number)[-KEPT:]
    # one that waits for its chance: nothing newer was ever in use
    newest = max((adapter.number for adapter in there if adapter.state in ("live", "retired")), default=0)
    kept += [one for one in there if one.state == "candidate" and one.number > newest]
    return {adapter.id for adapter in kept}


def prune(store: Store, ids: Iterable[str]) -> Usage:
    """Delete the files of those versions that `usage` still names, and the caches; returns what went.

    Raises StorageError for files that cannot be deleted.
    """
    agreed = set(ids)
    with store.write():  # nobody makes one of them live meanwhile
        found = usage(store)
        gone = [one for one in found.prunable if one.adapter.id in agreed]
        for one in gone:
            store.adapters.remove(one.adapter.id)
        if found.caches:
            _empty(paths.cache_dir(store.home))
    left = found.versions - sum(one.bytes for one in gone)
    return Usage(gone, left, found.caches, found.held)


def _empty(folder: Path) -> None:
    try:
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot empty {folder}: {error.strerror or error}. Mend its permissions and try again"
        ) from error
