"""The learning curve as a plain SVG: win rate by judgments, a line a user. Readable on light and on dark ground."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 56, 176, 20, 44
INSET = 16  #: pixels from the frame to the first and the last point
LABEL = 14  #: pixels between two names at the right
#: readable on white and on near black; after the last one they come again with dashes
COLOURS = ("#2f7fd1", "#d1602f", "#2f9e62", "#a05ad0", "#c2a21a", "#d1477f", "#3aa6a6")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#777}.grid{stroke:#8884;stroke-width:1}.half{stroke:#888;"
    "stroke-dasharray:2 3}@media (prefers-color-scheme:dark){text{fill:#ccc}}"
)


def learning_curve(rows: Iterable[Mapping[str, Any]]) -> str:
    """An SVG document. Rows without a win rate are left out; bars show the 95 % intervals."""
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["win_rate"] is not None:
            curves.setdefault(row["user"], []).append(row)
    for points in curves.values():
        points.sort(key=lambda row: row["judgments"])
    counts = sorted({row["judgments"] for points in curves.values() for row in points}) or [1]
    values = [row[end] for points in curves.values() for row in points for end in ("low", "high")]
    least = min([0.5, *(math.floor(10 * value) / 10 for value in values)])

    def x(count: float) -> float:
        span = math.log2(counts[-1] / counts[0])
        share = math.log2(count / counts[0]) / span if span else 0.5
        return LEFT + INSET + (WIDTH - LEFT - RIGHT - 2 * INSET) * share

    def y(rate: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - rate) / (1 - least)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        "<title>Win rate against the base by judgments</title>",
        f"<style>{STYLE}</style>",
    ]
    for tenth in range(round(10 * least), 11):
        at, kind = y(tenth / 10), "grid half" if tenth == 5 else "grid"
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{10 * tenth} %</text>')
    for count in counts:
        parts.append(f'<text x="{x(count):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{count}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 6}" text-anchor="middle">judgments</text>')
    heights = _apart({name: y(points[-1]["win_rate"]) for name, points in curves.items()})
    for at, (name, points) in enumerate(curves.items()):
        colour = COLOURS[at % len(COLOURS)]
        dash = ' stroke-dasharray="6 3"' if at >= len(COLOURS) else ""
        shift = 2.0 * (at - (len(curves) - 1) / 2)  # or the bars of several users would hide each other
        places = [(x(row["judgments"]) + shift, row) for row in points]
        path = " ".join(f"{px:.1f},{y(row['win_rate']):.1f}" for px, row in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        for px, row in places:
            parts.append(
                f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{y(row["low"]):.1f}" y2="{y(row["high"]):.1f}" '
                f'stroke="{colour}" stroke-opacity="0.45"/>'
                f'<circle cx="{px:.1f}" cy="{y(row["win_rate"]):.1f}" r="3" fill="{colour}"/>'
            )
        label = heights[name]
        parts.append(
            f'<line x1="{WIDTH - RIGHT + 14}" x2="{WIDTH - RIGHT + 36}" y1="{label:.1f}" y2="{label:.1f}" '
            f'stroke="{colour}" stroke-width="2"{dash}/>'
            f'<text x="{WIDTH - RIGHT + 42}" y="{label + 4:.1f}" style="fill:{colour}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _apart(wanted: Mapping[str, float]) -> dict[str, float]:
    """Heights near those wanted, LABEL apart and within the picture."""
    found: dict[str, float] = {}
    last: float = TOP - LABEL
    for name, height in sorted(wanted.items(), key=lambda item: item[1]):
        last = found[name] = max(height, last + LABEL)
    over = last - (HEIGHT - BOTTOM)
    return {name: height - over for name, height in found.items()} if over > 0 else found
