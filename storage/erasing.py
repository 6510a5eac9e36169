"""What forgetting changes in the rows of a database: of the one in use, or of a backup of any age.

What goes with what was asked for:

- a message: all below it, since answers and what followed speak of it; and the corrections of it, which were made of
  its text;
- a thread: all its messages, its title, its system prompt, what was typed and not sent;
- a judgment: those that it replaced, which said the same in other words; the text of a correction; and where the turn
  is not of a chat (it came from a file or the shell), the prompt and answers that no other judgment in force refers
  to. In a chat these stay: they were not written for the judgment's sake;
- judgments of a forgotten prompt, those of forgotten answers alone, notes and corrections with a forgotten text: as a
  whole. Of the others only what they say of a forgotten answer.

Rows and their keys stay, without text, so that ids stay true and no import brings the text back. The titles of the
threads go where a word of theirs comes from a forgotten text. All of it is one transaction of the caller's.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from storage.judgments import LEARNABLE

#: marks in `meta` the judgments that lost a part: what learned from them learned from a forgotten text
PARTLY = "partly_forgotten:"
#: of a judgment j: what learned from it may remember what is forgotten
REMEMBERED = f"(j.forgotten_at IS NOT NULL OR EXISTS (SELECT 1 FROM meta WHERE key = '{PARTLY}' || j.id))"
_WORD = re.compile(r"\w{4,}")

_TABLES = """
CREATE TEMP TABLE gone_messages (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE gone_judgments (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE gone_threads (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE parted (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE asked (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE asked_judgments (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE asked_prompts (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_NAMES = re.findall(r"TABLE (\w+)", _TABLES)

_REPLACED = """
INSERT OR IGNORE INTO {table} WITH RECURSIVE old(id) AS (
  SELECT id FROM {table} UNION SELECT j.supersedes FROM judgments j JOIN old ON j.id = old.id
  WHERE j.supersedes IS NOT NULL) SELECT id FROM old
"""
#: repeated until nothing is added
_SPREAD = [
    """
INSERT OR IGNORE INTO gone_messages WITH RECURSIVE below(id) AS (
  SELECT id FROM gone_messages UNION SELECT m.id FROM messages m JOIN below ON m.parent_id = below.id)
SELECT id FROM below
""",
    "INSERT OR IGNORE INTO gone_judgments SELECT id FROM judgments WHERE prompt_message_id IN gone_messages",
    """
INSERT OR IGNORE INTO gone_judgments SELECT j.id FROM judgment_items i JOIN judgments j ON j.id = i.judgment_id
WHERE i.message_id IN gone_messages AND (j.kind = 'note'
  OR (j.kind = 'correction' AND (i.rank = 0 OR json_extract(j.payload, '$.of') = i.message_id))
  OR NOT EXISTS (SELECT 1 FROM judgment_items o WHERE o.judgment_id = j.id AND o.message_id NOT IN gone_messages))
""",
    _REPLACED.format(table="gone_judgments"),
    """
INSERT OR IGNORE INTO gone_messages SELECT i.message_id FROM judgment_items i JOIN judgments j ON j.id = i.judgment_id
WHERE j.id IN gone_judgments AND j.kind = 'correction' AND i.rank = 0 AND NOT EXISTS (
  SELECT 1 FROM judgment_items o JOIN judgments h ON h.id = o.judgment_id
  WHERE o.message_id = i.message_id AND h.retracted_at IS NULL AND h.id NOT IN gone_judgments)
""",
    # the turns of judgments from files and the shell: first the answers, then the prompt and what came before it
    """
INSERT OR IGNORE INTO gone_messages SELECT i.message_id FROM judgment_items i JOIN judgments j ON j.id = i.judgment_id
WHERE j.id IN asked_judgments AND EXISTS (SELECT 1 FROM messages m JOIN threads t ON t.id = m.thread_id
    WHERE m.id = j.prompt_message_id AND t.origin <> 'chat')
  AND NOT EXISTS (SELECT 1 FROM judgment_items o JOIN judgments h ON h.id = o.judgment_id
    WHERE o.message_id = i.message_id AND h.retracted_at IS NULL AND h.id NOT IN gone_judgments)
  AND NOT EXISTS (SELECT 1 FROM messages c
    WHERE c.parent_id = i.message_id AND c.content IS NOT NULL AND c.id NOT IN gone_messages)
""",
    """
INSERT OR IGNORE INTO gone_messages WITH RECURSIVE up(id) AS (
  SELECT m.id FROM asked_prompts p JOIN messages m ON m.id = p.id JOIN threads t ON t.id = m.thread_id
  WHERE t.origin <> 'chat'
  UNION SELECT m.parent_id FROM messages m JOIN up ON m.id = up.id WHERE m.parent_id IS NOT NULL)
SELECT up.id FROM up WHERE NOT EXISTS (SELECT 1 FROM judgments h
    WHERE h.prompt_message_id = up.id AND h.retracted_at IS NULL AND h.id NOT IN gone_judgments)
  AND NOT EXISTS (SELECT 1 FROM judgment_items o JOIN judgments h ON h.id = o.judgment_id
    WHERE o.message_id = up.id AND h.retracted_at IS NULL AND h.id NOT IN gone_judgments)
  AND NOT EXISTS (SELECT 1 FROM messages c
    WHERE c.parent_id = up.id AND c.content IS NOT NULL AND c.id NOT IN gone_messages
    AND NOT (up.id IN asked_prompts AND c.role = 'assistant' AND NOT EXISTS (SELECT 1 FROM messages d
      WHERE d.parent_id = c.id AND d.content IS NOT NULL AND d.id NOT IN gone_messages)))
""",
]
_COPIES = """
SELECT m.id FROM messages m WHERE m.role <> 'system' AND m.id NOT IN gone_messages AND m.content IN (
  SELECT a.content FROM messages a WHERE a.role <> 'system' AND a.content <> '' AND (a.id IN asked
    OR a.thread_id IN gone_threads OR (a.id IN gone_messages AND (a.id IN asked_prompts OR a.id IN (
      SELECT i.message_id FROM judgment_items i WHERE i.judgment_id IN asked_judgments)))))
ORDER BY m.seq
"""
#: judgments that said something of what is forgotten
_TOUCHED = "SELECT id FROM gone_judgments UNION SELECT id FROM parted"


@dataclass(frozen=True, slots=True)
class Asked:
    """Full ids."""

    messages: Collection[str] = ()
    threads: Collection[str] = ()
    judgments: Collection[str] = ()
    copies: bool = False  #: also other messages with the text of one that was asked for
    again: bool = False  #: they were forgotten once, and all that goes with a judgment is among them


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that one might expect to go, and does not."""

    kind: str  #: "message" or "judgment": what `hone forget ID` would be told
    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Learner:
    """A version that learned from judgments that are forgotten."""

    id: str
    judgments: int


@dataclass(slots=True)
class Plan:
    """What goes. Counts are of what is still there."""

    messages: int = 0
    judgments: int = 0
    threads: int = 0  #: whole ones that were asked for
    copies: list[str] = field(default_factory=list)  #: other messages with exactly the same text
    kept: list[Kept] = field(default_factory=list)
    learners: list[Learner] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)  #: that learned from or were tested on it
    learnable: bool = False  #: whether a run under way may be learning from it


class Erasure:
    """Finds what goes, in temporary tables of a connection with an open transaction; `apply` removes it."""

    def __init__(self, db: sqlite3.Connection, asked: Asked) -> None:
        self._db = db
        self._columns = {
            (table, row[1])
            for table in ("judgments", "adapters", "import_keys")
            for row in db.execute(f"PRAGMA table_info({table})")
        }
        _drop(db)
        for statement in _TABLES.strip().splitlines():
            db.execute(statement)
        self._insert("asked", asked.messages)
        self._insert("gone_messages", asked.messages)
        self._insert("gone_threads", asked.threads)
        self._insert("gone_judgments" if asked.again else "asked_judgments", asked.judgments)
        self._run("INSERT OR IGNORE INTO gone_messages SELECT id FROM messages WHERE thread_id IN gone_threads")
        self._run(_REPLACED.format(table="asked_judgments"))
        self._run("INSERT OR IGNORE INTO gone_judgments SELECT id FROM asked_judgments")
        self._run(
            "INSERT OR IGNORE INTO asked_prompts SELECT prompt_message_id FROM judgments WHERE id IN asked_judgments"
        )
        self._spread()
        self._others = [] if asked.again else [row[0] for row in self._run(_COPIES)]
        if asked.copies and self._others:
            self._insert("gone_messages", self._others)
            self._spread()
        self._run(
            "INSERT OR IGNORE INTO parted SELECT judgment_id FROM judgment_items "
            "WHERE message_id IN gone_messages AND judgment_id NOT IN gone_judgments"
        )

    def plan(self) -> Plan:
        """What `apply` will do, to be read before it."""
        forgotten = "AND forgotten_at IS NULL" if ("judgments", "forgotten_at") in self._columns else ""
        kinds = ",".join(f"'{kind}'" for kind in (*LEARNABLE, "flag"))  # of which a reward model learns rules
        return Plan(
            self._count("messages WHERE id IN gone_messages AND content IS NOT NULL"),
            self._count(f"judgments WHERE id IN gone_judgments {forgotten}"),
            self._count("threads WHERE id IN gone_threads"),
            self._others,
            self._kept(),
            [
                Learner(row[0], row[1])
                for row in self._run(
                    "SELECT a.id, count(*) FROM adapters a JOIN run_judgments r ON r.run_id = a.run_id "
                    f"WHERE r.split = 'train' AND r.judgment_id IN ({_TOUCHED}) GROUP BY a.id ORDER BY a.created_at"
                )
            ],
            [
                row[0]
                for row in self._run(f"SELECT DISTINCT run_id FROM run_judgments WHERE judgment_id IN ({_TOUCHED})")
            ],
            bool(
                self._count(
                    f"judgments WHERE id IN ({_TOUCHED}) AND retracted_at IS NULL AND kind IN ({kinds}) LIMIT 1"
                )
            ),
        )

    def _kept(self) -> list[Kept]:
        found = []
        for prompt, chat in self._run(
            "SELECT m.id, t.origin = 'chat' FROM messages m JOIN threads t ON t.id = m.thread_id "
            "WHERE m.id IN asked_prompts AND m.id NOT IN gone_messages AND m.content IS NOT NULL"
        ):
            why = "the chat's question and answers stay" if chat else "its prompt stays: other judgments refer to it"
            found.append(Kept("message", prompt, why))
        for (newer,) in self._run(
            "SELECT id FROM judgments WHERE supersedes IN asked_judgments AND id NOT IN gone_judgments "
            "AND retracted_at IS NULL"
        ):
            found.append(Kept("judgment", newer, "the judgment that replaced it stays"))
        return found

    def apply(self, time: str) -> None:
        """Remove it from the rows. Freed space and the full-text index are the caller's: see `storage.scrubbing`."""
        titles = self._titles()
        run = self._run
        run("UPDATE generations SET token_ids = NULL WHERE message_id IN gone_messages")
        run(
            "UPDATE messages SET content = NULL, forgotten_at = coalesce(forgotten_at, ?) "
            "WHERE id IN gone_messages AND (content IS NOT NULL OR forgotten_at IS NULL)",
            [time],
        )
        self._keep_imports_out()
        when = (
            f", forgotten_at = coalesce(forgotten_at, '{time}')"
            if ("judgments", "forgotten_at") in self._columns
            else ""
        )
        run(
            f"UPDATE judgments SET payload = '{{}}', retracted_at = coalesce(retracted_at, ?){when} "
            "WHERE id IN gone_judgments",
            [time],
        )
        run("DELETE FROM judgment_items WHERE judgment_id IN gone_judgments OR message_id IN gone_messages")
        run(f"INSERT OR IGNORE INTO meta(key, value) SELECT '{PARTLY}' || id, ? FROM parted", [time])
        for id, title in titles.items():
            if title is not None:
                run("UPDATE threads SET title = ? WHERE id = ?", [title, id])
            run("DELETE FROM meta WHERE key = ?", [f"draft:{id}"])
            self._move_tip(id)
        run(
            "UPDATE threads SET system_prompt = NULL WHERE system_prompt IS NOT NULL AND id IN ("
            "SELECT thread_id FROM messages WHERE role = 'system' AND id IN gone_messages)"
        )
        run(
            "UPDATE threads SET title = '', system_prompt = NULL, tip_message_id = NULL, "
            "deleted_at = coalesce(deleted_at, ?) WHERE id IN gone_threads",
            [time],
        )
        run("DELETE FROM meta WHERE key IN (SELECT 'draft:' || id FROM gone_threads)")
        self._keep_rows_out()
        if ("adapters", "forgotten") in self._columns:
            run(
                "UPDATE adapters SET forgotten = (SELECT count(*) FROM run_judgments r JOIN judgments j "
                f"ON j.id = r.judgment_id WHERE r.run_id = adapters.run_id AND r.split = 'train' AND {REMEMBERED})"
            )

    def _titles(self) -> dict[str, str | None]:
        """The threads that lose a text, with the title that they get, or None where it can stay."""
        found: dict[str, str | None] = {}
        for id, title in self._run(
            "SELECT id, title FROM threads WHERE id IN (SELECT thread_id FROM messages WHERE id IN gone_messages)"
        ).fetchall():
            texts: dict[bool, list[str]] = {True: [], False: []}
            for content, gone in self._run(
                "SELECT content, id IN gone_messages FROM messages "
                "WHERE thread_id = ? AND content IS NOT NULL AND role <> 'system'",
                [id],
            ):
                texts[bool(gone)].append(content)
            empty = not texts[False]
            found[id] = "" if title and (empty or tells(title, texts[True], texts[False])) else None
        return found

    def _move_tip(self, thread: str) -> None:
        """To the nearest message above it that still has its text."""
        (start,) = self._run("SELECT tip_message_id FROM threads WHERE id = ?", [thread]).fetchone()
        tip = start
        while tip is not None:
            row = self._run("SELECT parent_id, content FROM messages WHERE id = ?", [tip]).fetchone()
            if row is None or row[1] is not None:
                break
            tip = row[0]
        if tip != start:
            self._run("UPDATE threads SET tip_message_id = ? WHERE id = ?", [tip, thread])

    def _keep_imports_out(self) -> None:
        """Mark the keys of the records that brought the text, so that no later import brings it again."""
        if ("import_keys", "forgotten") not in self._columns:
            return
        keys: set[str] = set()
        for (key,) in self._run(
            f"SELECT key FROM judgments WHERE key IS NOT NULL AND (id IN ({_TOUCHED}) OR prompt_message_id IN "
            "(SELECT parent_id FROM messages WHERE id IN gone_messages AND role = 'assistant'))"
        ):
            record, _, place = key.rpartition(":")
            keys |= {key, record} if record and place.isdigit() else {key}
        self._db.executemany("UPDATE import_keys SET forgotten = 1 WHERE key = ?", [(key,) for key in keys])

    def _keep_rows_out(self) -> None:
        """The same for files of the format hone, which name rows by their ids; `undo` deletes what they added."""
        if ("import_keys", "forgotten") not in self._columns:
            return
        for kind, table, thread in (
            ("message", "messages", "r.thread_id"),
            ("judgment", "judgments", "(SELECT thread_id FROM messages WHERE id = r.prompt_message_id)"),
        ):
            self._run(
                f"INSERT INTO import_keys(key, import_id, forgotten) SELECT '{kind}:' || r.id, k.import_id, 1 "
                f"FROM {table} r JOIN import_keys k ON k.key IN ('{kind}:' || r.id, 'thread:' || {thread}) "
                f"WHERE r.id IN gone_{table} ON CONFLICT(key) DO UPDATE SET forgotten = 1"
            )
        for kind, empty in (("title", "title = ''"), ("prompt", "system_prompt IS NULL")):
            self._run(
                f"INSERT INTO import_keys(key, import_id, forgotten) SELECT '{kind}:' || t.id, k.import_id, 1 "
                f"FROM threads t JOIN import_keys k ON k.key = 'thread:' || t.id WHERE t.{empty} "
                "AND (t.id IN gone_threads OR t.id IN (SELECT thread_id FROM messages WHERE id IN gone_messages)) "
                "ON CONFLICT(key) DO UPDATE SET forgotten = 1"
            )

    def close(self) -> None:
        """Drop the temporary tables."""
        _drop(self._db)

    def _spread(self) -> None:
        before = -1
        while before != (size := self._count("gone_messages") + self._count("gone_judgments")):
            before = size
            for statement in _SPREAD:
                self._run(statement)

    def _insert(self, table: str, ids: Iterable[str]) -> None:
        self._db.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?)", [(id,) for id in ids])

    def _count(self, rest: str) -> int:
        return int(self._run(f"SELECT count(*) FROM {rest}").fetchone()[0])

    def _run(self, sql: str, parameters: Iterable[Any] = ()) -> sqlite3.Cursor:
        return self._db.execute(sql, list(parameters))


def _drop(db: sqlite3.Connection) -> None:
    for name in _NAMES:
        db.execute(f"DROP TABLE IF EXISTS temp.{name}")


def tells(title: str, gone: Iterable[str], living: Iterable[str]) -> bool:
    """Whether a title says something of forgotten texts that no living text of its thread says."""
    plain = _plain(title)
    for text in gone:
        other = _plain(text)
        if plain and (plain in other or (len(other) > 3 and other in plain) or plain[:8] == other[:8]):
            return True
    words = set(_WORD.findall(title.casefold()))
    for text in living:
        words.difference_update(_WORD.findall(text.casefold()))
    return any(words.intersection(_WORD.findall(text.casefold())) for text in gone)


def _plain(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
