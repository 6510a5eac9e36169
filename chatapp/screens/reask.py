"""A pair that was judged days ago, to judge again. It says neither what was said then nor whose answers they are."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Resize
from textual.screen import ModalScreen

from chatapp.screens.dialogs import BY_HEIGHT
from chatapp.widgets.panel import Hint, Panel
from chatapp.widgets.prose import Prose
from chatapp.widgets.scroller import Scroller

if TYPE_CHECKING:
    from storage.reasking import Pair

EARLIER = 2  #: messages before the question that are shown


class Reask(ModalScreen[int | None]):
    """1: the first is better, -1: the second, 0: neither; None: not now."""

    DEFAULT_CSS = """
    Reask {
        align: center middle;
        & > Panel {
            width: 120; max-width: 96%; height: auto; max-height: 94%; padding: 0 2;
            border: round $accent; background: $surface; border-title-color: $text-accent;
        }
        & VerticalScroll { height: auto; margin: 1 0 0 0; scrollbar-size-vertical: 1; }
        & .earlier { color: $text-muted; margin: 0 0 1 0; }
        & .question { text-style: bold; margin: 0 0 1 0; }
        & Horizontal { height: auto; }
        & .answer {
            padding: 0 1; border: round $foreground 25%; border-title-color: $foreground; border-title-style: bold;
        }
        &.-narrow Horizontal { layout: vertical; }
        & Hint { margin: 1 0 0 0; }
        &.-low > Panel { max-height: 100%; padding: 0 1; }
        &.-low VerticalScroll, &.-low Hint { margin: 0; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1,a", "say(1)", "A", id="reask.first", tooltip="A is better"),
        Binding("2,b", "say(-1)", "B", id="reask.second", tooltip="B is better"),
        Binding("equals_sign", "say(0)", "Tie", key_display="=", id="reask.tie", tooltip="Neither is better"),
        Binding("escape,q", "later", "Not now", key_display="Esc", id="reask.later", tooltip="It can wait"),
    ]
    VERTICAL_BREAKPOINTS = BY_HEIGHT
    GUARD: ClassVar[float] = 0.5  #: seconds in which judging keys are ignored

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair

    def compose(self) -> ComposeResult:
        *before, question = self.pair.conversation
        earlier = [message for message in before if message["role"] != "system"][-EARLIER:]
        with Panel() as panel:
            panel.border_title = "Which answer is better?"
            with Scroller():
                for message in earlier:
                    yield Prose(message["content"], markdown=message["role"] != "user", classes="earlier")
                yield Prose(question["content"], markdown=False, classes="question")
                with Horizontal():
                    for name, text in zip("AB", self.pair.texts, strict=True):
                        answer = Prose(text, classes="answer")
                        answer.border_title = name
                        yield answer
            yield Hint(
                ("1 or a: A", "say(1)"),
                ("2 or b: B", "say(-1)"),
                ("=: neither", "say(0)"),
                ("Esc: not now", "later"),
                "↑↓ scroll",
            )

    def on_mount(self) -> None:
        self._ready_at = monotonic() + self.GUARD
        self.query_one(Scroller).focus()

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < 90, "-narrow")

    def action_say(self, better: int) -> None:
        if monotonic() >= self._ready_at:
            self.dismiss(better)

    def action_later(self) -> None:
        self.dismiss(None)
