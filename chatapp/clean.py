"""Text from a model, a file or a clipboard, made safe to show.

A terminal obeys escape sequences, and a reader trusts the order of the letters: both can be abused by text that
somebody else wrote. What could do harm is shown as a visible stand-in, never dropped in silence; what is stored
stays as it was written.
"""

from __future__ import annotations

import re
import unicodedata

_TAB = "    "

#: line breaks that a terminal or a text widget could take in its own way
_BREAKS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
#: C0 but newline, DEL, C1, bidi marks, invisible tags, interlinear marks, byte order mark, lone surrogates
_HARMFUL = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _stand_in(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if character == "\t":
        return _TAB
    if code < 0x20:
        return chr(0x2400 + code)  # ␛ and its family
    if code == 0x7F:
        return "␡"
    return f"⟨U+{code:04X}⟩"


def clean(text: str) -> str:
    """text with every control, bidi and invisible character replaced by something that can be seen."""
    return _HARMFUL.sub(_stand_in, _BREAKS.sub("\n", text))


def newlines(text: str) -> str:
    """text with the line breaks that a terminal pastes and other systems write (\\r, \\r\\n) as newlines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def obeyed(text: str) -> str:
    """text with just those characters replaced that a terminal obeys: controls other than newline and tab."""
    return _OBEYED.sub(_stand_in, text)


def one_line(text: str, limit: int = 60) -> str:
    """The beginning of text on one line, for titles and previews."""
    line = " ".join(clean(text).split())
    if len(line) <= limit:
        return line
    cut = line[: limit - 1].rstrip()
    while cut and unicodedata.combining(line[len(cut)]):
        cut = cut[:-1]
    return cut + "…"
