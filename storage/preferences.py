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
| a pair asked again  | nothing (`storage.reasking` says why)                                            |

For one pair the more explicit judgment wins (ranking, pick, correction; then rating; then thumb), within a kind the
latest. A tie that was said (ranking, equal ratings) overrides a less explicit or older preference like any other.
Each (turn, kind) has the weight 1, shared by what survives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Any, NamedTuple

#: smaller is more explicit
TIERS = {"ranking": 0, "pick": 0, "correction": 0, "rating": 1, "thumb": 2}


# named tuples: they are made by the hundred thousand, three times as fast as frozen dataclasses


class Item(NamedTuple):
    """One answer's part in a judgment."""

    message_id: str
    rank: int | None = None  #: 0 is best; equal ranks are ties
    score: int | None = None  #: 1..7
    value: int | None = None  #: thumb: 1 or -1; flag: 1 violated, 0 not


class Judgment(NamedTuple):
    """A live judgment of one turn (the candidates below one prompt message)."""

    id: str
    prompt_id: str
    kind: str
    created_at: str
    items: tuple[Item, ...]
    payload: Mapping[str, Any] = MappingProxyType({})
    source: str = "chat"
    supersedes: str | None = None
    retracted_at: str | None = None
    forgotten_at: str | None = None

    @property
    def reasked(self) -> str | None:
        """The judgment that this one says again, days later: it measures, and teaches nothing."""
        return self.payload.get("reasked")


class Pair(NamedTuple):
    """chosen was preferred to rejected as the answer to prompt."""

    prompt_id: str
    chosen_id: str
    rejected_id: str
    margin: float  #: 0..1, how much better; 0 where the judgment does not say
    weight: float
    kind: str
    judgment_id: str
    source: str


class Unpaired(NamedTuple):
    """One answer, good or bad by itself."""

    prompt_id: str
    message_id: str
    good: bool
    weight: float
    kind: str
    judgment_id: str
    source: str


