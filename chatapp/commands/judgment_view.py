"""One judgment, looked at closely: what was judged, what it teaches, what overrides it, who learned from it.

JSON: id, short, created_at, kind, source, said, payload, thread {id, title}, prompt {id, text}, answers [{name, id,
text (null: forgotten), rank, score, value, judged}], in_force, reasons (why it teaches nothing), supersedes,
replaced_by, teaches {pairs [{chosen, rejected, margin, weight}], unpaired [{answer, good, weight}], demonstrations
[{answer, weight}], rule_labels [{answer, rule, violated}]}, overridden [{says, by}] (what it says and another says
better), overrides [{says, of}] (what of others it says better), runs [{run, number, state, split, adapter}]. Answers
are named as in `answers`; the judgments in by and of are {id, short, kind, created_at, said}.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from chatapp.clean import clean, one_line
from chatapp.commands.common import print_json, say
from chatapp.teaching import words
from storage import history
from storage.lookup import short
from storage.preferences import Judgment, Overridden, Taught
from storage.store import Store

LINES, WIDTH = 3, 76


def show(store: Store, judgment: Judgment, as_json: bool) -> int:
    view = look(store, judgment)
    if as_json:
        print_json(view)
        return 0
    taught = store.judgments.explain(judgment.prompt_id).get(judgment.id)
    gives: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    if taught is not None:
        rules = {rule.id: rule.name for rule in store.rules.list(active_only=False)}
        others = {row["by"]["id"]: f"the {_which(row['by'])}" for row in view["overridden"]}
        gives, lost = words(taught, history.names(store, judgment).all, others, rules)
    say("\n".join(in_words(view, gives, lost)))
    return 0


def look(store: Store, judgment: Judgment) -> dict[str, Any]:
    """The page, as JSON has it."""
    names, state = history.names(store, judgment), history.standing(store, judgment.id)
    prompt = store.threads.message(judgment.prompt_id)
    items = {item.message_id: item for item in judgment.items}
    texts = store.threads.contents(names.here)
    taught = store.judgments.explain(judgment.prompt_id)

    def about(id: str) -> dict[str, Any]:
        other = store.judgments.get(id)
        return {
            "id": id,
            "short": short(id),
            "kind": other.kind,
            "created_at": other.created_at,
            "said": store.judgments.describe(other, names.all),
        }

    return {
        "id": judgment.id,
        "short": short(judgment.id),
        "created_at": judgment.created_at,
        "kind": judgment.kind,
        "source": judgment.source,
        "said": store.judgments.describe(judgment, names.all),
        "payload": dict(judgment.payload),
        "thread": {"id": state.thread_id, "title": state.title},
        "prompt": {"id": prompt.id, "text": prompt.content},
        "answers": [
            {
                "name": name,
                "id": id,
                "text": texts.get(id),
                "rank": items[id].rank if id in items else None,
                "score": items[id].score if id in items else None,
                "value": items[id].value if id in items else None,
                "judged": id in items,
            }
            for id, name in names.here.items()
        ],
        "in_force": state.in_force,
        "reasons": state.reasons,
        "supersedes": judgment.supersedes,
        "replaced_by": state.replaced_by,
        "teaches": _teaches(store, taught.get(judgment.id), names.all),
        "overridden": [
            {"says": _statement(o, names.all), "by": about(o.by)}
            for o in (taught[judgment.id].overridden if judgment.id in taught else [])
        ],
        "overrides": [
            {"says": _statement(o, names.all), "of": about(id)}
            for id, other in taught.items()
            for o in other.overridden
            if o.by == judgment.id
        ],
        "runs": history.runs(store, judgment.id),
    }


def _teaches(store: Store, taught: Taught | None, names: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    if taught is None:
        return {"pairs": [], "unpaired": [], "demonstrations": [], "rule_labels": []}
    rules = {rule.id: rule.name for rule in store.rules.list(active_only=False)} if taught.rule_labels else {}
    return {
        "pairs": [
            {
                "chosen": names.get(pair.chosen_id, "?"),
                "rejected": names.get(pair.rejected_id, "?"),
                "margin": pair.margin,
                "weight": pair.weight,
            }
            for pair in taught.pairs
        ],
        "unpaired": [
            {"answer": names.get(one.message_id, "?"), "good": one.good, "weight": one.weight}
            for one in taught.unpaired
        ],
        "demonstrations": [
            {"answer": names.get(one.message_id, "?"), "weight": one.weight} for one in taught.demonstrations
        ],
        "rule_labels": [
            {
                "answer": names.get(label.message_id, "?"),
                "rule": rules.get(label.rule_id, label.rule_id),
                "violated": label.violated,
            }
            for label in taught.rule_labels
        ],
    }


def _statement(o: Overridden, names: dict[str, str]) -> str:
    a = names.get(o.a, "?")
    if o.b is None:
        return f"what it says of {a}"
    b = names.get(o.b, "?")
    if o.winner is None:
        return f"{a} = {b}"
    return f"{a} > {b}" if o.winner == o.a else f"{b} > {a}"


# -- in words ----------------------------------------------------------------------------------------------------------


def in_words(view: dict[str, Any], gives: Sequence[str], lost: Sequence[str]) -> list[str]:
    """The page as lines. gives, lost: what `chatapp.teaching` says of it."""
    when = view["created_at"][:16].replace("T", " ")
    lines = [
        f"{view['kind']} {view['short']}, {when}, from {view['source']}",
        f"in {short(view['thread']['id'])} {one_line(view['thread']['title'] or 'untitled', 60)}",
        f"says: {view['said']}",
    ]
    if view["kind"] == "note":
        lines += _text("", str(view["payload"].get("text", "")))
    if view["supersedes"]:
        lines.append(f"it stands in the place of {short(view['supersedes'])}")
    lines += ["", "the question", *_text("", view["prompt"]["text"]), "", "the answers"]
    for answer in view["answers"]:
        name = answer["name"] + ("" if answer["judged"] else " (not judged)")
        lines += _text(name, answer["text"])
    if view["reasons"]:
        lines += ["", "teaches nothing: " + "; ".join(view["reasons"])]
    else:
        lines += ["", "teaches" if gives else "teaches nothing by itself", *(f"  {line}" for line in (*gives, *lost))]
    lines += ["", "overrides"] * bool(view["overrides"])
    lines += [f"  {row['says']}, by the {_which(row['of'])}" for row in view["overrides"]]
    if view["runs"]:
        lines += ["", "learned from"]
    for run in view["runs"]:
        made = f"made {run['adapter']} ({run['adapter_state']})" if run["adapter"] else "made no version"
        how = "to learn from" if run["split"] == "train" else "held out, to test with"
        lines.append(f"  run {run['number']} ({run['state']}), {how}: {made}")
    return lines


def _which(judgment: dict[str, Any]) -> str:
    when = judgment["created_at"][:16].replace("T", " ")
    return f"{judgment['kind']} {judgment['short']} of {when} ({judgment['said']})"


def _text(name: str, text: str | None) -> list[str]:
    """The first lines of a text, indented behind a name."""
    indent = "  " + " " * (len(name) + 2 if name else 0)
    if text is None:
        return [f"  {name}  (forgotten)" if name else "  (forgotten)"]
    wrapped: list[str] = []
    for line in clean(text[: LINES * WIDTH * 2]).split("\n"):
        wrapped += textwrap.wrap(line, max(30, WIDTH - len(indent))) or [""]
    shown = wrapped[:LINES]
    if len(wrapped) > LINES or len(text) > LINES * WIDTH * 2:
        shown[-1] += " …"
    lines = [indent + line for line in shown]
    lines[0] = (f"  {name}  " if name else "  ") + shown[0]
    return lines
