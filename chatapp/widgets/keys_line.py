"""The line of keys at the foot of a screen."""

from __future__ import annotations

from textual.events import Resize
from textual.widgets import Footer

ROOMY = 120  #: columns from which on the palette's key stands there too


class KeysLine(Footer):
    """Textual's, but that the palette's key makes room for the others in a narrow terminal."""

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)

    def on_resize(self, event: Resize) -> None:
        roomy = event.size.width >= ROOMY
        if roomy != self.show_command_palette:
            self.show_command_palette = roomy
            self.refresh(recompose=True)
