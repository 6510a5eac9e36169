"""What `storage.statistics` adds up, judgment by judgment: sums, and the arithmetic of them. No queries.

Left out on purpose: tests of significance. A ranking of four gives six pairs that are no six independent observations,
so the intervals of the win rates are too narrow where answers were ranked; they are there to say how little is known.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import combinations
from typing import Any

from storage.judgments import OWN_SOURCES
from storage.preferences import Derived, Judgment

#: z of a 95 % interval
Z = 1.959963984540054
#: who answered: model hash and adapter id (None: the base)
Version = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Shown:
    """How an answer was generated and shown."""

    batch: str
    position: int
    version: Version


# -- pure parts --------------------------------------------------------------------------------------------------------


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, equation 1 of Brown, Cai, DasGupta 2001); (0, 1) for nothing seen."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def iso_week(time: str) -> str:
    """ "2026-W05" of an ISO time."""
    return _week(time[:10])


@lru_cache(4096)
def _week(day: str) -> str:
    year, week, _ = date.fromisoformat(day).isocalendar()
    return f"{year}-W{week:02d}"


def statements(judgment: Judgment) -> Iterator[tuple[str, str, int]]:
    """What one judgment says of two answers by itself: (a, b, 1 if a is better, -1 if b is, 0 for a tie)."""
    kind, items = judgment.kind, judgment.items
    if kind in ("pick", "correction"):
        best = min((item.message_id for item in items if item.rank == 0), default=None)
        for item in items:
            if best is not None and item.message_id != best:
                yield best, item.message_id, 1
    elif kind in ("ranking", "rating"):
        for x, y in combinations(items, 2):
            a, b = (x.rank, y.rank) if kind == "ranking" else (x.score, y.score)
            if a is not None and b is not None:
                lower = (a > b) - (a < b)
                yield x.message_id, y.message_id, -lower if kind == "ranking" else lower


def agreement(first: int, second: int, ties: int) -> float:
    """How often two judgments of one pair of texts say the same, of all twos of them; a tie and a winner agree by half.

    first, second and ties of the judgments say that the one text, the other, neither is better. Three of which two
    agree: 1 of 3 twos.
    """
    n = first + second + ties
    same = sum(k * (k - 1) / 2 for k in (first, second, ties))
    return (same + ties * (first + second) / 2) / (n * (n - 1) / 2)


def best_places(judgment: Judgment, shown: Mapping[str, Shown]) -> tuple[list[int], list[int]] | None:
    """(places of the answers that won, places of all), 0-based; None where places mean nothing.

    That is: no pick or ranking, no winner, answers that were not all shown together, or shown again in other places.
    """
    if judgment.reasked is not None:
        return None
    ranks = {item.message_id: item.rank for item in judgment.items if item.rank is not None}
    if judgment.kind not in ("pick", "ranking") or len(ranks) < 2 or not all(id in shown for id in ranks):
        return None
    places = {id: shown[id].position for id in ranks}
    if len({shown[id].batch for id in ranks}) > 1 or len(set(places.values())) < len(places):
        return None
    top = min(ranks.values())
    won = [places[id] for id, rank in ranks.items() if rank == top]
    return None if len(won) == len(ranks) else (won, list(places.values()))


# -- sums --------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Sums:
    """What one pass adds up."""

    #: (week, kind, source) -> judgments
    judgments: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    examples: Counter[str] = field(default_factory=Counter)
    scores: Counter[int] = field(default_factory=Counter)
    #: rule id -> [labels, broken]
    labels: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    #: (winner, loser) -> pairs; and of duels, with ties under (a, b) in order
    wins: Counter[tuple[Version, Version]] = field(default_factory=Counter)
    duels: Counter[tuple[Version, Version]] = field(default_factory=Counter)
    duel_ties: Counter[tuple[Version, Version]] = field(default_factory=Counter)
    #: pairs with both texts, those whose chosen is longer, those of equal length, sum of log(chosen / rejected)
    lengths: int = 0
    longer: int = 0
    equal: int = 0
    log_ratio: float = 0.0
    #: place -> [times shown, times won (a tie shares), times expected by chance]
    places: dict[int, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0, 0.0]))

    def add_judgments(self, judgments: Iterable[Judgment], shown: Mapping[str, Shown]) -> None:
        for judgment in judgments:
            self.judgments[iso_week(judgment.created_at), judgment.kind, judgment.source] += 1
            if judgment.kind == "rating":
                self.scores.update(item.score for item in judgment.items if item.score is not None)
            elif judgment.kind == "duel":
                self._add_duel(judgment, shown)
            elif (found := best_places(judgment, shown)) is not None:
                won, places = found
                for place in places:
                    sums = self.places[place]
                    sums[0] += 1
                    sums[1] += 1 / len(won) if place in won else 0
                    sums[2] += 1 / len(places)

    def _add_duel(self, judgment: Judgment, shown: Mapping[str, Shown]) -> None:
        found = [
            (item.rank or 0, shown[item.message_id].version) for item in judgment.items if item.message_id in shown
        ]
        if len(found) != 2 or found[0][1] == found[1][1]:
            return
        (rank_a, a), (rank_b, b) = found
        if rank_a == rank_b:
            self.duel_ties[a, b] += 1
        else:
            self.duels[(a, b) if rank_a < rank_b else (b, a)] += 1

    def add_examples(self, derived: Derived, texts: Mapping[str, str | None], shown: Mapping[str, Shown]) -> None:
        for name in ("pairs", "unpaired", "demonstrations", "rule_labels"):
            self.examples[name] += len(getattr(derived, name))
        for label in derived.rule_labels:
            sums = self.labels[label.rule_id]
            sums[0] += 1
            sums[1] += label.violated
        for pair in derived.pairs:
            a, b = shown.get(pair.chosen_id), shown.get(pair.rejected_id)
            if a is not None and b is not None and a.version != b.version:
                self.wins[a.version, b.version] += 1
            chosen, rejected = texts.get(pair.chosen_id), texts.get(pair.rejected_id)
            if chosen is not None and rejected is not None:
                self.lengths += 1
                self.longer += len(chosen) > len(rejected)
                self.equal += len(chosen) == len(rejected)
                self.log_ratio += math.log(max(1, len(chosen)) / max(1, len(rejected)))


class Agreement:
    """Which pairs of texts were judged more than once, and how: sorted on the disk, as hashes."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # a temporary file that SQLite deletes
        self._db.execute("CREATE TABLE said (source TEXT, pair INTEGER, way INTEGER)")
        self._db.execute("BEGIN")

    def add(self, judgments: Iterable[Judgment], prompts: Mapping[str, bytes], texts: Mapping[str, str | None]) -> None:
        rows = []
        for judgment in judgments:
            prompt = prompts.get(judgment.prompt_id)
            if prompt is None:
                continue
            source = "own" if judgment.source in OWN_SOURCES else judgment.source
            for a, b, way in statements(judgment):
                one, other = texts.get(a), texts.get(b)
                if one is None or other is None or one == other:
                    continue
                if one > other:
                    one, other, way = other, one, -way
                key = hashlib.blake2b(prompt, digest_size=8)
                for text in (one, other):
                    key.update(hashlib.blake2b(text.encode(), digest_size=16).digest())
                rows.append((source, int.from_bytes(key.digest(), "big", signed=True), way))
        self._db.executemany("INSERT INTO said VALUES (?, ?, ?)", rows)

    def result(self) -> list[dict[str, Any]]:
        """By source ("own": chat and shell): text pairs judged more than once, and the mean of their agreement."""
        found: dict[str, list[float]] = {}
        for source, first, second, ties in self._db.execute(
            "SELECT source, sum(way = 1), sum(way = -1), sum(way = 0) FROM said "
            "GROUP BY source, pair HAVING count(*) > 1"
        ):
            sums = found.setdefault(source, [0, 0, 0.0])
            sums[0] += 1
            sums[1] += first + second + ties
            sums[2] += agreement(first, second, ties)
        return [
            {"source": source, "pairs": int(n), "judgments": int(judged), "share": total / n}
            for source, (n, judged, total) in sorted(found.items(), key=lambda row: (row[0] != "own", row[0]))
        ]

    def close(self) -> None:
        self._db.close()
