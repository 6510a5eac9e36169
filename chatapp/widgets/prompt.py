"""Where the next question is written. Enter sends; Shift+Enter and Ctrl+J begin a new line; it grows with its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.events import Key
from textual.message import Message

from chatapp.slash import completed
from chatapp.widgets.fields import SafeTextArea

NEW_LINE = ("ctrl+j", "shift+enter", "alt+enter")
HINT = "Ask something.  Enter sends, Ctrl+J begins a new line."
SHORT_HINT = "Ask something.  Enter sends."


class Prompt(SafeTextArea):
    """A text area that sends."""

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        min-height: 3;
        max-height: 12;
        padding: 0 1;
        background: $background;
        border: round $foreground 25%;
        border-title-color: $text-accent;
        &:focus { border: round $accent; }
        & .text-area--cursor-line { background: transparent; }
        & .text-area--placeholder { color: $text-muted; }
        &.-short { border: none; min-height: 1; max-height: 4; background: $surface; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", id="prompt.send", tooltip="Send the question"),
        Binding(
            "ctrl+j,shift+enter,alt+enter",
            "new_line",
            "New line",
            key_display="^j",
            id="prompt.new_line",
            tooltip="Begin a new line",
        ),
        Binding(
            "ctrl+g",
            "editor",
            "Editor",
            show=False,
            id="prompt.editor",
            tooltip="Write in your own editor ($VISUAL, $EDITOR)",
        ),
        Binding(
            "tab",
            "complete",
            "Complete",
            show=False,
            id="prompt.complete",
            tooltip="Write a command that is begun (/sett) to its end; else go to the next part of the screen",
        ),
        Binding("escape", "leave", "Stop, back", id="prompt.leave", tooltip="Stop the answers, or go back to them"),
    ]

    @dataclass
    class Sent(Message):
        """Enter was pressed on a text that is more than blank; the prompt is empty now."""

        text: str

    @dataclass
    class Left(Message):
        """Esc was pressed."""

    @dataclass
    class Recall(Message):
        """Up or Down was pressed where nothing was typed: an older (-1) or a newer (+1) question is wanted."""

        step: int

    @dataclass
    class Elsewhere(Message):
        """The text is to be written in the user's own editor."""

    @dataclass
    class Scrolled(Message):
        """Page up or down in a prompt too short to need it: the chat is meant."""

        pages: int

    def __init__(self, **kwargs: Any) -> None:
        self.way_out = False  #: whether there are answers, or something to stop
        self.returned: str | None = None  #: what was given back, until it is changed
        self._recalled = ""  # the question that was called back, as long as nobody changed it
        super().__init__(placeholder=HINT, highlight_cursor_line=False, **kwargs)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "complete":
            return completed(self.text) is not None
        return self.way_out if action == "leave" else True

    async def _on_key(self, event: Key) -> None:
        # not by priority bindings: those overtake the letters that wait in this widget's queue
        completes = event.key == "tab" and completed(self.text) is not None
        if event.key in NEW_LINE or event.key == "enter" or completes:
            event.stop()
            event.prevent_default()
            if completes:
                self.action_complete()
            elif event.key == "enter":
                self.action_send()
            else:
                self.action_new_line()
            return
        await super()._on_key(event)

    def action_send(self) -> None:
        """Hand the text over; what is typed from here on belongs to the next question."""
        text = self.text
        if text.strip():
            self.put("")
            self.post_message(self.Sent(text))

    def action_new_line(self) -> None:
        start, end = self.selection
        self._replace_via_keyboard("\n", start, end)

    def action_complete(self) -> None:
        text = completed(self.text)
        self.returned = None
        if text is not None and text != self.text:
            self.put_instead(text)
        else:
            self.post_message(self.Changed(self))  # the choices are said again

    def action_editor(self) -> None:
        self.post_message(self.Elsewhere())

    def action_leave(self) -> None:
        self.post_message(self.Left())

    def action_cursor_up(self, select: bool = False) -> None:
        if (not self.text or self.text == self._recalled) and not select and self.cursor_at_first_line:
            self.post_message(self.Recall(-1))
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if self.text and self.text == self._recalled and not select and self.cursor_at_last_line:
            self.post_message(self.Recall(1))
        else:
            super().action_cursor_down(select)

    def action_cursor_page_up(self) -> None:
        self._page(-1)

    def action_cursor_page_down(self) -> None:
        self._page(1)

    def _page(self, pages: int) -> None:
        if self.wrapped_document.height <= self.size.height:
            self.post_message(self.Scrolled(pages))
        elif pages < 0:
            super().action_cursor_page_up()
        else:
            super().action_cursor_page_down()

    def give_back(self, text: str) -> None:
        """What was sent could not be asked: it stands before what was typed since."""
        self.put(f"{text}\n{self.text}" if self.text else text)
        self.returned = self.text

    def recall(self, text: str) -> None:
        """Show a question that was called back; Up and Down go on from it."""
        self.put(text)
        self._recalled = self.text

    def put(self, text: str) -> None:
        """Replace the text and stand at its end."""
        self._recalled = ""
        self.load_text(text)
        self.move_cursor(self.document.end)
