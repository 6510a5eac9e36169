"""Which of many answers to show: those on which those who should know disagree, since a judgment of them tells most.

Several voices say of each answer how good it is: the heads of the reward model, or, where none was learned, the live
version and the base by how likely they find it. Of two answers, the more the voices differ in which one wins, the more
a judgment would teach (Christiano et al. 2017, arXiv 1706.03741, section 2.2.4: the variance over an ensemble).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from statistics import pvariance
from typing import TYPE_CHECKING

from chatapp.engine.base import Engine, Message

if TYPE_CHECKING:
    from pathlib import Path

    from chatapp.choosing import Choosing
    from storage.threads import NewAnswer


def most_telling(opinions: Sequence[Sequence[float]], count: int) -> list[int]:
    """count indexes of answers, in their order: the pair most disagreed on, then what is most disagreed on beside it.

    opinions: of each answer what each voice says, in logits: sigmoid(difference) is the probability that one wins.
    """
    indexes = range(len(opinions))
    if count >= len(opinions):
        return list(indexes)
    apart = {
        (i, j): pvariance([_sigmoid(a - b) for a, b in zip(opinions[i], opinions[j], strict=True)])
        for i, j in combinations(indexes, 2)
    }
    first, second = max(apart.items(), key=lambda item: item[1])[0]
    chosen = [first, second] if count > 1 else [0]
    while len(chosen) < count:
        rest = [index for index in indexes if index not in chosen]
        chosen.append(max(rest, key=lambda index: sum(apart[(index, o) if index < o else (o, index)] for o in chosen)))
    return sorted(chosen)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def to_show(
    engine: Engine,
    choosing: Choosing,
    live: Path | None,
    messages: Sequence[Message],
    answers: Sequence[NewAnswer],
    count: int,
) -> list[NewAnswer]:
    """count of the answers, those that tell most, with their new places. live: what the engine has; None: the base."""
    opinions = choosing.opinions(messages, answers)
    if opinions is None and live is not None:
        opinions = by_versions(engine, live, messages, answers)
    # where nobody has an opinion one answer tells as much as another
    chosen = range(min(count, len(answers))) if opinions is None else most_telling(opinions, count)
    return [replace(answers[index], position=at) for at, index in enumerate(chosen)]


def by_versions(
    engine: Engine, live: Path, messages: Sequence[Message], answers: Sequence[NewAnswer]
) -> list[list[float]]:
    """What the live version, which the engine has, and the base say: log-probabilities a token. Blocks; may raise
    EngineError, and the engine has the live version again in any case."""
    tokens = [answer.token_ids or [] for answer in answers]
    mine = [_mean(engine.score(messages, ids)) for ids in tokens]
    engine.swap(None)
    try:
        base = [_mean(engine.score(messages, ids)) for ids in tokens]
    finally:
        engine.swap(live)
    return [list(both) for both in zip(mine, base, strict=True)]


def _mean(logps: Sequence[float]) -> float:
    return sum(logps) / len(logps) if logps else 0.0
