"""How answers are drawn, as settings that change while the chat runs. They hold until it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chatapp.config import ConfigError, Settings, converted

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


class Wrong(ConfigError):
    """What was typed for one of the fields cannot be; the text begins with the setting."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field

    @property
    def by_name(self) -> str:
        """With what the field is called where it is typed."""
        name = next(name for field, name, _ in FIELDS if field == self.field)
        return name + str(self).removeprefix(self.field)


def shown(settings: Settings, field: str) -> str:
    """The value of a field as it is typed."""
    value = getattr(settings, field)
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:g}"


def changed(settings: Settings, typed: Mapping[str, str]) -> Settings:
    """settings with what was typed for these fields. Raises Wrong."""
    for field in (field for field, _, _ in FIELDS if field in typed):
        try:  # one by one, to know which is wrong
            settings = replace(settings, **{field: converted(field, typed[field].strip(), field)})
        except ConfigError as error:
            raise Wrong(field, str(error).removeprefix(f"{field}: ")) from error
    return settings
