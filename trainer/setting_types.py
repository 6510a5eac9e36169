"""Which values a field of a run's settings takes, by its type, before its range is looked at.

Values come from JSON, so a text may stand where a number belongs, and NaN where a finite one does. Loads nothing heavy:
`python -m trainer check` is run before each lesson.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    tuple[str, ...]: "a list of texts",
}


def kinds(settings: type) -> Mapping[str, Any]:
    """The type of each field."""
    return get_type_hints(settings)


def fits(value: Any, kind: Any) -> bool:
    """Whether value may stand in a field of this type. A whole number is a number, and a truth is none."""
    if NoneType in get_args(kind):
        return value is None or fits(value, _without_none(kind))
    if get_origin(kind) is Literal:
        return isinstance(value, str)  # which ones, the range says
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, int | float) and _finite(value)
    if kind == tuple[str, ...]:
        return isinstance(value, tuple | list) and all(isinstance(part, str) for part in value)
    return isinstance(value, kind)


def described(kind: Any, range: str | None) -> str:
    """ "a number, at least 0, or null": type and range of a field."""
    none = NoneType in get_args(kind)
    said = [_WORDS.get(_without_none(kind) if none else kind), range, "or null" if none else None]
    return ", ".join(filter(None, said))


def _without_none(kind: Any) -> Any:
    (found,) = (part for part in get_args(kind) if part is not NoneType)
    return found


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False
