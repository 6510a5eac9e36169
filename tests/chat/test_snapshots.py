"""Every screen and state at 80x24 and 140x45, dark and light, as it was when somebody looked at it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from textual.command import CommandPalette

from chatapp import dueling
from chatapp.engine.base import EngineCrashed, EngineInfo, ModelFileError
from chatapp.screens.behind import Behind
from chatapp.screens.correct import Correct
from chatapp.screens.dialogs import AskText
from chatapp.screens.diff import Diff
from chatapp.screens.generation import Generation
from chatapp.screens.help import Help
from chatapp.screens.reask import Reask
from chatapp.screens.remarks import Flag
from chatapp.screens.teaches import Teaches
from chatapp.widgets.threads import Threads
from tests.chat import test_insights_page, test_judgments_page, test_training_page, test_versions_page
from tests.chat.fakes import FakeEngine
from tests.chat.snapshots import look
from tests.chat.test_chat_lessons import adapter

Open = Callable[..., Any]

TEXTS = (
    (
        "Rain forms when warm, moist air rises and cools.\n\n1. Water evaporates from oceans and lakes.\n"
        "2. The vapour condenses on dust.\n3. Droplets grow and fall.\n\nThat is **all** there is to it."
    ),
    (
        "It rains because clouds hold water. When the drops are heavy enough, they fall:\n\n```python\n"
        "def rain(cloud):\n    # heavy drops fall\n    return [drop for drop in cloud if drop.mass > 1.0]\n```\n\n"
        "So `rain` is what falls."
    ),
    (
        "Because of the weather.\n\n| kind | size |\n|---|---|\n| drizzle | 0.2 mm |\n| rain | 2 mm |\n\n"
        "Warm air *rises*, cools, and lets go of water."
    ),
)


def engine() -> FakeEngine:
    one = FakeEngine()
    one.texts = TEXTS
    return one


async def test_an_empty_chat_and_the_hints_of_commands(open_chat: Open) -> None:
    async with open_chat(engine=engine()) as chat:
        await look(chat, "empty")
        chat.screen.prompt.put("/")
        await chat.says("/insights")
        await look(chat, "commands")
        chat.screen.prompt.put("/system")
        await chat.says("/system TEXT")
        await look(chat, "command")


class Loading(FakeEngine):
    """Loads its model until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = threading.Event()

    @property
    def info(self) -> EngineInfo:
        self.loaded.wait(60)
        return super().info


async def test_the_model_still_loads(open_chat: Open) -> None:
    one = Loading()
    async with open_chat(engine=one) as chat:
        await chat.until(lambda: chat.screen.status.speed == "loading")
        try:
            await look(chat, "loading")
        finally:
            one.loaded.set()


async def test_a_model_that_cannot_be_loaded(open_chat: Open) -> None:
    one = engine()
    one.load_error = ModelFileError("tiny.gguf is no GGUF file: its first bytes are 'PK'. Name another with --model.")
    async with open_chat(engine=one) as chat:
        await chat.says("is no GGUF file")
        await look(chat, "no-model")


async def test_answers(open_chat: Open) -> None:
    async with open_chat(engine=engine()) as chat:
        await chat.ask("Why does it rain?")
        await look(chat, "answers")
        await chat.press("2")
        await chat.says("B > A, C")
        await look(chat, "picked")
        await chat.press("J")
        await chat.says("Enter records")
        await look(chat, "ranking")
        await chat.press("escape", "r")
        await chat.says("How good is")
        await look(chat, "rating")
        await chat.press("escape")
        await chat.ask("And why is the sky blue?")
        await look(chat, "second-turn")
        await chat.press("p")
        await chat.says("An earlier turn")
        await look(chat, "earlier-turn")


async def test_answers_that_grow(open_chat: Open) -> None:
    one = engine()
    one.hold = True
    async with open_chat(engine=one) as chat:
        await chat.ask("Why does it rain?")
        one.feed(0, "Rain forms when warm, moist air rises and")
        one.feed(1, "It rains because clouds hold water:\n\n```python\ndef rain(")
        await chat.until(lambda: "rain(" in chat.answers.cards[1].prose.text)
        try:
            await look(chat, "growing")
        finally:
            one.release()
        await chat.until(lambda: not chat.screen.generating)


async def test_an_engine_that_died(open_chat: Open) -> None:
    one = engine()
    async with open_chat(engine=one) as chat:
        one.error = EngineCrashed("The engine died of signal 11. It is started again with the next question.")
        await chat.ask("Why does it rain?")
        await chat.says("Ctrl+R asks again")
        await look(chat, "died")


async def test_a_duel(open_chat: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dueling, "random", SimpleNamespace(Random=lambda: random.Random(0)))  # who is A
    one = engine()
    async with open_chat(engine=one) as chat:
        adapter(chat, "good")
        await chat.until(lambda: chat.screen.session.adapter is not None)
        chat.screen.prompt.put("/duel")
        await chat.press("enter")
        await chat.until(lambda: chat.app.screen is not chat.screen)
        await look(chat, "duel")
        # both say the same, whoever answers first
        one.texts = TEXTS[:1]
        await chat.press("enter")
        await chat.says("Duel: v1 against base")
        await chat.ask("Why does it rain?")
        await look(chat, "duelling")
        await chat.press("x")
        await chat.says("are tied")
        await look(chat, "duel-over")


