"""How answers are drawn, as settings that change while the chat runs. They hold until it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chatapp.config import Settings, converted

#: setting, what it is, what it means
FIELDS = (
    ("alternatives", "Answers", "to each question"),
    ("temperature", "Temperature", "0 is greedy, 1 as the model learned it"),
    ("top_p", "Top p", "likeliest words up to this share; 1: off"),
    ("min_p", "Min p", "least share of the likeliest word; 0: off"),
    ("repeat_penalty", "Repeat penalty", "above 1 repeats less; 1 is off"),
    ("max_tokens", "Longest answer", "in tokens"),
    ("seed", "Seed", "empty: a fresh one each time"),
)
CHANGED = "From the next question on, answers are drawn so."


def shown(settings: Settings, field: str) -> str:
    """The value of a field as it is typed."""
    value = getattr(settings, field)
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:g}"


def changed(settings: Settings, typed: Mapping[str, str]) -> Settings:
    """settings with what was typed for these fields. Raises ConfigError."""
    values = {field: converted(field, typed[field].strip(), name) for field, name, _ in FIELDS if field in typed}
    return replace(settings, **values)
