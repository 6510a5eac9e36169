"""The keys and commands, as the bindings themselves have them, so that this page is never wrong."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widgets import Static

from chatapp.screens.dialogs import BY_HEIGHT
from chatapp.widgets.scroller import Scroller

KEYS, KEYS_NARROW = 18, 10  #: cells that the keys take

INTRO = """Hone answers in several ways. Say which you like; it learns from that, on this machine.
When the answers are complete they have the focus, and bare keys judge them. In the prompt, letters are letters. \
The answers take the focus by themselves only where the prompt is empty. Esc and Enter go between the two.
A ranking (J, K, =) is recorded by Enter, or when you go on; Esc drops it.
Going on without a choice follows the first answer (with reward_picks the reward model's) and records nothing.
↑ ↓ PgUp PgDn Home End scroll the chat, from the answers."""


class Rows(Static):
    """Keys on the left, what they do beside them: a line that is too long goes on below its beginning."""

    def __init__(self, rows: Sequence[tuple[str, str, str]]) -> None:
        super().__init__(markup=False)
        self.rows = [(keys, f"{name}: {what}" if name and what else name or what) for keys, name, what in rows]

    # not one text that is laid out anew when the width is known: the height of the first one would stay
    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def render(self) -> Content:
        return Content("\n").join(self._lines(self.content_size.width or 84))

    def _lines(self, width: int) -> list[Content]:
        column = KEYS if width >= 50 else KEYS_NARROW
        lines: list[Content] = []
        for keys, what in self.rows:
            first, *more = wrap(what, max(10, width - column)) or [""]
            if len(keys) < column:
                lines.append(Content.assemble((f"{keys:<{column}}", "bold"), first))
            else:
                lines += [Content.styled(keys, "bold"), Content(" " * column + first)]
            lines += [Content(" " * column + line) for line in more]
        return lines


class Help(ModalScreen[None]):
    """Closes by Esc, F1, ? or q."""

    DEFAULT_CSS = """
    Help {
        align: center middle;
        & > VerticalScroll {
            width: 92; max-width: 96%; height: auto; max-height: 92%; padding: 1 2;
            border: round $accent; background: $surface; border-title-color: $text-accent;
            border-subtitle-color: $text-muted;
        }
        & Static { height: auto; width: 1fr; }
        & > VerticalScroll { scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
        & .heading { text-style: bold; margin: 1 0 0 0; color: $text-accent; }
        &.-low > VerticalScroll { max-height: 100%; padding: 0 1; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,question_mark,q", "app.pop_screen", "Close", id="help.close", tooltip="Back to the chat"),
    ]

    VERTICAL_BREAKPOINTS = BY_HEIGHT

    def __init__(
        self, sections: Sequence[tuple[str, Sequence[tuple[str, str, str]]]], intro: str = INTRO, begin: str = ""
    ) -> None:
        """begin: the section that is seen first."""
        super().__init__()
        self._begin = begin
        self.sections = sections
        self.intro = intro

    def compose(self) -> ComposeResult:
        with Scroller() as panel:
            panel.border_title = "Keys"
            panel.border_subtitle = "Esc closes · ↑↓ scroll"
            yield Static(Content(self.intro))
            for title, rows in self.sections:
                yield Static(Content(title), classes="heading")
                yield Rows(rows)

    def on_mount(self) -> None:
        self.query_one(Scroller).focus()
        if self._begin:
            self.call_after_refresh(self._go_to, self._begin)

    def _go_to(self, title: str) -> None:
        at = [title for title, _ in self.sections].index(title)
        self.query_one(Scroller).scroll_to_widget(self.query(".heading")[at], top=True, animate=False)
