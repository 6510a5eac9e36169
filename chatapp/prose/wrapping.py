"""A line wrapped at words, with what stands before its first and before its further lines."""

from __future__ import annotations

from typing import NamedTuple

from rich._wrap import divide_line  # what Textual's own Content wraps with
from textual.content import Content

ROOM = 8  #: cells that a text needs beside what hangs before it
EMPTY = Content("")


class Line(NamedTuple):
    """A line of the screen."""

    content: Content
    lead: int = 0  #: characters at its beginning that nobody wrote
    between: str = "\n"  #: what was written between this line and the next


def wrapped(
    content: Content, width: int, first: Content = EMPTY, rest: Content = EMPTY, lead: int = 0, exact: bool = False
) -> list[Line]:
    """The lines of content for width. lead: how much of `first` nobody wrote. exact: no space is dropped, for code."""
    room = width - max(first.cell_length, rest.cell_length)
    if room < ROOM and first:
        content, first, rest, room = first + content, EMPTY, EMPTY, width
    if content.cell_length <= room:
        return [Line(first + content if first else content, lead)]
    plain = content.plain
    offsets = divide_line(plain, room)
    lines: list[Line] = []
    for number, part in enumerate(content.divide(offsets) if offsets else [content]):
        gap = " " if part.plain.endswith(" ") and not exact else ""
        if not exact or part.cell_length > room:
            part = part.rstrip()
        lines.append(Line(rest + part, len(rest), gap) if number else Line(first + part, lead, gap))
    lines[-1] = lines[-1]._replace(between="\n")
    return lines
