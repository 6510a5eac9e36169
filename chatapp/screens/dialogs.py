"""Small questions over the chat: one line of text, yes or no, one of a list.

Each docstring says what the dialog gives back; None means that it was cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from chatapp.clean import one_line
from chatapp.widgets.fields import SafeInput

CANCEL = Binding("escape", "cancel", "Cancel", id="dialog.cancel", tooltip="Leave everything as it is")


class Dialog(ModalScreen[str | None]):
    """A panel in the middle. Results: the answer, or None when it was cancelled."""

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        & > Vertical {
            width: 64; max-width: 94%; height: auto; max-height: 90%;
            padding: 1 2; border: round $accent; background: $surface;
        }
        & Static { height: auto; width: 1fr; }
        & .hint { color: $text-muted; margin: 1 0 0 0; }
        & Input, & Input:focus { margin: 1 0 0 0; border: none; height: 1; padding: 0 1; background: $boost; }
        & OptionList, & OptionList:focus { height: auto; max-height: 12; margin: 1 0 0 0; border: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [CANCEL]

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question

    def action_cancel(self) -> None:
        self.dismiss(None)


class AskText(Dialog):
    """One line of text. With `emptied`, the value that was there may be emptied; it says what that does."""

    def __init__(self, question: str, value: str, emptied: str = "") -> None:
        super().__init__(question)
        self.value = value
        self.emptied = emptied if value else ""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(self.question))
            yield SafeInput(self.value)
            hint = "Enter saves · Esc cancels"
            yield Static(Content(f"{hint} · {self.emptied}" if self.emptied else hint), classes="hint")

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip() or self.emptied:
            self.dismiss(event.value.strip())


class Confirm(Dialog):
    """ "yes", or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "Yes", id="dialog.yes", tooltip="Do it"),
        Binding("n", "cancel", "No", id="dialog.no", tooltip="Leave everything as it is"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(self.question))
            yield Static(Content("y does it · n or Esc leaves everything as it is"), classes="hint")

    def action_yes(self) -> None:
        self.dismiss("yes")


class Choose(Dialog):
    """The id of one of the choices."""

    def __init__(self, question: str, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__(question)
        self.choices = choices

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(self.question))
            yield OptionList(*(Option(Content(one_line(text, 56)), id=id) for id, text in self.choices))
            yield Static(Content("Enter chooses · Esc cancels"), classes="hint")

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = 0

    @on(OptionList.OptionSelected)
    def chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option.id)
