"""What every dialog stands on: a panel whose keys are always in sight, and the line that says them, for a mouse too."""

from __future__ import annotations

from textual.containers import ScrollableContainer, Vertical
from textual.content import Content
from textual.geometry import Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.layouts.vertical import VerticalLayout
from textual.style import Style
from textual.widget import Widget
from textual.widgets import OptionList, Static

from chatapp.clean import clean


class _Yielding(VerticalLayout):
    """One below the other; where all of it is too high, what scrolls gets the lines that the rest leaves."""

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        placed = super().arrange(parent, children, size, greedy)
        if not size.height or not placed:
            return placed
        last = placed[-1]
        over = last.region.bottom + last.margin.bottom - size.height
        moved: list[WidgetPlacement] = []
        shift = 0
        for one in placed:
            region = one.region.translate((0, -shift))
            if over > shift and isinstance(one.widget, ScrollableContainer | OptionList):
                less = min(over - shift, max(0, region.height - 1))
                region = Region(region.x, region.y, region.width, region.height - less)
                shift += less
            moved.append(one._replace(region=region))
        return moved


class Panel(Vertical):
    """The frame of a dialog. A child that scrolls gives way to the others, so that these are seen in every terminal."""

    _yielding = _Yielding()

    @property
    def layout(self) -> Layout:
        return self._yielding


class Hint(Static):
    """The keys of a dialog. A part that has an action, such as "yes", is clicked too."""

    DEFAULT_CSS = """
    Hint {
        height: auto; width: 1fr; color: $text-muted;
        link-color: $text-muted; link-background: transparent; link-style: none;
        link-color-hover: $text-accent; link-background-hover: transparent; link-style-hover: underline;
    }
    """

    def __init__(self, *parts: str | tuple[str, str], id: str | None = None) -> None:
        """parts: what is said, or that and the action of the screen that it stands for."""
        super().__init__(markup=False, id=id, classes="hint")
        self.parts = parts
        self.say("")

    def say(self, text: str, error: bool = False) -> None:
        """Something before the keys."""
        self.set_class(error, "-error")
        said: list[Content] = [Content(("! " if error else "") + clean(text))] if text else []
        for part in self.parts:
            if isinstance(part, str):
                said.append(Content(part))
            else:
                words, action = part
                said.append(Content.styled(words, Style.from_meta({"@click": f"screen.{action}"})))
        self.update(Content(" · ").join(said))
