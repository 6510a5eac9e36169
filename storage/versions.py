"""What is told of a version beside its row: what it learned from, how its duels ended, and on what to try it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.adapters import Adapter
from storage.duels import UNDECIDED, Tally, tallies

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


def learned(store: Store, run_id: str | None) -> list[Learned]:
    """The judgments behind a run's version, the newest first."""
    rows = store.tuples(
        "SELECT j.id, j.kind, j.created_at, x.split, j.forgotten_at IS NOT NULL FROM run_judgments x "
        "JOIN judgments j ON j.id = x.judgment_id WHERE x.run_id = ? ORDER BY j.seq DESC",
        [run_id],
    )
    return [Learned(id, kind, created, split, bool(forgotten)) for id, kind, created, split, forgotten in rows]


def duels(store: Store, model_hash: str, adapter_id: str | None) -> list[tuple[str, Tally]]:
    """A version's (None: the base's) duels, by the name of the other; the newest other first, the base last."""
    found = tallies(store, model_hash, adapter_id)
    known = {adapter.id: adapter for adapter in store.adapters.list(model_hash)}

    def name(id: str | None) -> str:
        return "base" if id is None else known[id].name if id in known else id[-8:]

    def age(id: str | None) -> int:
        return 0 if id is None else known[id].number if id in known else 1

    return [(name(other), found[other]) for other in sorted(found, key=age, reverse=True)]


def questions(store: Store, limit: int) -> list[str]:
    """Ids of the user's last questions in the chat, the newest first; the same text once, none of a private thread,
    nor of a duel that is not decided: who answered what in it is not to be known yet."""
    rows = store.tuples(
        "SELECT max(m.id) FROM messages m JOIN threads t ON t.id = m.thread_id WHERE m.role = 'user' "
        "AND m.content IS NOT NULL AND t.origin = 'chat' AND t.deleted_at IS NULL AND NOT t.private "
        f"AND m.content NOT IN ({UNDECIDED}) GROUP BY m.content ORDER BY max(m.id) DESC LIMIT ?",
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
