"""What the judgments of a turn teach, in lines of words: for the chat's panel and `hone judgments show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatapp.times import when

if TYPE_CHECKING:
    from storage.preferences import Judgment, Taught
    from storage.store import Store


@dataclass(frozen=True, slots=True)
class Explained:
    """One judgment: what was said, what it gives, and what of it does not count."""

    judgment: Judgment
    said: str
    teaches: tuple[str, ...]
    overridden: tuple[str, ...]


def explain_turn(store: Store, prompt_id: str) -> list[Explained]:
    """Each live judgment of a turn, oldest first. Where a turn teaches nothing (private), none gives anything."""
    judgments = store.judgments.for_prompt(prompt_id)
    taught = store.judgments.explain(prompt_id)
    names = store.judgments.labels(prompt_id)
    rules = {rule.id: rule.name for rule in store.rules.list(active_only=False)} if taught else {}
    kinds = {j.id: f"the {j.kind.replace('_', ' ')} of {_when(j)}" for j in judgments}
    found = []
    for judgment in judgments:
        # "B > A: 1 pair" counts what it gives alone; here the lines say what it gives beside the others
        said = f"{judgment.kind.replace('_', ' ')}, {_when(judgment)}: " + _said(store, judgment)
        mine = taught.get(judgment.id)
        found.append(Explained(judgment, said, *(words(mine, names, kinds, rules) if mine is not None else ((), ()))))
    return found


def told(explained: Sequence[Explained], private: bool) -> list[tuple[str, str]]:
    """(kind, line) of what a turn teaches: kind is "said" of a judgment, "teaches" and "lost" of what it gives."""
    if private:
        lines = [("teaches", "Nothing: this thread is private, so no lesson ever sees it.")]
    elif not explained:
        lines = [("teaches", "Nothing yet: pick, rank, rate or correct an answer.")]
    else:
        lines = []
    for one in explained:
        lines.append(("said", one.said))
        lines += [("teaches", f"  {line}") for line in one.teaches]
        lines += [("lost", f"  {line}") for line in one.overridden]
        if not one.teaches and not one.overridden and not private:
            lines.append(("lost", "  nothing to learn from"))
    return lines


def words(
    taught: Taught, names: Mapping[str, str], kinds: Mapping[str, str], rules: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A line for each thing that a judgment teaches, and for each that does not count. The mappings go by id."""

    def name(id: str) -> str:
        return names.get(id, "?")

    gives = [
        f"pair: {name(p.chosen_id)} over {name(p.rejected_id)}, weight {_weight(p.weight)}"
        + (f", margin {p.margin:.2f}" if p.margin else "")
        for p in taught.pairs
    ]
    gives += [
        f"{'good' if u.good else 'bad'} example: {name(u.message_id)}, weight {_weight(u.weight)}"
        for u in taught.unpaired
    ]
    gives += [f"demonstration: {name(d.message_id)}, weight {_weight(d.weight)}" for d in taught.demonstrations]
    gives += [
        f"rule: {name(r.message_id)} {'breaks' if r.violated else 'keeps'} “{rules.get(r.rule_id, r.rule_id)}”"
        for r in taught.rule_labels
    ]
    lost = []
    for o in taught.overridden:
        if o.b is None:
            what = name(o.a)
        elif o.winner is None:
            what = f"{name(o.a)} = {name(o.b)}"
        else:
            what = f"{name(o.winner)} over {name(o.b if o.winner == o.a else o.a)}"
        lost.append(f"overridden: {what}, by {kinds.get(o.by, o.by)}")
    return tuple(gives), tuple(lost)


def _said(store: Store, judgment: Judgment) -> str:
    return store.judgments.describe(judgment).partition(": ")[0]


def _when(judgment: Judgment) -> str:
    return when(judgment.created_at)


def _weight(weight: float) -> str:
    return f"{weight:.2f}".rstrip("0").rstrip(".")
