"""What the judgments show, in sentences: the report of `storage.statistics` for the page of insights. No widgets.

A sentence says no more than its numbers do: below FEW cases nothing is concluded, and otherwise only what the 95 %
interval leaves no doubt of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from storage.tallies import wilson
from storage.wording import letter

FEW = 10
_TOO_FEW = "too few to tell"


@dataclass(frozen=True, slots=True)
class Bar:
    """A share from 0 to 1, its interval, and a mark to compare it with."""

    name: str
    share: float
    low: float
    high: float
    mark: float
    after: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A title, sentences, and bars of what they speak of."""

    id: str
    title: str
    says: tuple[str, ...]
    bars: tuple[Bar, ...] = ()


def panels(report: Mapping[str, Any]) -> list[Panel]:
    return [
        Panel("versions", "Versions", *_matches(report["win_rates"], "pair")),
        Panel("duels", "Duels", *_matches(report["duels"], "duel")),
        Panel("agreement", "Agreement with yourself", _agreement(report)),
        Panel("length", "Length", *_length(report["length"])),
        Panel("position", "Place", *_position(report["position"])),
        Panel("rules", "Rules", *_rules(report["rules"])),
    ]


# -- by week -----------------------------------------------------------------------------------------------------------


def weeks(report: Mapping[str, Any], most: int) -> list[tuple[str, int]]:
    """(Monday, judgments) of the last weeks up to the latest with any; those without are 0."""
    found = {_monday(row["week"]): int(row["total"]) for row in report["judgments"]["weeks"]}
    if not found:
        return []
    last = max(found)
    count = min(most, (last - min(found)).days // 7 + 1)
    mondays = [last - timedelta(weeks=back) for back in reversed(range(count))]
    return [(f"{day.day} {day:%b}", found.get(day, 0)) for day in mondays]


def _monday(week: str) -> date:
    year, _, number = week.partition("-W")
    return date.fromisocalendar(int(year), int(number), 1)


def in_all(report: Mapping[str, Any]) -> str:
    """How much was judged, and what is left out."""
    judgments = report["judgments"]
    total = judgments["total"]
    if not total:
        return "Nothing is judged yet. Esc goes to the chat: a key there says which answer is the best."
    busiest = max(judgments["weeks"], key=lambda row: row["total"])
    day = _monday(busiest["week"])
    left = sum(report["not_counted"].values())
    out = f" Not counted: {left:,} (taken back, replaced, forgotten, private or deleted)." if left else ""
    active = len(judgments["weeks"])
    most = f", most ({busiest['total']:,}) in the week of {day.day} {day:%B %Y}" if active > 1 else ""
    return f"{_count(total, 'judgment')} in {_count(active, 'week')}{most}.{out}"


# -- the panels --------------------------------------------------------------------------------------------------------


def _matches(rows: Sequence[Mapping[str, Any]], what: str) -> tuple[tuple[str, ...], tuple[Bar, ...]]:
    if not rows:
        missing = {
            "pair": "No two versions met yet: that takes answers of both under one question, by asking it again.",
            "duel": "No duel was held yet.",
        }
        return (missing[what],), ()
    bars = tuple(
        Bar(
            f"{row['a']} over {row['b']}",
            row["share"],
            row["low"],
            row["high"],
            0.5,
            f"of {row['n']:,}: {_verdict(row)}",
        )
        for row in rows
    )
    enough = [row for row in rows if row["n"] >= FEW]
    if not enough:
        return (f"No two versions met in {FEW} {what}s yet: {_TOO_FEW}.",), bars
    row = enough[0]
    means = {
        "better": f"{row['a']} pleases you more",
        "worse": f"{row['a']} pleases you less",
        "no clear difference": "no clear difference",
    }[_verdict(row)]
    won = f"{row['a']} won {row['share']:.0%} of {_count(row['n'], what)} against {row['b']} {_interval(row)}"
    return (f"{won}: {means}.",), bars


def _interval(row: Mapping[str, Any]) -> str:
    return f"({row['low']:.0%} to {row['high']:.0%})"


def _verdict(row: Mapping[str, Any]) -> str:
    if row["n"] < FEW:
        return _TOO_FEW
    return "better" if row["low"] > 0.5 else "worse" if row["high"] < 0.5 else "no clear difference"


def _agreement(report: Mapping[str, Any]) -> tuple[str, ...]:
    again = report["asked_again"]
    n = again["pairs"]
    if not n:
        says = ["No pair was judged again yet. Pairs come back here three days after you judged them, sides swapped."]
    else:
        share = f"Asked again days later, you agreed with yourself in {again['share']:.0%} of {_count(n, 'pair')}"
        says = [f"{share} {_interval(again)}. By chance it would be half." if n >= FEW else f"{share}: {_TOO_FEW}."]
    own = next((row for row in report["agreement"] if row["source"] == "own"), None)
    if own is not None and own["pairs"] > n:
        share = f"{own['share']:.0%} of the time" + (f" ({_TOO_FEW})" if own["pairs"] < FEW else "")
        says.append(
            f"Of all that you judged more than once, on the same day too ({_count(own['pairs'], 'pair')}), "
            f"you said the same {share}."
        )
    return tuple(says)


def _length(length: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Bar, ...]]:
    n = length["pairs"] - length["equal"]
    if not n:
        return ("No pair of answers of different length was judged yet.",), ()
    share, (low, high) = length["longer"] / n, wilson(length["longer"], n)
    if n < FEW:
        means = _TOO_FEW
    elif low > 0.5:
        means = "you tend to like longer answers" if share >= 0.6 else "a slight taste for length"
    elif high < 0.5:
        means = "you tend to like shorter answers" if share <= 0.4 else "a slight taste for brevity"
    elif low > 0.4 and high < 0.6:
        means = "no strong taste for length"
    else:
        means = "no clear taste for length"
    says = (
        f"The longer answer won {share:.0%} of {_count(n, 'pair')} ({low:.0%} to {high:.0%}): {means}.",
        f"On average the preferred one is {length['ratio']:.2f} times as long as the other.",
    )
    return says, (Bar("the longer", share, low, high, 0.5, f"of {n:,}"),)


