"""How often the chat asks for alternatives: with each question, with some, or only when Ctrl+R asks for them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal, get_args

from chatapp.config import Settings

if TYPE_CHECKING:
    from storage.store import Store

When = Literal["always", "sometimes", "never"]
WHEN: tuple[When, ...] = get_args(When)
WORDS: dict[When, str] = {
    "always": "Each question gets {n} answers.",
    "sometimes": "Some questions get {n} answers ({percent} %, at least {cooldown} turns apart), the others one.",
    "never": "Each question gets one answer. {again} asks for {n}.",
}
_KEY = "alternatives.when"


class Frequency:
    """Decides, question by question. What was chosen in the chat outlives it, as long as the settings say the same."""

    def __init__(self, settings: Settings, store: Store, chance: random.Random | None = None) -> None:
        self.settings, self._store = settings, store
        self._chance = chance or random.Random()
        self._since = settings.alternatives_cooldown  # turns with one answer since the last with several
        chosen = store.meta_get(_KEY)
        self.when: When = settings.alternatives_when if chosen not in WHEN else chosen  # type: ignore[assignment]

    def next(self) -> int:
        """How many answers the question that is asked now gets."""
        if self.when == "always":
            several = True
        elif self.when == "never":
            several = False
        else:
            enough = self._since >= self.settings.alternatives_cooldown
            several = enough and self._chance.random() < self.settings.alternatives_chance
        self._since = 0 if several else self._since + 1
        return self.settings.alternatives if several else 1

    def change(self) -> str:
        """Go to the next way; the line says what it means."""
        self.set(WHEN[(WHEN.index(self.when) + 1) % len(WHEN)])
        return self.words()

    def set(self, when: When) -> None:
        self.when = when
        self._store.meta_set(_KEY, None if when == self.settings.alternatives_when else when)

    def words(self, again: str = "Ctrl+R") -> str:
        """again: what asks for alternatives where there are none by themselves."""
        settings = self.settings
        return WORDS[self.when].format(
            n=settings.alternatives,
            percent=round(100 * settings.alternatives_chance),
            cooldown=settings.alternatives_cooldown,
            again=again,
        )
