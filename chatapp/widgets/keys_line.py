"""The line of keys at the foot of a screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

ROOMY = 120  #: columns from which on the palette's key stands apart, with its name
STAYS = ("f1", "ctrl+p")  #: keys that lead to all the others


class KeysLine(Footer):
    """Textual's, but that in a narrow terminal keys are left out whole, and never those that lead to the others."""

    DEFAULT_CSS = "KeysLine FooterKey.-command-palette.-narrow { dock: none; border-left: none; padding: 0; }"

    def __init__(self, palette: bool = False) -> None:
        """palette: its key stands there in a narrow terminal too."""
        super().__init__(compact=True)
        self._palette = palette
        self._fitted = 0

    def compose(self) -> ComposeResult:
        width = self._fitted = self.size.width
        keys = list(super().compose())
        if width < ROOMY:
            keys = _fitting([key for key in keys if self._palette or not key.has_class("-command-palette")], width)
        yield from keys

    def on_resize(self, event: Resize) -> None:
        if event.size.width != self._fitted:
            self.refresh(recompose=True)


def _fitting(keys: Sequence[Widget], width: int) -> list[Widget]:
    """Those that there is room for, in their order."""
    shown = [key for key in keys if isinstance(key, FooterKey)]
    for key in shown:
        if key.has_class("-command-palette"):
            key.description = "All"
            key.add_class("-narrow")
    room = width + 1  # behind the last one no cell is needed
    fits = set()
    for key in sorted(shown, key=lambda key: key.key not in STAYS):
        needs = cell_len(key.key_display) + 1 + cell_len(key.description) + 1
        if needs <= room:
            room -= needs
            fits.add(key)
    return [key for key in shown if key in fits]
