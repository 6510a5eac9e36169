"""A home full of words that can be looked for in its files, byte by byte."""

from __future__ import annotations

import json
import random
import sqlite3
import string
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from storage import importing, paths
from storage.adapters import GGUF
from storage.ids import now
from storage.search import threads
from storage.store import Store
from storage.threads import Message, NewAnswer

MODEL = "m" * 64


class World:
    """Chats, judgments from the shell, an import, two versions, caches, checkpoints and two backups.

    `word(name)` is a random word for each name; texts hold it twice, in other cases.
    """

    def __init__(self, store: Store, outside: Path) -> None:
        self.store, self.home, self.outside = store, store.home, outside
        self._words: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        store.db.execute("PRAGMA secure_delete = OFF")  # some builds of SQLite overwrite what they delete by themselves
        store.add_model(MODEL, "tiny", "llama", "t", "tiny.gguf")
        self._chat()
        self._shell()
        self._import()
        self._learned()

    def word(self, name: str) -> str:
        return self._words.setdefault(name, "".join(random.choices(string.ascii_lowercase, k=18)))

    def text(self, name: str) -> str:
        return f"Of {self.word(name)}, and {self.word(name).capitalize()} again"

    # what is there

    def _chat(self) -> None:
        threads, judgments = self.store.threads, self.store.judgments
        thread = threads.new(self.text("q1")[:48], system_prompt=self.text("system"))
        q1 = threads.add_message(thread.id, None, "user", self.text("q1"), tip=True)
        a = self._answers(thread.id, q1.id, "a1", "a2", "a3")
        pick = judgments.pick(q1.id, a[1], a)
        note = judgments.note(q1.id, a[0], self.text("note"))
        old, _ = judgments.correct(q1.id, a[1], self.text("first correction"), a)
        new, better = judgments.correct(q1.id, a[1], self.text("correction"), a, supersedes=old.id)
        q2 = threads.add_message(thread.id, better.id, "user", self.text("q2"), tip=True)
        b = self._answers(thread.id, q2.id, "b1", "b2")
        rank = judgments.rank(q2.id, [[b[1]], [b[0]]])
        threads.set_tip(thread.id, b[1])
        self.store.meta_set(f"draft:{thread.id}", self.text("draft"))
        other = threads.new(self.text("other"))
        q3 = threads.add_message(other.id, None, "user", self.text("other"), tip=True)
        c = self._answers(other.id, q3.id, "c1", "c2")
        thumb = judgments.thumb(q3.id, c[0], 1)
        copy = threads.add_message(other.id, c[0], "user", self.text("q1"), tip=True)
        self.ids |= {
            "thread": thread.id, "q1": q1.id, "a1": a[0], "a2": a[1], "a3": a[2], "pick": pick.id, "note": note.id,
            "old": old.id, "new": new.id, "better": better.id, "q2": q2.id, "b1": b[0], "b2": b[1], "rank": rank.id,
            "other": other.id, "q3": q3.id, "c1": c[0], "c2": c[1], "thumb": thumb.id, "copy": copy.id,
        }  # fmt: skip

    def _answers(self, thread: str, prompt: str, *names: str) -> list[str]:
        answers = [
            NewAnswer(self.text(name), place, MODEL, None, {}, 1, [4, 5, 6], 3, "stop")
            for place, name in enumerate(names)
        ]
        return [message.id for message in self.store.threads.add_answers(thread, prompt, answers)]

    def _shell(self) -> None:
        """Two prompts below one system message; of the second one, two judgments."""
        threads, judgments = self.store.threads, self.store.judgments
        thread = threads.new(self.text("s1"), origin="judge")
        system = threads.add_message(thread.id, None, "system", self.text("shell system"), key="s")
        for name, answers in (("s1", ("s1a", "s1b")), ("s2", ("s2a", "s2b", "s2c"))):
            prompt = threads.add_message(thread.id, system.id, "user", self.text(name), key=name)
            ids = [threads.add_message(thread.id, prompt.id, "assistant", self.text(a)).id for a in answers]
            judged = judgments.rank(prompt.id, [[id] for id in ids[:2]], source="judge")
            self.ids |= {name: prompt.id, f"{name} rank": judged.id} | dict(zip(answers, ids, strict=True))
        self.ids["s2 thumb"] = judgments.thumb(self.ids["s2"], self.ids["s2b"], 1, source="judge").id

    def _import(self) -> None:
        self.file = self.outside / "pairs.jsonl"
        self.outside.mkdir()
        rows = [
            {"prompt": self.text(f"i{n}"), "chosen": self.text(f"i{n}a"), "rejected": self.text(f"i{n}b")}
            for n in (1, 2)
        ]
        self.file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.take_in()
        for judgment in self.store.judgments.live(["imports"]):
            text = self.store.threads.message(judgment.prompt_id).text
            for name in ("i1", "i2"):
                if text == self.text(name):
                    self.ids[name] = judgment.id

    def take_in(self) -> importing.Summary:
        return importing.import_file(self.store, self.file, "trl-preference", "pairs")

    def _learned(self) -> None:
        ids = self.ids
        for number, seen in enumerate(
            (["pick", "rank", "new", "thumb"], ["pick", "thumb", "i1", "s1 rank", "s2 thumb"])
        ):
            run = self.store.runs.queue(model_hash=MODEL)
            self.store.runs.claim(run.id)
            self.store.runs.record_judgments(run.id, [(ids[name], "train") for name in seen])
            self.store.runs.finish(run.id, "done")
            folder = paths.run_dir(self.home, run.id)
            folder.mkdir(parents=True)
            (folder / "checkpoint.bin").write_text(self.word(f"checkpoint {number}"))
            self.add_version(f"v{number + 1}", run.id, f"v{number}" if number else None)
            self.store.adapters.promote(f"v{number + 1}", f"v{number}" if number else None)
        (paths.cache_dir(self.home) / "deep").mkdir()
        (paths.cache_dir(self.home) / "deep" / "reference.tmp").write_text(self.word("cache"))
        paths.backups_dir(self.home).mkdir(mode=0o700, exist_ok=True)

    def add_version(self, id: str, run: str, parent: str | None = None) -> None:
        adapter = self.store.adapters.register(id, model_hash=MODEL, files={GGUF: "0"}, run_id=run, parent_id=parent)
        self.store.adapters.dir(adapter).mkdir(parents=True)
        self.store.adapters.gguf(adapter).write_bytes(b"GGUF")

    # copies

    def backup(self, path: Path, drop: Callable[[sqlite3.Connection], None] = lambda _: None) -> Path:
        """A copy page by page, free pages and all, as SQLite's own backup makes it."""
        with closing(sqlite3.connect(path, isolation_level=None)) as copy:
            self.store.db.conn.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            drop(copy)
        return path

    def backups(self) -> list[Path]:
        """One in the home, one elsewhere that is noted."""
        inside = self.backup(paths.backups_dir(self.home) / "hone-20260101T000000Z-manual.db")
        elsewhere = self.backup(self.outside / "copy.db")
        self.note(elsewhere)
        return [inside, elsewhere]

    def note(self, path: Path) -> None:
        self.store.db.execute("INSERT INTO backups(path, created_at) VALUES (?, ?)", [str(path), now()])

    # looking

    def files(self) -> list[Path]:
        return [path for root in (self.home, self.outside) for path in root.rglob("*") if path.is_file()]

    def found(self, *names: str) -> set[str]:
        """Which of the words stand somewhere in a file of the home, or in a copy elsewhere.

        The index stores words without what they share with their neighbour, so their ends are looked for. Read by
        another process: closing a database here would let go of SQLite's locks on it.
        """
        files = [path for path in self.files() if path != self.file]
        everything = subprocess.run(["cat", *map(str, files)], check=True, capture_output=True).stdout.lower()
        return {name for name in names or self._words if self.word(name)[6:].encode() in everything}

    def intact(self) -> None:
        for path in [paths.database(self.home), *paths.backups_dir(self.home).glob("*.db"), *self.outside.glob("*.db")]:
            with closing(sqlite3.connect(path)) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                assert db.execute("PRAGMA foreign_key_check").fetchall() == []
                db.execute("INSERT INTO messages_fts(messages_fts, rank) VALUES ('integrity-check', 1)")

    def search(self, name: str) -> list[str]:
        return [found.thread.id for found in threads(self.store, self.word(name))]

    def message(self, name: str) -> Message:
        return self.store.threads.message(self.ids[name])