def _position(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[Bar, ...]]:
    if not rows:
        return ("Nothing was picked or ranked yet.",), ()
    bars, off = [], []
    for row in rows:
        low, high = wilson(row["wins"], row["n"])
        name, expected = letter(row["position"] - 1), row["expected"]
        bars.append(Bar(name, row["share"], low, high, expected, f"by chance {expected:.0%}, of {row['n']:,}"))
        if row["n"] >= FEW and not low <= expected <= high:
            off.append(f"{name} wins {'more' if row['share'] > expected else 'less'} often than by chance")
    if rows[0]["n"] < FEW:
        return (f"{_count(rows[0]['n'], 'turn')}: {_TOO_FEW}.",), tuple(bars)
    if off:
        return (f"{'; '.join(off)}: where an answer stands may sway you.",), tuple(bars)
    return ("No sign that it matters to you where an answer stands.",), tuple(bars)


def _rules(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[Bar, ...]]:
    if not rows:
        return ("No rule was flagged yet: f on an answer in the chat says which it breaks or keeps.",), ()
    bars = tuple(
        Bar(
            f"{row['number'] or '?'} {row['name']}",
            row["share"],
            *wilson(row["violated"], row["flags"]),
            0.5,
            f"{row['violated']:,} of {row['flags']:,}",
        )
        for row in sorted(rows, key=lambda row: (-row["violated"], -row["flags"]))
    )
    most = max(rows, key=lambda row: row["violated"])
    if not most["violated"]:
        return (f"None was broken in {_count(sum(row['flags'] for row in rows), 'flag')}.",), bars
    few = f" ({_TOO_FEW} how often in general)" if most["flags"] < FEW else ""
    flags = _count(most["flags"], "flag")
    return (f"Most often broken: “{most['name']}”, in {most['violated']:,} of {flags}{few}.",), bars


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' if n != 1 else ''}"


# -- bars --------------------------------------------------------------------------------------------------------------


def drawn(bar: Bar, width: int) -> str:
    """A line of width characters: ● the share, ├─┤ the interval, ┊ the mark."""

    def cell(value: float) -> int:
        return min(width - 1, max(0, round(value * (width - 1))))

    cells = ["·"] * width
    low, high = cell(bar.low), cell(bar.high)
    for at in range(low, high + 1):
        cells[at] = "─"
    cells[low], cells[high] = "├", "┤"
    cells[cell(bar.mark)] = "┊"
    cells[cell(bar.share)] = "●"
    return "".join(cells)


# -- a pair that came back ---------------------------------------------------------------------------------------------


def waits(judged_at: str, now: datetime) -> str:
    """now: with a time zone."""
    return f"A pair from {(now - datetime.fromisoformat(judged_at)).days} days ago is waiting"


NO_PAIR = "No pair waits. Pairs come back three days after they were judged."


def outcome(first: int, now: int, changes: str) -> str:
    """What came of a second look: 1 for the one that came first this time, -1 for the other, 0 for a tie.

    changes: what changes the first judgment.
    """
    if first == now:
        return "Recorded: you said the same as the first time."
    if 0 in (first, now):
        return "Recorded: one of the two times you saw no difference. The first judgment still counts."
    return f"Recorded: the other way round than the first time. The first judgment still counts; {changes} changes it."
