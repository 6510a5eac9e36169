"""The lossless format: everything that the user said, one canonical JSON object a line, so that export, import into an
empty home and export again give the same bytes.

In order: a header, models, rules, imports, threads, messages (with how they were generated), judgments (with their
items), the split of prompts, the keys of imported records. Left out: what belongs to this machine (paths, settings,
the order numbers of rows), what was made from the data and can be made again (runs, versions), imports that are not
complete, and private threads unless asked for. What was forgotten is there as an empty row, so that it stays so.
`storage.formats.hone_import` stores what `checked` reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from storage.errors import RecordError, StorageError
from storage.formats.canonical import dumps
from storage.formats.files import Source
from storage.judgments import KINDS
from storage.threads import COMPLETE

if TYPE_CHECKING:
    from storage.store import Store

VERSION = 1
HEADER = {"type": "hone", "version": VERSION}
_AT_ONCE = 2000

#: the columns of each type with what they hold; "?" may be null
_SHAPES = {
    "model": "hash:id name:text architecture:text template_hash:text created_at:time",
    "rule": "id:id number:int name:text text:text active:int replaces:id? created_at:time",
    "import": "id:id name:name format:name file:text created_at:time completed_at:time? summary:object",
    "thread": "id:id title:text system_prompt:text? origin:origin private:int archived_at:time? deleted_at:time? "
    "tip_message_id:id? created_at:time updated_at:time",
    "message": "id:id thread_id:id parent_id:id? role:system|user|assistant content:text? key:id? created_at:time "
    "forgotten_at:time?",
    "generation": "batch_id:id position:int model_hash:id adapter_id:id? sampling:object seed:int token_ids:list? "
    "prompt_tokens:int answer_tokens:int finish_reason:stop|length|cancelled timings:object created_at:time",
    "judgment": f"id:id prompt_message_id:id kind:{'|'.join(KINDS)} payload:object source:origin supersedes:id? "
    "key:id? created_at:time retracted_at:time? forgotten_at:time?",
    "item": "message_id:id rank:int? score:int? value:int?",
    "split": "key:id split:train|held_out created_at:time",
    "key": "key:id import:name forgotten:int",
}
SHAPES = {type: dict(column.split(":") for column in text.split()) for type, text in _SHAPES.items()}
COLUMNS = {type: tuple(shape) for type, shape in SHAPES.items()}
TYPES = ("model", "rule", "import", "thread", "message", "judgment", "split", "key")

#: columns that hold JSON as text
_JSON = ("payload", "sampling", "timings", "token_ids", "summary")


def export(store: Store, include_private: bool = False) -> Iterator[str]:
    """The lines, without their ends."""
    yield dumps(HEADER)
    shown = COMPLETE if include_private else f"{COMPLETE} AND NOT t.private"
    tables: list[tuple[str, Iterable[dict[str, Any]]]] = [
        ("model", store.rows(f"SELECT {', '.join(COLUMNS['model'])} FROM models ORDER BY hash")),
        ("rule", store.rows(f"SELECT {', '.join(COLUMNS['rule'])} FROM rules ORDER BY number")),
        (
            "import",
            store.rows(
                f"SELECT {', '.join(COLUMNS['import'])} FROM imports "
                "WHERE state = 'complete' AND format <> 'hone' ORDER BY name"
            ),
        ),
        (
            "thread",
            _paged(store, f"SELECT {_of('t', COLUMNS['thread'])}, t.id AS at FROM threads t WHERE {shown}", "t.id", ""),
        ),
        ("message", _messages(store, shown)),
        ("judgment", _judgments(store, shown)),
        ("split", store.rows(f"SELECT {', '.join(COLUMNS['split'])} FROM splits ORDER BY seq")),
        (
            "key",
            _paged(
                store,
                'SELECT k.key, i.name AS "import", k.forgotten, k.key AS at FROM import_keys k '
                "JOIN imports i ON i.id = k.import_id WHERE i.state = 'complete' AND i.format <> 'hone'",
                "k.key",
                "",
            ),
        ),
    ]
    for type, rows in tables:
        for row in rows:
            yield dumps({"type": type, **_opened(row)})


def _messages(store: Store, shown: str) -> Iterator[dict[str, Any]]:
    sql = (
        f"SELECT {_of('m', COLUMNS['message'])}, m.seq AS at, {_of('g', COLUMNS['generation'], 'g_')} FROM messages m "
        f"JOIN threads t ON t.id = m.thread_id LEFT JOIN generations g ON g.message_id = m.id WHERE {shown}"
    )
    for row in _paged(store, sql, "m.seq", 0):
        generation = {name: row.pop(f"g_{name}") for name in COLUMNS["generation"]}
        row["generation"] = None if generation["batch_id"] is None else _opened(generation)
        yield row


def _judgments(store: Store, shown: str) -> Iterator[dict[str, Any]]:
    sql = (
        f"SELECT {_of('j', COLUMNS['judgment'])}, j.seq AS at, (SELECT json_group_array(json_array("
        "i.message_id, i.rank, i.score, i.value)) FROM (SELECT * FROM judgment_items WHERE judgment_id = j.id "
        "ORDER BY message_id) i) AS items FROM judgments j JOIN messages m ON m.id = j.prompt_message_id "
        f"JOIN threads t ON t.id = m.thread_id WHERE {shown}"
    )
    for row in _paged(store, sql, "j.seq", 0):
        row["items"] = [dict(zip(COLUMNS["item"], item, strict=True)) for item in json.loads(row["items"])]
        yield row


def _of(table: str, names: Sequence[str], prefix: str = "") -> str:
    return ", ".join(f"{table}.{name} AS {prefix}{name}" for name in names)


def _paged(store: Store, sql: str, column: str, after: Any) -> Iterator[dict[str, Any]]:
    """Rows in pieces, so that no read transaction stays open; `at` is the column that orders them."""
    while True:
        rows = store.rows(f"{sql} AND {column} > ? ORDER BY {column} LIMIT {_AT_ONCE}", [after])
        if rows:
            after = rows[-1]["at"]
        for row in rows:
            del row["at"]
            yield row
        if len(rows) < _AT_ONCE:
            return


def _opened(row: dict[str, Any]) -> dict[str, Any]:
    """Columns that hold JSON as what they hold."""
    for name in _JSON:
        if value := row.get(name):
            row[name] = {} if value == "{}" else json.loads(value)
    return row


_ID = re.compile(r"[A-Za-z0-9][\w:-]{0,99}")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,199}")
_ORIGIN = re.compile(r"chat|judge|import:[A-Za-z0-9][\w.-]{0,199}|ai:[^\x00-\x1f\x7f]{1,200}")


def checked(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    first = True
    for line, row in source.rows():
        if first:
            if not isinstance(row, dict) or row.get("type") != "hone":
                raise StorageError(
                    f"{source.path.name} is not in the format hone: its first line must be {dumps(HEADER)}. "
                    "`hone import --help` names the other formats"
                )
            if row.get("version") != VERSION:
                raise StorageError(
                    f"{source.path.name} has the version {row.get('version')!r:.20} of the format hone; this Hone "
                    f"reads {VERSION}. Update Hone, or export again with the version you have"
                )
            first = False
            continue
        try:
            yield line, _check(row)
        except RecordError as error:
            source.skip(line, str(error), error)
    if first:
        raise StorageError(f"{source.path.name} is empty, or none of its lines could be read")


def _check(row: Any) -> dict[str, Any]:
    """A row with the columns that its type has, each of the right kind. Raises RecordError."""
    if not isinstance(row, dict) or row.get("type") not in TYPES:
        found = row.get("type") if isinstance(row, dict) else row
        raise RecordError(f"expected an object whose type is one of {', '.join(TYPES)}; found {found!r:.40}")
    kind = row["type"]
    nested = {"message": ("generation",), "judgment": ("items",)}.get(kind, ())
    _shaped(row, kind, ("type", *nested))
    if kind == "judgment":
        _items(row["items"])
    elif kind == "message":
        if (row["content"] is None) == (row["forgotten_at"] is None):
            raise RecordError("a message without content must have been forgotten, and one with content must not")
        if (made := row["generation"]) is not None:
            _shaped(made, "generation")
            ids = made["token_ids"] or ()
            if not all(isinstance(id, int) and not isinstance(id, bool) for id in ids):
                raise RecordError("generation.token_ids holds something other than whole numbers")
    return row


def _items(items: Any) -> None:
    if not isinstance(items, list):
        raise RecordError("judgment.items must be a list")
    for item in items:
        _shaped(item, "item")
        for name, low, high in (("rank", 0, 1 << 31), ("score", 1, 7), ("value", -1, 1)):
            if item[name] is not None and not low <= item[name] <= high:
                raise RecordError(f"item.{name} is {item[name]}; it must be from {low} to {high}")
    if len({item["message_id"] for item in items}) != len(items):
        raise RecordError("a judgment names the same answer twice")


def _shaped(row: Any, type: str, more: Sequence[str] = ()) -> None:
    names = {*COLUMNS[type], *more}
    if not isinstance(row, dict) or row.keys() != names:
        found = set(row) ^ names if isinstance(row, dict) else row
        raise RecordError(
            f"a {type} must have the fields {', '.join(sorted(names))}; too much or too little: {found!r:.200}"
        )
    for name, check in SHAPES[type].items():
        _one(row[name], check, f"{type}.{name}")


def _one(value: Any, check: str, name: str) -> None:
    if check.endswith("?"):
        if value is None:
            return
        check = check[:-1]
    types: dict[str, type] = {"int": int, "object": dict, "list": list}
    good = isinstance(value, types.get(check, str)) and not (check == "int" and isinstance(value, bool))
    if good and isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RecordError(f"{name} holds half of a surrogate pair at character {error.start}") from error
        if check in ("id", "name", "origin"):
            good = {"id": _ID, "name": _NAME, "origin": _ORIGIN}[check].fullmatch(value) is not None
        elif check == "time":
            try:
                datetime.fromisoformat(value)
            except ValueError:
                good = False
        elif "|" in check:
            good = value in check.split("|")
    elif good and check == "int":
        good = abs(value) < 1 << 63
    elif good and check == "object":
        dumps(value)
    if not good:
        raise RecordError(f"{name} is {value!r:.60}; it must be {'a time in ISO 8601' if check == 'time' else check}")