@pytest.mark.parametrize(
    ("name", "key", "kind"),
    [
        ("correct", "e", Correct),
        ("diff", "d", Diff),
        ("flag", "f", Flag),
        ("note", "n", AskText),
        ("teaches", "w", Teaches),
        ("help", "f1", Help),
        ("generation", "f8", Generation),
        ("palette", "ctrl+p", CommandPalette),
    ],
)
async def test_dialogs(open_chat: Open, name: str, key: str, kind: type) -> None:
    async with open_chat(engine=engine()) as chat:
        await chat.ask("Why does it rain?")
        await chat.press("2")
        await chat.says("B > A, C")
        await chat.press(key)
        await chat.until(lambda: isinstance(chat.app.screen, kind))
        if kind is Correct:
            await chat.press(*" Really.")
            await chat.until(lambda: "1 new" in "".join(chat.drawn))
        await look(chat, name)


async def test_threads_that_are_searched_for(open_chat: Open) -> None:
    async with open_chat(engine=engine()) as chat:
        await chat.ask("Why does it rain?")
        await chat.press("ctrl+n")
        await chat.until(lambda: chat.screen.transcript.has_class("-blank"))
        await chat.ask("When does water vapour fall?")
        rows = chat.screen.query_one(Threads)
        chat.screen.threads.query_one("Input").focus()
        await chat.press(*"vapour")
        await chat.until(lambda: "vapour" in str(rows.get_option_at_index(1).prompt))
        chat.screen._sidebar = True  # in the narrow terminal too
        await look(chat, "searched")
        await chat.press("escape", "tab", "a")
        await chat.says("was archived")
        await chat.press("v")
        await chat.until(lambda: "Archived" in "".join(chat.drawn))
        await look(chat, "archived")


async def test_a_terminal_too_small(open_chat: Open) -> None:
    async with open_chat((28, 8), engine()) as chat:
        assert "too small" in "".join(chat.drawn)
        await chat.pilot.resize_terminal(40, 12)
        await chat.until(lambda: not chat.screen.has_class("-small"))
        assert "too small" not in "".join(chat.drawn)


# -- pages -------------------------------------------------------------------------------------------------------------


async def test_training(open_chat: Open) -> None:
    async with open_chat(engine=engine()) as chat:
        verdict = (
            "Better on 8 held-out prompts: log-loss 0.665 against 0.693 of the base (gain +0.028, 80 % bound +0.019, "
            "provisional until there are 32); neutral text -2.3 %, drift 0.048 nats a token, answers 60 tokens long."
        )
        await test_training_page.lesson(chat, verdict=verdict)
        await test_training_page.lesson(chat, "rejected", verdict="Not better on 8 held-out prompts.")
        page = await test_training_page.training(chat)
        await chat.press("down")
        await chat.until(lambda: "Better on 8" in test_training_page.text(page))
        await look(chat, "training")


async def test_versions(open_chat: Open) -> None:
    async with open_chat(engine=engine()) as chat:
        await chat.ask("Why does it rain?")
        await chat.press("2")
        await chat.says("B > A, C")
        judgments = [(one.id, "train") for one in chat.judgments()]
        await test_versions_page.add(chat, "live", "live", "rejected", judgments=judgments)
        page = await test_versions_page.versions(chat)
        await look(chat, "versions")
        await chat.press("o")
        await chat.until(lambda: isinstance(chat.app.screen, Behind))
        await look(chat, "behind")
        await chat.press("escape", "w")
        await chat.until(lambda: "answers changed" in test_versions_page.said(chat.app.screen))
        await look(chat, "compared")
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is page)


async def test_judgments(open_chat: Open) -> None:
    async with open_chat(engine=engine()) as chat:
        for question in ("Why does it rain?", "And why is the sky blue?"):
            await chat.ask(question)
            await chat.press("2")
            await chat.says("B > A, C")
        await test_judgments_page.opened(chat, 2)
        await look(chat, "judgments")
        await chat.press("enter")
        await chat.until(lambda: "each" in "".join(chat.drawn))
        await look(chat, "judgment")


async def test_insights(open_chat: Open) -> None:
    async with open_chat(engine=engine()) as chat:
        for best in (0, 1, 2) * 8:
            prompt, ids = test_insights_page.turn(chat.store, "a longer answer", "short", "medium")
            chat.store.judgments.pick(prompt, ids[best], ids)
        with chat.store.write() as db:
            db.execute("UPDATE judgments SET created_at = '2026-10-07T10:00:00Z'")
        await test_insights_page.opened(chat)
        await look(chat, "insights")


async def test_a_pair_that_comes_back(open_chat: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reask, "GUARD", 0.0)
    async with open_chat(engine=engine()) as chat:
        prompt, ids = test_insights_page.turn(chat.store, *TEXTS[:2])
        chat.store.judgments.pick(prompt, ids[0], ids)
        with chat.store.write() as db:
            db.execute("UPDATE judgments SET created_at = '2026-10-07T10:00:00Z'")
        page = await test_insights_page.opened(chat)
        await chat.until(lambda: "is waiting" in test_insights_page.shown(page, "waiting"))
        await chat.press("a")
        await chat.until(lambda: isinstance(chat.app.screen, Reask))
        await look(chat, "reask")
