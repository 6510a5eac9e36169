"""TRL's preference format, JSON Lines: prompt, chosen, rejected as lists of {role, content}; plain strings are read
too. Our own `hone` object carries ids, margin and source, and is ignored by others.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from storage.errors import RecordError, StorageError
from storage.ids import new_id, now
from storage.preferences import Item

if TYPE_CHECKING:
    from storage.store import Store

#: records a transaction; small, so that a chat can write in between
PIECE = 200


@dataclass(frozen=True, slots=True)
class Record:
    """One line: chosen is the better answer to the conversation prompt."""

    line: int
    prompt: list[dict[str, str]]
    chosen: str
    rejected: str
    margin: float = 0.0

    @property
    def key(self) -> str:
        """What makes two records the same one, in any file."""
        return hashlib.sha256(
            json.dumps([self.prompt, self.chosen, self.rejected], sort_keys=True, ensure_ascii=False).encode()
        ).hexdigest()


@dataclass(slots=True)
class Summary:
    """What an import did; skipped lines are named with their reasons."""

    read: int = 0
    added: int = 0
    already: int = 0
    skipped: list[tuple[int, str]] | None = None

    def as_json(self) -> dict[str, Any]:
        skipped = self.skipped or []
        return {
            "read": self.read,
            "added": self.added,
            "already": self.already,
            "skipped": [{"line": line, "why": why} for line, why in skipped],
        }


def open_text(path: Path, mode: str = "r") -> IO[str]:
    """Open a file as UTF-8 text, gzip by its suffix (with time 0, so that the same content gives the same bytes)."""
    if path.suffix != ".gz":
        return open(path, mode, encoding="utf-8", newline="\n")
    import io

    if mode == "r":
        return io.TextIOWrapper(cast(IO[bytes], gzip.open(path, "rb")), encoding="utf-8")
    return io.TextIOWrapper(gzip.GzipFile(filename="", mode="wb", fileobj=open(path, "wb"), mtime=0), encoding="utf-8")


def read(path: Path, *, strict: bool = False, skipped: list[tuple[int, str]] | None = None) -> Iterator[Record]:
    """The records of a file, one line at a time.

    A bad line is added to `skipped` with its number and left out; with strict, or without such a list, it raises
    RecordError.
    """
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield parse(json.loads(line), number)
                except ValueError as error:  # RecordError and JSONDecodeError are both
                    why = f"not JSON: {error}" if isinstance(error, json.JSONDecodeError) else str(error)
                    if strict or skipped is None:
                        raise RecordError(f"{path.name}, line {number}: {why}") from error
                    skipped.append((number, why))
    except (OSError, EOFError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise StorageError(f"cannot read {path}: {error}") from error


def parse(row: Any, line: int = 0) -> Record:
    """One JSON object as a Record. Raises RecordError that names the field."""
    if not isinstance(row, dict):
        raise RecordError(f"expected an object with prompt, chosen and rejected, found {type(row).__name__}")
    for name in ("chosen", "rejected"):
        if name not in row:
            raise RecordError(f"the field {name!r} is missing; there are {', '.join(map(repr, row)) or 'none'}")
    chosen, rejected = _messages(row["chosen"], "chosen"), _messages(row["rejected"], "rejected")
    if "prompt" in row:
        prompt = _messages(row["prompt"], "prompt", role="user")
    else:  # TRL's implicit prompt: both carry the whole dialogue
        same = 0
        while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
            same += 1
        prompt, chosen, rejected = chosen[:same], chosen[same:], rejected[same:]
    if not prompt:
        raise RecordError("the prompt is empty")
    if prompt[-1]["role"] != "user":
        raise RecordError(f"the prompt ends with a message of the {prompt[-1]['role']}; it must end with the user's")
    answers = []
    for name, messages in (("chosen", chosen), ("rejected", rejected)):
        if len(messages) != 1 or messages[0]["role"] != "assistant":
            raise RecordError(f"{name} must be one message of the assistant, found {[m['role'] for m in messages]}")
        answers.append(messages[0]["content"])
    if answers[0] == answers[1]:
        raise RecordError("chosen and rejected are the same text")
    hone = row.get("hone")
    margin = hone.get("margin", 0.0) if isinstance(hone, dict) else row.get("margin", 0.0)
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise RecordError(f"margin is {margin!r}; it must be a number")
    return Record(line, prompt, answers[0], answers[1], float(margin))


def _messages(value: Any, name: str, role: str = "assistant") -> list[dict[str, str]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list):
        raise RecordError(f"{name} is {type(value).__name__}; it must be a text or a list of messages")
    messages = []
    for message in value:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            raise RecordError(f"{name} holds {message!r:.60}; each message needs a role and a text content")
        if message.get("role") not in ("system", "user", "assistant"):
            raise RecordError(f"{name} has the role {message.get('role')!r}; use system, user or assistant")
        messages.append({"role": message["role"], "content": message["content"]})
    return messages


def export(store: Store, include: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """The user's pairs as rows, in a stable order; private and deleted threads are left out."""
    pairs = store.judgments.derived(include).pairs
    for start in range(0, len(pairs), PIECE):
        piece = pairs[start : start + PIECE]
        prompts = store.threads.conversations(pair.prompt_id for pair in piece)
        answers = store.threads.messages(id for pair in piece for id in (pair.chosen_id, pair.rejected_id))
        for pair in piece:
            chosen, rejected = answers[pair.chosen_id].content, answers[pair.rejected_id].content
            if pair.prompt_id not in prompts or chosen is None or rejected is None:
                continue  # forgotten
            yield {
                "prompt": prompts[pair.prompt_id],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
                "hone": {
                    "judgment": pair.judgment_id,
                    "kind": pair.kind,
                    "prompt": pair.prompt_id,
                    "chosen": pair.chosen_id,
                    "rejected": pair.rejected_id,
                    "margin": pair.margin,
                    "weight": pair.weight,
                    "source": pair.source,
                },
            }


