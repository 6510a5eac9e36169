"""What did it learn? Answers to the user's own questions before and after, side by side where there is room."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from chatapp.clean import clean, one_line
from chatapp.comparing import Comparing, Tried
from chatapp.screens.page import Page
from chatapp.widgets.scroller import Scroller

if TYPE_CHECKING:
    from chatapp.screens.chat import ChatScreen


class Pair(Vertical):
    """One question with both answers."""

    DEFAULT_CSS = """
    Pair {
        height: auto; width: 1fr; margin: 0 0 1 0;
        & Static { height: auto; width: 1fr; }
        & > .question { text-style: bold; padding: 0 1; }
        & > Container { layout: vertical; height: auto; }
        & .answer { border: round $foreground 20%; padding: 0 1; border-title-color: $text-muted; }
        & .after { border: round $accent 60%; border-title-color: $text-accent; }
    }
    """

    def __init__(self, tried: Tried, before: str, after: str) -> None:
        super().__init__()
        self.tried = tried
        self._names = before, after
        self._drawn = ("", "", False)

    def compose(self) -> ComposeResult:
        yield Static(Content(one_line(self.tried.question, 300)), classes="question")
        with Container():
            for side, name in zip(("before", "after"), self._names, strict=True):
                answer = Static(Content("…"), classes=f"answer {side}")
                answer.border_title = name
                yield answer

    def draw(self, over: bool) -> None:
        """Show what has come. over: nothing more will."""
        now = (self.tried.before, self.tried.after, over)
        if now == self._drawn:
            return
        self._drawn = now
        missing = "(stopped)" if over else "…"
        self.query_one(".before", Static).update(Content(clean(now[0]).strip() or missing))
        after = Content(clean(now[1]).strip() or missing)
        if self.tried.done and now[0] == now[1]:
            after = Content.assemble(after, ("\n= the same answer", "$foreground 60%"))
        self.query_one(".after", Static).update(after)


class ComparedPage(Page):
    """Your own last questions, answered by a version and by the one before it: greedily, so that the difference is
    what was learned. Nothing of it is kept. Esc stops the answers; a second one goes back."""

    DRAW: ClassVar[float] = 0.1  #: seconds between two looks at what has come
    WIDE: ClassVar[int] = 76

    DEFAULT_CSS = """
    ComparedPage {
        & #pairs { height: 1fr; width: 1fr; }
        &.-wide Pair > Container { layout: horizontal; }
    }
    """

    def __init__(self, chat: ChatScreen, comparing: Comparing) -> None:
        super().__init__(chat)
        self.comparing = comparing
        self.over = False
        before = comparing.before.name if comparing.before else "the base"
        self.NAME = f"What did {comparing.version.name} learn? Beside {before}"  # type: ignore[misc]

    def body(self) -> ComposeResult:
        before = self.comparing.before.name if self.comparing.before else "base"
        with Scroller(id="pairs"):
            for tried in self.comparing.tried:
                yield Pair(tried, f"before: {before}", f"after: {self.comparing.version.name}")

    def on_mount(self) -> None:
        self.query_one("#pairs").focus()
        self.say("Answering. Esc stops.")
        self.set_interval(self.DRAW, self._draw)
        self.start("comparing", self._run)

    async def _run(self) -> None:
        said = "Nothing was answered."
        try:
            await asyncio.to_thread(self.comparing.run)
            said = self.comparing.summary
        finally:
            self.over = True
            self._draw()
        self.say(f"{said} The chat has its own version back.")

    def _draw(self) -> None:
        for pair in self.query(Pair):
            pair.draw(self.over)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= self.WIDE, "-wide")

    def interrupted(self) -> None:
        if self.over:
            super().interrupted()
        else:
            self.comparing.stop()

    def action_back(self) -> None:
        if self.over:
            super().action_back()
        else:
            self.comparing.stop()
            self.say("Stopping.")
