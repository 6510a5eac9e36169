"""Where text is typed: Textual's own fields, but for what a terminal would obey.

They draw control characters as they are, and such may come in with a paste, with the answer that is put right or with
an earlier question. Here they become visible stand-ins before they are drawn.
"""

from __future__ import annotations

from typing import Any

from textual.document._edit import Edit
from textual.widgets import Input, TextArea
from textual.widgets.text_area import EditResult

from chatapp.clean import obeyed


class SafeInput(Input):
    """One line."""

    def validate_value(self, value: str) -> str:
        return obeyed(value)


class SafeTextArea(TextArea):
    """Several lines."""

    def __init__(self, text: str = "", **kwargs: Any) -> None:
        super().__init__(obeyed(text), **kwargs)

    def load_text(self, text: str) -> None:
        super().load_text(obeyed(text))

    def edit(self, edit: Edit) -> EditResult:
        edit.text = obeyed(edit.text)
        return super().edit(edit)
