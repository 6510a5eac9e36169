"""Small questions over the chat: one line of text, yes or no, one of a list.

Each docstring says what the dialog gives back; None means that it was cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from chatapp.clean import one_line
from chatapp.widgets.fields import SafeInput
from chatapp.widgets.panel import Hint, Panel

#: below so many lines a dialog leaves out what is blank
BY_HEIGHT = [(0, "-low"), (18, "-high")]
CANCEL = Binding("escape", "cancel", "Cancel", id="dialog.cancel", tooltip="Leave everything as it is")


class Dialog(ModalScreen[str | None]):
    """A panel in the middle. Results: the answer, or None when it was cancelled."""

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        & > Panel {
            width: 64; max-width: 94%; height: auto; max-height: 90%;
            padding: 1 2; border: round $accent; background: $surface;
        }
        & Static { height: auto; width: 1fr; }
        & Hint { margin: 1 0 0 0; }
        & VerticalScroll { scrollbar-size-vertical: 1; }
        & Input, & Input:focus { margin: 1 0 0 0; border: none; height: 1; padding: 0 1; background: $boost; }
        & OptionList, & OptionList:focus { height: auto; max-height: 12; margin: 1 0 0 0; border: none; }
        & OptionList { scrollbar-size-vertical: 1; }
        &.-low > Panel { max-height: 100%; padding: 0 1; }
        &.-low Hint, &.-low Input, &.-low Input:focus, &.-low OptionList, &.-low OptionList:focus { margin: 0; }
        &.-low VerticalScroll { margin: 0; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [CANCEL]
    VERTICAL_BREAKPOINTS = BY_HEIGHT

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
        with Panel():
            yield Static(Content(self.question))
            yield SafeInput(self.value)
            keys = (("Enter saves", "save"), ("Esc cancels", "cancel"))
            yield Hint(*keys, self.emptied) if self.emptied else Hint(*keys)

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_save()

    def action_save(self) -> None:
        text = self.query_one(Input).value.strip()
        if text or self.emptied:
            self.dismiss(text)


class Confirm(Dialog):
    """ "yes", or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "Yes", id="dialog.yes", tooltip="Do it"),
        Binding("n", "cancel", "No", id="dialog.no", tooltip="Leave everything as it is"),
    ]

    def compose(self) -> ComposeResult:
        with Panel():
            yield Static(Content(self.question))
            yield Hint(("y does it", "yes"), ("n or Esc leaves everything as it is", "cancel"))

    def action_yes(self) -> None:
        self.dismiss("yes")


class Choose(Dialog):
    """The id of one of the choices."""

    def __init__(self, question: str, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__(question)
        self.choices = choices

    def compose(self) -> ComposeResult:
        with Panel():
            yield Static(Content(self.question))
            yield OptionList(*(Option(Content(one_line(text, 56)), id=id) for id, text in self.choices))
            yield Hint("Enter chooses", ("Esc cancels", "cancel"))

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = 0

    @on(OptionList.OptionSelected)
    def chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option.id)
