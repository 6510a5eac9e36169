"""One judgment, looked at closely: what was judged, what it teaches, what overrides it, who learned from it.

For `hone judgments show` and the page of judgments. The keys of `look`, and of the command's JSON: id, short,
created_at, kind, source, said, payload, thread {id, title}, prompt {id, text}, answers [{name, id, text (null:
forgotten), rank, score, value, judged}], in_force, reasons (why it teaches nothing), supersedes, replaced_by, teaches
{pairs [{chosen, rejected, margin, weight}], unpaired [{answer, good, weight}], demonstrations [{answer, weight}],
rule_labels [{answer, rule, violated}]}, overridden [{says, by}] (what it says and another says better), overrides
[{says, of}] (what of others it says better), runs [{run, number, state, split, adapter}]. Answers are named as in
`answers`; the judgments in by and of are {id, short, kind, created_at, said}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatapp.teaching import words
from chatapp.times import day, when
from storage import history
from storage.lookup import short

if TYPE_CHECKING:
    from storage.preferences import Judgment, Overridden, Taught
    from storage.store import Store


@dataclass(frozen=True, slots=True)
class View:
    """One judgment, for the shell and the page."""

    page: dict[str, Any]
    gives: tuple[str, ...]  #: what it teaches, in lines of words
    lost: tuple[str, ...]  #: what of it another judgment says better
    reasons: tuple[str, ...]  #: why it teaches nothing, with local dates


def view(store: Store, judgment: Judgment) -> View:
    page = look(store, judgment)
    taught = store.judgments.explain(judgment.prompt_id).get(judgment.id)
    reasons = tuple(history.standing(store, judgment.id).why(day))
    if taught is None:
        return View(page, (), (), reasons)
    rules = {rule.id: rule.name for rule in store.rules.list(active_only=False)}
    others = {row["by"]["id"]: f"the {which(row['by'])}" for row in page["overridden"]}
    return View(page, *words(taught, history.names(store, judgment).all, others, rules), reasons)


def look(store: Store, judgment: Judgment) -> dict[str, Any]:
    """Everything about it; the module's docstring names the keys."""
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


def sections(view: View) -> list[tuple[str, list[str]]]:
    """What it teaches, what it overrides, who learned from it: a heading and lines each."""
    page = view.page
    if view.reasons:
        found: list[tuple[str, list[str]]] = [("teaches nothing: " + "; ".join(view.reasons), [])]
    else:
        found = [("teaches" if view.gives else "teaches nothing by itself", [*view.gives, *view.lost])]
    if page["overrides"]:
        found.append(("overrides", [f"{row['says']}, by the {which(row['of'])}" for row in page["overrides"]]))
    if page["runs"]:
        found.append(("learned from", [_run(run) for run in page["runs"]]))
    return found


def _run(run: Mapping[str, Any]) -> str:
    made = f"made {run['adapter']} ({run['adapter_state']})" if run["adapter"] else "made no version"
    how = "to learn from" if run["split"] == "train" else "held out, to test with"
    return f"run {run['number']} ({run['state']}), {how}: {made}"


def which(judgment: Mapping[str, Any]) -> str:
    """A judgment of `by` and `of`."""
    return f"{judgment['kind']} {judgment['short']} of {when(judgment['created_at'])} ({judgment['said']})"
