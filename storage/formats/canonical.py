"""Canonical JSON: one text for one value, on one line, and safe to print."""

from __future__ import annotations

import json
import re
from typing import Any

#: what JSON may hold raw but a terminal could obey or a reader could be misled by: DEL, C1, bidi and line separators
_RAW = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")

_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def dumps(value: Any) -> str:
    """Keys sorted, no spaces, UTF-8 letters as they are, control characters escaped. Raises ValueError for NaN."""
    return escape(_encode(value))


def escape(text: str) -> str:
    """JSON that is safe to print; it means the same."""
    if text.isascii() and "\x7f" not in text:  # mostly; a regular expression would look at every letter
        return text
    return _RAW.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
