"""The editor in which an answer is put right."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from chatapp.clean import obeyed
from chatapp.screens.dialogs import Confirm
from chatapp.widgets.fields import SafeTextArea


class Correct(ModalScreen[str | None]):
    """The better text, or None when nothing was saved."""

    DEFAULT_CSS = """
    Correct {
        align: center middle;
        & > Vertical {
            width: 90%; max-width: 110; height: 85%; padding: 0 1;
            border: round $accent; background: $surface; border-title-color: $text-accent;
        }
        & TextArea, & TextArea:focus { height: 1fr; border: none; padding: 0; background: $surface; }
        & Static { height: auto; color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", id="correct.save", tooltip="Save the correction"),
        Binding("escape", "cancel", "Cancel", id="correct.cancel", tooltip="Leave the answer as it is"),
    ]

    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self.answer_name = name
        self.before = obeyed(text)  # as the editor shows it

    def compose(self) -> ComposeResult:
        with Vertical() as panel:
            panel.border_title = Content(f"{self.answer_name}: write what it should have said")
            yield SafeTextArea(self.before, highlight_cursor_line=False)
            yield Static(Content("Ctrl+S saves · Esc cancels"), id="correct-hint")

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()

    def action_save(self) -> None:
        # behind the keys that still wait in the editor's queue: what was typed before Ctrl+S is saved too
        self.query_one(TextArea).call_later(self._save)

    def _save(self) -> None:
        text = self.query_one(TextArea).text
        hint = self.query_one("#correct-hint", Static)
        if not text.strip():
            hint.update(Content("! A correction needs some text. Ctrl+S saves · Esc cancels"))
        elif text == self.before:
            hint.update(Content("! Nothing was changed yet. Ctrl+S saves · Esc cancels"))
        else:
            self.dismiss(text)

    def action_cancel(self) -> None:
        if self.query_one(TextArea).text == self.before:
            self.dismiss(None)
            return
        self.app.push_screen(Confirm("Throw your changes away?"), self._thrown_away)

    def _thrown_away(self, answer: str | None) -> None:
        if answer == "yes":
            self.dismiss(None)
