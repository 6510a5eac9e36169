"""A part of the screen that scrolls by keys, each from where the one before it went."""

from __future__ import annotations

from textual.actions import SkipAction
from textual.containers import VerticalScroll


class Scroller(VerticalScroll):
    """As Textual's, but at once: that one works out now where to go, and goes when the screen was drawn again. Of ten
    keys that come until then nine are lost. And without a glide, which would be what the next key counts from."""

    def _by(self, lines: int) -> None:
        if not self.allow_vertical_scroll:
            raise SkipAction()
        self.scroll_to(y=self.scroll_y + lines, animate=False, immediate=True)

    def action_scroll_up(self) -> None:
        self._by(-1)

    def action_scroll_down(self) -> None:
        self._by(1)

    def action_page_up(self) -> None:
        self._by(-self.scrollable_content_region.height)

    def action_page_down(self) -> None:
        self._by(self.scrollable_content_region.height)

    def action_scroll_home(self) -> None:
        self._by(-self.max_scroll_y)

    def action_scroll_end(self) -> None:
        self._by(self.max_scroll_y)
