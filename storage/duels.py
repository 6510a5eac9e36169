"""Who won the duels between two versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.judgments import LIVE, OVERALL
from storage.tallies import wilson

if TYPE_CHECKING:
    from storage.preferences import Judgment
    from storage.store import Store

#: the questions that two versions answered at once, and no verdict chose between the answers
UNDECIDED = f"""
SELECT q.content FROM generations g JOIN messages a ON a.id = g.message_id JOIN messages q ON q.id = a.parent_id
WHERE q.content IS NOT NULL
GROUP BY g.batch_id HAVING count(DISTINCT coalesce(g.adapter_id, '')) > 1 AND NOT max(EXISTS (
  SELECT 1 FROM judgment_items i JOIN judgments j ON j.id = i.judgment_id
  WHERE i.message_id = g.message_id AND j.kind IN {OVERALL} AND {LIVE}))
"""


@dataclass(frozen=True, slots=True)
class Tally:
    """The duels of version a with version b, from a's side."""

    wins: int
    ties: int
    losses: int

    @property
    def n(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def share(self) -> float | None:
        """Of all, a tie as half a win; None without any."""
        return (self.wins + self.ties / 2) / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share."""
        return wilson(self.wins + self.ties / 2, self.n)


@dataclass(frozen=True, slots=True)
class Vote:
    """What a verdict says in a duel."""

    winner: str  #: id of an answer
    loser: str
    tie: bool
    counts: bool  #: it was given blind: the first verdict on these two answers


def follow(store: Store, verdict: Judgment) -> Vote | None:
    """Record who won, where verdict is a choice between two answers of two versions that were shown together.

    With the first verdict on the two it is seen who is who, so only that one is a vote: what is said later teaches, but
    does not count, also where the vote was taken back.
    """
    ids = [item.message_id for item in verdict.items]
    if verdict.kind not in OVERALL or not _is_duel(store, ids):
        return None
    ranks = {item.message_id: item.rank or 0 for item in verdict.items}
    winner, loser = sorted(ids, key=lambda id: ranks[id])
    tie = verdict.kind == "all_bad" or ranks[winner] == ranks[loser]
    counts = not _votes(store, verdict)
    if counts:
        store.judgments.duel(verdict.prompt_id, winner, loser, tie, source=verdict.source)
    return Vote(winner, loser, tie, counts)


def withdraw(store: Store, verdict: Judgment) -> None:
    """verdict was taken back: where it was the vote, there is none now."""
    for vote, cast_by in _votes(store, verdict):
        if cast_by == verdict.id and vote.retracted_at is None:
            store.judgments.retract(vote.id)


def _is_duel(store: Store, ids: Sequence[str]) -> bool:
    made = store.threads.generations(ids)
    texts = store.threads.contents(ids)
    return (
        len(ids) == len(made) == 2
        and len({one.batch_id for one in made.values()}) == 1
        and len({(one.model_hash, one.adapter_id) for one in made.values()}) == 2
        and all(texts.get(id) is not None for id in ids)
    )


def _votes(store: Store, verdict: Judgment) -> list[tuple[Judgment, str | None]]:
    """All votes on the answers of a verdict, with the verdict that each was recorded with."""
    ids = {item.message_id for item in verdict.items}
    found: list[tuple[Judgment, str | None]] = []
    cast_by = None
    for judgment in store.judgments.for_prompt(verdict.prompt_id, live_only=False):
        if {item.message_id for item in judgment.items} != ids:
            continue
        if judgment.kind == "duel":
            found.append((judgment, cast_by))
        elif judgment.kind in OVERALL:
            cast_by = judgment.id
    return found


def tally(store: Store, model_hash: str, a: str | None, b: str | None) -> Tally:
    """a, b: adapter ids; None is the base of that model."""
    return tallies(store, model_hash, a).get(b, Tally(0, 0, 0))


def tallies(store: Store, model_hash: str, a: str | None) -> dict[str | None, Tally]:
    """The duels of a with each other version that it met, by that one's id."""
    rows = store.rows(
        "SELECT j.id, i.rank, g.adapter_id FROM judgments j JOIN judgment_items i ON i.judgment_id = j.id "
        "JOIN generations g ON g.message_id = i.message_id "
        f"WHERE j.kind = 'duel' AND {LIVE} AND g.model_hash = ? ORDER BY j.seq",
        [model_hash],
    )
    met: dict[str, dict[str | None, int]] = {}
    for row in rows:
        met.setdefault(row["id"], {})[row["adapter_id"]] = row["rank"] or 0
    counts: dict[str | None, list[int]] = {}
    for ranks in met.values():
        if len(ranks) == 2 and a in ranks:
            (other,) = set(ranks) - {a}
            counts.setdefault(other, [0, 0, 0])[1 + (ranks[a] > ranks[other]) - (ranks[a] < ranks[other])] += 1
    return {other: Tally(*found) for other, found in counts.items()}
