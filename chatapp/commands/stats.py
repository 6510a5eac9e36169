"""`hone stats`: what was judged, and what can be seen in it.

Counted are judgments that teach: in force, not private; of others' those that --include names. JSON:
include; judgments {total, kinds {kind: n}, sources {source: n}, weeks [{week (of ISO: "2026-W05"), total, kinds,
sources}]}; not_counted {retracted, replaced, forgotten, private_or_deleted} (of one's own);
examples {pairs, unpaired, demonstrations, rule_labels} (what the judgments teach);
win_rates [{a, b, wins (of a), ties, n, share, low, high}] of pairs whose answers come from two versions (base: no
adapter), low and high the 95% Wilson interval; duels, the same of duel judgments, in whose share a tie is half a win;
length {pairs, longer (the preferred answer is), equal, share, ratio (geometric mean of preferred / other)};
position [{position (1: shown first), n, wins (a tie shares), share, expected}] of picks and rankings;
rules [{number, name, flags, violated, share}]; ratings {n, mean, counts [of 1 to 7]};
prompts {train, held_out}; imports [{name, format, state, records, created_at}];
agreement [{source ("own" or the import), pairs (of texts judged more than once), judgments (of those), share (of twos
of judgments that say the same; a tie and a winner agree by half)}]; asked_again {pairs, same, share, low, high} (pairs
that were asked again days later, of which so many were judged the same way).
A share without anything to share is null.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from chatapp.clean import one_line
from chatapp.commands.common import print_json, say
from chatapp.config import Settings
from storage.statistics import statistics
from storage.store import Store
from storage.wording import letter

WIDTH, WEEKS = 80, 12
BAR, SHARE = 24, 16  #: characters of the longest bar of counts, and of a share of all
_WHY = {
    "retracted": "taken back",
    "replaced": "replaced",
    "forgotten": "forgotten",
    "private_or_deleted": "in private or deleted threads",
}


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store:
        report = statistics(store, arguments.include)
    if arguments.json:
        print_json(report)
    else:
        say("\n".join(in_words(report)))
    return 0


def in_words(report: Mapping[str, Any]) -> list[str]:
    """The report as lines of at most WIDTH characters."""
    judgments = report["judgments"]
    lines: list[str] = []
    if not judgments["total"]:
        lines.append("Nothing is judged yet. `hone` opens the chat: a key says which answer is the best.")
    else:
        lines += _wrapped(f"{_count(judgments['total'], 'judgment')}: {_list(judgments['sources'])}")
        lines += _bars([(kind.replace("_", " "), n) for kind, n in judgments["kinds"].items()])
    if left_out := {_WHY[name]: n for name, n in report["not_counted"].items() if n}:
        lines += _wrapped(f"not counted: {_list(left_out)}")
    if judgments["total"]:
        lines += ["", "they teach", *_examples(report["examples"])]
        weeks, last = judgments["weeks"], judgments["weeks"][-WEEKS:]
        lines += ["", "by week" + (f", the last {WEEKS} of {len(weeks)}" if len(weeks) > WEEKS else "")]
        lines += _bars([(week["week"], week["total"]) for week in last])
    lines += _agreement(report["agreement"])
    if (again := report["asked_again"])["pairs"]:
        of = f"of {_count(again['pairs'], 'pair')}, {again['low']:.0%} to {again['high']:.0%}"
        lines += ["", "asked again days later: how often the same way", *_shares([("yours", again["share"], of)])]
    lines += _matches("pairs of answers of two versions: who was preferred", report["win_rates"])
    lines += _matches("duels: who won", report["duels"])
    lines += _length(report["length"])
    lines += _positions(report["position"])
    lines += _rules(report["rules"])
    if (ratings := report["ratings"])["n"]:
        lines += ["", f"scores: {ratings['mean']:.2f} on average"]
        lines += _bars([(str(score), n) for score, n in enumerate(ratings["counts"], 1)])
    if any((prompts := report["prompts"]).values()):
        lines += ["", "prompts", f"  {prompts['train']:,} to learn from, {prompts['held_out']:,} held out to test with"]
    if report["imports"]:
        lines += ["", "imports"]
    for row in report["imports"]:
        about = f"{row['format']:<17} {row['state']:<9} {_count(row['records'], 'record')}"
        lines.append(f"  {one_line(row['name'], 28):<28} {about}")
    return lines


def _examples(counts: Mapping[str, int]) -> list[str]:
    given = [_count(counts["pairs"], "pair"), _count(counts["unpaired"], "single example")]
    given += [f"{_count(counts['demonstrations'], 'text')} to follow", _count(counts["rule_labels"], "rule label")]
    return _wrapped("  " + ", ".join(given))


def _agreement(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    named = [("yours" if row["source"] == "own" else one_line(row["source"], 26), row) for row in rows]
    shares = [(name, row["share"], f"of {_count(row['pairs'], 'pair')}") for name, row in named]
    return ["", "two texts judged more than once: how often the same way", *_shares(shares)]


def _matches(title: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    shares = [
        (
            f"{one_line(row['a'], 12)} over {one_line(row['b'], 12)}",
            row["share"],
            f"{row['low']:.0%} to {row['high']:.0%}, n {row['n']:,}",
        )
        for row in rows
    ]
    return ["", f"{title}, with the 95% interval", *_shares(shares)]


def _length(length: Mapping[str, Any]) -> list[str]:
    if not length["pairs"]:
        return []
    equal = f" ({length['equal']:,} were equal)" if length["equal"] else ""
    of = f"{length['share']:.0%} of {_count(length['pairs'], 'pair')}{equal}"
    ratio = f"  the preferred one is {length['ratio']:.2f} times as long as the other"
    return ["", "length", *_wrapped(f"  the longer answer was preferred in {of}"), ratio]


def _positions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    shares = [
        (letter(row["position"] - 1), row["share"], f"by chance {row['expected']:.0%}, n {row['n']:,}") for row in rows
    ]
    return ["", "place: how often what was shown there was the best", *_shares(shares)]


def _rules(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    shares = [
        (f"{row['number'] or '?':>3} {one_line(row['name'], 26)}", row["share"], f"{row['violated']} of {row['flags']}")
        for row in rows
    ]
    return ["", "rules: how often they were broken, where flagged", *_shares(shares)]


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' if n != 1 else ''}"


def _list(counts: Mapping[str, int]) -> str:
    """ "40 chat, 2 judge": the first few."""
    parts = [f"{n:,} {one_line(name, 40)}" for name, n in counts.items()]
    return ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def _bars(rows: Sequence[tuple[str, int]]) -> list[str]:
    """Counts with bars, the longest of BAR characters."""
    most, width = max((n for _, n in rows), default=0), max((len(name) for name, _ in rows), default=0)
    return [f"  {name:<{width}} {n:>9,}  {'█' * _cells(n, most, BAR)}".rstrip() for name, n in rows]


def _shares(rows: Sequence[tuple[str, float, str]]) -> list[str]:
    """Shares with bars, of SHARE characters for all."""
    width = max((len(name) for name, _, _ in rows), default=0)
    return [
        f"  {name:<{width}} {share:>4.0%}  {('█' * _cells(share, 1, SHARE)).ljust(SHARE, '·')}  {after}"
        for name, share, after in rows
    ]


def _cells(count: float, most: float, width: int) -> int:
    """At least one for what is there at all."""
    return max(1, round(width * count / most)) if count and most else 0
