"""Learning as the full-screen chat shows it: lessons that start, end and fail, and versions that are swapped in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from chatapp.engine.base import ModelFileError
from chatapp.lessons import Lessons, Progress
from storage import paths
from storage.store import Store
from tests.chat.fakes import FakeEngine

Open = Callable[..., Any]


def adapter(chat: Any, verdict: str) -> str:
    """Another process adds a version and makes it live."""
    session = chat.screen.session
    with Store.open(session.store.home) as store:
        live = store.adapters.live(session.model.hash)
        id = f"adapter-{len(store.adapters.list())}"
        folder = store.home / "adapters" / id
        folder.mkdir()
        (folder / "adapter.gguf").write_bytes(b"GGUF")
        store.adapters.register(id, model_hash=session.model.hash, files={}, verdict=verdict)
        assert store.adapters.promote(id, live.id if live else None)
    return id


async def test_a_new_adapter_is_used_from_the_next_turn_on(open_chat: Open) -> None:
    engine = FakeEngine()
    async with open_chat(engine=engine) as chat:
        await chat.ask("One?")
        engine.hold = True
        await chat.ask("Two?")
        id = adapter(chat, "It won 9 of 10.")
        engine.feed(0, "Half")
        await chat.until(lambda: chat.answers.cards[0].prose.text == "Half")
        chat.screen._poll()
        await chat.pilot.pause()
        assert engine.swaps == [], "never within an answer"
        engine.release()
        await chat.says("Now answering with v1.")
        assert [path.name for path in engine.swaps] == ["adapter.gguf"]
        await chat.until(lambda: chat.screen.status.version == "v1")
        engine.hold = False
        await chat.ask("Three?")
        made = chat.store.threads.generation(chat.answers.turn.answers[0].message_id)
        assert made.adapter_id == id


async def test_an_adapter_that_cannot_be_loaded_changes_nothing(open_chat: Open) -> None:
    engine = FakeEngine()
    async with open_chat(engine=engine) as chat:
        engine.error = ModelFileError("bad adapter.")
        adapter(chat, "")
        await chat.says("v1 could not be used: bad adapter. Still answering with the base model.")
        engine.error = None
        await chat.ask()
        assert chat.screen.status.version == "base"


async def test_a_lesson_starts_by_itself_and_its_verdict_is_said(open_chat: Open) -> None:
    async with open_chat(auto_train=True, train_after=2) as chat:
        await chat.ask("One?")
        await chat.press("1")
        await chat.until(lambda: chat.screen.status.lesson == "1/2 to next lesson")
        await chat.ask("Two?")
        await chat.press("2")
        await chat.says("Lesson 1 begins")
        command = chat.spawn.commands[0]
        run = chat.store.runs.active()
        start = command.index(sys.executable)
        assert command[start : start + 7] == [sys.executable, "-P", "-m", "trainer", "run", "--run", run.id]
        with Store.open(chat.store.home) as other:
            other.runs.claim(run.id)
            other.runs.tell_practising(run.id, 7)
            await chat.until(lambda: chat.screen.status.lesson == "learning: practice 7")
            other.runs.tell_practising(run.id, 0)
            await chat.until(lambda: chat.screen.status.lesson == "learning: starting")
            other.runs.metrics(run.id, 5, {"progress.step": 5, "progress.total": 10})
            await chat.until(lambda: "50%" in chat.screen.status.lesson)
            assert "learning" in chat.screen.status.lesson
            again = {"progress.second_look": 10, "progress.step": 13, "progress.total": 22}
            other.runs.metrics(run.id, 13, again)
            await chat.until(lambda: "testing" in chat.screen.status.lesson)
            assert "25%" in chat.screen.status.lesson, "of the second look alone"
            live = [(judgment.id, "train") for judgment in other.judgments.live()]
            other.runs.record_judgments(run.id, live)
            other.runs.finish(run.id, "rejected", {"verdict": "It was no better than the base."})
        await chat.says(
            "Lesson 1 is not used: It was no better than the base. The next lesson comes after 2 more judgments."
        )
        await chat.until(lambda: chat.screen.status.lesson == "0/2 to next lesson")
        assert len(chat.spawn.commands) == 1


async def test_a_lesson_that_dies_is_said_and_not_tried_at_once_again(open_chat: Open) -> None:
    async with open_chat(auto_train=True, train_after=1) as chat:
        await chat.ask()
        await chat.press("1")
        await chat.says("Lesson 1 begins")
        chat.spawn.children[0].returncode = 1
        await chat.says("Lesson 1 failed: the trainer ended (exit code 1)")
        chat.screen._poll()
        await chat.pilot.pause()
        assert len(chat.spawn.commands) == 1
        await chat.press("ctrl+l")
        await chat.says("Lesson 2 begins")


async def test_a_lesson_that_was_killed_goes_on(open_chat: Open) -> None:
    async with open_chat(auto_train=True, train_after=1) as chat:
        await chat.ask()
        await chat.press("1")
        await chat.says("Lesson 1 begins")
        run = chat.store.runs.active()
        with Store.open(chat.store.home) as other:
            other.runs.claim(run.id, pid=2**22 + 1)
            folder = paths.run_dir(other.home, run.id)
            folder.mkdir(parents=True)
            (folder / "checkpoint-main.safetensors").write_bytes(b"weights")
            chat.spawn.children[0].returncode = -9
            await chat.says("Lesson 1 was interrupted and goes on from its last checkpoint.")
            assert len(chat.spawn.commands) == 2
            assert chat.spawn.commands[1][-1] == chat.spawn.commands[0][-1]
            other.runs.claim(run.id)
            other.runs.finish(run.id, "done", {"verdict": "Better."})
        chat.spawn.children[1].returncode = 0
        await chat.until(lambda: "Lesson 1 is done: Better." in chat.said)


async def test_learning_on_command_and_paused(open_chat: Open) -> None:
    async with open_chat(auto_train=True, train_after=1, idle_seconds=3600.0) as chat:
        await chat.press("ctrl+l")
        await chat.says("nothing new to learn from")
        await chat.ask()
        await chat.press("1")
        await chat.until(lambda: chat.screen.status.lesson == "lesson at the next pause")
        assert chat.spawn.commands == [], "not idle"
        chat.screen.action_toggle_learning()
        await chat.says("no longer start by themselves")
        await chat.until(lambda: "paused" in chat.screen.status.lesson)
        await chat.press("ctrl+l")
        await chat.says("Lesson 1 begins")
        chat.screen.action_cancel_lesson()
        await chat.says("Lesson 1 was cancelled")


async def test_after_a_cancelled_lesson_the_header_counts_to_when_the_next_one_comes(open_chat: Open) -> None:
    async def judge() -> None:
        before = len(chat.store.judgments.live())
        await chat.ask()
        await chat.press("1")
        await chat.until(lambda: len(chat.store.judgments.live()) > before)

    async with open_chat(auto_train=True, train_after=2) as chat:
        await judge()
        await judge()
        await chat.says("Lesson 1 begins")
        chat.screen.action_cancel_lesson()
        await chat.says("Its judgments are still waiting; the next lesson comes after 2 more judgments.")
        await chat.until(lambda: chat.screen.status.lesson == "2/4 to next lesson")
        await judge()
        await chat.until(lambda: chat.screen.status.lesson == "3/4 to next lesson")
        assert Progress(3, 4).words == "1 more judgment to the next lesson"
        await judge()
        await chat.says("Lesson 2 begins")
        run = chat.store.runs.active()
        with Store.open(chat.store.home) as other:
            other.runs.claim(run.id)
            other.runs.record_judgments(run.id, [(judgment.id, "train") for judgment in other.judgments.live()])
            other.runs.finish(run.id, "rejected", {"verdict": "It was no better."})
        await chat.says("It was no better. The next lesson comes after 2 more judgments.")
        await chat.until(lambda: chat.screen.status.lesson == "0/2 to next lesson")


async def test_a_version_chosen_by_hand_is_said_in_the_header_as_on_the_page(open_chat: Open) -> None:
    async with open_chat(auto_train=True, train_after=2) as chat:
        adapter(chat, "")
        await chat.says("Now answering with v1.")
        with Store.open(chat.store.home) as other:
            other.adapters.rollback(chat.screen.session.model.hash)
        await chat.until(lambda: chat.screen.status.lesson == "learning waits for a new judgment")
        await chat.ask()
        await chat.press("1")
        await chat.until(lambda: chat.screen.status.lesson == "1/2 to next lesson")


async def test_a_run_that_died_with_its_process_is_told_at_the_start(open_chat: Open, tmp_path: Path) -> None:
    with Store.open(tmp_path / "home") as store:
        run = store.runs.queue(model_hash="x")
        store.runs.claim(run.id, pid=2**22 + 1)
    async with open_chat() as chat:
        await chat.says("Lesson 1 did not finish: the trainer ended before it was done")


def test_a_reward_model_that_failed_holds_no_lesson_back(store: Store, tmp_path: Path) -> None:
    """It is no lesson: its end is told in its own words, and what waits for a lesson goes on waiting."""
    settings = Settings(store.home, tmp_path / "none.toml", tmp_path / "cache")
    lessons = Lessons(store, settings, "m" * 64)
    run = store.runs.queue("reward", {}, "m" * 64)
    assert lessons.start().text == f"Run {run.number} (reward) is under way: a lesson can begin after it."
    store.runs.finish(run.id, "failed", error="there are too few judgments")
    (note,) = lessons.tick(idle=False)
    assert note.text == f"Reward model {run.number} failed: there are too few judgments"
    assert note.error
    again = Lessons(store, settings, "m" * 64)
    assert (lessons._not_before, again._not_before) == (0, 0)


async def test_a_notice_is_read_once_and_stays_in_the_conversation(open_chat: Open) -> None:
    def seen(chat: Any) -> int:
        return "\n".join(chat.drawn).count("There is nothing new to learn from yet")

    async with open_chat() as chat:
        await chat.ask()
        await chat.press("ctrl+l")
        await chat.says("There is nothing new to learn from yet")
        await chat.until(lambda: seen(chat) == 1 and "There is nothing new" in chat.said)
        await chat.press("1")
        await chat.until(lambda: "A > B" in chat.said)
        await chat.until(lambda: seen(chat) == 1)
        await chat.ask("And now?")
        assert any("There is nothing new to learn from yet" in note for note in chat.notes)


async def test_news_waits_while_a_ranking_is_being_made(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.ask()
        await chat.press("J")
        await chat.until(lambda: "Enter records this ranking" in chat.said)
        run = chat.store.runs.queue("dpo", {}, chat.screen.session.model.hash)
        chat.store.runs.claim(run.id)
        chat.store.runs.finish(run.id, "done", {"verdict": "Better."})
        await chat.until(lambda: any("Lesson 1 is done" in note for note in chat.notes))
        assert "Enter records this ranking" in chat.said
        await chat.press("enter")
        await chat.until(lambda: "Lesson 1 is done" in chat.said)
