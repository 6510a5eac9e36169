"""Rules that answers should keep to: flags say of an answer whether it broke one.

A label belongs to the text that it was given under. So the text of a rule that was flagged, or that other homes share
because it was shipped, never changes in place: the better text is a new rule, and the old one is disabled.
"""

from __future__ import annotations

import builtins
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from storage.errors import InvalidRule, NotFound
from storage.ids import new_id, now
from storage.migrations import DEFAULT_RULES

if TYPE_CHECKING:
    from storage.store import Store

NAME_LENGTH, TEXT_LENGTH = 60, 500
SHIPPED = frozenset(f"rule-{id}" for id, _, _ in DEFAULT_RULES)


@dataclass(frozen=True, slots=True)
class Rule:
    """What an answer that keeps it does, in one sentence."""

    id: str
    number: int
    name: str
    text: str
    active: bool
    created_at: str
    replaces: str | None = None  #: the rule that this one says better
    replaced_by: str | None = None


_RULE = """
SELECT r.id, r.number, r.name, r.text, r.active, r.created_at, r.replaces,
  (SELECT s.id FROM rules s WHERE s.replaces = r.id ORDER BY s.number DESC LIMIT 1) AS replaced_by
FROM rules r
"""
_FLAGS = "SELECT json_extract(payload, '$.rule') AS rule, count(*) AS n FROM judgments WHERE kind = 'flag'"


def _rule(row: Mapping[str, Any]) -> Rule:
    return Rule(**{**row, "active": bool(row["active"])})


class Rules:
    """Reads and changes the rules of a home."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self, active_only: bool = True) -> builtins.list[Rule]:
        """By number."""
        rules = [_rule(row) for row in self._store.rows(_RULE + "ORDER BY r.number")]
        return [rule for rule in rules if rule.active or not active_only]

    def flags(self) -> dict[str, int]:
        """How many judgments refer to each rule, by its id; those taken back too."""
        return {str(row["rule"]): row["n"] for row in self._store.rows(_FLAGS + " GROUP BY 1")}

    def get(self, rule: int | str) -> Rule:
        """By number, id or name (of two with one name the active one). Raises NotFound."""
        text, rules = str(rule).strip(), self.list(active_only=False)
        found = [r for r in rules if text in (str(r.number), r.id)]
        found = found or [r for r in rules if r.name.casefold() == text.casefold() and text]
        if not found:
            raise NotFound(f"there is no rule {text!r:.80}; `hone rules list` shows those there are")
        return max(found, key=lambda r: (r.active, r.number))

    def add(self, name: str, text: str) -> Rule:
        with self._store.write():
            return self._insert(self._name(name), _checked(text, "text", TEXT_LENGTH), None, True)

    def edit(self, rule: int | str, name: str | None = None, text: str | None = None) -> Rule:
        """The rule as it is now. A new one, with a number of its own, where labels or other homes hold to the text."""
        with self._store.write() as db:
            old = self.get(rule)
            if old.replaced_by is not None:
                raise InvalidRule(
                    f"rule {old.number} was replaced by rule {self.get(old.replaced_by).number}: edit that"
                )
            name = old.name if name is None else self._name(name, but=old.id)
            text = old.text if text is None else _checked(text, "text", TEXT_LENGTH)
            if text != old.text and (old.id in SHIPPED or old.id in self.flags()):
                self._set_active(old, False)
                return self._insert(name, text, old.id, old.active)
            db.execute("UPDATE rules SET name = ?, text = ? WHERE id = ?", [name, text, old.id])
            return self.get(old.id)

    def disable(self, rule: int | str) -> Rule:
        """Offer it no more; what was flagged stays."""
        with self._store.write():
            return self._set_active(self.get(rule), False)

    def enable(self, rule: int | str) -> Rule:
        with self._store.write():
            found = self.get(rule)
            self._unique(found.name, but=found.id)
            return self._set_active(found, True)

    def _set_active(self, rule: Rule, active: bool) -> Rule:
        self._store.db.execute("UPDATE rules SET active = ? WHERE id = ?", [int(active), rule.id])
        return replace(rule, active=active)

    def _insert(self, name: str, text: str, replaces: str | None, active: bool) -> Rule:
        id = new_id()
        self._store.db.execute(
            "INSERT INTO rules(id, number, name, text, active, created_at, replaces) "
            "VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM rules), ?, ?, ?, ?, ?)",
            [id, name, text, int(active), now(), replaces],
        )
        return self.get(id)

    def _name(self, name: str, but: str | None = None) -> str:
        """name, if it is one and no other active rule has it."""
        name = _checked(name, "name", NAME_LENGTH)
        if name.isdigit():
            raise InvalidRule(f"the name {name} is a number, and rules have numbers already: use two or three words")
        self._unique(name, but)
        return name

    def _unique(self, name: str, but: str | None) -> None:
        for other in self.list():
            if other.id != but and other.name.casefold() == name.casefold():
                raise InvalidRule(
                    f"rule {other.number} is called {name!r} already: edit that one, or choose another name"
                )


def _checked(text: str, field: str, limit: int) -> str:
    """text without blanks around it. Raises InvalidRule for what cannot be shown on one line."""
    text = text.strip()
    if not text:
        raise InvalidRule(f"the rule's {field} is empty: say what an answer that keeps it does")
    if len(text) > limit:
        raise InvalidRule(f"the rule's {field} has {len(text)} characters; at most {limit} are allowed")
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise InvalidRule(f"the rule's {field} holds the control character U+{ord(character):04X}: leave it out")
    return text
