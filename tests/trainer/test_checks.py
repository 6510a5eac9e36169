"""Rules that a program can check."""

from __future__ import annotations

import math

import pytest

from trainer.simulation.checks import CHECKS


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        ("numbered lists", "There are 3. And 4) too", "Do this:\n 2. that"),
        ("questions", "No.", "Why?"),
        ("the reader", "You know what you do.", "You know what you do when you do it."),
        ("bold", "5 * 4 * 3", "**Yes**"),
    ],
)
def test_rules_that_a_program_can_check(rule: str, kept: str, broken: str) -> None:
    assert [CHECKS[rule].broken(text) for text in (kept, broken)] == [False, True]
    assert CHECKS[rule].share([kept, kept, broken, kept]) == 0.25


def test_no_answers_have_no_share() -> None:
    assert math.isnan(CHECKS["bold"].share([]))
