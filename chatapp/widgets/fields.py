"""Where text is typed: Textual's own fields, but for what a terminal would obey.

They draw control characters as they are, and such may come in with a paste, with the answer that is put right or with
an earlier question. Here they become visible stand-ins before they are drawn.
"""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.document._edit import Edit
from textual.widgets import Input, TextArea
from textual.widgets.text_area import EditResult

from chatapp.clean import newlines, obeyed


def typed(text: str) -> str:
    """text as a field of several lines holds it."""
    return obeyed(newlines(text))


class SafeInput(Input):
    """One line."""

    def validate_value(self, value: str) -> str:
        return obeyed(value)


class SafeTextArea(TextArea):
    """Several lines, with keys to their beginning and end, which Textual's has none for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+home", "to_start", "To the start", show=False, id="field.start", tooltip="Go to the first line"),
        Binding("ctrl+end", "to_end", "To the end", show=False, id="field.end", tooltip="Go behind the last line"),
        # Textual's own, named here so that the help has it
        Binding(
            "f7",
            "select_all",
            "Select all",
            show=False,
            id="field.all",
            tooltip="Backspace then clears all that was written; Ctrl+Z brings it back",
        ),
    ]

    def __init__(self, text: str = "", **kwargs: Any) -> None:
        super().__init__(typed(text), **kwargs)

    def load_text(self, text: str) -> None:
        super().load_text(typed(text))

    def edit(self, edit: Edit) -> EditResult:
        edit.text = typed(edit.text)
        return super().edit(edit)

    def action_to_start(self) -> None:
        self.move_cursor((0, 0))

    def action_to_end(self) -> None:
        self.move_cursor(self.document.end)

    def put_instead(self, text: str) -> None:
        """Replace the text, so that Ctrl+Z brings the old one back, and stand at its end."""
        self.replace(text, (0, 0), self.document.end)
        self.action_to_end()
