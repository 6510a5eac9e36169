"""What a turn teaches: every judgment of it, the examples it gives, and which judgment overrides which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from chatapp.clean import one_line
from chatapp.screens.dialogs import Dialog
from chatapp.teaching import Explained
from chatapp.widgets.panel import Hint, Panel


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
            with VerticalScroll():
                if self.private:
                    yield Static(Content("Nothing: this thread is private, so no lesson ever sees it."))
                elif not self.explained:
                    yield Static(Content("Nothing yet: pick, rank, rate or correct an answer."))
                for one in self.explained:
                    yield Static(Content(one_line(one.said, 200)), classes="said")
                    for line in one.teaches:
                        yield Static(Content(f"  {one_line(line, 200)}"))
                    for line in one.overridden:
                        yield Static(Content(f"  {one_line(line, 200)}"), classes="overridden")
                    if not one.teaches and not one.overridden and not self.private:
                        yield Static(Content("  nothing to learn from"), classes="overridden")
            yield Hint(("Esc closes", "cancel"), "`hone judgments show` says the same")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
