"""The chat around the answers: start and end, prompt, errors, sizes, help, palette."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import SystemCommand
from textual.binding import Binding
from textual.command import CommandPalette

from chatapp.app import run_chat
from chatapp.engine.base import EngineConfig, EngineCrashed, ModelFileError
from chatapp.opening import lock_home
from chatapp.screens.chat import ChatScreen
from chatapp.screens.help import Help
from chatapp.widgets.answers import Answers
from chatapp.widgets.prompt import Prompt
from chatapp.widgets.threads import ThreadList, Threads
from storage.errors import DiskFull
from storage.store import Store
from tests.chat.conftest import SMALL, WIDE
from tests.chat.fakes import TEXTS, FakeEngine, make_settings

Open = Callable[..., Any]


# -- start -------------------------------------------------------------------------------------------------------------


async def test_an_empty_chat_says_what_to_do(open_chat: Open) -> None:
    async with open_chat() as chat:
        assert "three ways" in str(chat.screen.query_one("#empty").render())
        assert chat.screen.transcript.has_class("-blank")
        assert chat.app.focused is chat.screen.prompt
        assert chat.screen.status.model == "fake"
        assert chat.screen.status.version == "base"
        assert chat.screen.query_one("#thread-hint").render()


async def test_a_question_typed_before_everything_is_open_is_asked(open_chat: Open) -> None:
    async with open_chat(wait=False) as chat:
        chat.screen.prompt.put("Early?")
        chat.screen.prompt.action_send()
        await chat.until(lambda: chat.answers.ready)
        assert chat.engine.asked[0][0]["content"] == "Early?"


async def test_a_missing_model_is_said_and_nothing_typed_is_lost(open_chat: Open, tmp_path: Path) -> None:
    async with open_chat(model=str(tmp_path / "nowhere.gguf")) as chat:
        await chat.says("There is no model file")
        chat.screen.prompt.put("Is anybody there?")
        await chat.press("enter")
        await chat.until(lambda: chat.screen.prompt.text == "Is anybody there?" and "no model file" in chat.said)
        assert chat.store.threads.list() == []


async def test_a_broken_model_is_said_when_it_is_loaded(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.load_error = ModelFileError("fake.gguf is broken. Download it again.")
    async with open_chat(engine=engine) as chat:
        await chat.says("fake.gguf is broken")
        assert chat.screen.is_running


async def test_a_database_from_a_newer_hone_is_left_alone(open_chat: Open, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Store.open(home) as store, store.write() as db:
        columns = [column.name for column in db["_sqlite_migrations"].columns]
        row = dict(zip(columns, db.execute("SELECT * FROM _sqlite_migrations LIMIT 1").fetchone(), strict=True))
        changes = {"name": "9999_future"} | ({"id": 9999} if "id" in columns else {})
        db["_sqlite_migrations"].insert(row | changes)
    async with open_chat(wait=False) as chat:
        await chat.until(lambda: any("newer Hone" in note for note in chat.notes))
        assert chat.app.return_code_on_exit == 1


def test_a_second_hone_on_the_same_home_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = make_settings(tmp_path)
    with lock_home(settings):
        assert run_chat(settings) == 1
    said = capsys.readouterr().err
    assert "already running" in said
    assert "--home" in said


async def test_the_last_session_is_taken_up_where_it_ended(open_chat: Open, tmp_path: Path) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        await chat.press("2")
        await chat.says("B >")
        await chat.ask("Two?")
        await chat.press("i", "h", "a", "l", "f")
    async with open_chat() as chat:
        assert chat.answers.turn.prompt == "Two?"
        assert [past.turn.mark for past in chat.screen.transcript.past.turns] == ["B, picked of 3"]
        assert chat.screen.prompt.text == "half"
        assert chat.app.focused is chat.screen.prompt


async def test_an_answer_cut_off_by_a_crash_can_be_asked_for_again(open_chat: Open, tmp_path: Path) -> None:
    with Store.open(tmp_path / "home") as store:
        thread = store.threads.new(title="Lost")
        store.threads.add_message(thread.id, None, "user", "Where was I?", tip=True)
        store.meta_set("chat.thread", thread.id)
    async with open_chat() as chat:
        await chat.says("ended before an answer was complete")
        assert chat.app.focused is chat.answers
        await chat.press("ctrl+r")
        await chat.until(lambda: chat.answers.ready)
        assert chat.engine.asked[0][0]["content"] == "Where was I?"
        assert chat.notes == []  # it has its answer now


async def test_a_theme_chosen_in_the_chat_is_there_the_next_time(open_chat: Open) -> None:
    async with open_chat(theme="nord") as chat:
        assert chat.app.theme == "nord"
        chat.app.theme = "gruvbox"
        await chat.until(lambda: chat.store.meta_get("theme") == "gruvbox")
    async with open_chat(theme="nord") as chat:
        await chat.until(lambda: chat.app.theme == "gruvbox")
        chat.app.theme = "nord"
        await chat.until(lambda: chat.store.meta_get("theme") is None)
    async with open_chat(theme="dracula") as chat:
        assert chat.app.theme == "dracula"


async def test_a_kept_theme_that_is_gone_gives_way_to_the_settings(open_chat: Open, tmp_path: Path) -> None:
    with Store.open(tmp_path / "home") as store:
        store.meta_set("theme", "gone-by-now")
    async with open_chat(theme="nord") as chat:
        assert chat.app.theme == "nord"
        assert chat.notes == []
        assert not chat.app._notifications


# -- the prompt --------------------------------------------------------------------------------------------------------


async def test_writing(open_chat: Open) -> None:
    async with open_chat() as chat:
        prompt = chat.screen.prompt
        await chat.press("a", "ctrl+j", "b", "shift+enter", "c")
        assert prompt.text == "a\nb\nc"
        low = prompt.size.height
        page = "\n".join(f"line {number}" for number in range(60))
        chat.app.post_message(events.Paste("\n" + page))
        await chat.until(lambda: prompt.text.endswith("line 59"))
        assert prompt.text == "a\nb\nc\n" + page
        assert low < prompt.size.height <= 12
        await chat.press("enter")
        await chat.until(lambda: chat.answers.ready)
        assert chat.engine.asked[0][0]["content"] == "a\nb\nc\n" + page
        await chat.press("i", "up")
        assert prompt.text == "a\nb\nc\n" + page


async def test_letters_and_enter_keep_their_order_however_fast_they_come(open_chat: Open) -> None:
    async with open_chat() as chat:
        for key in ("H", "i", "ctrl+j", "y", "o", "u", "question_mark", "enter", "m", "o", "r", "e"):
            character = {"question_mark": "?", "ctrl+j": "\n", "enter": "\r"}.get(key, key)
            chat.app.post_message(events.Key(key, character))
        await chat.until(lambda: chat.engine.asked)
        assert chat.engine.asked[0][0]["content"] == "Hi\nyou?"
        await chat.until(lambda: chat.screen.prompt.text == "more")


async def test_a_blank_prompt_is_not_sent(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.press("space", "enter")
        assert chat.engine.asked == []


async def test_untrusted_output_is_shown_as_it_is(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.texts = (
        "\x1b]52;c;AAAA\x07[red]x[/] [a](http://b.c) <b>",
        "**bold** [@click=app.quit]q[/] ![i](http://x)",
        "\u202eabc",
    )
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        shown = chat.app.export_screenshot().replace("&#160;", " ")
        for text in ("␛]52;c;AAAA␇[red]x[/]", "[@click=app.quit]q[/]", "⟨U+202E⟩abc"):
            assert text in shown
        assert "\x1b" not in shown
        # stored as it was
        assert chat.answers.turn.answers[0].text.startswith("\x1b]52")


# -- errors ------------------------------------------------------------------------------------------------------------


async def test_an_engine_error_is_said_and_the_chat_lives(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.engine.error = error = EngineCrashed("The engine died of signal 11.")
        await chat.ask("Why?")
        await chat.says(str(error))
        assert chat.app.focused is chat.answers
        chat.engine.error = None
        await chat.press("ctrl+r")
        await chat.until(lambda: chat.answers.ready)
        assert [m["content"] for m in chat.engine.asked[-1]] == ["Why?"]


async def test_an_engine_that_dies_in_the_middle_of_an_answer(open_chat: Open) -> None:
    async with open_chat() as chat:
        chat.engine.hold = True
        chat.screen.prompt.put("Why?")
        await chat.press("enter")
        await chat.until(lambda: chat.engine.generating.is_set())
        chat.engine.feed(0, "Half a sen")
        await chat.until(lambda: any("Half a sen" in line for line in chat.drawn))
        chat.engine.error = EngineCrashed("The engine died of signal 11.")
        chat.engine.release()
        await chat.says("The engine died of signal 11.")
        await chat.until(lambda: not chat.screen.generating)
        assert chat.judgments() == []
        chat.engine.hold, chat.engine.error = False, None
        await chat.press("ctrl+r")
        await chat.until(lambda: chat.answers.ready)
        assert [m["content"] for m in chat.engine.asked[-1]] == ["Why?"]
        await chat.press("2")
        await chat.says("B > A, C")


async def test_a_full_disk_loses_nothing(open_chat: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_chat() as chat:
        await chat.ask("One?")
        real = Store.write

        def full(self: Store) -> Any:
            raise DiskFull("cannot write hone.db: the disk is full.")

        monkeypatch.setattr(Store, "write", full)
        await chat.press("2")
        await chat.says("disk is full")
        chat.screen.set_focus(chat.screen.prompt)
        chat.screen.prompt.put("Two?")
        await chat.press("enter")
        await chat.until(lambda: chat.screen.prompt.text == "Two?" and not chat.screen.generating)
        monkeypatch.setattr(Store, "write", real)
        chat.engine.hold = True
        await chat.press("enter")
        await chat.until(lambda: chat.engine.generating.is_set())
        monkeypatch.setattr(Store, "write", full)
        chat.engine.feed(0, "Precious.")
        chat.engine.release()
        await chat.says("The answers are kept here")
        assert chat.answers.cards[0].prose.text == "Precious."
        monkeypatch.setattr(Store, "write", real)
        await chat.press("ctrl+r")
        await chat.until(lambda: chat.answers.ready)
        assert chat.answers.turn.answers[0].text == "Precious."
        assert len(chat.engine.asked) == 2


async def test_dropped_turns_are_said(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.dropped = 4
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        await chat.says("4 messages were left out")


# -- size, help, palette -----------------------------------------------------------------------------------------------


async def test_resizing(open_chat: Open) -> None:
    async with open_chat(WIDE) as chat:
        await chat.ask()
        assert not chat.answers.has_class("-stacked")
        for width, height in (SMALL, (40, 12), (20, 5), WIDE):
            await chat.pilot.resize_terminal(width, height)
            await chat.until(lambda width=width: chat.app.size.width == width)
            assert chat.screen.has_class("-small") == (width < 30)
        await chat.until(lambda: not chat.answers.has_class("-stacked"))
        await chat.press("2")
        await chat.says("B > A, C")


async def test_resizing_while_answers_grow(open_chat: Open) -> None:
    async with open_chat(WIDE) as chat:
        chat.engine.hold = True
        chat.screen.prompt.put("Why?")
        await chat.press("enter")
        await chat.until(lambda: chat.engine.generating.is_set())
        for number, (width, height) in enumerate((SMALL, (40, 12), (20, 5), (250, 80), WIDE)):
            chat.engine.feed(0, f"word{number} " * 12)
            await chat.pilot.resize_terminal(width, height)
            await chat.until(lambda width=width: chat.app.size.width == width)
            chat.engine.feed(0, f"end{number} ")
            if width >= 40:
                await chat.until(lambda number=number: f"end{number}" in chat.answers.cards[0].prose.text)
        chat.engine.release()
        await chat.until(lambda: chat.answers.ready and not chat.screen.generating)
        shown = " ".join(chat.drawn)
        assert all(f"end{number}" in shown for number in range(5)), "nothing of it was lost"


async def test_stacked_answers_unfold_when_looked_at(open_chat: Open) -> None:
    engine = FakeEngine()
    engine.texts = tuple("\n".join(f"{name} {line}" for line in range(12)) for name in "abc")
    async with open_chat(SMALL, engine) as chat:
        await chat.ask()
        await chat.until(lambda: [card.has_class("-folded") for card in chat.answers.cards] == [False, True, True])
        await chat.until(lambda: "more lines" in str(chat.answers.cards[1].border_title))
        await chat.press("right")
        await chat.until(lambda: [card.has_class("-folded") for card in chat.answers.cards] == [True, False, True])


async def test_stacked_answers_are_whole_as_far_as_there_is_room(open_chat: Open) -> None:
    engine = FakeEngine()
    lengths = {"a": 1, "b": 5, "c": 12}
    engine.texts = tuple("\n".join(f"{name} {line}" for line in range(lines)) for name, lines in lengths.items())
    async with open_chat(SMALL, engine) as chat:
        await chat.ask()
        await chat.until(lambda: [card.has_class("-folded") for card in chat.answers.cards] == [False, False, True])
        assert any("b 4" in line for line in chat.drawn)
        await chat.press("right", "right")
        await chat.until(lambda: [card.has_class("-folded") for card in chat.answers.cards] == [False, True, False])


async def test_every_key_has_an_id_a_tooltip_and_a_command(open_chat: Open) -> None:
    async with open_chat() as chat:
        commands = {
            command.help for command in chat.app.get_system_commands(chat.screen) if isinstance(command, SystemCommand)
        }
        ids: list[str] = []
        for widget in (Answers, Prompt, Threads, ThreadList, ChatScreen):
            for binding in widget.BINDINGS:
                assert isinstance(binding, Binding)
                assert binding.id, binding
                assert binding.tooltip, binding
                ids.append(binding.id)
                if not binding.id.startswith("answers.pick."):
                    assert any(about.endswith(binding.tooltip) for about in commands), binding.id
        assert len(ids) == len(set(ids))
        await chat.ask()
        await chat.press("ctrl+p")
        await chat.until(lambda: isinstance(chat.app.screen, CommandPalette))
        await chat.press(*"all bad")
        await chat.until(lambda: chat.app.screen.query_one("OptionList").option_count)
        await chat.press("enter")
        await chat.says("all bad: 3 bad examples")


async def test_help_lists_every_key(open_chat: Open) -> None:
    async with open_chat() as chat:
        await chat.press("f1")
        await chat.until(lambda: isinstance(chat.app.screen, Help))
        text = " ".join(" ".join(str(static.render()) for static in chat.app.screen.query("Static")).split())
        for binding in Answers.BINDINGS:
            if not binding.id.startswith("answers.pick."):
                assert binding.tooltip in text
        await chat.press("escape")
        assert chat.app.screen is chat.screen


# -- end ---------------------------------------------------------------------------------------------------------------


async def test_quitting_records_the_ranking_and_closes_the_engine(open_chat: Open, tmp_path: Path) -> None:
    engine = FakeEngine()
    async with open_chat(engine=engine) as chat:
        await chat.ask()
        await chat.press("J")
        assert chat.answers.draft is not None
        await chat.press("ctrl+q")
        await chat.until(lambda: engine.closed)
    with sqlite3.connect(tmp_path / "home" / "hone.db") as db:
        assert db.execute("SELECT kind FROM judgments").fetchall() == [("ranking",)]


def test_the_engine_gets_the_settings(tmp_path: Path) -> None:
    from chatapp.opening import open_chat

    seen: list[EngineConfig] = []

    def make(config: EngineConfig) -> FakeEngine:
        seen.append(config)
        return FakeEngine(config)

    opened = open_chat(make_settings(tmp_path, context_size=512, threads=3), make)
    opened.session.close()
    assert (seen[0].context_size, seen[0].threads, seen[0].adapter_path) == (512, 3, None)
    assert seen[0].lock_path == tmp_path / "home" / "generation.lock"
    assert TEXTS
