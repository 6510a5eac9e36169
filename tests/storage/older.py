"""A database as the first release left it: only the first step of the schema, and rows in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from storage import paths
from storage.ids import new_id, now
from storage.migrations import migrations

FIRST = "m001_first"


def older_home(home: Path, turns: int = 5) -> Path:
    """Make it; each turn has two answers and a ranking of them. Returns the database's path."""
    home.mkdir(mode=0o700, parents=True)
    path = paths.database(home)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA foreign_keys = ON")
    migrations.apply(Database(connection), stop_before=[m.name for m in migrations._migrations if m.name != FIRST])
    connection.execute("BEGIN")
    connection.execute("INSERT INTO meta(key, value) VALUES ('store_id', ?)", [new_id()])
    for number in range(turns):
        thread, prompt, better, worse, judgment = (new_id() for _ in range(5))
        connection.execute(
            "INSERT INTO threads(id, title, created_at, updated_at) VALUES (?, ?, ?, ?)",
            [thread, f"turn {number}", now(), now()],
        )
        for id, parent, role in ((prompt, None, "user"), (better, prompt, "assistant"), (worse, prompt, "assistant")):
            connection.execute(
                "INSERT INTO messages(id, thread_id, parent_id, role, content, created_at) VALUES (?, ?, ?, ?, ?, ?)",
                [id, thread, parent, role, f"{role} {number} of long ago", now()],
            )
        connection.execute(
            "INSERT INTO judgments(id, prompt_message_id, kind, source, created_at) "
            "VALUES (?, ?, 'ranking', 'chat', ?)",
            [judgment, prompt, now()],
        )
        connection.executemany(
            "INSERT INTO judgment_items(judgment_id, message_id, rank) VALUES (?, ?, ?)",
            [(judgment, better, 0), (judgment, worse, 1)],
        )
    connection.execute("COMMIT")
    connection.close()
    return path
