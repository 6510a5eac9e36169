"""Rules that a program can check: what a simulated user flags, and how often a version breaks it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.store import Store
from trainer.simulation.judging import SOURCE

FLAGS = 60  #: answers that a user flags


@dataclass(frozen=True, slots=True)
class Check:
    """A rule with what tells whether an answer breaks it."""

    name: str
    text: str  #: of the rule, as it is flagged and learned
    broken: Callable[[str], bool]

    def share(self, answers: Sequence[str]) -> float:
        """Of the answers, those that break it; NaN of none."""
        return sum(map(self.broken, answers)) / len(answers) if answers else float("nan")


CHECKS = {
    check.name: check
    for check in (
        Check(
            "numbered lists",
            "Does not use numbered lists.",
            lambda t: bool(re.search(r"^\s*\d+[.)]\s", t, re.MULTILINE)),
        ),
        Check("questions", "Asks no questions.", lambda t: "?" in t),
        Check(
            "the reader", "Does not speak of you.", lambda t: len(re.findall(r"\byou\b", t, re.IGNORECASE)) >= 3
        ),
        Check("bold", "Uses no bold text.", lambda t: "**" in t),
    )
}  # fmt: skip


def flag(store: Store, check: Check, answers: Sequence[tuple[str, str, str]], seed: int, count: int = FLAGS) -> int:
    """Flag `count` answers, drawn from all: (id of the prompt's message, of the answer's, its text). Returns how many.

    The rule is added to the store under its name.
    """
    rule = store.rules.add(check.name, check.text)
    drawn = random.Random(f"flags:{seed}").sample(list(answers), min(count, len(answers)))
    for prompt, answer, text in drawn:
        store.judgments.flag(prompt, answer, rule.id, check.broken(text), source=SOURCE)
    return len(drawn)
