"""One alternative: its letter, what was said about it, its text."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click, MouseDown, MouseMove, MouseUp
from textual.geometry import Offset
from textual.message import Message
from textual.widget import Widget

from chatapp.turn import label
from chatapp.widgets.prose import Prose

#: lines of its text that a folded card shows, and in a low terminal; the styles below have one more, for the frame
FOLDED, FOLDED_SHORT = 3, 2
TWICE = 0.6  #: seconds between two clicks that are one choice; Textual counts them up to half a second

WAITING = "…"


class AnswerCard(Vertical):
    """A card in a row of columns, or (class -stacked) a section of a list whose unfocused ones are folded."""

    DEFAULT_CSS = """
    AnswerCard {
        height: auto;
        width: 1fr;
        max-width: 120;
        min-height: 3;
        padding: 0 1;
        border: round $foreground 25%;
        border-title-color: $foreground;
        border-title-style: bold;
        border-subtitle-color: $text-muted;
        &.-focused { border: heavy $accent; border-title-color: $text-accent; }
        &.-target { border: double $accent; }
        &.-chosen { background: $success 8%; }
        &.-chosen:ansi { background: ansi_default; }
        &.-stacked {
            min-height: 2;
            border: none;
            border-top: solid $foreground 25%;
            &.-focused { border-top: heavy $accent; }
            &.-target { border-top: double $accent; }
            &.-folded { max-height: 4; overflow: hidden; }
            &.-folded.-short { max-height: 3; }
        }
        &.-waiting Prose { color: $text-muted; }
    }
    """

    @dataclass
    class Chosen(Message):
        """The card was clicked; twice: that is a choice."""

        index: int
        twice: bool

    @dataclass
    class Dropped(Message):
        """The card was drawn by its frame and let go at a place of the screen."""

        index: int
        at: Offset

    def __init__(self, index: int) -> None:
        super().__init__(classes="-waiting")
        self.index = index
        self.prose = Prose(WAITING)
        self._streamed = ""
        self._grabbed = False
        self._clicked = 0.0  # when
        self._shown: str | None = None
        self.set_title([])

    def compose(self) -> ComposeResult:
        yield self.prose

    def append(self, text: str) -> None:
        """More of the answer came."""
        self.remove_class("-waiting")
        self._streamed += text
        self.prose.grow(self._streamed)

    def finish(self, text: str) -> None:
        """The answer as it will stay."""
        if text == self._shown:
            return
        self._shown = text
        self.set_class(not text, "-waiting")
        self.prose.show(text or "(no text)")

    def set_title(self, marks: list[str], note: str = "") -> None:
        """marks stand behind the letter ("picked", "2nd", "+"), note below the text."""
        pointer = "▸ " if self.has_class("-focused") else ""
        self.border_title = Content(" · ".join([pointer + label(self.index), *marks]))
        self.border_subtitle = Content(note)

    @property
    def hidden_lines(self) -> int:
        """How many lines a folded card does not show."""
        return max(0, self.prose.outer_size.height - self.size.height)

    @property
    def allow_select(self) -> bool:
        """Its text can be marked with the mouse; its frame is what one drags."""
        return not self._grabbed

    def on_mouse_down(self, event: MouseDown) -> None:
        if event.screen_y == self.region.y:  # the frame's upper line, where the letter stands
            self._grabbed = True
            self.capture_mouse()  # wherever it is let go, that is heard here

    def on_mouse_move(self, event: MouseMove) -> None:
        if self._grabbed:
            self._mark_target(event.screen_offset)

    def _mark_target(self, at: Offset | None) -> None:
        """Show whose place it would take where it is let go now; None: it was."""
        for card in self.parent.query(AnswerCard) if isinstance(self.parent, Widget) else ():
            card.set_class(at is not None and card is not self and card.region.contains_point(at), "-target")

    def on_mouse_up(self, event: MouseUp) -> None:
        if self._grabbed:
            self._grabbed = False
            self._mark_target(None)
            self.release_mouse()
            self.post_message(self.Dropped(self.index, event.screen_offset))

    def on_click(self, event: Click) -> None:
        event.stop()
        # Textual counts clicks by place and time: the first may have gone to a dialog that it closed
        twice = event.chain == 2 and monotonic() - self._clicked < TWICE
        self._clicked = 0.0 if twice else monotonic()
        self.post_message(self.Chosen(self.index, twice))
