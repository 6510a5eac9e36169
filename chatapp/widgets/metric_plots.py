"""Curves of a training run, each in a small plot of its own under a line that says what it is.

Left out on purpose: zooming and panning. The plots are small, and the keys belong to the list beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Static
from textual_plot import HiResMode, PlotWidget
from textual_plot.axis_formatter import NumericAxisFormatter

from chatapp.watching import Curve

TICKS = 5  #: steps between the marks of the lower axis, which are whole
MARKS = 5  #: of the other axis at most, so that each has a line of its own: of two on one line only one is read


class RoundMarks(NumericAxisFormatter):
    """At most MARKS, whatever the plot asks for, at multiples of 1, 2 or 5 times a power of ten; named as they are."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 0) -> list[float]:
        if not max_ > min_:
            return [min_]
        power = math.floor(math.log10((max_ - min_) / MARKS))
        for step in (digit * 10.0**exponent for exponent in (power, power + 1) for digit in (1, 2, 5)):
            first, last = math.ceil(min_ / step - 1e-9), math.floor(max_ / step + 1e-9)
            if last - first < MARKS:
                break
        return [at * step for at in range(first, last + 1)]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [f"{tick:.6g}" for tick in ticks]


class MetricPlot(Vertical):
    """One curve."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"metric--line"}
    DEFAULT_CSS = """
    MetricPlot {
        height: 10; width: 1fr; display: none;
        & > Static { height: 2; width: 1fr; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
        & > PlotWidget { height: 1fr; }
        & > .metric--line { color: $accent; }
        & PlotWidget > .plot--axis { color: $foreground 30%; }
        & PlotWidget > .plot--tick { color: $foreground 70%; text-style: none; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.curve: Curve | None = None
        self._plot = PlotWidget(allow_pan_and_zoom=False)
        self._plot.can_focus = False

    def compose(self) -> ComposeResult:
        yield Static(markup=False)
        yield self._plot

    def on_mount(self) -> None:
        self._plot.set_y_formatter(RoundMarks())
        self._plot.margin_left, self._plot.margin_top, self._plot.margin_bottom = 8, 0, 1
        self._draw()

    def show(self, curve: Curve | None) -> None:
        """Show another curve, or more of it; None hides the plot."""
        if curve != self.curve:
            self.curve = curve
            self.display = curve is not None
            self._draw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._draw()

    def _draw(self) -> None:
        if self.curve is None or not self._plot.is_mounted:
            return
        last = self.curve.points[-1][1]
        title = Content.assemble(
            ("━ ", "$accent"), (self.curve.name, "bold"), f" {last:.3g}", (f"\n{self.curve.note}", "$foreground 60%")
        )
        self.query_one(Static).update(title)
        self._plot.clear()
        xs, ys = zip(*self.curve.points, strict=True)
        # a level line stands in the middle, and its marks can be told apart
        low, high = min(ys), max(ys)
        level = high - low <= 2e-3 * max(abs(low), abs(high))
        room = max(0.1 * abs(high), 1e-3)
        self._plot.set_ylimits(*((low - room, high + room) if level else (None, None)))
        first, apart = int(xs[0]), max(1, round((xs[-1] - xs[0]) / TICKS))
        self._plot.set_xticks([float(x) for x in range(first, int(xs[-1]) + 1, apart)])
        style = str(self.get_component_rich_style("metric--line", partial=True))
        self._plot.plot(xs, ys, style, HiResMode.BRAILLE)


class MetricPlots(Container):
    """As many curves as there is room for, beside one another where the width allows."""

    MOST: ClassVar[int] = 4
    #: cells that one plot needs, and that the whole needs to show any
    COLUMN: ClassVar[int] = 34
    NEEDED: ClassVar[int] = 60
    DEFAULT_CSS = """
    MetricPlots { layout: grid; grid-size: 2; grid-rows: 10; grid-gutter: 0 1; height: auto; }
    """

    def compose(self) -> ComposeResult:
        for _ in range(self.MOST):
            yield MetricPlot()

    def show(self, curves: Sequence[Curve]) -> None:
        """Replace what is shown; plots whose curve stays the same are left alone."""
        shown = [*curves[: self.MOST], *[None] * self.MOST]
        self.styles.grid_size_columns = 1 if len(curves) == 1 else 2
        for plot, curve in zip(self.query(MetricPlot), shown, strict=False):
            plot.show(curve)