def import_file(store: Store, path: Path, name: str, *, strict: bool = False) -> Summary:
    """Add a file's pairs as judgments of source "import:NAME". The same record twice adds nothing.

    Committed in small pieces, and invisible until complete: a chat can write meanwhile, and a killed import leaves
    nothing that counts; running it again goes on where it stopped.
    """
    if strict:
        for _ in read(path, strict=True):
            pass  # refuse the whole file before anything is written
    summary = Summary(skipped=[])
    source = f"import:{name}"
    piece: list[Record] = []
    with store.write() as db:
        row = store.row("SELECT id, state FROM imports WHERE name = ?", [name])
        import_id = row["id"] if row else new_id()
        if row is None:
            db.execute(
                "INSERT INTO imports(id, name, format, file, state, created_at) VALUES (?, ?, ?, ?, 'running', ?)",
                [import_id, name, "trl-preference", path.name, now()],
            )

    def commit() -> None:
        with store.write() as db:
            for record in piece:
                if store.value("SELECT 1 FROM import_keys WHERE key = ?", [record.key]):
                    summary.already += 1
                    continue
                prompt_id = add_prompt(store, record.prompt, source)
                ids = [add_answer(store, prompt_id, text) for text in (record.chosen, record.rejected)]
                items = [Item(ids[0], rank=0), Item(ids[1], rank=1)]
                payload = {"margin": record.margin} if record.margin else {}
                store.judgments.record(prompt_id, "ranking", items, payload, source=source)
                db.execute("INSERT INTO import_keys(key, import_id) VALUES (?, ?)", [record.key, import_id])
                summary.added += 1
        piece.clear()

    for record in read(path, skipped=summary.skipped):
        summary.read += 1
        piece.append(record)
        if len(piece) == PIECE:
            commit()
    commit()
    with store.write() as db:
        db.execute(
            "UPDATE imports SET state = 'complete', completed_at = ?, summary = ? WHERE id = ?",
            [now(), json.dumps(summary.as_json()), import_id],
        )
    return summary


def add_prompt(store: Store, conversation: list[dict[str, str]], origin: str) -> str:
    """The id of the last message of a conversation from outside; the same conversation is stored once an origin."""
    parent: str | None = None
    thread: str | None = None
    for end in range(1, len(conversation) + 1):
        text = json.dumps([origin, conversation[:end]], sort_keys=True, ensure_ascii=False)
        key = hashlib.sha256(text.encode()).hexdigest()
        found = store.threads.by_key(key)
        if found is None:
            if thread is None:
                title = next((m["content"] for m in conversation if m["role"] == "user"), "")
                thread = store.threads.new(title[:80], origin=origin).id
            message = conversation[end - 1]
            found = store.threads.add_message(thread, parent, message["role"], message["content"], key=key)
        parent, thread = found.id, found.thread_id
    assert parent is not None, "the caller has checked that the conversation is not empty"
    return parent


def add_answer(store: Store, prompt_id: str, text: str) -> str:
    """The id of an answer with this text below a prompt, adding it where there is none."""
    for child in store.threads.children(prompt_id, role="assistant"):
        if child.content == text:
            return child.id
    return store.threads.add_message(store.threads.message(prompt_id).thread_id, prompt_id, "assistant", text).id
