"""What the chat does for the safety of the data, beside everything else: a check of all pages a day, a backup a week.

It runs in a thread of its own, some time after the chat has opened, and a chat that is closed does not wait for it.
Only damage is said; what else goes wrong (a full disk, say) is written to a log and tried again the next time.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, ClassVar

from chatapp.view import Note

if TYPE_CHECKING:
    from storage.store import Store


class Upkeep:
    """The background work on one open store."""

    #: seconds after the start: the model is loaded and the first question asked before
    DELAY: ClassVar[float] = 15.0

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._notes: SimpleQueue[Note] = SimpleQueue()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Give up what is under way; nothing half done is left."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def take(self) -> list[Note]:
        """What there is to say since the last call."""
        taken: list[Note] = []
        with suppress(Empty):
            while True:
                taken.append(self._notes.get_nowait())
        return taken

    def _run(self) -> None:
        from storage import backups, health
        from storage.forgetting import finish

        try:
            finish(self._store)  # of a `hone forget` that was killed
            if self._stop.wait(self.DELAY):
                return
            damage = health.daily(self._store, self._stop)
            if damage is not None:
                self._notes.put(Note(str(health.corrupt(self._store.path, damage)), error=True))
            elif not self._stop.is_set():
                backups.weekly(self._store, self._stop)
        except backups.Stopped:
            pass
        except Exception as error:  # nobody asked for it, so nobody is disturbed
            self._log(error)

    def _log(self, error: Exception) -> None:
        from storage import paths

        try:
            with open(paths.logs_dir(self._store.home) / "upkeep.log", "a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {type(error).__name__}: {error}\n")
        except OSError:
            pass
