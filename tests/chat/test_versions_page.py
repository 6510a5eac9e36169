"""The page of the versions: the lineage, what is told of one, the keys back and forth, the comparison, the disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import OptionList

from chatapp.screens.behind import Behind
from chatapp.screens.compared import ComparedPage, Pair
from chatapp.screens.dialogs import AskText, Choose, Confirm
from chatapp.screens.versions import VersionsPage
from chatapp.widgets.fields import SafeInput
from storage import paths
from storage.store import Store
from storage.threads import NewAnswer
from tests.chat.conftest import SMALL
from tests.chat.fakes import FakeEngine
from tests.version_of_a_model import add_version

Open = Callable[..., Any]


class Learner(FakeEngine):
    """Answers differently with each adapter."""

    def generate(self, *arguments: Any, **named: Any) -> Any:
        adapter = self.swaps[-1] if self.swaps else None
        self.texts = [f"By {adapter.parent.name if adapter else 'the base'}."]
        return super().generate(*arguments, **named)


def version(store: Store, model: str, state: str = "live", judgments: Any = (), verdict: str = "It won.") -> str:
    """Another process adds a version; a live one takes the place of the one before."""
    live = store.adapters.live(model)
    run = store.runs.queue("dpo", {}, model)
    store.runs.claim(run.id)
    store.runs.record_judgments(run.id, judgments)
    store.runs.finish(run.id, "rejected" if state == "rejected" else "done")
    id = f"version-{len(store.adapters.list()) + 1}"
    folder = paths.adapter_dir(store.home, id)
    folder.mkdir()
    (folder / "adapter.gguf").write_bytes(b"G" * 1_500_000)
    store.adapters.register(
        id,
        model_hash=model,
        files={},
        run_id=run.id,
        parent_id=live.id if live else None,
        verdict=verdict,
        state="rejected" if state == "rejected" else "candidate",
    )
    if state == "live":
        assert store.adapters.promote(id, live.id if live else None)
    return id


async def add(chat: Any, *states: str, **about: Any) -> list[str]:
    def work() -> list[str]:
        with Store.open(chat.store.home) as store:
            return [version(store, chat.screen.session.model.hash, state, **about) for state in states]

    return await chat.screen.jobs.call(work)


async def versions(chat: Any) -> VersionsPage:
    await chat.press("f4")
    await chat.until(lambda: isinstance(chat.app.screen, VersionsPage))
    page: VersionsPage = chat.app.screen
    await chat.until(lambda: "On the disk" in disk(page))
    return page


def text(page: VersionsPage) -> str:
    return " ".join(str(page.query_one("#version-text").render()).split())


def disk(page: VersionsPage) -> str:
    return str(page.query_one("#disk").render())


def said(page: Any) -> str:
    return str(page.query_one("#page-said").render())


def tree(page: VersionsPage) -> list[str]:
    options = page.query_one("#versions", OptionList)
    lines = [str(options.get_option_at_index(at).prompt) for at in range(options.option_count)]
    return [line[:29].rstrip() for line in lines]


async def test_the_lineage_and_what_is_told_of_a_version(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask("Why do apples keep?")
        await chat.press("1")
        await chat.says("A > B, C")
        pick = chat.judgments()[0]
        await add(chat, "live", "rejected", verdict="Lost:\x1b[2J [b]all[/b].")
        await add(chat, "live", judgments=[(pick.id, "train")], verdict="It won 9 of 10.")
        page = await versions(chat)
        assert tree(page) == [
            "○ base     the model itself",
            "✓ v1       was in use",
            "└ ✗ v2     not adopted",
            "● v3       answers now",
        ]
        assert "v3 · answers now" in text(page)
        assert "Made by lesson 3, after v1." in text(page)
        assert "Verdict: It won 9 of 10." in text(page)
        assert "Learned from 1 judgment: 1 pick. Tested on 0 held out." in text(page)
        assert "No duels yet." in text(page)
        await chat.press("enter")
        await chat.until(lambda: isinstance(chat.app.screen, Behind))
        lines = " ".join(str(line.render()) for line in chat.app.screen.query("Static"))
        assert "A > B, C: 2 pairs" in lines
        assert "Why do apples keep?" in lines
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is page)
        await chat.press("up")
        await chat.until(lambda: "Verdict: Lost:␛[2J [b]all[/b]." in text(page))
        await chat.press("o")
        await chat.until(lambda: said(page) == "v2 learned from no judgment of yours.")


async def test_duels_are_told(open_chat: Open) -> None:
    async with open_chat() as chat:
        (first,) = await add(chat, "live")

        def duel() -> None:
            with Store.open(chat.store.home) as store:
                model = chat.screen.session.model.hash
                store.add_model(model, "tiny", "llama", "t", "tiny.gguf")
                thread = store.threads.new("t")
                for tie in (False, True):
                    prompt = store.threads.add_message(thread.id, None, "user", "why?")
                    sides = enumerate((first, None))
                    answers = [NewAnswer("so", at, model, id, {}, 1, [1], 3, "stop") for at, id in sides]
                    ids = [message.id for message in store.threads.add_answers(thread.id, prompt.id, answers)]
                    store.judgments.duel(prompt.id, *ids, tie)

        await chat.screen.jobs.call(duel)
        page = await versions(chat)
        assert "Duels against base: 1 won, 0 lost, 1 even." in text(page)


async def test_back_forth_and_use(open_chat: Open) -> None:
    engine = FakeEngine()
    async with open_chat(engine=engine) as chat:
        await add(chat, "live", "rejected", "live")
        await chat.until(lambda: chat.screen.status.version == "v3")
        page = await versions(chat)
        await chat.press("b")
        await chat.until(lambda: said(page).startswith("v1 answers from now on; v3 is one key away: f."))
        await chat.until(lambda: tree(page)[-1] == "✓ v3       was in use")
        await chat.until(lambda: [path and path.parent.name for path in engine.swaps][-1] == "version-1")
        await chat.press("b")
        await chat.until(lambda: said(page).startswith("The base answers from now on; v1 is one key away: f."))
        await chat.until(lambda: engine.swaps[-1] is None)
        await chat.press("b")
        await chat.until(lambda: "there is nothing to roll back" in said(page))
        await chat.press("f")
        await chat.until(lambda: said(page).startswith("v1 answers from now on; the base is one key away: b."))
        await chat.press("f")
        await chat.until(lambda: said(page).startswith("v3 answers from now on; v1 is one key away: b."))
        await chat.press("f")
        await chat.until(lambda: "There is no version to go forward to" in said(page))
        await chat.press("up", "u")
        await chat.until(lambda: said(page).startswith("v2 answers from now on; v3 comes back with u."))
        await chat.until(lambda: "├" not in "".join(tree(page)) and any("● v2" in line for line in tree(page)))
        await chat.press("u")
        await chat.until(lambda: said(page) == "v2 answers already.")


async def test_what_it_learned_is_shown_on_ones_own_questions(open_chat: Open) -> None:
    engine = Learner()
    async with open_chat(engine=engine) as chat:
        await chat.ask("One?")
        page = await versions(chat)
        await chat.press("w")
        await chat.until(lambda: "choose a version, to see what it learned" in said(page))
        await chat.press("escape")
        await add(chat, "live", "live")
        await chat.until(lambda: chat.screen.status.version == "v2")
        page = await versions(chat)
        asked = len(engine.asked)
        await chat.press("up", "w")
        await chat.until(lambda: isinstance(chat.app.screen, ComparedPage))
        compared = chat.app.screen
        await chat.until(lambda: "1 of 1 answers changed." in said(compared))
        (pair,) = compared.query(Pair)
        assert str(pair.query_one(".question").render()) == "One?"
        assert str(pair.query_one(".before").render()) == "By the base."
        assert str(pair.query_one(".after").render()) == "By version-1."
        assert engine.asked[asked:] == [[{"role": "user", "content": "One?"}]] * 2
        assert [path and path.parent.name for path in engine.swaps[-3:]] == [None, "version-1", "version-2"]
        assert chat.screen.session.adapter.name == "v2"
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is page)


async def test_a_comparison_can_be_stopped_and_the_chat_goes_on(open_chat: Open) -> None:
    engine = FakeEngine()
    async with open_chat(SMALL, engine=engine) as chat:
        await chat.ask("One?")
        await add(chat, "live")
        await chat.until(lambda: chat.screen.status.version == "v1")
        page = await versions(chat)
        engine.hold = True
        await chat.press("w")
        await chat.until(lambda: engine.generating.is_set())
        compared = chat.app.screen
        engine.feed(0, "Half of")
        await chat.until(lambda: "Half of" in str(compared.query_one(".before").render()))
        await chat.press("escape")
        await chat.until(lambda: said(compared).startswith("Stopped."))
        assert str(compared.query_one(".after").render()) == "(stopped)"
        await chat.press("escape")
        await chat.until(lambda: chat.app.screen is page)
        assert not chat.screen.session.busy
        assert [path and path.parent.name for path in engine.swaps] == ["version-1", None, "version-1"]
        await chat.press("escape")
        engine.hold = False
        await chat.ask("Two?")
        made = chat.store.threads.generation(chat.answers.turn.answers[0].message_id)
        assert made.adapter_id == "version-1"


async def test_no_comparison_while_the_chat_answers(open_chat: Open) -> None:
    engine = FakeEngine()
    async with open_chat(engine=engine) as chat:
        await add(chat, "live")
        await chat.until(lambda: chat.screen.status.version == "v1")
        engine.hold = True
        await chat.ask("One?")
        page = await versions(chat)
        await chat.press("w")
        await chat.until(lambda: "The chat is still answering" in said(page))
        engine.feed(0, "Done.")
        engine.release()
        await chat.until(lambda: not chat.screen.generating)


async def test_an_adapter_that_fails_leaves_the_chat_its_own(open_chat: Open) -> None:
    class Refuses(FakeEngine):
        def swap(self, adapter_path: Path | None) -> float:
            if adapter_path is not None and adapter_path.parent.name == "version-2":
                from chatapp.engine.base import AdapterFileError

                raise AdapterFileError("the adapter file is broken.")
            return super().swap(adapter_path)

    engine = Refuses()
    async with open_chat(engine=engine) as chat:
        await chat.ask("One?")
        await add(chat, "live", "rejected")
        await chat.until(lambda: chat.screen.status.version == "v1")
        await versions(chat)
        await chat.press("down", "w")
        await chat.until(lambda: isinstance(chat.app.screen, ComparedPage))
        compared = chat.app.screen
        await chat.until(lambda: "the adapter file is broken." in said(compared))
        assert chat.screen.session.adapter.name == "v1"
        assert not chat.screen.session.busy


async def test_the_disk_is_told_and_freed(open_chat: Open) -> None:
    async with open_chat() as chat:
        await add(chat, "live", "rejected", "live")
        page = await versions(chat)
        assert disk(page) == "On the disk: versions 4.5 MB, caches 0.0 MB. p frees 1.5 MB."
        await chat.press("p")
        await chat.until(lambda: isinstance(chat.app.screen, Confirm))
        assert "The files of v2 go (1.5 MB)" in chat.app.screen.question
        await chat.press("n")
        await chat.until(lambda: chat.app.screen is page)
        assert chat.store.adapters.there(chat.store.adapters.get("v2"))
        await chat.press("p")
        await chat.until(lambda: isinstance(chat.app.screen, Confirm))
        await chat.press("y")
        await chat.until(lambda: said(page) == "1.5 MB freed.")
        await chat.until(lambda: "└ ✗ v2     not adopted, files" in tree(page))
        await chat.press("p")
        await chat.until(lambda: said(page) == "Nothing to free: every version's files are of use.")


# -- taking one elsewhere ----------------------------------------------------------------------------------------------


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
