"""A version exported from its page: what is asked, what is said, and that a merge can be stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatapp.screens.dialogs import AskText, Choose, Confirm
from chatapp.screens.versions import VersionsPage
from chatapp.widgets.fields import SafeInput
from storage.store import Store
from tests.chat.conftest import SMALL
from tests.chat.test_versions_page import said, versions
from tests.version_of_a_model import add_version

Open = Callable[..., Any]


async def export_page(chat: Any) -> VersionsPage:
    await chat.screen.jobs.call(lambda: _with_files(chat))
    await chat.until(lambda: chat.screen.status.version == "v1")
    return await versions(chat)


def _with_files(chat: Any) -> None:
    with Store.open(chat.store.home) as store:
        add_version(store, Path(chat.screen.session.model.path))


async def ask_where(chat: Any, format: int) -> AskText:
    await chat.press("x")
    await chat.until(lambda: isinstance(chat.app.screen, Choose))
    await chat.press(*["down"] * format, "enter")
    await chat.until(lambda: isinstance(chat.app.screen, AskText))
    return chat.app.screen


def asked(dialog: AskText) -> str:
    return " ".join(str(dialog.query("Static").first().render()).split())


async def test_a_version_is_exported(open_chat: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    async with open_chat(SMALL) as chat:
        page = await export_page(chat)
        dialog = await ask_where(chat, 0)
        field = dialog.query_one(SafeInput)
        assert field.value == str(tmp_path / "here" / "fake-v1-peft")
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is page)
        assert not list((tmp_path / "here").iterdir())
        dialog = await ask_where(chat, 1)
        field = dialog.query_one(SafeInput)
        field.value = str(tmp_path / "none" / "a.gguf")
        await chat.press("enter")
        await chat.until(lambda: chat.app.screen is not dialog and isinstance(chat.app.screen, AskText))
        dialog = chat.app.screen
        assert f"There is no folder {tmp_path / 'none'}".replace(" ", "") in asked(dialog).replace(" ", "")
        dialog.query_one(SafeInput).value = "a.gguf"
        await chat.press("enter")
        await chat.until(lambda: said(page).startswith("v1 is in "))
        adapter = chat.store.adapters.get("v1")
        assert (tmp_path / "here" / "a.gguf").read_bytes() == chat.store.adapters.gguf(adapter).read_bytes()
        assert any(note == f"v1 is in {tmp_path / 'here' / 'a.gguf'} (0.0 MB)." for note in chat.notes)


async def test_what_is_there_is_replaced_only_when_said_so(open_chat: Open, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUFold")
    async with open_chat() as chat:
        page = await export_page(chat)
        for key, then in (("n", b"GGUFold"), ("y", None)):
            dialog = await ask_where(chat, 1)
            dialog.query_one(SafeInput).value = str(tmp_path / "a.gguf")
            await chat.press("enter")
            await chat.until(lambda: isinstance(chat.app.screen, Confirm))
            await chat.press(key)
            if then is not None:
                await chat.until(lambda: isinstance(chat.app.screen, AskText))
                await chat.press("escape")
                await chat.until(lambda: chat.app.screen is page)
                assert (tmp_path / "a.gguf").read_bytes() == then
        await chat.until(lambda: said(page).startswith("v1 is in "))
        assert len((tmp_path / "a.gguf").read_bytes()) > 100


@pytest.mark.parametrize("ends", [True, False], ids=["to its end", "stopped"])
async def test_merging_is_told_and_can_be_stopped(
    open_chat: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """A child in the trainer's place that merges when it is told to."""
    from chatapp import trainer_process

    go, target = tmp_path / "go", tmp_path / "m.gguf"
    os.mkfifo(go)
    code = (
        'import sys; print(\'{"done": 1, "of": 4}\', flush=True); open(sys.argv[1]).read()\n'
        "open(sys.argv[2], 'wb').write(b'GGUF')"
    )
    asked_for: list[tuple[str, ...]] = []

    def command(_: Any, *arguments: str) -> list[str]:
        asked_for.append(arguments)
        return [sys.executable, "-c", code, str(go), str(target)]

    monkeypatch.setattr(trainer_process, "command", command)
    async with open_chat() as chat:
        page = await export_page(chat)
        dialog = await ask_where(chat, 3)
        dialog.query_one(SafeInput).value = str(target)
        await chat.press("enter")
        await chat.until(lambda: said(page) == "Exporting v1: 25 %. Esc stops it.")
        await chat.press("x")
        await chat.until(lambda: said(page).startswith("An export is under way."))
        if ends:
            go.write_text("now")
            await chat.until(lambda: said(page).startswith("v1 is in "))
            assert asked_for == [("merge", "version-1", "-o", str(target), "--json")]
        else:
            await chat.press("escape")
            await chat.until(lambda: said(page) == "Stopped; nothing was written.")
            assert not target.exists()
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is chat.screen)


async def test_the_base_cannot_be_exported_nor_a_version_without_files(open_chat: Open) -> None:
    async with open_chat() as chat:
        page = await export_page(chat)
        await chat.press("up", "x")
        await chat.until(lambda: said(page).startswith("The base is the model itself"))
        chat.store.adapters.gguf(chat.store.adapters.get("v1")).unlink()
        await chat.press("down", "x")
        await chat.until(lambda: "the files of v1 are gone" in said(page))
