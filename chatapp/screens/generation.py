"""How answers are drawn, changed while the chat runs: a small panel. It holds until the chat ends."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from chatapp.config import Settings
from chatapp.generation import FIELDS, Wrong, changed, shown
from chatapp.screens.dialogs import BY_HEIGHT
from chatapp.widgets.fields import SafeInput
from chatapp.widgets.panel import Hint, Panel

#: below so many columns there is no room for what a setting means
BY_WIDTH = [(0, "-narrow"), (50, "-roomy")]


class Generation(ModalScreen[Settings | None]):
    """The changed settings, or None when nothing was changed."""

    DEFAULT_CSS = """
    Generation {
        align: center middle;
        & > Panel {
            width: 78; max-width: 96%; height: auto; max-height: 96%; padding: 0 2;
            border: round $accent; background: $surface; border-title-color: $text-accent;
        }
        & VerticalScroll { height: auto; scrollbar-size-vertical: 1; }
        & Horizontal { height: 1; width: 1fr; }
        & .name { width: 16; }
        & .about { width: 1fr; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
        & Input, & Input:focus {
            width: 12; border: none; height: 1; padding: 0 1; background: $boost; margin: 0 1 0 0;
        }
        & Input:focus { background: $accent 25%; }
        & Input:focus:ansi { background: ansi_default; text-style: underline; }
        & Hint { margin: 1 0 0 0; }
        & Hint.-error { color: $text-error; }
        &.-low > Panel { max-height: 100%; padding: 0 1; }
        &.-low Hint { margin: 0; }
        &.-narrow .about { display: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", id="generation.cancel", tooltip="Leave everything as it is"),
        Binding("down", "app.focus_next", "Next", show=False, id="generation.next", tooltip="The next field"),
        Binding("up", "app.focus_previous", "Back", show=False, id="generation.back", tooltip="The field before"),
    ]

    VERTICAL_BREAKPOINTS = BY_HEIGHT
    HORIZONTAL_BREAKPOINTS = BY_WIDTH

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    def compose(self) -> ComposeResult:
        with Panel() as panel:
            panel.border_title = "How answers are drawn"
            with VerticalScroll(can_focus=False):
                for field, name, about in FIELDS:
                    with Horizontal():
                        yield Static(Content(name), classes="name")
                        yield SafeInput(shown(self.settings, field), id=f"generation-{field}")
                        yield Static(Content(about), classes="about")
            keys = (("Enter takes them until the chat ends", "take"), "`hone config init` for good")
            yield Hint(*keys, ("Esc leaves them", "cancel"))

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_take()

    @on(Input.Changed)
    def typed(self) -> None:
        """What was said to be wrong is looked at again with each key, until nothing is."""
        if self.query_one(Hint).has_class("-error"):
            try:
                self._typed()
            except Wrong as error:
                self.query_one(Hint).say(error.by_name, error=True)
            else:
                self.query_one(Hint).say("")

    def _typed(self) -> Settings:
        typed = {field: self.query_one(f"#generation-{field}", Input).value for field, _, _ in FIELDS}
        return changed(self.settings, typed)

    def action_take(self) -> None:
        try:
            new = self._typed()
        except Wrong as error:
            self.query_one(Hint).say(error.by_name, error=True)
            self.query_one(f"#generation-{error.field}", Input).focus()
            return
        self.dismiss(None if new == self.settings else new)

    def action_cancel(self) -> None:
        self.dismiss(None)
