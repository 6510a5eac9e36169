"""What an empty chat says."""

from __future__ import annotations

EMPTY = (
    "Ask something below. Hone answers in {count}.",
    "Say which answer you like best: press its number. Or rank them, correct one, or say that all are bad.",
    "When enough judgments wait, Hone learns from them in the background, and answers with what it learned.",
    "All of it stays on this machine.",
    "F1 shows the keys, Ctrl+P every command.",
)
NUMBERS = ("no ways", "one way", "two ways", "three ways", "four ways", "five ways", "six ways")


def ways(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else f"{count} ways"
