"""Text that streams, as whole lines."""

from __future__ import annotations

import re
from collections.abc import Callable

from chatapp.clean import clean

#: how lines of Hone's own begin, between and behind the texts
_OURS = re.compile(r"\s*([A-Z](, [^:]*)?:|(Answer|You|Thread|Note|Error|Your note on [A-Z]):|(End of the|Branch) )")
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
