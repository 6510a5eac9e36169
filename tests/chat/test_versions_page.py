"""The page of the versions: the lineage, what is told of one, the keys back and forth, the comparison, the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.widgets import OptionList

from chatapp.screens.behind import Behind
from chatapp.screens.compared import ComparedPage, Pair
from chatapp.screens.dialogs import Confirm
from chatapp.screens.versions import VersionsPage
from storage import paths
from storage.store import Store
from storage.threads import NewAnswer
from tests.chat.conftest import SMALL
from tests.chat.fakes import FakeEngine

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


async def test_what_it_says_is_said_to_the_end(open_chat: Open) -> None:
    async with open_chat((80, 30)) as chat:
        await add(chat, "live", "live")
        await versions(chat)
        await chat.press("b")
        await chat.until(lambda: "Learning waits for a new judgment." in " ".join("".join(chat.drawn).split()))


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
