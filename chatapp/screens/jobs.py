"""What a screen has done in the background. Nothing that goes wrong in a job ends the chat: it is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from textual.screen import Screen

from chatapp.engine.base import EngineError
from chatapp.session import SessionError
from chatapp.view import Note

T = TypeVar("T")


class Say(Protocol):
    """Shows one line beneath the answers."""

    def __call__(self, text: str, error: bool = False) -> None: ...


class Jobs:
    """Coroutines in named groups of workers, and a thread of their own for the calls to the store.

    That thread takes one call after another, so that they keep the order of the keys.
    """

    def __init__(self, screen: Screen[Any], say: Say, note: Callable[[Note], None]) -> None:
        self._screen = screen
        self._say = say
        self._note = note
        self._store_thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self.closed = False
        self._damage_told = False

    def start(self, job: Coroutine[Any, Any, None], group: str) -> None:
        """Run a job beside everything else."""
        self._screen.run_worker(self._guarded(job), group=group, name=group)

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """function in the store's thread, after all that was called before."""
        if self.closed:
            raise SessionError("Hone is closing.")
        return await asyncio.get_running_loop().run_in_executor(self._store_thread, partial(function, *arguments))

    async def close(self) -> None:
        """Take no more calls, and wait for those under way."""
        self.closed = True
        await asyncio.to_thread(self._store_thread.shutdown)

    async def _guarded(self, job: Coroutine[Any, Any, None]) -> None:
        """Run a job; what storage, engine or session refuse is said, and the chat lives."""
        try:
            await job
        except (SessionError, EngineError) as error:
            self._say(str(error), error=not isinstance(error, SessionError))
        except RuntimeError as error:
            from storage.errors import DatabaseCorrupt, StorageError

            if not isinstance(error, StorageError):
                self._broken(error)
            elif isinstance(error, DatabaseCorrupt) and not self._damage_told:
                self._damage_told = True  # whole, where one line cuts it, and once: every job will meet it
                self._note(Note(str(error), error=True))
            else:
                self._say(str(error), error=True)
        except Exception as error:
            self._broken(error)

    def _broken(self, error: Exception) -> None:
        """A mistake of Hone's own: say it, and let the reader go on."""
        self._screen.log.error(error)
        what = f"{type(error).__name__}: {error}"
        self._note(Note(f"Something went wrong inside Hone ({what}). You can go on; please report it.", error=True))
