"""What the trainer found, said to who chats: first what it means, then the figures.

The sentence that the trainer stores is written for scripts and records as well, and stays as it is there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

_NUMBER = r"[+-]?\d+\.\d+|nan"
_NOT_BETTER = re.compile(
    r"it is not surely better on (?P<prompts>\d+ (?:judged|held-out) prompts)(?P<each> \(each left out in turn\))?: "
    rf"(?P<losses>.+?), gain (?P<gain>{_NUMBER}), (?P<level>\d+ %) bound (?P<low>{_NUMBER})"
)


def told(verdict: str) -> str:
    """A verdict without the trainer's "Refused:", which whoever shows it has said; it begins small if it had that."""
    refused = verdict.removeprefix("Refused: ")
    return verdict if refused == verdict else _NOT_BETTER.sub(_not_better, refused, count=1)


def as_sentence(verdict: str) -> str:
    """`told`, to stand where it is known that it was refused, with the next step."""
    said = told(verdict)
    if said == verdict:
        return said
    return said[:1].upper() + said[1:] + (" More judgments help." if lacks_judgments(verdict) else "")


def refused(verdict: str) -> bool:
    """Whether the test refused it: who answers with it nevertheless chose it by hand."""
    return verdict.startswith("Refused: ")


def lacks_judgments(verdict: str) -> bool:
    """Whether it was refused because the gain was not sure, which more judgments can change."""
    return refused(verdict) and _NOT_BETTER.search(verdict) is not None


def _not_better(found: re.Match[str]) -> str:
    each = ", each left out in turn" if found["each"] else ""
    low = at_least(float(found["low"]))
    return (
        f"on {found['prompts']}{each}, it was not surely better "
        f"(gain {found['gain']}, {low} at {found['level']} certainty; {found['losses']})"
    )


def at_least(low: float) -> str:
    """A lower bound of a gain: "at least +0.012"; what is below 0 is no gain."""
    return f"{'at least' if low > 0 else 'perhaps as low as'} {low:+.3f}"


def tested(held_out: int, metrics: Mapping[str, float]) -> str:
    """ "tested on 2 held out", or, where prompts were predicted by K-fold, on how many. metrics: of the run."""
    held = metrics.get("data.held_out_prompts", math.inf) if "gate.prompts" in metrics else 0.0  # a reward model: all
    prompts = metrics.get("gate.prompts", metrics.get("reward.prompts", 0.0))
    if prompts <= held:
        return f"tested on {held_out} held out"
    every = "all " if prompts >= metrics.get("data.prompts", math.inf) else ""
    return f"tested on {every}{prompts:.0f} judged prompts, each left out in turn"
