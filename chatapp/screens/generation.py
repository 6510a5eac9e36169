"""How answers are drawn, changed while the chat runs: a small panel. It holds until the chat ends."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from chatapp.config import ConfigError, Settings
from chatapp.generation import FIELDS, changed, shown
from chatapp.widgets.fields import SafeInput


class Generation(ModalScreen[Settings | None]):
    """The changed settings, or None when nothing was changed."""

    DEFAULT_CSS = """
    Generation {
        align: center middle;
        & > Vertical {
            width: 74; max-width: 96%; height: auto; max-height: 96%; padding: 0 2; overflow-y: auto;
            border: round $accent; background: $surface; border-title-color: $text-accent;
        }
        & Horizontal { height: 1; width: 1fr; }
        & .name { width: 16; }
        & .about { width: 1fr; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
        & Input, & Input:focus {
            width: 12; border: none; height: 1; padding: 0 1; background: $boost; margin: 0 1 0 0;
        }
        & Input:focus { background: $accent 25%; }
        & .hint { height: auto; margin: 1 0 0 0; color: $text-muted; }
        & .hint.-error { color: $text-error; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", id="generation.cancel", tooltip="Leave everything as it is"),
        Binding("down", "app.focus_next", "Next", show=False, id="generation.next", tooltip="The next field"),
        Binding("up", "app.focus_previous", "Back", show=False, id="generation.back", tooltip="The field before"),
    ]

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    def compose(self) -> ComposeResult:
        with Vertical() as panel:
            panel.border_title = "How answers are drawn"
            for field, name, about in FIELDS:
                with Horizontal():
                    yield Static(Content(name), classes="name")
                    yield SafeInput(shown(self.settings, field), id=f"generation-{field}")
                    yield Static(Content(about), classes="about")
            yield Static(
                Content("Enter takes them until the chat ends · `hone config init` for good · Esc leaves them"),
                classes="hint",
            )

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            typed = {field: self.query_one(f"#generation-{field}", Input).value for field, _, _ in FIELDS}
            new = changed(self.settings, typed)
        except ConfigError as error:
            hint = self.query_one(".hint", Static)
            hint.add_class("-error")
            hint.update(Content(f"! {error}"))
            return
        self.dismiss(None if new == self.settings else new)

    def action_cancel(self) -> None:
        self.dismiss(None)
