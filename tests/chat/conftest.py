"""A chat under Pilot with a fake engine: waits for conditions, never for time."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from chatapp.app import HoneApp
from chatapp.screens.chat import ChatScreen
from chatapp.widgets.answers import Answers
from storage.store import Store
from tests.chat.fakes import FakeEngine, FakeSpawn, make_settings

WIDE = (140, 45)
SMALL = (80, 24)


class Chat:
    """A running app and what a test asks of it."""

    def __init__(self, app: HoneApp, pilot: Pilot[Any], engine: FakeEngine, spawn: FakeSpawn) -> None:
        self.app = app
        self.pilot = pilot
        self.engine = engine
        self.spawn = spawn
        self.mistakes_expected = False  #: by a test of what happens to a defect of Hone's own

    @property
    def screen(self) -> ChatScreen:
        return self.app.chat

    @property
    def answers(self) -> Answers:
        return self.screen.answers

    @property
    def store(self) -> Store:
        return self.screen.session.store

    @property
    def said(self) -> str:
        return str(self.screen.query_one("#said").render())

    @property
    def notes(self) -> list[str]:
        before = [note.text for past in self.screen.transcript.past.turns for note in past.said_before]
        return before + [line.note.text for line in self.screen.query("Line")]

    async def until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        """Wait until condition holds; fails, saying what was on the screen, when it never does."""
        for _ in range(int(seconds * 100)):
            if condition():
                await self.pilot.pause()
                return
            await self.pilot.pause(0.01)
        pytest.fail(f"never came true; said: {self.said!r}, notes: {self.notes}, focus: {self.app.focused}")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def ask(self, text: str = "Why?") -> None:
        """Write, send, and wait for the answers."""
        self.screen.set_focus(self.screen.prompt)
        await self.pilot.pause()
        self.screen.prompt.put(text)
        before = len(self.engine.asked)
        await self.press("enter")
        await self.until(lambda: len(self.engine.asked) > before)
        if not self.engine.hold:
            await self.until(lambda: not self.screen.generating)

    async def says(self, text: str) -> None:
        await self.until(lambda: text in self.said or any(text in note for note in self.notes))

    @property
    def drawn(self) -> list[str]:
        """The lines of the screen as the terminal gets them."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    def judgments(self, live: bool = True) -> list[Any]:
        turn = self.answers.turn
        return self.store.judgments.for_prompt(turn.prompt_id, live_only=live) if turn else []


@pytest.fixture
def no_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judging keys count at once, and what other processes write is seen soon."""
    monkeypatch.setattr(Answers, "GUARD", 0.0)
    monkeypatch.setattr(ChatScreen, "POLL", 0.1)
    monkeypatch.setattr(ChatScreen, "TELL", math.inf)  # how far answers are depends on how quick this machine is


@pytest.fixture
def open_chat(tmp_path: Path, no_guard: None) -> Callable[..., Any]:
    """open_chat(size=..., engine=..., **settings): an async context with a Chat that is open."""

    @asynccontextmanager
    async def run(
        size: tuple[int, int] = WIDE,
        engine: FakeEngine | None = None,
        wait: bool = True,
        thread: str | None = None,
        **changes: Any,
    ) -> AsyncIterator[Chat]:
        engine, spawn = engine or FakeEngine(), FakeSpawn()
        app = HoneApp(make_settings(tmp_path, **changes), lambda config: engine, thread, spawn=spawn)
        async with app.run_test(size=size) as pilot:
            chat = Chat(app, pilot, engine, spawn)
            if wait:
                await chat.until(
                    lambda: chat.screen.threads.current is not None or chat.screen.query_one("#thread-hint").render()
                )
            yield chat
            told = [note.message for note in app._notifications]
            mistakes = [text for text in [*chat.notes, *told] if "inside Hone" in text]
            assert chat.mistakes_expected or not mistakes, mistakes
            await app.chat.leave()

    return run
