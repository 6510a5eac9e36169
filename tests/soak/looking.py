"""What is looked at after a kill, from outside."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from storage import backups

#: answers that a judgment of each kind names at least
LEAST = {"ranking": 2, "pick": 2, "correction": 2, "duel": 2}


class Broken(AssertionError):
    """Something that was acknowledged is gone, or something is half there."""


def demand(holds: object, what: str) -> None:
    if not holds:
        raise Broken(what)


def whole(path: Path) -> None:
    """The database is undamaged, its references and its full-text index fit, and it has no half judgment."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        demand(db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], f"{path} is damaged")
        demand(db.execute("PRAGMA foreign_key_check").fetchall() == [], f"{path} has rows that name nothing")
        db.execute("INSERT INTO messages_fts(messages_fts, rank) VALUES ('integrity-check', 1)")
        columns = {row[1] for row in db.execute("PRAGMA table_info(judgments)")}
        forgotten = "forgotten_at" if "forgotten_at" in columns else "NULL"
        for kind, count, gone in db.execute(
            "SELECT kind, (SELECT count(*) FROM judgment_items i WHERE i.judgment_id = j.id), "
            f"{forgotten} FROM judgments j"
        ):
            demand(gone or count >= LEAST.get(kind, 1), f"{path}: a {kind} names {count} answers")
    except sqlite3.DatabaseError as error:
        raise Broken(f"{path}: {error}") from error
    finally:
        db.close()


def whole_backups(home: Path) -> None:
    """Whatever has the name of a backup is one."""
    for backup in backups.list(home):
        backups.inspect(backup.path)
        whole(backup.path)
