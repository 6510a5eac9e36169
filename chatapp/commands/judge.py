"""`hone judge`: everything that can be judged in the chat, from the shell.

A line is {"prompt": text or messages, "responses": [text, ...]} and one of "ranking", "pick", "all_bad", "thumbs",
"ratings", "correction". Beside it, or without it, may stand "notes": [text or null for each response], and "flags":
[{"response": index, "rule": number, id or name, "violated": true or false}]. A response that `hone ask` gave to this
prompt is found again by its text, with its token ids; instead of "responses", the "candidates" of `hone ask --json`
may stand, which carry them from another machine. A file with a bad line is refused whole: nothing is recorded. Fields
that are none of these are named and left alone; one that looks like a slip of the pen is a bad line. So is a text that
is put before the same text; a pick or a correction says nothing of others with its own text.

What is said of a known answer again takes the place of what was said before; the same judgment again, with nothing
between, is not recorded again.

JSON: judgments, and what they give: pairs, unpaired, demonstrations, rule_labels; notes, which teach nothing; already:
judgments that had been recorded before.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

from chatapp.clean import one_line
from chatapp.cli import UserError
from chatapp.commands.common import SHELL, find_model, print_json, read_lines, register_model
from chatapp.commands.judge_lines import Line, parse
from chatapp.config import Settings
from storage.errors import NotFound
from storage.ids import now
from storage.judgments import OWN_SOURCES
from storage.preferences import Item, Judgment, derive
from storage.rules import Rule
from storage.store import Store
from storage.threads import NewAnswer
from storage.waiting import repeats
from storage.wording import counted


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    name = arguments.file or "stdin"
    try:
        lines = [parse(row, f"{name}, line {number}") for number, row in read_lines(arguments.file, "judgments")]
        _name_strange(lines)
        judgments, already = _record(settings, lines)
    except UserError as error:
        if not str(error).startswith(f"{name}, line "):
            raise
        raise UserError(f"{error}. Nothing of {name} was recorded.") from error
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
        return 0
    said = [counted(report["pairs"], "pair"), counted(report["unpaired"], "single example")]
    for key, word in (("demonstrations", "demonstration"), ("rule_labels", "rule label"), ("notes", "note")):
        if report[key]:
            said.append(counted(report[key], word))
    before = f"{counted(already, 'judgment')} had been recorded before"
    if already and not judgments:
        print(f"nothing new: {before}")
    else:
        end = f"; {before}" if already else ""
        print(f"{counted(len(judgments), 'judgment')} recorded: {', '.join(said)}{end}")
    return 0


def _record(settings: Settings, lines: Iterable[Line]) -> tuple[list[Judgment], int]:
    """All of them, or none; and how many were there already."""
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
    return judgments, already


def _name_strange(lines: Iterable[Line]) -> None:
    names = dict.fromkeys(name for line in lines for name in line.strange)
    if names:
        shown = ", ".join(one_line(name, 40) for name in list(names)[:8])
        print(f"hone: fields that are none of a judgment's were left alone: {shown}", file=sys.stderr)


def record(store: Store, line: Line) -> list[Judgment | None]:
    """Store the turn, where it is not there yet, and its judgments; None for each that is there already."""
    from storage.outside import add_prompt

    prompt_id = add_prompt(store, line.prompt, SHELL)  # type: ignore[arg-type]
    ids = _answers(store, prompt_id, line)
    recorded = list(_judge(store, prompt_id, ids, line)) if line.kind else []
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
        recorded.append(_once(store, prompt_id, "flag", [Item(ids[index], value=int(violated))], rule=rule.id))
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


def _judge(store: Store, prompt_id: str, ids: list[str], line: Line) -> Iterator[Judgment | None]:
    value = line.value

    def once(kind: str, items: Iterable[Item]) -> Judgment | None:
        return _once(store, prompt_id, kind, list(items))

    if line.kind == "ranking":
        groups = enumerate(group for group in value if group)
        yield once("ranking", (Item(ids[i], rank=rank) for rank, group in groups for i in group))
    elif line.kind == "pick":
        yield once("pick", [Item(ids[value], rank=0), *(Item(ids[i], rank=1) for i in line.others(value))])
    elif line.kind == "all_bad":
        yield once("all_bad", (Item(id, value=-1) for id in ids))
    elif line.kind == "ratings":
        yield once("rating", (Item(id, score=n) for id, n in zip(ids, value, strict=True) if n is not None))
    elif line.kind == "thumbs":
        for id, thumb in zip(ids, value, strict=True):
            if thumb is not None:
                yield once("thumb", [Item(id, value=thumb)])
    else:
        yield _correct(store, prompt_id, ids, line)


def _once(store: Store, prompt_id: str, kind: str, items: list[Item], **payload: str) -> Judgment | None:
    """Record it, unless it was said already and nothing since."""
    new = Judgment("~", prompt_id, kind, now(), tuple(items), payload, SHELL)  # the newest of all
    own = [old for old in store.judgments.for_prompt(prompt_id) if old.source in OWN_SOURCES]
    if repeats(own, new) is not None:
        return None
    return store.judgments.record(prompt_id, kind, items, payload, source=SHELL)


def _correct(store: Store, prompt_id: str, ids: list[str], line: Line) -> Judgment | None:
    value = line.value
    twins = [id for id, text in zip(ids, line.responses, strict=True) if text == value["text"]]
    of, ids = ids[value["of"]], [id for id in ids if id not in twins]
    old, overruled = _corrected(store, prompt_id, of, value["text"])
    before = [item.message_id for item in old.items if item.rank != 0] if old is not None else []
    over = [*ids, *(id for id in before if id not in ids)]  # what it was put before stays so
    if old is not None and len(over) == len(before) and not overruled:
        return None
    about = {"source": SHELL, "supersedes": old.id if old else None}
    return store.judgments.correct(prompt_id, of, value["text"], over, **about)[0]


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
