"""An answer or a question as the reader sees it: one widget, with the formatting that chat models use.

Not Textual's Markdown widget: it makes a widget of every paragraph and list item, and laying out a few hundred of them
ten times a second took a whole core from the model. And model output is untrusted: here it never passes through markup,
links stay the text that they are (nothing can be opened by a click), and what is not understood is shown as written.
"""

from __future__ import annotations

from typing import Any

from textual.content import Content
from textual.selection import Selection
from textual.visual import Visual
from textual.widgets import Static

from chatapp.clean import clean
from chatapp.prose.typeset import Typeset

AHEAD = 5  #: lines; a quarter of a tall screen, where it costs the most


def formatted(text: str, before: Typeset | None = None) -> Typeset:
    """text with headings, lists, quotes, tables, rules, code, bold and italics. before: of a text that it goes on."""
    return Typeset(text, before)


class Prose(Static):
    """Shows text, whatever is in it."""

    DEFAULT_CSS = """
    Prose { height: auto; width: 1fr; }
    """

    def __init__(self, text: str = "", *, markdown: bool = True, **kwargs: Any) -> None:
        self.text = text
        self._markdown = markdown
        self._typeset: Typeset | None = None
        super().__init__(self._content(), markup=False, **kwargs)

    def _content(self) -> Visual:
        if not self._markdown:
            return Content(clean(self.text))
        self._typeset = formatted(self.text, self._typeset)
        return self._typeset

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        if self._typeset is None:
            return super().get_selection(selection)
        return self._typeset.selected(selection), "\n"

    def show(self, text: str) -> None:
        """Replace the text."""
        grown = self.styles.min_height is not None
        if text != self.text or grown:
            self.text = text
            if grown:
                self.styles.min_height = None
            self.update(self._content())

    def grow(self, text: str) -> None:
        """Replace the text by a longer one. Room is made some lines ahead: laying the screen out costs the most."""
        self.text = text
        content = self._content()
        width = self.content_size.width
        height = content.get_height({}, width) if width else 1
        if not width or height > self.content_size.height:
            self.styles.min_height = height + max(AHEAD, self.app.size.height // 4)
        self.update(content, layout=False)
