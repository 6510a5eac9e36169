"""A judgment said anew: what a person types, as what is recorded. For `hone judgments edit` and the page of judgments.

`storage.history.restate` records it in the place of the old one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from storage.errors import InvalidJudgment
from storage.history import Names, restate
from storage.judgments import OVERALL
from storage.preferences import Item, Judgment

if TYPE_CHECKING:
    from storage.store import Store

ALL_BAD = "all bad"


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said in the place of a judgment."""

    kind: str
    items: Sequence[Item]
    payload: dict[str, Any] = field(default_factory=dict)
    text: str | None = None  #: of a correction


def record(store: Store, old: Judgment, new: Statement) -> Judgment:
    return restate(store, old, new.kind, new.items, payload=new.payload, text=new.text)


def ranking(old: Judgment, names: Names, text: str) -> Statement:
    return Statement("ranking", parse_ranking(text, names, [item.message_id for item in old.items]))


def pick(old: Judgment, names: Names, name: str) -> Statement:
    best = names.find(name)
    others = [item.message_id for item in old.items if item.message_id != best]
    if not others:
        raise InvalidJudgment(f"a pick of {name} says nothing: there is no other answer to be better than")
    return Statement("pick", [Item(best, rank=0), *(Item(id, rank=1) for id in others)])


def all_bad(old: Judgment) -> Statement:
    return Statement("all_bad", [Item(item.message_id, value=-1) for item in old.items])


def valued(old: Judgment, value: int) -> Statement:
    """Of a thumb (1 or -1) or a flag (1: it breaks the rule, 0: it keeps it)."""
    return Statement(old.kind, [Item(item.message_id, value=value) for item in old.items], dict(old.payload))


def scores(old: Judgment, names: Names, text: str) -> Statement:
    return Statement("rating", parse_scores(text, names), dict(old.payload))


def worded(old: Judgment, text: str) -> Statement:
    """Of a note or a correction."""
    if not text.strip():
        raise InvalidJudgment("the text is empty: write what it should say")
    if old.kind == "note":
        return Statement("note", list(old.items), {**old.payload, "text": text.strip()})
    return Statement("correction", list(old.items), dict(old.payload), text)


# -- in one line -------------------------------------------------------------------------------------------------------


def typed(old: Judgment, names: Names, text: str) -> Statement:
    """What one line (of a correction, several) says in the place of a judgment. Raises InvalidJudgment.

    Of a verdict on the answers as a whole "B > A = C", "B" or "all bad"; of a rating "A=6 B=2"; of a thumb "up" or
    "down"; of a flag "yes" (it breaks the rule) or "no"; of notes and corrections the text.
    """
    word = " ".join(text.split()).casefold()
    if old.kind in OVERALL:
        if word == ALL_BAD:
            return all_bad(old)
        return ranking(old, names, text) if ">" in text or "=" in text else pick(old, names, text)
    if old.kind == "rating":
        return scores(old, names, text)
    if old.kind == "thumb":
        return valued(old, 1 if word == "up" else -1)
    if old.kind == "flag":
        return valued(old, int(word == "yes"))
    return worded(old, text)


def as_typed(store: Store, old: Judgment, names: Names) -> str:
    """What `typed` would read as the same."""
    here = [(names.here.get(item.message_id, "?"), item) for item in old.items]
    best = next((item.message_id for item in old.items if item.rank == 0), "")
    if old.kind == "ranking":
        groups: dict[int, list[str]] = {}
        for name, item in here:
            groups.setdefault(item.rank or 0, []).append(name)
        return " > ".join(" = ".join(sorted(groups[rank])) for rank in sorted(groups))
    if old.kind == "pick":
        return names.here.get(best, "")
    if old.kind == "rating":
        return " ".join(sorted(f"{name}={item.score}" for name, item in here))
    if old.kind == "correction":
        return store.threads.message(best).text
    return ALL_BAD if old.kind == "all_bad" else str(old.payload.get("text", ""))


def parse_ranking(text: str, names: Names, judged: Sequence[str]) -> list[Item]:
    """ "B > A = C" as items. All answers that were judged must be named, so that none is forgotten by mistake."""
    items: list[Item] = []
    seen: set[str] = set()
    for rank, group in enumerate(text.split(">")):
        for name in group.split("="):
            if not name.strip():
                raise InvalidJudgment(f"{text!r} is no ranking: write the best first, as in 'B > A = C'")
            id = names.find(name)
            if id in seen:
                raise InvalidJudgment(f"{text!r} names {names.here[id]} twice")
            seen.add(id)
            items.append(Item(id, rank=rank))
    missing = [names.here[id] for id in judged if id not in seen]
    if missing:
        every = ", ".join(names.here.values())
        raise InvalidJudgment(f"{text!r} leaves out {', '.join(missing)}; name each of {every} once")
    return items


def parse_scores(text: str, names: Names) -> list[Item]:
    """ "A=6 B=2" as items."""
    items: dict[str, Item] = {}
    parts = re.split(r"[\s,]+", re.sub(r"\s*=\s*", "=", text.strip()))
    for part in parts:
        name, equals, score = part.rpartition("=")
        if not equals or score not in tuple("1234567"):
            raise InvalidJudgment(f"{part!r} is no score; write a name, = and 1 to 7, as in 'A=6 B=2'")
        id = names.find(name)
        if id in items:
            raise InvalidJudgment(f"{text!r} gives {names.here[id]} two scores")
        items[id] = Item(id, score=int(score))
    return list(items.values())
