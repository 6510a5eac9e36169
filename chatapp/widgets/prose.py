"""An answer or a prompt as the reader sees it: plain text while it streams, Markdown once it is complete.

Model output is untrusted: it never passes through Textual's markup, links and images stay the text that they are
(nothing can be opened by a click), HTML is shown and not obeyed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from chatapp.clean import clean

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore

#: what makes it worth building Markdown's many widgets
_FORMATTED = re.compile(
    r"^\s{0,3}(#{1,6} |[-*+] |\d+[.)] |>|```|~~~|\|.*\|)|\*\*\S|`[^`\n]+`|(?<!\w)[*_]\w", re.MULTILINE
)


def _parser() -> MarkdownIt:
    # markdown-it costs 30 ms: off the first paint
    from markdown_it import MarkdownIt

    def keep_lines(state: StateCore) -> None:
        # small models break lines where they mean it (verse, addresses, dialogue)
        for token in state.tokens:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    parser.disable(["link", "image", "autolink", "reference", "html_block", "html_inline"])
    parser.core.ruler.push("keep_lines", keep_lines)
    return parser


class Prose(Vertical):
    """Shows text; `stream` is cheap and may be called often, `finish` renders it once and well."""

    DEFAULT_CSS = """
    Prose {
        height: auto;
        width: 1fr;
        & > Static { height: auto; width: 1fr; }
        & > Markdown {
            padding: 0; margin: 0; background: transparent;
            & > MarkdownBlock:last-child { margin-bottom: 0; }
            & > MarkdownH1, & > MarkdownH2, & > MarkdownH3 { margin: 0 0 1 0; content-align: left middle; }
            & > MarkdownFence { margin: 0 0 1 0; max-height: 100; }
        }
    }
    """

    def __init__(self, text: str = "", *, markdown: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text
        self._markdown = markdown
        self._plain = Static(markup=False)

    def compose(self) -> ComposeResult:
        yield self._plain

    def on_mount(self) -> None:
        if self.text:
            self.finish(self.text)

    def stream(self, text: str) -> None:
        """Show text, unformatted."""
        self.text = text
        self._plain.update(Content(clean(text)))

    def finish(self, text: str) -> None:
        """Show text as it will stay."""
        self.text = text
        self.query("Markdown").remove()
        if not (self._markdown and _FORMATTED.search(text)):
            self._plain.display = True
            self._plain.update(Content(clean(text)))
            return
        from textual.widgets import Markdown

        self._plain.display = False
        self.mount(Markdown(clean(text), parser_factory=_parser, open_links=False))
