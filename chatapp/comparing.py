"""What did it learn? The user's own last questions, answered by a version and by the one before it.

The engine is taken for as long as it lasts and has its own adapter back afterwards, however it ends. Answers are
greedy, so what differs is what was learned, not chance; they are shown and not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatapp.engine.base import Engine, Message, Sampling
from chatapp.session import ChatSession, SessionError

if TYPE_CHECKING:
    from storage.adapters import Adapter
    from storage.store import Store

QUESTIONS = 3
GREEDY = Sampling(temperature=0.0, max_tokens=96)


@dataclass(slots=True)
class Tried:
    """One question, and how far its two answers are."""

    conversation: list[Message]
    before: str = ""
    after: str = ""
    done: bool = False  #: both are whole

    @property
    def question(self) -> str:
        return self.conversation[-1]["content"]


def last_questions(store: Store) -> list[list[Message]]:
    """The conversations that end with them, the newest first."""
    from storage.versions import questions

    return [
        [Message(role=m["role"], content=m["content"]) for m in store.threads.conversation(id)]
        for id in questions(store, QUESTIONS)
    ]


class Comparing:
    """One comparison. `run` blocks, fills `tried` as the words come, and may be stopped from any thread."""

    def __init__(
        self, session: ChatSession, version: Adapter, before: Adapter | None, asked: Sequence[list[Message]]
    ) -> None:
        self.version, self.before = version, before
        self.tried = [Tried(conversation) for conversation in asked]
        self.stopped = False
        self._session = session

    def run(self) -> None:
        """Answer all. Raises SessionError while the chat answers, StorageError where files are gone, EngineError."""
        session = self._session
        if session.busy:
            raise SessionError("The chat is still answering: wait for it, or go back and stop it with Esc.")
        session.store.adapters.need(self.version)
        with session.taken() as engine:
            used = session.adapter
            try:
                self._swap(engine, self.before)
                for one in self.tried:
                    self._answer(engine, one, "before")
                self._swap(engine, self.version)
                for one in self.tried:
                    self._answer(engine, one, "after")
                    one.done = not self.stopped
            finally:
                # where this fails, `adapter` says what the engine has, and the chat swaps before it answers
                self._swap(engine, used)

    def stop(self) -> None:
        """End it soon; what was written is kept."""
        self.stopped = True
        if self._session.engine is not None:
            self._session.engine.stop()

    @property
    def summary(self) -> str:
        if self.stopped:
            return "Stopped."
        changed = sum(one.before != one.after for one in self.tried)
        return f"{changed} of {len(self.tried)} answers changed."

    def _swap(self, engine: Engine, version: Adapter | None) -> None:
        session = self._session
        if (version.id if version else None) != (session.adapter.id if session.adapter else None):
            engine.swap(session.store.adapters.gguf(version) if version else None)
            session.adapter = version

    def _answer(self, engine: Engine, one: Tried, side: str) -> None:
        if self.stopped:
            return

        def more(_: int, text: str) -> None:
            setattr(one, side, getattr(one, side) + text)

        (found,) = engine.generate(one.conversation, 1, GREEDY, more)
        setattr(one, side, found.text)
        if found.finish_reason == "cancelled":
            self.stopped = True


def begin(session: ChatSession, version: Adapter | None) -> Comparing:
    """A comparison of a version with the one before it. Raises SessionError or StorageError where there is none."""
    store = session.store
    if version is None:
        raise SessionError("The base is where all began: choose a version, to see what it learned.")
    if session.busy:
        raise SessionError("The chat is still answering: wait for it, or go back and stop it with Esc.")
    store.adapters.need(version)
    before, _ = store.adapters.before(version)
    asked = last_questions(store)
    if not asked:
        raise SessionError(
            "There is no question of yours to compare yet: ask something, and choose where a duel answered."
        )
    return Comparing(session, version, before, asked)
