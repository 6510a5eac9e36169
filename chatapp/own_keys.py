"""What is amiss with the reader's own keys and theme: said by the chat, `hone doctor` and `hone config show` alike.

What cannot work is said and not refused: a chat with a key that does nothing is better than none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from chatapp.keys import EVERYWHERE, key_name, known, sections, strangers

if TYPE_CHECKING:
    from textual.binding import Binding

    from chatapp.config import Settings

HELD = ("alt", "ctrl", "shift")  #: in Textual's order; hardly a terminal sends others
#: what these are to a terminal
SAME = {"ctrl+i": "tab", "ctrl+m": "enter", "ctrl+left_square_bracket": "escape", "ctrl+[": "escape"}
_CHAT = "In the chat, wherever the focus is"
#: what else has keys where those of a section count; of a panel, which has none of these, nothing
_BESIDE = {
    **dict.fromkeys(("With the answers", "In the prompt", "In the list of threads"), (_CHAT,)),
    **dict.fromkeys(("Training", "Versions", "Judgments", "Insights"), ("On every page",)),
}


def amiss(settings: Settings) -> list[str]:
    """A sentence for each thing that does not do what was meant. Imports every screen where there are own keys."""
    return [*amiss_with_keys(settings.keys), *amiss_with_theme(settings.theme)]


def amiss_with_theme(name: str) -> list[str]:
    from textual.theme import BUILTIN_THEMES

    from chatapp.themes import THEMES

    there = {*BUILTIN_THEMES, *(theme.name for theme in THEMES)}
    return [] if name in there else [f"There is no theme {name!r}. There are: {', '.join(sorted(there))}"]


def amiss_with_keys(own: Mapping[str, str]) -> list[str]:
    return [*strangers(own, known()), *_never_sent(own), *_clashes(own)] if own else []


def _never_sent(own: Mapping[str, str]) -> Iterator[str]:
    for id, keys in own.items():
        for key in _split(keys):
            if why := _why_not(key):
                yield f"[keys] gives {id} the key {key!r}: {why}"


def _why_not(key: str) -> str:
    """Why no press of a key comes as this; empty where one does."""
    from textual.keys import REPLACED_KEYS, Keys, key_to_character

    if key in SAME:
        return f"most terminals send {SAME[key]} for it; choose another"
    *held, last = key.split("+") if key != "+" else [key]
    strange = [name for name in held if name not in HELD]
    if strange:
        return f"hardly a terminal sends {strange[0]!r} with a key; there are {', '.join(HELD)}"
    names = {*REPLACED_KEYS, *(one.value.rpartition("+")[2] for one in Keys)}
    if len(last) > 1 and last not in names and key_to_character(last) is None:
        return f"there is no key {last!r}; `docs/keys.md` shows how keys are written"
    if "shift" in held and len(held) == 1 and len(last) == 1:
        return f"terminals send the character itself; write {last.upper()!r}"
    if "ctrl" in held and len(last) == 1 and last != last.lower():
        return f"write {'+'.join([*held, last.lower()])!r}"
    right = "+".join([*sorted(held), last])
    return "" if right == key else f"write {right!r}"


def _clashes(own: Mapping[str, str]) -> Iterator[str]:
    """Two actions, at least one of them moved, that wait for the same key in one place: only one can have it."""
    told = set()
    for group in _together():
        for pair in combinations(group, 2):
            mine, other = sorted(pair, key=lambda binding: binding.id not in own)
            if mine.id not in own or mine.id == other.id:
                continue
            before = _keys(mine, {}) & _keys(other, {})
            for key in sorted((_keys(mine, own) & _keys(other, own)) - before):
                names = f"{_named(mine)} and {_named(other)}"
                if (key, names) not in told:
                    told.add((key, names))
                    yield f"[keys]: {names} have the same key, {key_name(key)}, and one of them gets it; move one"


def _together() -> Iterator[Sequence[Binding]]:
    """The bindings that can wait for a key at one time."""
    from textual.binding import Binding

    by_title = {title: [b for b in bindings if isinstance(b, Binding)] for title, bindings in sections()}
    for title, bindings in by_title.items():
        beside = [b for other in _BESIDE.get(title, ()) for b in by_title[other]]
        yield [*(b for b in bindings if not (b.id or "").startswith("behind.")), *beside, *EVERYWHERE]


def _keys(binding: Binding, own: Mapping[str, str]) -> set[str]:
    return {_same(key) for key in _split(own.get(binding.id or "", binding.key))}


def _split(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",") if key.strip()]


def _same(key: str) -> str:
    """A key by one name: "?" and "question_mark" are the same."""
    from textual.keys import REPLACED_KEYS, key_to_character

    return key if "+" in key else key_to_character(REPLACED_KEYS.get(key, key)) or key


def _named(binding: Binding) -> str:
    return f"{binding.description} ({binding.id})" if binding.id else str(binding.description)
