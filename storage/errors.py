"""What can go wrong with the user's data. Each text says what, with which value, and what to do next."""

from __future__ import annotations

import sqlite3
from pathlib import Path


class StorageError(RuntimeError):
    """Base of all errors of this package."""


class HomeError(StorageError, OSError):
    """The home folder cannot be made, read or written."""


class DiskFull(StorageError, OSError):
    """Nothing more can be written; what was acknowledged before is safe."""


class DatabaseTooNew(StorageError):
    """A newer Hone has migrated this file."""


class DatabaseCorrupt(StorageError):
    """The file is not a database, or is damaged. It is left as it is."""


class NotFound(StorageError, KeyError):
    """No such row; the text names the id."""

    def __str__(self) -> str:  # KeyError would show the repr
        return str(self.args[0])


class InvalidJudgment(StorageError, ValueError):
    """A judgment that contradicts itself or names answers that are not this prompt's."""


class InvalidRule(StorageError, ValueError):
    """A rule that says nothing, too much, or what another one is called already."""


class RecordError(StorageError, ValueError):
    """A line of an exchange file that cannot be used."""


def unusable_home(home: Path, error: OSError) -> HomeError:
    """What to say of a home that cannot be made or written."""
    for place in (home, *home.parents):
        if place.exists() and not place.is_dir():
            return HomeError(
                f"cannot use {home} as the home folder: {place} is a file. Choose another with --home or HONE_HOME."
            )
    return HomeError(
        f"cannot use {home} as the home folder: {error.strerror or error}. "
        "Choose another with --home or HONE_HOME, or mend its permissions."
    )


def no_folder(folder: Path) -> str:
    """What to say of a folder that something is to be written to."""
    if folder.exists():
        return f"{folder} is a file and no folder: choose another place"
    return f"there is no folder {folder}: make it first, or choose another one"


def translate(error: sqlite3.Error, path: Path) -> StorageError:
    """The StorageError that says what a sqlite3 error means to a person."""
    text = str(error)
    if getattr(error, "sqlite_errorname", "") in ("SQLITE_IOERR_READ", "SQLITE_IOERR_CORRUPTFS"):
        text = "malformed: the disk cannot read a part of it"
    if "disk is full" in text or "disk I/O error" in text:
        return DiskFull(f"cannot write {path}: {text}. Free some space and try again; everything saved before is safe.")
    if "readonly" in text or "unable to open" in text:
        return HomeError(f"cannot write {path}: {text}. Check the permissions of the folder, or choose another --home.")
    if "locked" in text or "busy" in text:
        return StorageError(f"{path} was busy for too long: another program is writing to it. Try again in a moment.")
    if any(sign in text for sign in ("malformed", "not a database", "vtable constructor failed")):
        from storage.backups import way_back

        said = f"{path} is damaged ({text}). Nothing was changed. `hone doctor` says whether the messages are whole."
        return DatabaseCorrupt(f"{said} {way_back(path.parent)}")
    return StorageError(f"{path}: {text}")


class NoRewardModel(StorageError, LookupError):
    """There is no reward model that could be relied on; the text says why and what to do."""
