"""Threads, messages and judgments by what a person types: an id, its beginning or its end.

Ids made within a second begin alike (UUIDv7), so lists show their last eight characters, and those can be typed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from storage.errors import NotFound

if TYPE_CHECKING:
    from storage.store import Store

THREAD, MESSAGE, JUDGMENT = "thread", "message", "judgment"
_TABLES = {THREAD: "threads", MESSAGE: "messages", JUDGMENT: "judgments"}
#: characters below which a part of an id is refused: it would fit one thing today and two tomorrow
SHORTEST = 6
_SHOWN = 8


def short(id: str) -> str:
    """The end of an id, as lists show it."""
    return id[-_SHOWN:]


def find(store: Store, text: str, kinds: Sequence[str] = (THREAD, MESSAGE, JUDGMENT)) -> tuple[str, str]:
    """(kind, full id) of the one thing that text names. Raises NotFound with what to do where it names none or several.

    text is a full id, or at least six characters of its beginning or its end; kinds are those looked among.
    """
    text = text.strip()
    found = _full(store, text, kinds)
    if not found and len(text) < SHORTEST:
        raise NotFound(
            f"{text!r} is too short to name a {_any(kinds)}: write {SHORTEST} or more characters of the "
            f"beginning or the end of its id, or {_where(kinds)}"
        )
    found = found or _part(store, text.lower(), kinds)
    if not found:
        raise NotFound(f"there is no {_any(kinds)} {text!r}; {_where(kinds)}")
    if len(found) > 1:
        there = [kind for kind, _ in found]
        counts = [f"{there.count(k)} {k}{'s' if there.count(k) != 1 else ''}" for k in _TABLES if k in there]
        raise NotFound(f"{text!r} fits {' and '.join(counts)}: write more of the id")
    return found[0]


def _full(store: Store, text: str, kinds: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (kind, text) for kind in kinds if store.tuples(f"SELECT 1 FROM {_TABLES[kind]} WHERE id = ? LIMIT 1", [text])
    ]


def _part(store: Store, text: str, kinds: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (kind, row[0])
        for kind in kinds
        for row in store.tuples(
            f"SELECT id FROM {_TABLES[kind]} WHERE substr(id, -?) = ? OR substr(id, 1, ?) = ?",
            [len(text), text, len(text), text],
        )
    ]


def _any(kinds: Sequence[str]) -> str:
    return kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} or {kinds[-1]}"


def _where(kinds: Sequence[str]) -> str:
    commands = {THREAD: "`hone threads list`", MESSAGE: "`hone threads show`", JUDGMENT: "`hone judgments list`"}
    return "look for it with " + " or ".join(commands[kind] for kind in kinds)
