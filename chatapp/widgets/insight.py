"""A panel of the page of insights: sentences, and bars as wide as there is room."""

from __future__ import annotations

from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from chatapp.clean import clean, one_line
from chatapp.insights import Panel, drawn

BARS = 8  #: at most
BAR, NAME = (10, 30), (4, 24)  #: cells, at least and at most


class Insight(Static):
    """Shows one panel."""

    DEFAULT_CSS = """
    Insight {
        height: auto; width: 1fr; padding: 0 1; margin: 0 0 1 0;
        border: round $foreground 25%; border-title-color: $text-accent; border-title-style: bold;
    }
    """

    def __init__(self, panel: Panel) -> None:
        super().__init__(markup=False, id=f"insight-{panel.id}")
        self.panel = panel
        self.border_title = Content(panel.title)

    def show(self, panel: Panel) -> None:
        self.panel = panel
        self._draw(self.content_size.width)

    def on_resize(self, event: Resize) -> None:
        self._draw(self.content_size.width)

    def _draw(self, width: int) -> None:
        lines = [Content(clean(sentence)) for sentence in self.panel.says]
        bars = self.panel.bars[:BARS]
        if bars:
            lines.append(Content(""))
        longest = max((len(bar.name) for bar in bars), default=0)
        after = max((len(bar.after) for bar in bars), default=0)
        apart = width < NAME[0] + 6 + BAR[0] + 2 + after  # what comes after the bars goes below them
        names = max(NAME[0], min(NAME[1], longest, width - 6 - BAR[0] - (0 if apart else after + 2)))
        room = max(BAR[0], min(BAR[1], width - names - 6 - (0 if apart else after + 2)))
        for bar in bars:
            lines.append(
                Content.assemble(
                    f"{one_line(bar.name, names):<{names}} {bar.share:>4.0%} ",
                    (drawn(bar, room), "$text-accent"),
                    ("\n  " if apart else "  ") + clean(bar.after),
                )
            )
        if len(self.panel.bars) > BARS:
            lines.append(Content(f"and {len(self.panel.bars) - BARS} more: `hone stats` has all"))
        self.update(Content("\n").join(lines))
