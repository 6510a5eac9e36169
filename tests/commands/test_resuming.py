"""`hone -c` and `hone -r ID`: which thread the chat opens with, or why it does not open."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.lookup import short
from storage.store import Store
from tests.chat.fakes import FakeEngine, make_settings
from tests.commands.shell import Shell


@pytest.fixture
def opened(hone: Shell, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """opened(*arguments): the thread that the full-screen chat was told to open."""
    from chatapp import app

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def run(*arguments: str) -> str | None:
        told: list[str | None] = []
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", Terminal())
            patch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
            patch.setattr(app, "run_chat", lambda settings, thread: told.append(thread) or 0)
            hone(*arguments)
        return told[0]

    return run


def thread(store: Store, title: str, **more: Any) -> str:
    made = store.threads.new(title, **more)
    store.threads.add_message(made.id, None, "user", title, tip=True)
    return made.id


def test_which_thread_is_opened(opened: Callable[..., str | None], store: Store) -> None:
    assert opened("-c") is None, "there is none yet: an empty chat"
    first, second = thread(store, "first"), thread(store, "second")
    thread(store, "of an import", origin="import:x")
    assert opened() is None, "that of the last session is for the chat to find"
    assert opened("-c") == opened("--continue") == opened("chat", "-c") == opened("-c", "chat") == second
    store.threads.set_tip(first, None)  # the latest that something happened in
    assert opened("-c") == first
    for name in (second, second[:30], short(second)):
        assert opened("-r", name) == opened("chat", "--resume", name) == second


def test_a_thread_that_cannot_be_opened_is_named_before_the_screen_opens(hone: Shell, store: Store) -> None:
    deleted, other = thread(store, "old"), thread(store, "theirs", origin="import:x")
    store.threads.delete(deleted)
    assert "there is no thread 'abcdefgh'; look for it with `hone threads list`" in hone(
        "--plain", "-r", "abcdefgh", code=1
    )
    assert "too short" in hone("chat", "--plain", "-r", "abc", code=1)
    assert f"{short(deleted)} (old) was deleted" in hone("chat", "--plain", "--resume", deleted, code=1)
    assert "is from import:x, not from the chat" in hone("--plain", "-r", other, code=1)
    with pytest.raises(SystemExit):
        hone("-c", "-r", deleted)


def test_the_plain_chat_goes_on_with_it(
    tmp_path: Path, hone: Shell, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chatapp import opening
    from chatapp.plain import chat as plain_chat

    first, second = thread(store, "About apples"), thread(store, "About pears")
    store.meta_set("chat.thread", None)  # the last session ended on an empty chat
    open_chat = opening.open_chat
    monkeypatch.setattr(
        plain_chat,
        "open_chat",
        lambda settings, make, spawn, id: open_chat(settings, lambda _: FakeEngine(), spawn, id),
    )
    model = make_settings(tmp_path).model
    for arguments, title in ((["-c"], "About pears"), (["-r", first], "About apples"), (["-r", second], "About pears")):
        monkeypatch.setattr(sys, "stdin", io.StringIO("/quit\n"))
        assert f"Thread: {title}" in hone("--plain", "--model", model, *arguments)
