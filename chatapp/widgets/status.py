"""One line at the top: where one is, what answers, how far the learning is."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from chatapp.clean import one_line
from chatapp.privacy import MARK


class StatusLine(Widget):
    """Title on the left, model, version, lesson and speed on the right; what does not fit is left out."""

    DEFAULT_CSS = """
    StatusLine { height: 1; width: 1fr; padding: 0 1; background: $panel; color: $foreground; }
    """

    heading: reactive[str] = reactive("")
    model: reactive[str] = reactive("opening…")
    version: reactive[str] = reactive("")
    lesson: reactive[str] = reactive("")
    speed: reactive[str] = reactive("")

    def render(self) -> Content:
        width = self.content_size.width
        # the most telling first, the first to go last
        parts = [part for part in (self.lesson, self.version, self.model, self.speed) if part]
        mark = MARK if self.heading.endswith(MARK) else ""  # is seen, however long the title
        while len(parts) > 1 and sum(len(part) + 3 for part in parts) > max(12 if mark else 20, width - 18):
            parts.pop()
        order = [self.model, self.version, self.lesson, self.speed]
        right = " · ".join(part for part in order if part in parts)
        room = max(4, width - len(right) - 3 - len(mark))
        left = one_line(self.heading.removesuffix(mark) or "Hone", room) + mark
        gap = max(1, width - Content(left).cell_length - Content(right).cell_length)
        return Content.assemble((left, "bold"), " " * gap, (one_line(right, width), "$foreground 60%"))
