"""Who won the duels between two versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.judgments import LIVE
from storage.tallies import wilson

if TYPE_CHECKING:
    from storage.store import Store


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
