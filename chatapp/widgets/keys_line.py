"""The line of keys at the foot of a screen.

Not Textual's Footer: that makes a dozen widgets anew whenever what can be done changes, which it does with nearly every
key, and a quarter of the chat's time went into them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from textual.events import MouseDown, MouseMove, Resize
from textual.geometry import Size
from textual.screen import Screen
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

ROOMY = 120  #: columns from which on the palette's key stands apart, with its name
#: actions that lead to all the others; and the one that is at the foot only where nothing else helps
STAYS = ("help", "command_palette", "again")
APART = "▏"


class Entry(NamedTuple):
    """A key and what it does now."""

    key: str
    display: str
    description: str
    enabled: bool = True
    tooltip: str = ""
    stays: bool = False

    @property
    def cells(self) -> int:
        return cell_len(self.display) + 1 + cell_len(self.description)


class KeysLine(Widget, can_focus=False):
    """The keys that work where the focus is. A click presses one; in a narrow terminal some are left out, whole, and
    never those that lead to the others. A widget's `at_foot(binding)` names what a key does now; "" leaves it out."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"keys-line--{part}" for part in ("key", "description", "apart")}

    DEFAULT_CSS = """
    KeysLine {
        dock: bottom; height: 1; width: 1fr; color: $footer-foreground; background: $footer-background;
        & > .keys-line--key { color: $footer-key-foreground; background: $footer-key-background; text-style: bold; }
        & > .keys-line--description {
            color: $footer-description-foreground; background: $footer-description-background;
        }
        & > .keys-line--apart { color: $foreground 20%; }
    }
    """

    def __init__(self, palette: bool = False) -> None:
        """palette: its key stands there in a narrow terminal too."""
        super().__init__()
        self._palette = palette
        self._entries: list[Entry] = []
        self._apart: Entry | None = None  # the palette's
        self._places: list[tuple[range, Entry]] = []  # the cells that each takes

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)
        self._read(self.screen)

    def on_resize(self, event: Resize) -> None:
        self._place(event.size.width)
        self.refresh()

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return container.width

    @property
    def shown(self) -> list[Entry]:
        """Those that there is room for, from left to right."""
        return [entry for _, entry in self._places]

    def _changed(self, screen: Screen[object]) -> None:
        if self.is_attached and screen is self.screen and self.app.app_focus:
            self._read(screen)

    def _read(self, screen: Screen[object]) -> None:
        entries: dict[str, Entry] = {}
        apart = None
        for node, binding, enabled, tooltip in screen.active_bindings.values():
            display = self.app.get_key_display(binding)
            said = tooltip or binding.tooltip or binding.description
            action = binding.action.rpartition(".")[2]
            own = getattr(node, "at_foot", None)
            name = own(binding) if own is not None else binding.description if binding.show else ""
            entry = Entry(binding.key, display, name, enabled, said, action in STAYS)
            if action == "command_palette":
                apart = entry._replace(description=binding.description)  # said or not, it has a place of its own
            elif name:
                entries.setdefault(binding.action, entry)  # one for each action
        now = list(entries.values())
        if (now, apart) != (self._entries, self._apart):
            self._entries, self._apart = now, apart
            self._place(self.size.width)
            self.refresh()

    def _place(self, width: int) -> None:
        entries, apart = self._entries, self._apart
        if apart is not None and width < ROOMY:
            entries, apart = [*entries, *([apart._replace(description="All")] if self._palette else [])], None
        room = width - (apart.cells + 1 if apart else 0)
        self._places, at = [], 0
        for entry in _fitting(entries, room):
            self._places.append((range(at, at + entry.cells), entry))
            at += entry.cells + 1
        if apart is not None:
            self._places.append((range(width - apart.cells, width), apart))

    def render_line(self, y: int) -> Strip:
        ground = self.visual_style.rich_style
        key = self.get_visual_style("keys-line--key")
        description = self.get_visual_style("keys-line--description")
        segments: list[Segment] = []
        at = 0
        for cells, entry in self._places:
            if cells.start > at + 1:  # the palette's, at the right
                segments.append(Segment(" " * (cells.start - at - 1), ground))
                segments.append(Segment(APART, self.get_visual_style("keys-line--apart").rich_style))
            elif cells.start > at:
                segments.append(Segment(" ", ground))
            faint = Style(dim=not entry.enabled)
            segments.append(Segment(entry.display, (key + faint).rich_style))
            segments.append(Segment(" " + entry.description, (description + faint).rich_style))
            at = cells.stop
        return Strip(segments).adjust_cell_length(self.size.width, ground)

    # -- by mouse ------------------------------------------------------------------------------------------------------

    def place_of(self, description: str) -> int:
        """The first cell of a key, by what it does. Raises StopIteration where it is not shown."""
        return next(cells.start for cells, entry in self._places if entry.description == description)

    def _under(self, x: int) -> Entry | None:
        return next((entry for cells, entry in self._places if x in cells), None)

    def on_mouse_move(self, event: MouseMove) -> None:
        entry = self._under(event.x)
        self.tooltip = (entry.tooltip or None) if entry else None

    def on_mouse_down(self, event: MouseDown) -> None:
        entry = self._under(event.x)
        if entry is None:
            return
        if entry.enabled:
            self.app.simulate_key(entry.key)
        else:
            self.app.bell()


def _fitting(entries: Sequence[Entry], width: int) -> Iterable[Entry]:
    """Those that there is room for, in their order."""
    room = width + 1  # behind the last one no cell is needed
    fits = set()
    for entry in sorted(entries, key=lambda entry: not entry.stays):
        if entry.cells + 1 <= room:
            room -= entry.cells + 1
            fits.add(entry.key)
    return [entry for entry in entries if entry.key in fits]
