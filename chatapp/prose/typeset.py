"""Blocks laid out for a width, as a Visual that one Static shows.

Each block is laid out and drawn once and kept, so a text that grows costs its last block. Lines know what of them is
no part of the text (bars, hanging indents, where a line was only wrapped): a selection copies what was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from rich.segment import Segment
from textual.content import Content
from textual.css.styles import RulesMap
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual

from chatapp.clean import clean
from chatapp.prose.blocks import Block, CodeBlock, Table, split
from chatapp.prose.inline import MUTED, inline
from chatapp.prose.syntax import coloured
from chatapp.prose.tables import laid_out
from chatapp.prose.wrapping import Line, wrapped

_RULE = re.compile(r" {0,3}([-*_])(?: *\1){2,} *$")
_HEADING = re.compile(r" {0,3}#{1,6} +")
_ITEM = re.compile(r"(?P<indent> *)(?P<mark>[-*+]|\d{1,9}[.)]) +(?P<text>.*)$")
_QUOTE = re.compile(r" {0,3}> ?(?P<text>.*)$")
_QUOTES = 3  #: levels that are drawn
_BAR = Content.styled("▎ ", MUTED)
_CODE = "on $surface"


class _Drawn(NamedTuple):
    """The lines of a block as they were drawn, and for what."""

    lines: list[Line]
    look: tuple[Style, ...]
    strips: list[Strip]


class Typeset(Visual):
    """A text with its formatting. `before` is the one whose text this one's begins with: what it did is kept."""

    def __init__(self, text: str, before: Typeset | None = None) -> None:
        if before is not None and not text.startswith(before._settled):
            before = None
        self._settled: str = before._settled if before else ""  # what no further text can change
        self._done: list[Block] = list(before._done) if before else []
        tail = text[len(self._settled) :]
        if end := tail.rfind("\n\n") + 1:
            # with its blank line: what stands before one is at its end, and no table that is still coming
            head = split(clean(tail[: end + 1]).removesuffix("\n"))
            if not (isinstance(head[-1], CodeBlock) and head[-1].open):
                self._done += head
                self._settled += tail[: end + 1]
                tail = tail[end + 1 :]
        self.blocks = self._done + split(clean(tail))
        self._width: int = before._width if before else 0
        self._lines: dict[Block, list[Line]] = before._lines if before else {}
        self._drawn: dict[int, _Drawn] = before._drawn if before else {}  # by the number of its first line

    # -- lines -----------------------------------------------------------------------------------------------------

    def lines(self, width: int) -> list[Line]:
        """All lines for this width."""
        return [line for lines in self._laid_out(width) for line in lines]

    def _laid_out(self, width: int) -> list[list[Line]]:
        width = max(width, 2)  # a wide letter needs as much
        known = self._lines if width == self._width else {}
        laid = [known[block] if block in known else _lay_out(block, width) for block in self.blocks]
        self._lines = dict(zip(self.blocks, laid, strict=True))
        self._width = width
        return laid

    def selected(self, selection: Selection) -> str:
        """What was written in the part that is selected."""
        parts: list[str] = []
        between = ""
        for y, line in enumerate(self.lines(self._width)):
            span = selection.get_span(y)
            if span is None:
                continue
            start, end = span
            plain = line.content.plain
            parts += [between, plain[max(start, line.lead) : len(plain) if end == -1 else end].rstrip()]
            between = line.between
        return "".join(parts)

    # -- what a Visual does ----------------------------------------------------------------------------------------

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        return container_width

    def get_height(self, rules: RulesMap, width: int) -> int:
        return sum(map(len, self._laid_out(width)))

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        styles: dict[str | Style, Style] = {}

        def get_style(name: str | Style) -> Style:
            if name not in styles:
                styles[name] = options.get_style(name)
            return styles[name]

        # the theme shows in these
        look = (style, get_style("$text-accent on $surface"), get_style("$text-primary"), get_style("$text-success"))
        strips: list[Strip] = []
        drawn: dict[int, _Drawn] = {}
        for lines in self._laid_out(width):
            y = len(strips)
            if options.selection is not None and options.selection_style is not None:
                selection, mark = options.selection, options.selection_style
                lines = [_marked(line, selection.get_span(y + n), mark) for n, line in enumerate(lines)]
            kept = self._drawn.get(y)
            if kept is None or kept.lines is not lines or kept.look != look:
                made = [_strip(line.content, y + n, style, get_style) for n, line in enumerate(lines)]
                kept = _Drawn(lines, look, made)
            drawn[y] = kept
            strips += kept.strips
        self._drawn = drawn
        return strips if height is None else strips[:height]


def _marked(line: Line, span: tuple[int, int] | None, mark: Style) -> Line:
    if span is None:
        return line
    start, end = span
    return line._replace(content=line.content.stylize(mark, start, None if end == -1 else end))


def _strip(content: Content, y: int, style: Style, get_style: Callable[[str | Style], Style]) -> Strip:
    segments: list[Segment] = []
    x = 0
    for text, own in content.render(style, end="", parse_style=get_style):
        segments.append(Segment(text, (style + own).rich_style_with_offset(x, y)))
        x += len(text)
    return Strip(segments, content.cell_length)


# -- one block -----------------------------------------------------------------------------------------------------


def _lay_out(block: Block, width: int) -> list[Line]:
    if isinstance(block, CodeBlock):
        return _code(block, width)
    if isinstance(block, Table):
        return [Line(line) for line in laid_out(block, width)]
    return _text(block.text, width)


def _text(text: str, width: int) -> list[Line]:
    if _RULE.match(text):
        return [Line(Content.styled("─" * width, MUTED))]
    if match := _HEADING.match(text):
        return wrapped(inline(_without_end(text[match.end() :]), "bold"), width)
    quotes = 0
    while quotes < _QUOTES and (match := _QUOTE.match(text)):
        quotes += 1
        text = match["text"]
    bars = Content.styled("▏ " * quotes, MUTED)
    if match := _ITEM.match(text):
        mark = match["mark"]
        if mark in "-*+":
            mark = "◦" if match["indent"] else "•"
        first = f"{match['indent']}{mark} "
        return wrapped(inline(match["text"]), width, bars + first, bars + " " * len(first), len(bars))
    hanging = bars + " " * _indent(text)
    return wrapped(inline(text[_indent(text) :]), width, hanging, hanging, len(bars))


def _without_end(heading: str) -> str:
    """Without the signs that may close a heading. By hand: a pattern for it costs its length squared."""
    heading = heading.rstrip(" ")
    bare = heading.rstrip("#")
    return bare.rstrip(" ") if bare != heading and (not bare or bare.endswith(" ")) else heading


def _code(block: CodeBlock, width: int) -> list[Line]:
    """A bar at the left, the language above, a ground of its own."""
    lines = wrapped(Content.styled(block.info, MUTED), width, _BAR, _BAR) if block.info else []
    lines = [line._replace(lead=len(line.content)) for line in lines]
    for row in coloured(block.language, block.code) if block.code or not lines else []:
        indent = _indent(row.plain)
        first = _BAR + row[:indent]
        lines += wrapped(row[indent:], width, first, first + "  ", len(_BAR), exact=True)
    return [
        line._replace(content=(line.content + " " * (width - line.content.cell_length)).stylize(_CODE))
        for line in lines
    ]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
