"""The files of a version, handed out to a place of the user's choice: checked first, written whole or not at all.

A file is taken for what the lesson wrote if it has the sha256 that was noted then. What is written gets its name last:
it is made under a temporary one beside it, synced and renamed. Where something is replaced, it is only such as this
writes: a GGUF, or a folder that holds nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storage import paths
from storage.backups import SPARE, sync
from storage.errors import DiskFull, StorageError, no_folder

if TYPE_CHECKING:
    from storage.adapters import Adapter
    from storage.store import Store

PIECE = 1 << 20  #: bytes that are copied at a time
#: seconds after which a temporary name is that of a process that was killed
STALE = 3600
_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of a version, as it was noted when it was written."""

    version: str
    path: Path
    sha256: str
    bytes: int

    def damaged(self) -> StorageError:
        return StorageError(
            f"{self.path.name} of {self.version} is not the file that its lesson wrote (in {self.path.parent}): it is "
            "damaged or was changed. Choose another version (`hone adapters list`), or train again"
        )

    def check(self) -> None:
        """Raise StorageError where it is not what was written."""
        try:
            with open(self.path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                    raise self.damaged()
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise _unreadable(self.path, error) from error

    def copy(self, made: Path) -> None:
        """Copy it, and check it in passing. Raises OSError where made cannot be written."""
        seen = hashlib.sha256()
        try:
            source = open(self.path, "rb")  # noqa: SIM115 - two errors, two texts
        except OSError as error:
            raise _unreadable(self.path, error) from error
        with source, open(made, "xb") as copy:
            while piece := source.read(PIECE):
                seen.update(piece)
                copy.write(piece)
        if seen.hexdigest() != self.sha256:
            raise self.damaged()


def kept(store: Store, adapter: Adapter, name: str) -> Kept:
    """One of a version's files. Raises StorageError where it is gone, or nothing was noted of it."""
    store.adapters.need(adapter)
    path = store.adapters.dir(adapter) / name
    sha256 = adapter.files.get(name)
    if sha256 is None or not path.is_file():
        raise StorageError(
            f"{adapter.name} has no {name} in {path.parent} that could be checked: choose another version "
            "(`hone adapters list`), or train again"
        )
    return Kept(adapter.name, path, sha256, path.stat().st_size)


# -- the place ---------------------------------------------------------------------------------------------------------


def check_target(home: Path, target: Path, names: Collection[str] | None, force: bool) -> None:
    """Raise StorageError unless target can be written: a file, or (names) a folder with these files.

    force: something that this wrote before may be replaced.
    """
    if not target.name:
        raise StorageError(f"{target} is no name for {'a file' if names is None else 'a folder'}: add one")
    if not target.parent.is_dir():
        raise StorageError(no_folder(target.parent))
    parent = target.parent.resolve()
    for folder in (paths.adapters_dir(home), paths.cache_dir(home), paths.backups_dir(home), home / "runs"):
        if parent.is_relative_to(folder.resolve()) or parent / target.name == folder.resolve():
            raise StorageError(f"{target} lies among Hone's own files, which come and go: choose another place")
    if not os.path.lexists(target):
        return
    what = "link" if target.is_symlink() else "folder" if target.is_dir() else "file"
    if not force:
        raise StorageError(f"there is a {what} {target} already: choose another name, or replace it with --force")
    if names is None:
        if what != "file" or not _is_gguf(target):
            raise StorageError(f"{target} is no GGUF file, so it is not replaced: choose another name")
        return
    if what != "folder":
        raise StorageError(f"{target} is a {what} and no folder, so it is not replaced: choose another name")
    try:
        foreign = sorted(set(os.listdir(target)).difference(names))
    except OSError as error:
        raise _unreadable(target, error) from error
    if foreign:
        raise StorageError(
            f"{target} holds what no export wrote ({foreign[0]}{', ...' if foreign[1:] else ''}), so it is not "
            "replaced: choose another name"
        )


def _is_gguf(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise _unreadable(path, error) from error


def check_space(target: Path, bytes: int) -> None:
    """Raise DiskFull where that much does not fit beside target."""
    try:
        free = shutil.disk_usage(target.parent).free
    except OSError as error:
        raise _unwritable(target, error) from error
    if free < bytes + SPARE:
        raise DiskFull(
            f"{bytes / 1e6:.0f} MB do not fit into {target.parent}, where {free / 1e6:.0f} MB are free: free some "
            "space, or choose another place"
        )


@contextmanager
def making(home: Path, target: Path, names: Collection[str] | None, force: bool) -> Iterator[Path]:
    """A name beside target, to write a file under or (names) files in: a folder is made. It becomes target at the end,
    or, where something is raised, nothing. What cannot be written is a StorageError."""
    check_target(home, target, names, force)
    _clear(target)
    made, old = _beside(target), _beside(target)
    try:
        if names is not None:
            made.mkdir()
        yield made
        for path in sorted(made.iterdir()) if names is not None else []:
            sync(path)
        sync(made)
        check_target(home, target, names, force)  # it may have come meanwhile
        replaced = names is not None and target.is_dir()
        try:
            if replaced:
                target.rename(old)  # a folder takes the place of none that holds something
            made.rename(target)
        except BaseException:
            if replaced and not os.path.lexists(target):
                old.rename(target)
            raise
        sync(target.parent)
        _remove(old)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise _unwritable(target, error) from error
    finally:
        _remove(made)


def write_file(home: Path, target: Path, source: Kept, force: bool) -> None:
    check_target(home, target, None, force)
    check_space(target, source.bytes)
    with making(home, target, None, force) as made:
        source.copy(made)


def write_folder(home: Path, target: Path, files: Mapping[str, Kept | str], force: bool) -> None:
    """files: by name, a version's file or the text of one."""
    check_target(home, target, files, force)
    check_space(target, sum(source.bytes for source in files.values() if isinstance(source, Kept)))
    with making(home, target, files, force) as made:
        for name, source in files.items():
            if isinstance(source, Kept):
                source.copy(made / name)
            else:
                (made / name).write_text(source, encoding="utf-8")


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")


def _clear(target: Path) -> None:
    """Remove what killed processes left of this target."""
    start = f".{target.name[:100]}."
    with suppress(OSError):
        for left in target.parent.iterdir():
            random = left.name.removeprefix(start).removesuffix(".part")
            ours = left.name == f"{start}{random}.part" and len(random) == 8
            if ours and time.time() - left.lstat().st_mtime > STALE:
                _remove(left)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot read {path}: {error.strerror or error}. Check its permissions")


def _unwritable(target: Path, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"cannot write {target}: {error.strerror}. Free some space, or choose another place")
    return StorageError(f"cannot write {target}: {error.strerror or error}. Choose another place, or mend this one")
