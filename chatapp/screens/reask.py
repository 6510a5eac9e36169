"""A pair that was judged days ago, to judge again. It says neither what was said then nor whose answers they are."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Static

from chatapp.widgets.prose import Prose

if TYPE_CHECKING:
    from storage.reasking import Pair

EARLIER = 2  #: messages before the question that are shown


class Reask(ModalScreen[int | None]):
    """1: the first is better, -1: the second, 0: neither; None: not now."""

    DEFAULT_CSS = """
    Reask {
        align: center middle;
        & > Vertical {
            width: 120; max-width: 96%; height: auto; max-height: 94%; padding: 0 2;
            border: round $accent; background: $surface; border-title-color: $text-accent;
        }
        & VerticalScroll { height: auto; margin: 1 0 0 0; }
        & .earlier { color: $text-muted; margin: 0 0 1 0; }
        & .question { text-style: bold; margin: 0 0 1 0; }
        & Horizontal { height: auto; }
        & .answer {
            padding: 0 1; border: round $foreground 25%; border-title-color: $foreground; border-title-style: bold;
        }
        &.-narrow Horizontal { layout: vertical; }
        & .hint { height: auto; color: $text-muted; margin: 1 0 0 0; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1,a", "say(1)", "A", id="reask.first", tooltip="A is better"),
        Binding("2,b", "say(-1)", "B", id="reask.second", tooltip="B is better"),
        Binding("equals_sign", "say(0)", "Tie", key_display="=", id="reask.tie", tooltip="Neither is better"),
        Binding("escape,q", "later", "Not now", key_display="Esc", id="reask.later", tooltip="It can wait"),
    ]
    GUARD: ClassVar[float] = 0.5  #: seconds in which judging keys are ignored

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair

    def compose(self) -> ComposeResult:
        *before, question = self.pair.conversation
        earlier = [message for message in before if message["role"] != "system"][-EARLIER:]
        with Vertical() as panel:
            panel.border_title = "Which answer is better?"
            with VerticalScroll():
                for message in earlier:
                    yield Prose(message["content"], markdown=message["role"] != "user", classes="earlier")
                yield Prose(question["content"], markdown=False, classes="question")
                with Horizontal():
                    for name, text in zip("AB", self.pair.texts, strict=True):
                        answer = Prose(text, classes="answer")
                        answer.border_title = name
                        yield answer
            keys = "1 or a: A · 2 or b: B · =: neither · Esc: not now · ↑↓ scroll"
            yield Static(Content(keys), classes="hint")

    def on_mount(self) -> None:
        self._ready_at = monotonic() + self.GUARD
        self.query_one(VerticalScroll).focus()

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < 90, "-narrow")
        # as high as the texts are, and no higher than the screen leaves room for
        self.query_one(VerticalScroll).styles.max_height = max(3, event.size.height * 94 // 100 - 5)

    def action_say(self, better: int) -> None:
        if monotonic() >= self._ready_at:
            self.dismiss(better)

    def action_later(self) -> None:
        self.dismiss(None)
