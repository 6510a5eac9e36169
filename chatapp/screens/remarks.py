"""Which rule an answer breaks or keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Key
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from chatapp.clean import one_line
from chatapp.screens.dialogs import Dialog
from chatapp.widgets.panel import Hint, Panel


class Flag(Dialog):
    """ "broken:ID" or "kept:ID" of the rule. A number goes to the rule that has it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b,enter", "flag('broken')", "Broken", priority=True, id="dialog.broken", tooltip="It breaks the rule"),
        Binding("k", "flag('kept')", "Kept", id="dialog.kept", tooltip="It keeps the rule"),
    ]

    def __init__(self, question: str, rules: Sequence[tuple[str, int, str, bool | None]]) -> None:
        """rules: id, number, name, and what was said of it before (True: broken, None: nothing)."""
        super().__init__(question)
        self.rules = rules
        self._typed = ""

    def compose(self) -> ComposeResult:
        before = {True: " (broken)", False: " (kept)", None: ""}
        with Panel():
            yield Static(Content(self.question))
            yield OptionList(
                *(
                    Option(Content(f"{number:>2}  {one_line(name, 40)}{before[said]}"), id=id)
                    for id, number, name, said in self.rules
                )
            )
            yield Hint(
                "↑↓ or its number",
                ("b broken", "flag('broken')"),
                ("k kept", "flag('kept')"),
                ("Esc cancels", "cancel"),
            )

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = 0
        options.focus()

    def on_key(self, event: Key) -> None:
        """Digits typed one after the other are one number, as far as there is such a rule."""
        if event.character is None or not event.character.isdecimal():
            return
        event.stop()
        numbers = [str(number) for _, number, _, _ in self.rules]
        for typed in (self._typed + event.character, event.character):
            if typed in numbers:
                self.query_one(OptionList).highlighted = numbers.index(typed)
            if any(number.startswith(typed) for number in numbers):
                self._typed = typed
                return
        self._typed = ""

    @on(OptionList.OptionSelected)
    def clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()  # a click chooses the rule; what is said of it is said by a key

    def action_flag(self, how: str) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None:
            self.dismiss(f"{how}:{self.rules[at][0]}")
