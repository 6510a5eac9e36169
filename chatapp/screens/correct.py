"""The editor in which an answer is put right, and beside or below it what was changed."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from chatapp.diffing import around, counted, shown, word_diff
from chatapp.screens.dialogs import Confirm
from chatapp.screens.jobs import begin
from chatapp.widgets.fields import SafeTextArea, typed
from chatapp.widgets.panel import Hint

BESIDE = 110  #: cells of the terminal from which on the changes stand beside the editor
LOW = 16  #: lines below which there is no room for them


class Correct(ModalScreen[str | None]):
    """The better text, or None when nothing was saved."""

    DEFAULT_CSS = """
    Correct {
        align: center middle;
        & > Vertical {
            width: 90%; max-width: 110; height: 85%; padding: 0 1;
            border: round $accent; background: $surface; border-title-color: $text-accent;
        }
        & #correct-both { height: 1fr; layout: vertical; }
        & TextArea, & TextArea:focus { height: 3fr; width: 1fr; border: none; padding: 0; background: $surface; }
        & #correct-changes {
            height: 2fr; width: 1fr; scrollbar-size-vertical: 1; border-top: solid $foreground 25%;
        }
        & Static { height: auto; }
        & #correct-diff.-none { color: $text-muted; }
        &.-beside > Vertical { max-width: 160; }
        &.-beside #correct-both { layout: horizontal; }
        &.-beside TextArea, &.-beside #correct-changes { height: 1fr; }
        &.-beside #correct-changes { border-top: none; border-left: solid $foreground 25%; padding: 0 0 0 1; }
        &.-low > Vertical { height: 100%; }
        &.-low #correct-changes { display: none; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", id="correct.save", tooltip="Save the correction"),
        Binding("ctrl+g", "editor", "Editor", id="correct.editor", tooltip="Write in your own editor"),
        Binding("escape", "cancel", "Cancel", id="correct.cancel", tooltip="Leave the answer as it is"),
    ]
    PAUSE: ClassVar[float] = 0.15  #: seconds without a key before the changes are looked for

    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self.answer_name = name
        self.before = typed(text)  # as the editor shows it

    def compose(self) -> ComposeResult:
        with Vertical() as panel:
            panel.border_title = Content(f"{self.answer_name}: write what it should have said")
            with Container(id="correct-both"):
                yield SafeTextArea(self.before, highlight_cursor_line=False)
                with VerticalScroll(id="correct-changes", can_focus=False):
                    yield Static(Content("Nothing was changed yet."), id="correct-diff", classes="-none")
            yield Hint(
                ("Ctrl+S saves", "save"), ("Ctrl+G editor", "editor"), ("Esc cancels", "cancel"), id="correct-hint"
            )

    def on_mount(self) -> None:
        editor = self.query_one(SafeTextArea)
        editor.focus()
        editor.action_to_end()

    def on_resize(self, event: Resize) -> None:
        width, height = self.app.size
        self.set_class(width >= BESIDE, "-beside")
        self.set_class(height < LOW, "-low")

    # -- what was changed ------------------------------------------------------------------------------------------

    @on(TextArea.Changed)
    def changed(self) -> None:
        begin(self, "diff", self._compare, exclusive=True)

    async def _compare(self) -> None:
        await asyncio.sleep(self.PAUSE)
        if not self.query(TextArea):
            return  # closed meanwhile
        text = self.query_one(TextArea).text
        # in a thread: two long texts with little in common take a while
        pieces = await asyncio.to_thread(word_diff, self.before, text)
        for diff in self.query("#correct-diff").results(Static):
            same = text == self.before
            diff.set_class(same, "-none")
            diff.update(Content("Nothing was changed yet.") if same else shown(around(pieces)))
            self._hint("" if same else counted(pieces))

    def _hint(self, said: str, error: bool = False) -> None:
        for hint in self.query(Hint):
            hint.say(said, error)

    # -- keys ------------------------------------------------------------------------------------------------------

    def action_save(self) -> None:
        # behind the keys that still wait in the editor's queue: what was typed before Ctrl+S is saved too
        self.query_one(TextArea).call_later(self._save)

    def _save(self) -> None:
        text = self.query_one(TextArea).text
        if not text.strip():
            self._hint("A correction needs some text", error=True)
        elif text == self.before:
            self._hint("Nothing was changed yet", error=True)
        else:
            self.dismiss(text)

    def action_editor(self) -> None:
        self.query_one(TextArea).call_later(self._edit)

    def _edit(self) -> None:
        from chatapp.editing import edited

        editor = self.query_one(SafeTextArea)
        text, said = edited(self.app, editor.text)
        if text is not None:
            editor.put_instead(text)
        else:
            self._hint(said, error=True)

    def action_cancel(self) -> None:
        if self.query_one(TextArea).text == self.before:
            self.dismiss(None)
            return
        self.app.push_screen(Confirm("Throw your changes away?"), self._thrown_away)

    def _thrown_away(self, answer: str | None) -> None:
        if answer == "yes":
            self.dismiss(None)
