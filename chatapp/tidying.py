"""When Python's collector of cycles runs: while nobody types. A full round of it takes 50 to 100 ms in a chat with a
long thread, and comes when it likes: in the middle of a word, or between a page key and its page.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: new objects until the young ones are looked through; as Python has it (700), growing answers do it all the time
YOUNG = 10_000
QUIET = 2.0  #: seconds without a key after which a full round is no pause
NEVER = 1 << 20


def postpone() -> None:
    """Before anything is imported: what is made until the first paint stays."""
    gc.disable()


@contextmanager
def undisturbed() -> Iterator[None]:
    """For a large import: Python 3.11 breaks one (KeyError in its lock) where what is collected amid it imports too."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


class Tidying:
    """Full rounds in quiet moments. `quiet` says how long nothing has happened, in seconds."""

    def __init__(self, quiet: Callable[[], float]) -> None:
        self._quiet = quiet
        self._done = False

    def begin(self) -> None:
        """Once the chat is there: what there is now lives as long as it does, and is not looked through again."""
        gc.freeze()
        gc.set_threshold(YOUNG, 10, NEVER)
        gc.enable()

    def tick(self) -> None:
        """To be called now and then: one full round a pause."""
        resting = self._quiet() >= QUIET
        if resting and not self._done:
            gc.collect()
        self._done = resting
