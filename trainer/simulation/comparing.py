"""The new version against the base, as one user likes their answers: the share of meetings won, and how sure it is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class WinRate:
    """Ties count half. low and high: 95 % interval, by bootstrap over prompts (percentile method)."""

    rate: float
    low: float
    high: float
    meetings: int


def win_rate(new: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> WinRate:
    """Scores of both sides' answers by prompt: each of one meets each of the other.

    The meetings of one prompt are not independent, so prompts are resampled, not meetings. ValueError without prompts.
    """
    if not new or len(new) != len(base):
        raise ValueError(f"scores of the same prompts are needed from both sides, got {len(new)} and {len(base)}")
    shares = []
    meetings = 0
    for mine, theirs in zip(new, base, strict=True):
        won = [1.0 if a > b else 0.5 if a == b else 0.0 for a in mine for b in theirs]
        shares.append(sum(won) / len(won))
        meetings += len(won)
    draw, count = random.Random(0), len(shares)
    means = sorted(sum(draw.choices(shares, k=count)) / count for _ in range(RESAMPLES))
    low, high = means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]
    return WinRate(sum(shares) / count, low, high, meetings)


def spread(scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """How often a user has something to say: shares of turns, and of pairs of answers, that are tied."""
    pairs = [a == b for turn in scores for i, a in enumerate(turn) for b in turn[i + 1 :]]
    return {
        "tied_turns": sum(len(set(turn)) == 1 for turn in scores) / max(1, len(scores)),
        "tied_pairs": sum(pairs) / max(1, len(pairs)),
    }
