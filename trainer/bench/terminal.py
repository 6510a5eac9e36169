"""A program on a pseudo-terminal, driven by keys and watched by what it writes: `hone bench ui` measures the chat so.

No terminal is emulated. What is looked for are words or glyphs in the output since the last key, without its escape
sequences: whoever looks for a letter just typed takes one that stands nowhere else on the screen.
"""

from __future__ import annotations

import codecs
import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence

from trainer.errors import TrainerError

#: CSI, OSC and the like, and the two-character ones
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
PATIENCE = 60.0  #: seconds to wait for what has to come
KEPT = 1 << 17  #: characters of the output


class Terminal:
    """One program in a session of its own, ended on the way out."""

    def __init__(self, command: Sequence[str], size: tuple[int, int], environment: Mapping[str, str]) -> None:
        width, height = size
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        fcntl.fcntl(self._master, fcntl.F_SETFL, os.O_NONBLOCK)
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._written = ""
        self.started = time.perf_counter()
        self._child = subprocess.Popen(
            list(command), stdin=slave, stdout=slave, stderr=slave, env=dict(environment), start_new_session=True
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.keys("\x11")  # Ctrl+Q
            self.read(10, lambda: self._child.poll() is not None)
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        finally:
            os.close(self._master)

    def keys(self, text: str) -> float:
        """Press keys, and forget what was written before. Returns the time."""
        self._written = ""
        now = time.perf_counter()
        try:
            os.write(self._master, text.encode())
        except OSError as error:
            if error.errno != errno.EIO:  # it has ended
                raise
        return now

    @property
    def text(self) -> str:
        """What was written since the last key, without escape sequences."""
        return _ESCAPES.sub("", self._written)

    def read(self, seconds: float, enough: Callable[[], object] = lambda: False) -> float | None:
        """Take in what is written, until it is enough. Returns the time at which it was, or None."""
        end = time.perf_counter() + seconds
        while not enough():
            left = end - time.perf_counter()
            if left <= 0:
                return None
            # a slice: whether the program has ended is looked at too
            if not select.select([self._master], [], [], min(left, 0.05))[0]:
                continue
            try:
                self._written = (self._written + self._decode.decode(os.read(self._master, 1 << 16)))[-KEPT:]
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return time.perf_counter() if enough() else None
        return time.perf_counter()

    def until(self, words: str, seconds: float = PATIENCE) -> float:
        """The time at which words were written. Raises TrainerError when they are not."""
        seen = self.read(seconds, lambda: words in self.text)
        if seen is None:
            raise TrainerError(
                f"{words!r} did not appear on the terminal within {seconds:g} s; the last words: {self.text[-200:]!r}"
            )
        return seen
