"""From judgments to training examples. Pure: rows in, examples out; no database, no clock, no order dependence.

| judgment            | gives                                                                            |
|---------------------|----------------------------------------------------------------------------------|
| ranking in groups   | every pair across groups                                                         |
| pick                | the pick over each other one                                                     |
| correction          | the correction over every candidate of the turn; and it is a demonstration       |
| ratings of siblings | a pair where they differ, margin = difference / 6; a lone one: >= 5 good, <= 3 bad |
| thumb               | unpaired good or bad; up over down among siblings                                |
| all_bad             | each candidate unpaired bad                                                      |
| flag                | a rule label                                                                     |

For one pair the more explicit judgment wins (ranking, pick, correction; then rating; then thumb), within a kind the
latest. A tie that was said (ranking, equal ratings) overrides a less explicit or older preference like any other.
Each (turn, kind) has the weight 1, shared by what survives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, TypeVar

#: smaller is more explicit
TIERS = {"ranking": 0, "pick": 0, "correction": 0, "rating": 1, "thumb": 2}


@dataclass(frozen=True, slots=True)
class Item:
    """One answer's part in a judgment."""

    message_id: str
    rank: int | None = None  #: 0 is best; equal ranks are ties
    score: int | None = None  #: 1..7
    value: int | None = None  #: thumb: 1 or -1; flag: 1 violated, 0 not


@dataclass(frozen=True, slots=True)
class Judgment:
    """A live judgment of one turn (the candidates below one prompt message)."""

    id: str
    prompt_id: str
    kind: str
    created_at: str
    items: tuple[Item, ...]
    payload: Mapping[str, Any] = field(default_factory=dict)
    source: str = "chat"
    supersedes: str | None = None
    retracted_at: str | None = None
    forgotten_at: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """chosen was preferred to rejected as the answer to prompt."""

    prompt_id: str
    chosen_id: str
    rejected_id: str
    margin: float  #: 0..1, how much better; 0 where the judgment does not say
    weight: float
    kind: str
    judgment_id: str
    source: str


@dataclass(frozen=True, slots=True)
class Unpaired:
    """One answer, good or bad by itself."""

    prompt_id: str
    message_id: str
    good: bool
    weight: float
    kind: str
    judgment_id: str
    source: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """An answer as the user would have written it."""

    prompt_id: str
    message_id: str
    weight: float
    judgment_id: str
    source: str


@dataclass(frozen=True, slots=True)
class RuleLabel:
    """Whether an answer breaks a rule."""

    prompt_id: str
    message_id: str
    rule_id: str
    violated: bool
    judgment_id: str
    source: str


T = TypeVar("T", Pair, Unpaired)


@dataclass(frozen=True, slots=True)
class Derived:
    """Everything that a set of judgments teaches."""

    pairs: list[Pair]
    unpaired: list[Unpaired]
    demonstrations: list[Demonstration]
    rule_labels: list[RuleLabel]


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one judgment says of two answers; winner is None for a tie."""

    winner: str | None
    loser: str | None
    margin: float
    judgment: Judgment


def derive(judgments: Iterable[Judgment]) -> Derived:
    """All examples that live judgments give, in a canonical order."""
    turns: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        turns[judgment.prompt_id].append(judgment)
    result = Derived([], [], [], [])
    for prompt_id in sorted(turns):
        _derive_turn(sorted(turns[prompt_id], key=_age), result)
    return result


def _age(judgment: Judgment) -> tuple[str, str]:
    return judgment.created_at, judgment.id


def _derive_turn(judgments: Sequence[Judgment], result: Derived) -> None:
    claims: dict[tuple[str, str], _Claim] = {}

    def claim(a: str, b: str, winner: str | None, margin: float, judgment: Judgment) -> None:
        key = (a, b) if a < b else (b, a)
        old = claims.get(key)
        tier = TIERS[judgment.kind]
        if old is None or tier <= TIERS[old.judgment.kind]:
            # judgments arrive oldest first, so an equal tier is the later word
            claims[key] = _Claim(winner, (b if winner == a else a) if winner else None, margin, judgment)

    ratings: dict[str, tuple[int, Judgment]] = {}
    thumbs: dict[str, tuple[int, Judgment]] = {}
    labels: dict[tuple[str, str], RuleLabel] = {}
    bad: dict[str, Judgment] = {}
    demonstrations: list[Demonstration] = []
    for judgment in judgments:
        kind, items = judgment.kind, judgment.items
        if kind == "ranking":
            for x, y in combinations(items, 2):
                if x.rank is None or y.rank is None:
                    continue
                better = None if x.rank == y.rank else x.message_id if x.rank < y.rank else y.message_id
                claim(x.message_id, y.message_id, better, float(judgment.payload.get("margin", 0.0)), judgment)
        elif kind in ("pick", "correction"):
            best = [item.message_id for item in items if item.rank == 0]
            for top in best[:1]:
                for item in items:
                    if item.message_id != top:
                        claim(top, item.message_id, top, 0.0, judgment)
                if kind == "correction":
                    demonstrations.append(Demonstration(judgment.prompt_id, top, 1.0, judgment.id, judgment.source))
        elif kind == "rating":
            ratings.update({i.message_id: (i.score, judgment) for i in items if i.score is not None})
        elif kind == "thumb":
            thumbs.update({i.message_id: (i.value, judgment) for i in items if i.value})
        elif kind == "all_bad":
            bad.update({i.message_id: judgment for i in items})
        elif kind == "flag":
            for item in items:
                rule = str(judgment.payload.get("rule", ""))
                labels[item.message_id, rule] = RuleLabel(
                    judgment.prompt_id, item.message_id, rule, bool(item.value), judgment.id, judgment.source
                )

    for (a, (score_a, by_a)), (b, (score_b, by_b)) in combinations(sorted(ratings.items()), 2):
        later = max(by_a, by_b, key=_age)
        winner = None if score_a == score_b else a if score_a > score_b else b
        claim(a, b, winner, abs(score_a - score_b) / 6, later)
    for (a, (value_a, by_a)), (b, (value_b, by_b)) in combinations(sorted(thumbs.items()), 2):
        if value_a != value_b:
            claim(a, b, a if value_a > value_b else b, 0.0, max(by_a, by_b, key=_age))

    pairs = [
        Pair(c.judgment.prompt_id, c.winner, c.loser, c.margin, 1.0, c.judgment.kind, c.judgment.id, c.judgment.source)
        for _, c in sorted(claims.items())
        if c.winner is not None and c.loser is not None
    ]
    unpaired = [
        Unpaired(j.prompt_id, id, good, 1.0, j.kind, j.id, j.source)
        for id, good, j in (
            *((id, value > 0, j) for id, (value, j) in sorted(thumbs.items())),
            *((id, False, j) for id, j in sorted(bad.items())),
            *((id, score >= 5, j) for id, (score, j) in sorted(ratings.items()) if len(ratings) == 1 and score != 4),
        )
    ]
    result.pairs.extend(_share(pairs))
    result.unpaired.extend(_share(unpaired))
    result.demonstrations.extend(replace(d, weight=1 / len(demonstrations)) for d in demonstrations)
    result.rule_labels.extend(label for _, label in sorted(labels.items()))


def _share(examples: list[T]) -> list[T]:
    """Give each kind of this turn the weight 1, shared equally."""
    counts: dict[str, int] = defaultdict(int)
    for example in examples:
        counts[example.kind] += 1
    return [replace(example, weight=1 / counts[example.kind]) for example in examples]
