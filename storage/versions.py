"""What is told of a version beside its row: what it learned from, how its duels ended, and on what to try it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.adapters import Adapter

if TYPE_CHECKING:
    from storage.store import Store


@dataclass(frozen=True, slots=True)
class Learned:
    """One of the judgments behind a version."""

    id: str
    kind: str
    created_at: str
    split: str  #: train, or held_out: it was tested on it
    forgotten: bool


@dataclass(frozen=True, slots=True)
class Duels:
    """How a version fared against another one."""

    other: str  #: "base", or "v2"
    wins: int
    losses: int
    ties: int

    @property
    def n(self) -> int:
        return self.wins + self.losses + self.ties


def learned(store: Store, run_id: str | None) -> list[Learned]:
    """The judgments behind a run's version, the newest first."""
    rows = store.tuples(
        "SELECT j.id, j.kind, j.created_at, x.split, j.forgotten_at IS NOT NULL FROM run_judgments x "
        "JOIN judgments j ON j.id = x.judgment_id WHERE x.run_id = ? ORDER BY j.seq DESC",
        [run_id],
    )
    return [Learned(id, kind, created, split, bool(forgotten)) for id, kind, created, split, forgotten in rows]


def duels(store: Store, model_hash: str, adapter_id: str | None) -> list[Duels]:
    """A version's (None: the base's) duels with others of its model, the newest other first, the base last."""
    judgments = store.judgments.duels()
    made = store.threads.generations({item.message_id for judgment in judgments for item in judgment.items})
    sums: dict[str | None, Counter[str]] = {}
    for judgment in judgments:
        ranks = {
            made[item.message_id].adapter_id: item.rank or 0
            for item in judgment.items
            if item.message_id in made and made[item.message_id].model_hash == model_hash
        }
        if len(ranks) != 2 or adapter_id not in ranks:
            continue
        mine = ranks.pop(adapter_id)
        ((other, theirs),) = ranks.items()
        sums.setdefault(other, Counter())["ties" if mine == theirs else "wins" if mine < theirs else "losses"] += 1
    known = {adapter.id: adapter for adapter in store.adapters.list(model_hash)}

    def name(id: str | None) -> str:
        return "base" if id is None else known[id].name if id in known else id[-8:]

    def age(id: str | None) -> int:
        return 0 if id is None else known[id].number if id in known else 1

    return [
        Duels(name(other), sums[other]["wins"], sums[other]["losses"], sums[other]["ties"])
        for other in sorted(sums, key=age, reverse=True)
    ]


def questions(store: Store, limit: int) -> list[str]:
    """Ids of the user's last questions in the chat, the newest first; the same text once, none of a private thread."""
    rows = store.tuples(
        "SELECT max(m.id) FROM messages m JOIN threads t ON t.id = m.thread_id WHERE m.role = 'user' "
        "AND m.content IS NOT NULL AND t.origin = 'chat' AND t.deleted_at IS NULL AND NOT t.private "
        "GROUP BY m.content ORDER BY max(m.id) DESC LIMIT ?",
        [limit],
    )
    return [row[0] for row in rows]


def _way_up(adapters: dict[str, Adapter], adapter: Adapter, ancestor_id: str | None) -> list[Adapter]:
    """The way from a version up to, and without, an ancestor (None: the base); empty where it is none."""
    way: list[Adapter] = []
    at: Adapter | None = adapter
    while at is not None:
        way.append(at)
        if at.parent_id == ancestor_id:
            return way
        at = adapters.get(at.parent_id or "")
    return []


def way_forward(store: Store, model_hash: str) -> Adapter | None:
    """What undoes a rollback: of the versions that were in use and come from the live one, one step to the newest.

    Those whose files are gone are passed over, as a rollback does.
    """
    live = store.adapters.live(model_hash)
    adapters = {adapter.id: adapter for adapter in store.adapters.list(model_hash)}
    left = [a for a in adapters.values() if a.state == "retired" and store.adapters.there(a)]
    for newest in sorted(left, key=lambda adapter: -adapter.number):
        way = _way_up(adapters, newest, live.id if live else None)
        if way:
            return next(adapter for adapter in reversed(way) if store.adapters.there(adapter))
    return None
