"""Text that streams, as whole lines; and lines as wide as the terminal, broken between words."""

from __future__ import annotations

import re
from collections.abc import Callable

from chatapp.clean import clean

#: how lines of Hone's own begin, between and behind the texts
_OURS = re.compile(
    r"\s*([A-Z](, [^:]{0,200})?:|(Answer|You|Thread|System|Note|Error|Your note on [A-Z]):"
    r"|(End of the|Branch|Answering in the duel of|[A-Z] is the reward model's) )"
)
#: code that is indented, rows of tables: a break between words is one too many
_AS_IT_IS = re.compile(r"( {4}|\t|\||> ?\|)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
#: before a line of a text that begins so
_QUOTED = "> "


class Lines:
    """Streamed text as whole lines behind a name, with what is harmful made visible.

    A line that begins as Hone's own do is marked, for in a terminal without frames nothing else tells them apart: an
    answer may list A: and B:, and could otherwise say that it has ended.
    """

    def __init__(self, out: Callable[[str], None], name: str) -> None:
        self._out = out
        self._name: str | None = name  #: None: the first line is out
        self._rest = ""
        self.started = False  #: there was a word

    def add(self, text: str) -> None:
        text = text if self.started else text.lstrip()
        if not text:
            return
        self.started = True
        self._rest += text
        # a lone \r at the end may be half of a line break
        *lines, self._rest = self._rest.split("\n")
        for line in lines:
            self._say(line)

    def end(self) -> None:
        if self._rest:
            self._say(self._rest)
        self._rest = ""

    def _say(self, line: str) -> None:
        for part in clean(line).split("\n"):
            name = self._name if self._name is not None else _QUOTED if _OURS.match(part) else ""
            self._out(name + part)
            self._name = None


def whole(out: Callable[[str], None], name: str, text: str) -> None:
    """A text that is there already; one without words is told too."""
    lines = Lines(out, f"{name}: ")
    lines.add(text.strip() or "(no text)")
    lines.end()


class Breaks:
    """Breaks lines between words where a terminal would break them anywhere. Code and tables stay as they are."""

    def __init__(self, width: Callable[[], int | None]) -> None:
        self._width = width  #: cells; None: nobody breaks lines there
        self._fence = ""  #: what opened the code block that goes on

    def __call__(self, line: str) -> list[str]:
        width = self._width()
        named = _OURS.match(line)
        if named:
            self._fence = ""  # whatever an answer left open ends with it
        if opened := _FENCE.match(line[named.end() :].lstrip() if named else line):
            if not self._fence:
                self._fence = opened[1]
            elif opened[1].startswith(self._fence):
                self._fence = ""
            return [line]
        if width is None or len(line) * 2 <= width or self._fence or _AS_IT_IS.match(line):
            return [line]
        from rich.cells import cell_len

        parts, used = [""], 0
        for word in re.finditer(r"\s*\S+\s*", line):
            cells = cell_len(word[0].rstrip())
            # a word that is wider than the terminal is left to it, and so is what would pass for a line of its own
            if used and used + cells > width >= cells and not _OURS.match(line, word.start()):
                parts.append("")
                used = 0
            parts[-1] += word[0]
            used = (used + cell_len(word[0])) if used + cells <= width else (used + cell_len(word[0])) % width
        return [part.rstrip() for part in parts]
