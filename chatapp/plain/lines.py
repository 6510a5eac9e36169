"""Text that streams, as whole lines."""

from __future__ import annotations

from collections.abc import Callable

from chatapp.clean import clean


class Lines:
    """Streamed text as whole lines behind a name, with what is harmful made visible."""

    def __init__(self, out: Callable[[str], None], name: str) -> None:
        self._out = out
        self._name = name
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
            self._out(self._name + part)
            self._name = ""


def whole(out: Callable[[str], None], name: str, text: str) -> None:
    """A text that is there already; one without words is told too."""
    lines = Lines(out, f"{name}: ")
    lines.add(text.strip() or "(no text)")
    lines.end()
