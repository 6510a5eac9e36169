"""The keys and commands, as the bindings themselves have them, so that this page is never wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

INTRO = """Hone answers in several ways. Say which you like; it learns from that, on this machine.
When the answers are complete they have the focus, and bare keys judge them. In the prompt, letters are letters. \
The answers take the focus by themselves only where the prompt is empty. Esc and Enter go between the two.
A ranking (J, K, =) is recorded by Enter, or when you go on; Esc drops it.
Going on without a choice follows the first answer (with reward_picks the reward model's) and records nothing.
↑ ↓ PgUp PgDn Home End scroll the chat, from the answers."""


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
        & .heading { text-style: bold; margin: 1 0 0 0; color: $text-accent; }
        & Horizontal { height: auto; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,question_mark,q", "app.pop_screen", "Close", id="help.close", tooltip="Back to the chat"),
    ]

    def __init__(self, sections: Sequence[tuple[str, Sequence[tuple[str, str, str]]]], intro: str = INTRO) -> None:
        super().__init__()
        self.sections = sections
        self.intro = intro

    def compose(self) -> ComposeResult:
        with VerticalScroll() as panel:
            panel.border_title = "Keys"
            panel.border_subtitle = "Esc closes · ↑↓ scroll"
            yield Static(Content(self.intro))
            for title, rows in self.sections:
                yield Static(Content(title), classes="heading")
                lines = [
                    Content.assemble((f"{keys:<18}", "bold"), f"{name}: {what}" if name and what else name or what)
                    for keys, name, what in rows
                ]
                yield Static(Content("\n").join(lines))

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
