"""Rows of a simulation as lines of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = (
    f"{'user':<16} {'round':>5} {'judged':>6} {'turns':>5} {'pairs':>6}  {'win rate (95 %)':<19} "
    f"{'neutral':>8} {'KL':>6} {'tokens':>9} {'run s':>6}  verdict"
)


def line(row: Mapping[str, Any]) -> str:
    """A row of `hone simulate`; the verdict's reasons are in the JSON."""
    wins = f"{row['win_rate']:.1%} ({row['low']:.0%}-{row['high']:.0%})" if row["win_rate"] is not None else "-"
    if row["first_win_rate"] is not None:
        wins += f", first {row['first_win_rate']:.0%}"
    neutral = f"{row['neutral_rise']:+.1%}" if row["neutral_rise"] is not None else "-"
    kl = f"{row['kl']:.3f}" if row["kl"] is not None else "-"
    tokens = f"{row['tokens_new']:.0f}/{row['tokens_base']:.0f}" if row["tokens_new"] is not None else "-"
    if row["broken_new"] is not None:
        wins += f", rule broken {row['broken_base']:.0%} -> {row['broken_new']:.0%}"
    verdict = "promoted" if row["promoted"] else {"rejected": "refused"}.get(row["state"], row["verdict"] or "failed")
    return (
        f"{row['user']:<16} {row['round']:>5} {row['judgments']:>6} {row['turns']:>5} {row['pairs']:>6}  {wins:<19} "
        f"{neutral:>8} {kl:>6} {tokens:>9} {row['seconds'].get('run', 0):>6.0f}  {verdict}"
    )


def users_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The users with their taste; with how often they find no difference, where that was measured."""
    found = []
    for row in rows:
        mark = "most answers show it" if row["common"] else ""
        measured = ""
        if "turns" in row:
            measured = f"  tied: {row['tied_turns']:.0%} of {row['turns']} turns, {row['tied_pairs']:.0%} of pairs"
        found.append(f"{row['user']:<16} {row['taste']:<66} {mark:<20}{measured}".rstrip())
    return found
