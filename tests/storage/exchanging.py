"""Files to import, and a home with something in it to export."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from storage import importing
from storage.store import Store
from storage.threads import NewAnswer

GOOD = {
    "prompt": [{"role": "user", "content": "hi"}],
    "chosen": [{"role": "assistant", "content": "hello"}],
    "rejected": [{"role": "assistant", "content": "what"}],
}


def write(path: Path, *rows: object) -> Path:
    lines = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def many(path: Path, count: int, first: int = 0) -> Path:
    return write(path, *({**GOOD, "prompt": f"question {i}", "margin": 0.5} for i in range(first, first + count)))


def take(store: Store, path: Path, name: str, format: str = "trl-preference", **how: object) -> importing.Summary:
    return importing.import_file(store, path, format, name, **how)  # type: ignore[arg-type]


def counts(store: Store) -> dict[str, int]:
    tables = ("threads", "messages", "judgments", "judgment_items", "import_keys")
    return {table: int(store.value(f"SELECT count(*) FROM {table}")) for table in tables}


def chat(store: Store, private: bool = False) -> str:
    """A thread with every kind of judgment; returns its prompt's id."""
    store.add_model("m" * 64, "tiny", "llama", "t", "/somewhere")
    thread = store.threads.new("a title", system_prompt="be kind", private=private)
    prompt = store.threads.add_message(thread.id, None, "user", "quote \u2028 and emoji \U0001f600 \x1b[31m?", tip=True)
    made = [
        NewAnswer(text, at, "m" * 64, None, {"temperature": 0.8}, 7, [1, 2, at], 5, "stop", {"seconds": 0.5})
        for at, text in enumerate(("a\nb", "c", "d"))
    ]
    ids = [m.id for m in store.threads.add_answers(thread.id, prompt.id, made)]
    say = store.judgments
    first = say.pick(prompt.id, ids[0], ids)
    say.rank(prompt.id, [[ids[2]], ids[:2]], supersedes=first.id)
    say.thumb(prompt.id, ids[0], 1)
    say.rate(prompt.id, {ids[0]: 6, ids[1]: 2})
    say.correct(prompt.id, ids[1], "better", ids)
    say.flag(prompt.id, ids[1], "rule-insult", True)
    say.note(prompt.id, ids[1], "too \u009b short")
    say.retract(say.all_bad(prompt.id, ids).id)
    store.splits.assign([prompt.id])
    return prompt.id
