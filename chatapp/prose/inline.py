"""The formatting within a line. Links stay text, with their address behind it: nothing can be opened by a click."""

from __future__ import annotations

import re

from textual.content import Content, Span

# emphasis ends within 500 characters: a line of nothing but asterisks must not cost its length squared
_INLINE = re.compile(
    r"\\(?P<escaped>[*_`~])"
    r"|`(?P<code>[^`\n]+)`"
    r"|\*\*\*(?=[^\s*])(?P<both>[^\n]{1,500}?)(?<=[^\s*])\*\*\*"
    r"|\*\*(?=\S)(?P<strong>[^\n]{1,500}?)(?<=\S)\*\*"
    r"|(?<![\w*])\*(?=[^\s*])(?P<star>[^*\n]{1,500}?)(?<=\S)\*(?![\w*])"
    r"|(?<!\w)_(?=[^\s_])(?P<line>[^_\n]{1,500}?)(?<=\S)_(?!\w)"
    r"|~~(?=\S)(?P<gone>[^~\n]{1,500}?)(?<=\S)~~"
    r"|(?<![\w\]!])\[(?P<label>[^\[\]\n]{1,500})\]"
    r"\((?P<address>(?=[^\s)]{0,99}[/.:#@])[^\s()]{0,999}(?:\([^\s()]{0,99}\)[^\s()]{0,99}){0,9})\)"
)
MUTED = "$foreground 60%"  #: not $text-muted, which is white or black once it stands in a text
_STYLES = {
    "code": "$text-accent",
    "both": "bold italic",
    "strong": "bold",
    "star": "italic",
    "line": "italic",
    "gone": "strike",
}


def inline(line: str, style: str = "") -> Content:
    """line with code, bold, italics, struck words and links."""
    plain: list[str] = []
    spans: list[Span] = []
    at = _add(line, style, 0, plain, spans)
    return Content("".join(plain), spans, strip_control_codes=False) if at else Content("")


def _add(line: str, style: str, at: int, plain: list[str], spans: list[Span]) -> int:
    """Append line at the offset `at`, and say where it ends."""
    start, last = at, 0
    for match in _INLINE.finditer(line):
        before = line[last : match.start()]
        plain.append(before)
        at += len(before)
        last = match.end()
        kind = match.lastgroup or ""
        if kind == "address":
            label, address = match["label"], match["address"]
            at = _add(label, "", at, plain, spans)
            if address != label:
                behind = f" ({address})"
                plain.append(behind)
                spans.append(Span(at, at + len(behind), MUTED))
                at += len(behind)
        elif kind in ("code", "escaped"):
            text = match[kind]
            plain.append(text)
            if kind == "code":
                spans.append(Span(at, at + len(text), _STYLES[kind]))
            at += len(text)
        else:
            at = _add(match[kind], _STYLES[kind], at, plain, spans)
    plain.append(line[last:])
    at += len(line) - last
    if style and at > start:
        spans.append(Span(start, at, style))
    return at
