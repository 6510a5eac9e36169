"""A defect of Hone's own never ends the chat, shows no traceback, and leaves nothing behind that breaks an import."""

from __future__ import annotations

import gc
import os
import pty
import re
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.app import App

from chatapp.mistakes import Mistakes
from chatapp.screens.correct import Correct
from chatapp.screens.diff import Diff
from chatapp.screens.jobs import begin
from chatapp.screens.page import Page
from chatapp.screens.training import TrainingPage
from chatapp.widgets.answers import Answers

Open = Callable[..., Any]


@pytest.fixture(autouse=True)
def kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def broken(*_: object) -> Any:
    raise KeyError("a [b]lock[/b]\x1b[31m")


def details(said: str) -> Path:
    """The file that is named."""
    found = re.search(r"\S+\.log", said)
    assert found, said
    return Path(found[0])


def test_one_that_comes_again_is_told_once() -> None:
    mistakes = Mistakes()
    said = mistakes.told(KeyError("x"))
    assert said is not None
    assert "KeyError: 'x'" in said
    assert "You can go on" in said
    assert "KeyError: 'x'" in details(said).read_text()
    assert mistakes.told(KeyError("x")) is None
    other = mistakes.told(KeyError("y"))
    assert other is not None


async def test_a_page_that_cannot_be_loaded_is_told_and_the_chat_goes_on(
    open_chat: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As once: the import of a page's plots failed, and the chat ended with a traceback."""
    async with open_chat() as chat:
        chat.mistakes_expected = True
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "chatapp.screens.training", None)
            await chat.press("f3")
            await chat.until(lambda: len(chat.app._notifications))
            await chat.press("f3")
        said = [note.message for note in chat.app._notifications]
        assert len(said) == 1, "once"
        assert "chatapp.screens.training" in said[0]
        await chat.ask()
        assert chat.answers.turn is not None
        await chat.press("f3")
        await chat.until(lambda: isinstance(chat.app.screen, TrainingPage))


async def test_what_a_key_does_wrong_is_said_as_text(open_chat: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_chat() as chat:
        chat.mistakes_expected = True
        await chat.ask()
        monkeypatch.setattr(Answers, "action_wish", broken)
        await chat.press("y")
        await chat.until(lambda: len(chat.app._notifications))
        (note,) = chat.app._notifications
        assert "[b]lock[/b]" in note.message
        assert not note.markup
        assert "\x1b" not in note.message
        await chat.press("1")
        await chat.until(lambda: chat.judgments())


async def test_a_job_gone_wrong_is_told_once(open_chat: Open) -> None:
    async def job() -> None:
        broken()

    async with open_chat() as chat:
        chat.mistakes_expected = True
        for _ in range(3):
            chat.screen.jobs.start("store", job)
            await chat.pilot.pause(0.02)
        told = [note for note in chat.notes if "inside Hone" in note]
        assert len(told) == 1
        assert "in broken" in details(told[0]).read_text()


def test_what_nothing_catches_ends_the_chat_by_a_sentence(tmp_path: Path) -> None:
    """In a real terminal, from a widget's own handler: no variable, and so nothing of a conversation, is shown."""
    program = textwrap.dedent("""
        import sys
        from chatapp.app import run_chat
        from chatapp.config import Settings
        from chatapp.screens.chat import ChatScreen

        def on_screen_resume(self, event):
            secret = "what the reader wrote"
            raise KeyError("lock")

        ChatScreen.on_screen_resume = on_screen_resume
        sys.exit(run_chat(Settings.load()))
    """)
    environment = {
        **os.environ,
        "HONE_HOME": str(tmp_path),
        "HONE_MODEL": str(tmp_path / "none.gguf"),
        "TERM": "xterm",
        "TMPDIR": str(tmp_path),
        "COLUMNS": "200",
    }
    master, slave = pty.openpty()
    chat = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    seen = b""
    try:
        while True:
            try:
                more = os.read(master, 65536)
            except OSError:  # its end, on Linux
                break
            if not more:
                break
            seen += more
        assert chat.wait(timeout=30) == 1
    finally:
        os.close(master)
        chat.kill()
        chat.wait()
    said = " ".join(seen.decode(errors="replace").split())
    assert "the chat ended by a defect of its own, KeyError: 'lock'" in said
    assert "hone -c" in said
    assert "what the reader wrote" not in said
    assert "Traceback" not in said
    (file,) = tmp_path.glob("hone-*.log")
    assert "on_screen_resume" in file.read_text()


async def test_who_quits_is_not_held_by_a_mistake(open_chat: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_chat() as chat:
        with monkeypatch.context() as patch:
            patch.setattr(chat.screen, "leave", broken)
            await chat.press("ctrl+q")
            await chat.until(lambda: chat.app._exit)
        assert chat.app.return_code == 1


async def test_a_page_wished_too_early_comes_when_hone_is_open(open_chat: Open) -> None:
    async with open_chat(wait=False) as chat:
        assert chat.screen.opened is None
        await chat.press("f3")
        await chat.until(lambda: isinstance(chat.app.screen, TrainingPage))
        await chat.press("escape")
        await chat.until(lambda: not isinstance(chat.app.screen, Page))


# -- nothing that nobody awaits --------------------------------------------------------------------------------


def unawaited(seen: list[warnings.WarningMessage]) -> list[str]:
    gc.collect()
    return [str(warning.message) for warning in seen if "never awaited" in str(warning.message)]


async def test_fast_typing_leaves_no_comparison_that_nobody_awaits() -> None:
    """Each key cancels the comparison of the one before, often before that began."""
    app = App[None]()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        async with app.run_test() as pilot:
            app.push_screen(Correct("A", "one two"))
            await pilot.pause()
            for _ in range(5):
                app.screen.changed()  # type: ignore[attr-defined]
            await pilot.press(*"three four five")
            app.push_screen(Diff([("A", "one"), ("B", "two"), ("C", "three")], 0, 1))
            await pilot.pause()
            for _ in range(5):
                app.screen.action_swap()  # type: ignore[attr-defined]
        assert unawaited(seen) == []


async def test_a_job_cancelled_before_it_begins_is_no_coroutine_yet(open_chat: Open) -> None:
    begun = []

    async def job(name: str) -> None:
        begun.append(name)

    async with open_chat() as chat:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            chat.screen.jobs.start("trial", job, "cancelled")
            chat.screen.workers.cancel_group(chat.screen, "trial")
            for number in range(5):
                begin(chat.screen, "other", partial(job, str(number)), exclusive=True)
            await chat.until(lambda: begun)
            assert unawaited(seen) == []
        assert begun == ["4"]
