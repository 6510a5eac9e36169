"""Two of the answers compared word by word."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from chatapp.clean import one_line
from chatapp.diffing import counted, shown, word_diff
from chatapp.screens.jobs import begin
from chatapp.widgets.panel import Hint, Panel


class Diff(ModalScreen[None]):
    """What has to change in one text to make another of it."""

    DEFAULT_CSS = """
    Diff {
        align: center middle;
        & > Panel {
            width: 90%; max-width: 110; height: auto; max-height: 92%; padding: 0 1;
            border: round $accent; background: $surface; border-title-color: $text-accent;
        }
        & VerticalScroll { height: auto; scrollbar-size-vertical: 1; }
        & Static { height: auto; width: 1fr; }
        & #diff-said { color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,d,q", "close", "Close", key_display="Esc", id="diff.close", tooltip="Back to the answers"),
        Binding("left", "other(-1)", "Previous", id="diff.previous", tooltip="Compare with the answer before"),
        Binding("right", "other(1)", "Next", id="diff.next", tooltip="Compare with the next answer"),
        Binding("s", "swap", "Swap", id="diff.swap", tooltip="Compare the other way round"),
        Binding("up", "scroll(-1)", "Up", show=False, id="diff.up", tooltip="Scroll up"),
        Binding("down", "scroll(1)", "Down", show=False, id="diff.down", tooltip="Scroll down"),
    ]

    def __init__(self, texts: Sequence[tuple[str, str]], first: int, second: int) -> None:
        """texts: label and text of each."""
        super().__init__()
        self.texts = texts
        self.first = first
        self.second = second

    def compose(self) -> ComposeResult:
        with Panel():
            with VerticalScroll(can_focus=False):
                yield Static(id="diff-text", markup=False)
            yield Static(id="diff-said", markup=False)
            keys = (("s swaps", "swap"), "↑↓ scroll", ("Esc closes", "close"))
            yield Hint(("←→ another answer", "other(1)"), *keys) if len(self.texts) > 2 else Hint(*keys)

    def on_mount(self) -> None:
        self._show()

    def _show(self) -> None:
        begin(self, "diff", self._compare, exclusive=True)

    async def _compare(self) -> None:
        (name, before), (other, after) = self.texts[self.first], self.texts[self.second]
        # in a thread: two long texts with little in common take a while
        pieces = await asyncio.to_thread(word_diff, before, after)
        if not self.query("#diff-text"):
            return  # closed meanwhile
        name, other = one_line(name, 30), one_line(other, 30)
        self.query_one(Panel).border_title = Content(f"From {name} to {other}")
        same = f"{name} and {other} say the same."
        marks = f"[-only in {name}-] {{+only in {other}+}} · {counted(pieces)}"
        self.query_one("#diff-said", Static).update(Content(same if before == after else marks))
        self.query_one("#diff-text", Static).update(shown(pieces))
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def action_other(self, step: int) -> None:
        second = (self.second + step) % len(self.texts)
        if second == self.first:
            second = (second + step) % len(self.texts)
        if second not in (self.first, self.second):
            self.second = second
            self._show()

    def action_swap(self) -> None:
        self.first, self.second = self.second, self.first
        self._show()

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_close(self) -> None:
        self.dismiss(None)
