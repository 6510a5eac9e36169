"""Judgments by week, as a plot. It brings numpy, so it is imported when there is something to plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual_plot import HiResMode, PlotWidget

LABEL = 8  #: cells that a date takes
WEEK = 12  #: and a week at most
FEW = 4  #: weeks that there is always room for


class Weeks(PlotWidget, can_focus=False):
    """One bar a week."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"weeks--bar"}

    DEFAULT_CSS = """
    Weeks {
        height: 11; width: 1fr;
        & > .weeks--bar { color: $accent; }
        & > .plot--axis { color: $foreground 30%; }
        & > .plot--tick { color: $text-muted; text-style: none; }
    }
    """

    def __init__(self, weeks: Sequence[tuple[str, int]]) -> None:
        super().__init__(allow_pan_and_zoom=False)
        self.weeks = weeks

    def on_mount(self) -> None:
        # a bar as wide as the screen would say more than it does
        self.styles.max_width = 9 + WEEK * max(FEW, len(self.weeks))
        self.margin_top, self.margin_bottom, self.margin_left = 0, 1, 7
        self.call_after_refresh(self.draw)  # PlotWidget's own on_mount, which comes next, clears it
        # a plot keeps the colours that it was drawn with
        self.app.theme_changed_signal.subscribe(self, lambda _: self.call_after_refresh(self.draw))

    def on_resize(self) -> None:
        self._tick()

    def draw(self) -> None:
        from textual_plot.axis_formatter import CategoricalAxisFormatter

        color = self.get_component_rich_style("weeks--bar").color
        top = _nice(max((count for _, count in self.weeks), default=1))
        self.clear()
        self.bar(
            list(range(1, len(self.weeks) + 1)),
            [count for _, count in self.weeks],
            width=0.8,
            bar_style=color.name if color is not None else "white",
            hires_mode=HiResMode.HALFBLOCK,
        )
        self.set_x_formatter(CategoricalAxisFormatter([name for name, _ in self.weeks]))
        if len(self.weeks) < FEW:  # or one bar would fill the whole
            self.set_xlimits(0.5, FEW + 0.5)
        self.set_ylimits(0, top)
        self.set_yticks([0, top / 2, top] if top % 2 == 0 else [0, top])
        self._tick()

    def _tick(self) -> None:
        """As many dates as there is room for, the last week's among them."""
        room = max(1, (self.size.width - self.margin_left - 2) // LABEL)
        step = max(1, -(-len(self.weeks) // room))
        self.set_xticks(list(range(len(self.weeks), 0, -step)))


def _nice(most: int) -> int:
    """The least of 2, 4, 10, 20, 40, 100 ... that is no less."""
    power = 1
    while True:
        for digit in (2, 4, 10):
            if digit * power >= most:
                return digit * power
        power *= 10
