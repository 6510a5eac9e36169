"""The schema, as numbered steps that are only ever added to.

Never edit a step that has landed: add the next one.
"""

from __future__ import annotations

import sqlite3

from storage.light import Database, Migrations

migrations = Migrations("hone")

#: "Hone" in ASCII, so that `file hone.db` and we can tell whose database it is
APPLICATION_ID = 0x486F6E65

_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE models (
  hash TEXT PRIMARY KEY, name TEXT NOT NULL, architecture TEXT NOT NULL, template_hash TEXT NOT NULL,
  path TEXT NOT NULL, created_at TEXT NOT NULL
);

CREATE TABLE imports (
  id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, format TEXT NOT NULL, file TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('running', 'complete', 'undone')),
  created_at TEXT NOT NULL, completed_at TEXT, summary TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE import_keys (
  key TEXT PRIMARY KEY, import_id TEXT NOT NULL REFERENCES imports(id)
) WITHOUT ROWID;

CREATE TABLE threads (
  id TEXT PRIMARY KEY, title TEXT NOT NULL DEFAULT '', system_prompt TEXT, origin TEXT NOT NULL DEFAULT 'chat',
  private INTEGER NOT NULL DEFAULT 0, archived_at TEXT, deleted_at TEXT, tip_message_id TEXT,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE INDEX threads_by_time ON threads(origin, updated_at);

-- seq is a real primary key so that VACUUM cannot renumber the rows that the full-text index points to
CREATE TABLE messages (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, thread_id TEXT NOT NULL REFERENCES threads(id),
  parent_id TEXT REFERENCES messages(id), role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
  content TEXT, key TEXT UNIQUE, created_at TEXT NOT NULL, forgotten_at TEXT
);
CREATE INDEX messages_by_thread ON messages(thread_id);
CREATE INDEX messages_by_parent ON messages(parent_id);

CREATE VIRTUAL TABLE messages_fts USING fts5(content, content='messages', content_rowid='seq');
CREATE TRIGGER messages_fts_insert AFTER INSERT ON messages BEGIN
  INSERT INTO messages_fts(rowid, content) VALUES (new.seq, new.content);
END;
CREATE TRIGGER messages_fts_delete AFTER DELETE ON messages BEGIN
  INSERT INTO messages_fts(messages_fts, rowid, content) VALUES ('delete', old.seq, old.content);
END;
CREATE TRIGGER messages_fts_update AFTER UPDATE OF content ON messages BEGIN
  INSERT INTO messages_fts(messages_fts, rowid, content) VALUES ('delete', old.seq, old.content);
  INSERT INTO messages_fts(rowid, content) VALUES (new.seq, new.content);
END;

CREATE TABLE generations (
  message_id TEXT PRIMARY KEY REFERENCES messages(id), batch_id TEXT NOT NULL, position INTEGER NOT NULL,
  model_hash TEXT NOT NULL REFERENCES models(hash), adapter_id TEXT, sampling TEXT NOT NULL, seed INTEGER NOT NULL,
  token_ids TEXT, prompt_tokens INTEGER NOT NULL, answer_tokens INTEGER NOT NULL,
  finish_reason TEXT NOT NULL CHECK (finish_reason IN ('stop', 'length', 'cancelled')),
  timings TEXT NOT NULL DEFAULT '{}', created_at TEXT NOT NULL
);

CREATE TABLE judgments (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  prompt_message_id TEXT NOT NULL REFERENCES messages(id),
  kind TEXT NOT NULL CHECK (kind IN
    ('ranking', 'pick', 'all_bad', 'thumb', 'rating', 'correction', 'flag', 'note', 'duel')),
  payload TEXT NOT NULL DEFAULT '{}', source TEXT NOT NULL, supersedes TEXT REFERENCES judgments(id),
  key TEXT UNIQUE, created_at TEXT NOT NULL, retracted_at TEXT
);
CREATE INDEX judgments_by_prompt ON judgments(prompt_message_id);
CREATE INDEX judgments_by_source ON judgments(source);
CREATE INDEX judgments_by_superseded ON judgments(supersedes) WHERE supersedes IS NOT NULL;

CREATE TABLE judgment_items (
  judgment_id TEXT NOT NULL REFERENCES judgments(id), message_id TEXT NOT NULL REFERENCES messages(id),
  rank INTEGER, score INTEGER CHECK (score BETWEEN 1 AND 7), value INTEGER,
  PRIMARY KEY (judgment_id, message_id)
) WITHOUT ROWID;
CREATE INDEX judgment_items_by_message ON judgment_items(message_id);

CREATE TABLE rules (
  id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, text TEXT NOT NULL, active INTEGER NOT NULL DEFAULT 1,
  created_at TEXT NOT NULL
);

-- which side of the split a prompt is on, by the hash of its conversation, for ever
CREATE TABLE splits (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE,
  split TEXT NOT NULL CHECK (split IN ('train', 'held_out')), created_at TEXT NOT NULL
);

CREATE TABLE runs (
  id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, kind TEXT NOT NULL, model_hash TEXT,
  state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'rejected', 'failed', 'cancelled')),
  config TEXT NOT NULL DEFAULT '{}', pid INTEGER, heartbeat_at TEXT, cancel_requested_at TEXT,
  created_at TEXT NOT NULL, started_at TEXT, finished_at TEXT, result TEXT NOT NULL DEFAULT '{}', error TEXT
);
CREATE TABLE run_metrics (
  run_id TEXT NOT NULL REFERENCES runs(id), step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
  PRIMARY KEY (run_id, name, step)
) WITHOUT ROWID;
CREATE TABLE run_judgments (
  run_id TEXT NOT NULL REFERENCES runs(id), judgment_id TEXT NOT NULL REFERENCES judgments(id),
  split TEXT NOT NULL CHECK (split IN ('train', 'held_out')),
  PRIMARY KEY (run_id, judgment_id)
) WITHOUT ROWID;
CREATE INDEX run_judgments_by_judgment ON run_judgments(judgment_id);