class Demonstration(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class Derived:
    """Everything that a set of judgments teaches."""

    pairs: list[Pair]
    unpaired: list[Unpaired]
    demonstrations: list[Demonstration]
    rule_labels: list[RuleLabel]


@dataclass(frozen=True, slots=True)
class Overridden:
    """What a judgment says of answers a and b (winner None: a tie; b None: of a alone) and another says better."""

    a: str
    b: str | None
    winner: str | None
    by: str  #: the judgment that counts instead


@dataclass(frozen=True, slots=True)
class Taught:
    """What one judgment teaches beside the others of its turn, and what of it does not count."""

    pairs: list[Pair]
    unpaired: list[Unpaired]
    demonstrations: list[Demonstration]
    rule_labels: list[RuleLabel]
    overridden: list[Overridden]


#: what is said of two answers: winner (None: a tie), loser, margin, the judgment that says it
_Claim = tuple[str | None, str | None, float, Judgment]
_Key = tuple[str, str]


def derive(judgments: Iterable[Judgment]) -> Derived:
    """All examples that live judgments give, in a canonical order."""
    turns: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        turns[judgment.prompt_id].append(judgment)
    result = Derived([], [], [], [])
    for prompt_id in sorted(turns):
        derive_turn(turns[prompt_id], result)
    return result


def explain(judgments: Iterable[Judgment]) -> dict[str, Taught]:
    """By judgment id, what each live judgment of one turn teaches, and which of its statements another overrides."""
    turn = sorted(judgments, key=_age)
    result = Derived([], [], [], [])
    derive_turn(turn, result)
    found = {judgment.id: Taught([], [], [], [], []) for judgment in turn}
    for name in ("pairs", "unpaired", "demonstrations", "rule_labels"):
        for example in getattr(result, name):
            getattr(found[example.judgment_id], name).append(example)
    said = _Said(turn)
    for judgment in turn:
        alone = _Said([judgment])
        mine = found[judgment.id].overridden
        for (a, b), (winner, _, _, _) in sorted(alone.claims.items()):
            if (a, b) in said.claims:
                by = said.claims[a, b][3]
            else:  # up and down were thumbs; by now both are the same
                by = max(said.thumbs[a][1], said.thumbs[b][1], key=_age)
            if by is not judgment:
                mine.append(Overridden(a, b, winner, by.id))
        for one, all in ((alone.thumbs, said.thumbs), (alone.ratings, said.ratings)):
            if len(one) == 1:  # several make pairs, which were looked at above
                ((id, _),) = one.items()
                if all[id][1] is not judgment:
                    mine.append(Overridden(id, None, None, all[id][1].id))
        for key in alone.labels:
            if said.labels[key].judgment_id != judgment.id:
                mine.append(Overridden(key[0], None, None, said.labels[key].judgment_id))
    return found


def _age(judgment: Judgment) -> tuple[str, str]:
    return judgment.created_at, judgment.id


class _Said:
    """What the judgments of one turn (the oldest first) say, each overriding applied."""

    __slots__ = ("bad", "claims", "demonstrations", "labels", "ratings", "thumbs")

    def __init__(self, judgments: Sequence[Judgment]) -> None:
        self.claims: dict[_Key, _Claim] = {}
        self.ratings: dict[str, tuple[int, Judgment]] = {}
        self.thumbs: dict[str, tuple[int, Judgment]] = {}
        self.labels: dict[_Key, RuleLabel] = {}
        self.bad: dict[str, Judgment] = {}
        self.demonstrations: list[tuple[str, Judgment]] = []
        for judgment in judgments:
            self._hear(judgment)
        if self.ratings:
            for (a, (score_a, by_a)), (b, (score_b, by_b)) in combinations(sorted(self.ratings.items()), 2):
                winner = None if score_a == score_b else a if score_a > score_b else b
                self._claim(a, b, winner, abs(score_a - score_b) / 6, max(by_a, by_b, key=_age))
        if self.thumbs:
            for (a, (value_a, by_a)), (b, (value_b, by_b)) in combinations(sorted(self.thumbs.items()), 2):
                if value_a != value_b:
                    self._claim(a, b, a if value_a > value_b else b, 0.0, max(by_a, by_b, key=_age))

    def _claim(self, a: str, b: str, winner: str | None, margin: float, judgment: Judgment) -> None:
        key = (a, b) if a < b else (b, a)
        old = self.claims.get(key)
        # judgments arrive oldest first, so an equal tier is the later word
        if old is None or TIERS[judgment.kind] <= TIERS[old[3].kind]:
            self.claims[key] = (winner, (b if winner == a else a) if winner else None, margin, judgment)

    def _hear(self, judgment: Judgment) -> None:
        kind, items = judgment.kind, judgment.items
        if kind == "ranking":
            if judgment.reasked is not None:
                return
            margin = float(judgment.payload.get("margin", 0.0))
            for x, y in combinations(items, 2):
                if x.rank is None or y.rank is None:
                    continue
                better = None if x.rank == y.rank else x.message_id if x.rank < y.rank else y.message_id
                self._claim(x.message_id, y.message_id, better, margin, judgment)
        elif kind in ("pick", "correction"):
            best = [item.message_id for item in items if item.rank == 0]
            if best:
                top = min(best)
                for item in items:
                    if item.message_id != top:
                        self._claim(top, item.message_id, top, 0.0, judgment)
                if kind == "correction":
                    self.demonstrations.append((top, judgment))
        elif kind == "rating":
            self.ratings.update({i.message_id: (i.score, judgment) for i in items if i.score is not None})
        elif kind == "thumb":
            self.thumbs.update({i.message_id: (i.value, judgment) for i in items if i.value})
        elif kind == "all_bad":
            self.bad.update({i.message_id: judgment for i in items})
        elif kind == "flag":
            rule = str(judgment.payload.get("rule", ""))
            for item in items:
                self.labels[item.message_id, rule] = RuleLabel(
                    judgment.prompt_id, item.message_id, rule, bool(item.value), judgment.id, judgment.source
                )


def derive_turn(judgments: Sequence[Judgment], result: Derived) -> None:
    """Add what the live judgments of one turn give, in a canonical order. Each kind of the turn has the weight 1."""
    said = _Said(sorted(judgments, key=_age) if len(judgments) > 1 else judgments)
    claims = [c for _, c in sorted(said.claims.items()) if c[0] is not None] if said.claims else ()
    counts: dict[str, int] = defaultdict(int)
    for _, _, _, judgment in claims:
        counts[judgment.kind] += 1
    for winner, loser, margin, j in claims:
        assert winner is not None
        assert loser is not None
        weight = 1.0 / counts[j.kind]
        result.pairs.append(Pair(j.prompt_id, winner, loser, margin, weight, j.kind, j.id, j.source))
    single: list[tuple[str, bool, Judgment]] = []
    if said.thumbs:
        single += ((id, value > 0, j) for id, (value, j) in sorted(said.thumbs.items()))
    if said.bad:
        single += ((id, False, j) for id, j in sorted(said.bad.items()))
    if len(said.ratings) == 1:
        single += ((id, score >= 5, j) for id, (score, j) in said.ratings.items() if score != 4)
    if single:
        counts.clear()
        for _, _, j in single:
            counts[j.kind] += 1
        result.unpaired.extend(
            Unpaired(j.prompt_id, id, good, 1.0 / counts[j.kind], j.kind, j.id, j.source) for id, good, j in single
        )
    result.demonstrations.extend(
        Demonstration(j.prompt_id, id, 1.0 / len(said.demonstrations), j.id, j.source) for id, j in said.demonstrations
    )
    if said.labels:
        result.rule_labels.extend(label for _, label in sorted(said.labels.items()))
