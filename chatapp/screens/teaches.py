"""What a turn teaches: every judgment of it, the examples it gives, and which judgment overrides which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from chatapp.clean import one_line
from chatapp.screens.dialogs import Dialog
from chatapp.teaching import Explained, told
from chatapp.widgets.panel import Hint, Panel
from chatapp.widgets.scroller import Scroller


class Teaches(Dialog):
    """Nothing is given back: it is for reading."""

    DEFAULT_CSS = """
    Teaches {
        & > Panel { width: 84; }
        & VerticalScroll { height: auto; max-height: 22; margin: 1 0 0 0; }
        & .said { text-style: bold; }
        & .overridden { color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w,enter,q", "cancel", "Close", id="dialog.close", tooltip="Back to the answers")
    ]

    def __init__(self, explained: Sequence[Explained], private: bool) -> None:
        super().__init__("What this turn teaches")
        self.explained = explained
        self.private = private

    def compose(self) -> ComposeResult:
        with Panel():
            yield Static(Content(self.question))
            with Scroller():
                for kind, line in told(self.explained, self.private):
                    # one_line takes the blanks off that set it in
                    start = line[: len(line) - len(line.lstrip())]
                    style = {"said": "said", "lost": "overridden"}.get(kind)
                    yield Static(Content(start + one_line(line, 200)), classes=style)
            yield Hint(("Esc closes", "cancel"), "`hone judgments show` says the same")

    def on_mount(self) -> None:
        self.query_one(Scroller).focus()