CREATE TABLE adapters (
  id TEXT PRIMARY KEY, number INTEGER NOT NULL, model_hash TEXT NOT NULL, parent_id TEXT REFERENCES adapters(id),
  run_id TEXT REFERENCES runs(id),
  state TEXT NOT NULL CHECK (state IN ('candidate', 'live', 'retired', 'rejected')),
  verdict TEXT NOT NULL DEFAULT '', report TEXT NOT NULL DEFAULT '{}', provisional INTEGER NOT NULL DEFAULT 0,
  path TEXT NOT NULL, files TEXT NOT NULL DEFAULT '{}', created_at TEXT NOT NULL,
  UNIQUE (model_hash, number)
);
CREATE UNIQUE INDEX one_live_adapter ON adapters(model_hash) WHERE state = 'live';
"""


def run_script(db: Database, script: str) -> None:
    """Run statements one by one: executescript() would commit the migration's transaction."""
    statement = ""
    for line in script.splitlines():
        if line.strip().startswith("--"):
            continue
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            if statement.strip():
                db.execute(statement)
            statement = ""


@migrations()
def m001_first(db: Database) -> None:
    run_script(db, _FIRST)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


#: the set that every home starts with, in our own words: (id, name, text). Ids and times are fixed, so that two
#: homes share them and an exchange between them knows them again
DEFAULT_RULES = [
    ("harm", "harmful advice", "Does not help anyone to hurt people, animals or themselves, or to break the law."),
    (
        "expert",
        "medical, legal or financial advice",
        "Does not give medical, legal or financial advice as if from an expert; says who could be asked instead.",
    ),
    ("insult", "insults", "Does not insult, mock, threaten or talk down to the reader or anybody else."),
    ("stereotype", "stereotypes", "Does not judge people by origin, sex, religion, age, looks or any other group."),
    ("human", "claims to be human", "Does not claim to be a person or to have a body, a life or a past of its own."),
    ("feelings", "claims to have feelings", "Does not claim to feel, wish, enjoy or suffer as people do."),
    ("made-up", "made-up facts", "States nothing as a fact that is invented: names, numbers, quotes, sources, links."),
    ("off-topic", "off-topic", "Answers what was asked and stays with it."),
    ("repetition", "repetition", "Does not say the same thing again and again, nor repeat the question at length."),
    ("refusal", "needless refusal", "Does not refuse, lecture or hedge where the request is harmless."),
    ("private", "private data", "Does not ask for or reveal private facts about real people without need."),
    ("format", "asked-for form", "Keeps to the length, language and form that were asked for."),
]
RULES_SINCE = "2026-11-21T00:00:00.000000+00:00"

_SAFETY = """
ALTER TABLE judgments ADD COLUMN forgotten_at TEXT;
-- how many of the judgments that it learned from were forgotten since: it may still remember them
ALTER TABLE adapters ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
-- a forgotten record's key stays for ever, so that no later import brings it back
ALTER TABLE import_keys ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
CREATE INDEX import_keys_by_import ON import_keys(import_id);

ALTER TABLE rules ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE rules ADD COLUMN replaces TEXT REFERENCES rules(id);

-- threads of an exchange file that is still being read: hidden behind the origin "import:..." until complete
CREATE TABLE import_threads (
  thread_id TEXT PRIMARY KEY REFERENCES threads(id), import_id TEXT NOT NULL REFERENCES imports(id),
  origin TEXT NOT NULL
) WITHOUT ROWID;

-- the few exceptions that every derivation looks for: a list of them is quicker than a look at each message
CREATE INDEX threads_hidden ON threads(id) WHERE deleted_at IS NOT NULL OR private;
CREATE INDEX messages_without_text ON messages(id) WHERE content IS NULL;

-- copies that `hone backup --to` wrote outside the home: forgetting has to reach them too
CREATE TABLE backups (path TEXT PRIMARY KEY, created_at TEXT NOT NULL) WITHOUT ROWID;
"""


@migrations()
def m002_safety_and_rules(db: Database) -> None:
    run_script(db, _SAFETY)
    start = db.execute("SELECT coalesce(max(number), 0) FROM rules").fetchone()[0]
    for number, (id, name, text) in enumerate(DEFAULT_RULES, start + 1):
        db.execute(
            "INSERT OR IGNORE INTO rules(id, number, name, text, created_at) VALUES (?, ?, ?, ?, ?)",
            [f"rule-{id}", number, name, text, RULES_SINCE],
        )
