"""`hone judge`: everything that can be judged in the chat, from the shell.

A line is {"prompt": text or messages, "responses": [text, ...]} and one of "ranking", "pick", "all_bad", "thumbs",
"ratings", "correction". Beside it, or without it, may stand "notes": [text or null for each response], and "flags":
[{"response": index, "rule": number, id or name, "violated": true or false}]. A response that `hone ask` gave to this
prompt is found again by its text, with its token ids; instead of "responses", the "candidates" of `hone ask --json`
may stand, which carry them from another machine. A file with a bad line is refused whole: nothing is recorded.

What is said of a known answer again takes the place of what was said before; a correction or a note of the same text
is not recorded again.

JSON: judgments, and what they give: pairs, unpaired, demonstrations, rule_labels; notes, which teach nothing; already:
corrections and notes that had been recorded before.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatapp.cli import UserError
from chatapp.commands.common import SHELL, as_messages, find_model, print_json, read_lines, register_model
from chatapp.config import Settings
from chatapp.engine.base import Message
from storage.errors import NotFound
from storage.judgments import OWN_SOURCES
from storage.preferences import Item, Judgment, derive
from storage.rules import Rule
from storage.store import Store
from storage.threads import NewAnswer

KINDS = ("ranking", "pick", "all_bad", "thumbs", "ratings", "correction")


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


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    name = arguments.file or "stdin"
    lines = [parse(row, f"{name}, line {number}") for number, row in read_lines(arguments.file, "judgments")]
    judgments: list[Judgment] = []
    already = 0
    with Store.open(settings.home) as store, store.write():
        if any(line.generated for line in lines):
            model = find_model(settings)
            register_model(store, model)
            for line in lines:
                if line.model not in (None, model.hash):
                    line.generated = None  # another model's token ids mean nothing to this one
                line.model = model.hash
        for line in lines:
            recorded = record(store, line)
            judgments += [judgment for judgment in recorded if judgment is not None]
            already += recorded.count(None)
    derived = derive(judgments)
    report = {
        "judgments": len(judgments),
        "pairs": len(derived.pairs),
        "unpaired": len(derived.unpaired),
        "demonstrations": len(derived.demonstrations),
        "rule_labels": len(derived.rule_labels),
        "notes": sum(judgment.kind == "note" for judgment in judgments),
        "already": already,
    }
    if arguments.json:
        print_json(report)
    else:
        said = f"{report['pairs']} pairs, {report['unpaired']} single examples"
        for name in ("demonstrations", "rule_labels", "notes"):
            said += f", {report[name]} {name.replace('_', ' ')}" * bool(report[name])
        if already:
            said += f"; {already} correction{'s' * (already > 1)} or note{'s' * (already > 1)} had been recorded before"
        print(f"{report['judgments']} judgments recorded: {said}")
    return 0


def parse(row: Any, where: str) -> Line:
    """Check one line. Raises UserError that names the field and the value."""
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected an object, found {type(row).__name__}")
    if "prompt" not in row:
        raise UserError(f'{where}: "prompt" is missing')
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


def record(store: Store, line: Line) -> list[Judgment | None]:
    """Store the turn, where it is not there yet, and its judgments; None for each that is there already."""
    from storage.outside import add_prompt

    prompt_id = add_prompt(store, line.prompt, SHELL)  # type: ignore[arg-type]
    ids = _answers(store, prompt_id, line)
    recorded: list[Judgment | None] = [*_judge(store, prompt_id, ids, line)] if line.kind else []
    noted = {
        (judgment.items[0].message_id, judgment.payload.get("text"))
        for judgment in store.judgments.for_prompt(prompt_id)
        if line.notes and judgment.kind == "note"
    }
    for index, text in line.notes.items():
        known = (ids[index], text) in noted
        recorded.append(None if known else store.judgments.note(prompt_id, ids[index], text, source=SHELL))
    flagged: set[tuple[int, str]] = set()
    for index, name, violated in line.flags:
        rule = _rule(store, name, line.where)
        if (index, rule.id) in flagged:
            raise UserError(f"{line.where}: flags names response {index} and the rule {rule.name!r} twice")
        flagged.add((index, rule.id))
        recorded.append(store.judgments.flag(prompt_id, ids[index], rule.id, violated, source=SHELL))
    return recorded


def _rule(store: Store, name: int | str, where: str) -> Rule:
    try:
        rule = store.rules.get(name)
    except NotFound as error:
        raise UserError(f"{where}: {error}") from error
    if rule.replaced_by is not None and not rule.active:
        new = store.rules.get(rule.replaced_by).number
        raise UserError(f"{where}: rule {rule.number} ({rule.name}) was replaced by rule {new}")
    if not rule.active:
        raise UserError(f"{where}: rule {rule.number} ({rule.name}) is disabled; `hone rules enable {rule.number}`")
    return rule


def _judge(store: Store, prompt_id: str, ids: list[str], line: Line) -> Sequence[Judgment | None]:
    judgments, value = store.judgments, line.value
    if line.kind == "ranking":
        return [judgments.rank(prompt_id, [[ids[i] for i in group] for group in value], source=SHELL)]
    if line.kind == "pick":
        return [judgments.pick(prompt_id, ids[value], ids, source=SHELL)]
    if line.kind == "all_bad":
        return [judgments.all_bad(prompt_id, ids, source=SHELL)]
    if line.kind == "ratings":
        scores = {id: score for id, score in zip(ids, value, strict=True) if score is not None}
        return [judgments.rate(prompt_id, scores, source=SHELL)]
    if line.kind == "thumbs":
        thumbs = [(id, thumb) for id, thumb in zip(ids, value, strict=True) if thumb is not None]
        return [judgments.thumb(prompt_id, id, thumb, source=SHELL) for id, thumb in thumbs]
    old, overruled = _corrected(store, prompt_id, ids[value["of"]], value["text"])
    before = [item.message_id for item in old.items if item.rank != 0] if old is not None else []
    over = [*ids, *(id for id in before if id not in ids)]  # what it was put before stays so
    if old is not None and len(over) == len(before) and not overruled:
        return [None]
    about = {"source": SHELL, "supersedes": old.id if old else None}
    return [judgments.correct(prompt_id, ids[value["of"]], value["text"], over, **about)[0]]


def _corrected(store: Store, prompt_id: str, of: str, text: str) -> tuple[Judgment | None, bool]:
    """The user's correction of an answer by that very text, if there is one: twice, it would count twice. And whether
    something else was said of the corrected text since: given again, the correction counts again."""
    found, overruled = None, False

    def says(item: Item) -> bool:
        return store.threads.message(item.message_id).text == text

    for judgment in store.judgments.for_prompt(prompt_id):
        own = judgment.kind == "correction" and judgment.source in OWN_SOURCES and judgment.payload.get("of") == of
        if own and any(says(item) for item in judgment.items if item.rank == 0):
            found, overruled = judgment, False
        elif found is not None and judgment.kind not in ("note", "flag"):
            overruled |= any(says(item) for item in judgment.items)
    return found, overruled


def _answers(store: Store, prompt_id: str, line: Line) -> list[str]:
    """The ids of the responses below the prompt; those that are there already are used again.

    Two equal texts in one line stay two answers, since the judgment tells them apart.
    """
    free: dict[str, list[str]] = {}
    for child in store.threads.children(prompt_id, role="assistant"):
        free.setdefault(child.text, []).append(child.id)
    ids: list[str | None] = []
    for text in line.responses:
        ids.append(free[text].pop(0) if free.get(text) else None)
    thread_id = store.threads.message(prompt_id).thread_id
    new = [i for i, id in enumerate(ids) if id is None]
    if line.generated and line.model and new:
        made = store.threads.add_answers(
            thread_id,
            prompt_id,
            [
                NewAnswer(
                    line.responses[i],
                    i,
                    line.model,
                    line.adapter,
                    {},
                    int(line.generated[i].get("seed") or 0),
                    line.generated[i]["token_ids"],
                    0,
                    line.generated[i]["finish_reason"],
                )
                for i in new
            ],
        )
        for i, message in zip(new, made, strict=True):
            ids[i] = message.id
    else:
        for i in new:
            ids[i] = store.threads.add_message(thread_id, prompt_id, "assistant", line.responses[i]).id
    return [str(id) for id in ids]
