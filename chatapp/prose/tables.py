"""A table for a width: cells are wrapped; where not even that fits, each row becomes a list of what is in it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from chatapp.prose.blocks import Align, Table
from chatapp.prose.inline import inline

NARROWEST = 10  #: cells of a column that needs as many
LINES = "$foreground 40%"


def laid_out(table: Table, width: int) -> list[Content]:
    """The lines of table, none wider than width."""
    names = [inline(name, "bold") for name in table.header]
    rows = [[inline(cell) for cell in row] for row in table.rows]
    columns = max(map(len, [names, *rows]))
    room = width - 3 * (columns - 1)
    if room < columns:
        return _listed(names, rows, width)
    full = [row + [Content("")] * (columns - len(row)) for row in (names, *rows)]
    wanted = [max(row[column].cell_length for row in full) for column in range(columns)]
    if room < sum(min(share, NARROWEST) for share in wanted):
        return _listed(names, rows, width)
    widths = _shares(wanted, room)
    left: Align = "left"
    aligns = [*table.aligns, *[left] * columns]
    drawn = [_row(row, widths, aligns) for row in full]
    rule = Content.styled("─┼─".join("─" * share for share in widths), LINES)
    # rows of several lines are hard to tell from each other
    apart = any(len(lines) > 1 for lines in drawn[1:])
    lines = [*drawn[0], rule]
    for number, row in enumerate(drawn[1:]):
        if apart and number:
            lines.append(rule)
        lines += row
    return lines


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Widths that fit: what is missing is taken from the widest."""
    shares = [max(1, min(share, room)) for share in wanted]
    over = sum(shares) - room
    while over > 0:
        widest = max(shares)
        second = max((share for share in shares if share < widest), default=0)
        among = [column for column, share in enumerate(shares) if share == widest]
        each = max(1, min(widest - second, over // len(among)))
        for column in among:
            if over <= 0:
                break
            shares[column] -= each
            over -= each
    return shares


def _row(row: Sequence[Content], widths: Sequence[int], aligns: Sequence[Align]) -> list[Content]:
    cells = [[cell] if cell.cell_length <= share else cell.wrap(share) for cell, share in zip(row, widths, strict=True)]
    bar = Content.styled(" │ ", LINES)
    lines: list[Content] = []
    for number in range(max(map(len, cells))):
        parts = []
        for cell, share, align in zip(cells, widths, aligns, strict=False):
            part = cell[number] if number < len(cell) else Content("")
            missing = max(0, share - part.cell_length)
            left = {"left": 0, "right": missing, "center": missing // 2}[align]
            parts.append(part.pad(left, missing - left))
        lines.append(bar.join(parts).rstrip())
    return lines


def _listed(names: Sequence[Content], rows: Sequence[Sequence[Content]], width: int) -> list[Content]:
    lines: list[Content] = []
    if not rows:
        return Content(" │ ").join(names).wrap(width)
    for number, row in enumerate(rows):
        if number:
            lines.append(Content.styled("─" * min(width, 12), LINES))
        for column, cell in enumerate(row):
            named = names[column] + ": " if column < len(names) else Content("")
            lines += (named + cell).wrap(width)
    return lines
