"""What a screen has done in the background. Nothing that goes wrong in a job ends the chat: it is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from textual.dom import DOMNode
from textual.screen import Screen
from textual.worker import Worker

from chatapp.engine.base import EngineError
from chatapp.mistakes import Mistakes
from chatapp.session import SessionError
from chatapp.view import Note

T = TypeVar("T")
P = ParamSpec("P")


def begin(
    node: DOMNode, group: str, job: Callable[[], Coroutine[Any, Any, None]], name: str = "", exclusive: bool = False
) -> Worker[None]:
    """Run a job as a worker of this node's; exclusive: the one before it in the group is cancelled.

    The worker makes the job's coroutine when it begins. A coroutine made here is one that nobody awaits where the
    worker is cancelled before that (an exclusive one by the next key). Python warns of those when they are collected,
    and imports for it; amid another import that breaks the lock of 3.11, and the import fails.
    """

    async def work() -> None:  # Textual asks for a function that is async by its definition
        await job()

    worker: Worker[None] = node.run_worker(work, name=name or group, group=group, exclusive=exclusive)
    return worker


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
        self._mistakes = Mistakes()

    def start(
        self, group: str, job: Callable[P, Coroutine[Any, Any, None]], *arguments: P.args, **named: P.kwargs
    ) -> None:
        """Run job(*arguments) beside everything else."""
        begin(self._screen, group, partial(self._guarded, partial(job, *arguments, **named)))

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """function in the store's thread, after all that was called before."""
        if self.closed:
            raise SessionError("Hone is closing.")
        return await asyncio.get_running_loop().run_in_executor(self._store_thread, partial(function, *arguments))

    async def close(self) -> None:
        """Take no more calls, and wait for those under way."""
        self.closed = True
        await asyncio.to_thread(self._store_thread.shutdown)

    async def _guarded(self, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a job; what storage, engine or session refuse is said, and the chat lives."""
        try:
            await job()
        except (SessionError, EngineError) as error:
            self._say(str(error), error=not isinstance(error, SessionError))
        except RuntimeError as error:
            from storage.errors import DatabaseCorrupt, StorageError

            if not isinstance(error, StorageError):
                self.broken(error)
            elif isinstance(error, DatabaseCorrupt) and not self._damage_told:
                self._damage_told = True  # whole, where one line cuts it, and once: every job will meet it
                self._note(Note(str(error), error=True))
            else:
                self._say(str(error), error=True)
        except Exception as error:
            self.broken(error)

    def broken(self, error: Exception) -> None:
        """A mistake of Hone's own: say it, and let the reader go on."""
        self._screen.log.error(error)
        said = self._mistakes.told(error)
        if said is not None:
            self._note(Note(said, error=True))
