"""An answer or a question as the reader sees it: one widget, with the little formatting that chat models use.

Not Textual's Markdown widget: it makes a widget of every paragraph and list item, and laying out a few hundred of them
ten times a second took a whole core from the model. And model output is untrusted: here it never passes through markup,
links stay the text that they are (nothing can be opened by a click), and what is not understood is shown as written.
"""

from __future__ import annotations

import re
from typing import Any

from textual.content import Content, Span
from textual.widgets import Static

from chatapp.clean import clean

_INLINE = re.compile(
    r"`(?P<code>[^`\n]+)`"
    r"|\*\*(?=\S)(?P<strong>[^\n]+?)(?<=\S)\*\*"
    r"|(?<![\w*])\*(?=[^\s*])(?P<star>[^*\n]+?)(?<=\S)\*(?![\w*])"
    r"|(?<!\w)_(?=[^\s_])(?P<line>[^_\n]+?)(?<=\S)_(?!\w)"
)
AHEAD = 5  #: lines
_STYLES = {"code": "$text-accent", "strong": "bold", "star": "italic", "line": "italic"}
_HEADING = re.compile(r" {0,3}#{1,6} +(?P<text>.*?)#* *$")
_BULLET = re.compile(r"(?P<indent> *)[-*+] +(?P<text>.*)$")
_QUOTE = re.compile(r" {0,3}> ?(?P<text>.*)$")
_FENCE = re.compile(r" {0,3}(```|~~~)")


def formatted(text: str) -> Content:
    """text with headings, bullets, quotes, code, bold and italics; its line breaks are kept."""
    plain: list[str] = []
    spans: list[Span] = []
    at = 0  # characters so far
    fence: str | None = None

    def add(part: str, style: str = "") -> None:
        nonlocal at
        if style and part:
            spans.append(Span(at, at + len(part), style))
        plain.append(part)
        at += len(part)

    def inline(line: str, style: str = "") -> None:
        start, last = at, 0
        for match in _INLINE.finditer(line):
            add(line[last : match.start()])
            kind = match.lastgroup or ""
            add(match[kind], _STYLES[kind])
            last = match.end()
        add(line[last:])
        if style and at > start:
            spans.append(Span(start, at, style))

    for number, line in enumerate(clean(text).split("\n")):
        if number:
            add("\n")
        if match := _FENCE.match(line):
            if fence is None:
                fence = match[1]
                add(line, "$text-muted")
                continue
            if match[1] == fence and not line.strip().strip("`~"):
                fence = None
                add(line, "$text-muted")
                continue
        if fence is not None:
            add(line, "$text-accent")
        elif match := _HEADING.match(line):
            inline(match["text"], "bold")
        elif match := _BULLET.match(line):
            add(f"{match['indent']}• ")
            inline(match["text"])
        elif match := _QUOTE.match(line):
            add("▏ ", "$text-muted")
            inline(match["text"])
        else:
            inline(line)
    return Content("".join(plain), spans)


class Prose(Static):
    """Shows text, whatever is in it."""

    DEFAULT_CSS = """
    Prose { height: auto; width: 1fr; }
    """

    def __init__(self, text: str = "", *, markdown: bool = True, **kwargs: Any) -> None:
        self.text = text
        self._markdown = markdown
        super().__init__(self._content(), markup=False, **kwargs)

    def _content(self) -> Content:
        return formatted(self.text) if self._markdown else Content(clean(self.text))

    def show(self, text: str) -> None:
        """Replace the text."""
        grown = self.styles.min_height is not None
        if text != self.text or grown:
            self.text = text
            if grown:
                self.styles.min_height = None
            self.update(self._content())

    def grow(self, text: str) -> None:
        """Replace the text by a longer one. Room is made some lines ahead: laying the screen out costs the most."""
        self.text = text
        content = self._content()
        width = self.content_size.width
        height = content.get_height({}, width) if width else 1
        if not width or height > self.content_size.height:
            self.styles.min_height = height + AHEAD
        self.update(content, layout=False)
