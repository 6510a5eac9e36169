"""A line of `hone judge`, checked: every error names the field and the value."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatapp.cli import UserError
from chatapp.commands.common import as_messages
from chatapp.engine.base import Message

KINDS = ("ranking", "pick", "all_bad", "thumbs", "ratings", "correction")


#: of a line, with what `hone ask --json` says beside the answers
FIELDS = (*KINDS, "notes", "flags", "prompt", "responses", "candidates", "adapter", "model", "best_of", "chosen_by")


@dataclass(slots=True)
class Line:
    """One checked line."""

    where: str
    prompt: list[Message]
    responses: list[str]
    kind: str | None  #: None: notes and flags only
    value: Any
    generated: list[dict[str, Any]] | None = None  #: the candidates of `hone ask`, with token ids
    model: str | None = None
    adapter: str | None = None
    notes: dict[int, str] = field(default_factory=dict)
    flags: list[tuple[int, int | str, bool]] = field(default_factory=list)  #: response, rule, violated
    strange: list[str] = field(default_factory=list)  #: fields that are none of a judgment's

    def others(self, best: int) -> list[int]:
        """The responses whose text is not that of the best one."""
        return [i for i, text in enumerate(self.responses) if text != self.responses[best]]


def parse(row: Any, where: str) -> Line:
    """Check one line. Raises UserError that names the field and the value."""
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected an object, found {type(row).__name__}")
    if "prompt" not in row:
        raise UserError(f'{where}: "prompt" is missing')
    strange = [name for name in row if name not in FIELDS]
    for name in strange:
        if meant := difflib.get_close_matches(name.lower(), FIELDS, 1, 0.7):
            raise UserError(f"{where}: there is no field {name[:60]!r}; did you mean {meant[0]}?")
    prompt = as_messages(row["prompt"], where)
    generated = None
    if "responses" in row:
        responses = row["responses"]
    elif isinstance(row.get("candidates"), list) and all(isinstance(c, dict) for c in row["candidates"]):
        responses = [c.get("text") for c in row["candidates"]]
        if all(_is_generation(c) for c in row["candidates"]):
            generated = row["candidates"]
    else:
        raise UserError(f'{where}: "responses" is missing: a list of texts')
    if not isinstance(responses, list) or not responses or not all(isinstance(r, str) for r in responses):
        raise UserError(f'{where}: "responses" must be a list of at least one text')
    kinds = [kind for kind in KINDS if kind in row]
    notes = _notes(row.get("notes"), len(responses), where)
    flags = _flags(row.get("flags"), len(responses), where)
    if len(kinds) > 1 or not (kinds or notes or flags):
        raise UserError(
            f"{where}: found {' and '.join(kinds) or 'no judgment'}; give exactly one of {', '.join(KINDS)}, "
            "or notes or flags"
        )
    kind = kinds[0] if kinds else None
    value = _check(kind, row[kind], len(responses), where) if kind else None
    if kind:
        _differ(kind, value, responses, where)
    adapter = row.get("adapter")
    return Line(
        where,
        prompt,
        responses,
        kind,
        value,
        generated,
        row.get("model"),
        adapter if isinstance(adapter, str) else None,
        notes,
        flags,
        strange,
    )


def _is_generation(candidate: dict[str, Any]) -> bool:
    ids = candidate.get("token_ids")
    return (
        isinstance(ids, list)
        and all(isinstance(i, int) and i >= 0 for i in ids)
        and candidate.get("finish_reason") in ("stop", "length", "cancelled")
    )


def _notes(value: Any, count: int, where: str) -> dict[int, str]:
    if value is None:
        return {}
    if not isinstance(value, list) or len(value) != count:
        raise UserError(f"{where}: notes must be a list with a text or null for each of the {count} responses")
    for note in value:
        if note is not None and (not isinstance(note, str) or not note.strip()):
            raise UserError(f"{where}: notes has {note!r:.60}; each entry must be a text that is not empty, or null")
    return {index: note for index, note in enumerate(value) if note is not None}


def _flags(value: Any, count: int, where: str) -> list[tuple[int, int | str, bool]]:
    """The rules themselves are looked up when the flags are recorded."""
    if value is None:
        return []
    form = '{"response": index, "rule": number, id or name, "violated": true or false}'
    if not isinstance(value, list) or not all(isinstance(flag, dict) for flag in value):
        raise UserError(f"{where}: flags must be a list of {form}")
    found = []
    for flag in value:
        rule, violated = flag.get("rule"), flag.get("violated")
        if isinstance(rule, bool) or not isinstance(rule, int | str) or not isinstance(violated, bool):
            raise UserError(f"{where}: the flag {flag!r:.100} must be {form}")
        found.append((_index(flag.get("response"), "flags", count, where), rule, violated))
    return found


def _index(i: Any, kind: str, count: int, where: str) -> int:
    if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < count:
        raise UserError(f"{where}: {kind} has the index {i!r}; there are the responses 0 to {count - 1}")
    return i


def _check(kind: str, value: Any, count: int, where: str) -> Any:
    def index(i: Any) -> int:
        return _index(i, kind, count, where)

    if kind == "pick":
        return index(value)
    if kind == "all_bad":
        if value is not True:
            raise UserError(f"{where}: all_bad is {value!r}; it must be true")
        return True
    if kind == "ranking":
        if not isinstance(value, list) or not value:
            raise UserError(f"{where}: ranking must be a list of groups of indexes, the best group first")
        groups = [[index(i) for i in (group if isinstance(group, list) else [group])] for group in value]
        flat = [i for group in groups for i in group]
        if not flat:
            raise UserError(f"{where}: ranking {value!r:.60} names no response")
        if len(set(flat)) != len(flat):
            raise UserError(f"{where}: ranking {value!r} names a response twice")
        return groups
    if kind == "correction":
        if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not value["text"].strip():
            raise UserError(f'{where}: correction must be {{"of": index, "text": the better answer}}')
        return {"of": index(value.get("of")), "text": value["text"]}
    allowed = (1, -1, None) if kind == "thumbs" else (1, 2, 3, 4, 5, 6, 7, None)
    if not isinstance(value, list) or len(value) != count:
        raise UserError(f"{where}: {kind} must be a list with one entry for each of the {count} responses")
    for entry in value:
        if isinstance(entry, bool | float) or entry not in allowed:
            words = "1, -1 or null" if kind == "thumbs" else "1 to 7 or null"
            raise UserError(f"{where}: {kind} has {entry!r}; each entry must be {words}")
    if all(entry is None for entry in value):
        raise UserError(f"{where}: {kind} judges no response: all entries are null")
    return value


def _differ(kind: str, value: Any, responses: Sequence[str], where: str) -> None:
    """Refuse to learn that a text is better than itself."""
    places: dict[int, Any] = {}
    if kind == "ranking":
        places = {i: rank for rank, group in enumerate(value) for i in group}
    elif kind in ("thumbs", "ratings"):
        places = {i: entry for i, entry in enumerate(value) if entry is not None}
    elif kind == "correction" and value["text"] == responses[value["of"]]:
        raise UserError(f"{where}: correction has the very text of response {value['of']}: it corrects nothing")
    elif kind == "pick" and len(responses) > 1 and len(set(responses)) == 1:
        raise UserError(f"{where}: pick prefers a text to itself: all {len(responses)} responses are the same")
    for a, one in places.items():
        for b, other in places.items():
            if a < b and one != other and responses[a] == responses[b]:
                raise UserError(
                    f"{where}: {kind} says that response {a} is better or worse than response {b}, and they are the "
                    "same text; judge both alike, or leave one out"
                )
