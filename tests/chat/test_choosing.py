"""Best-of-N in a chat: the reward model's favourite is marked as its own, and is where the chat goes on by itself."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatapp.config import Settings
from chatapp.plain import run_plain
from chatapp.reading import past_turns
from chatapp.scoring import ScoringError
from chatapp.session import ChatSession, Model
from storage.store import Store
from tests.chat.fakes import FakeEngine, make_settings

Open = Callable[..., Any]


class Judge:
    """Likes the second answer best, then the third."""

    totals = (0.1, 0.9, 0.5)
    error: str | None = None
    asked: list[int]
    opened: list[Judge]

    def __init__(self, settings: Settings) -> None:
        self.closed = False
        Judge.opened.append(self)

    def rewards(self, messages: Any, answers: Any) -> list[dict[str, Any]]:
        if Judge.error:
            raise ScoringError(Judge.error)
        Judge.asked.append(len(answers))
        return [{"total": total} for total in Judge.totals[: len(answers)]]

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Judge]:
    """A reward model that is there, and what is told of it without torch."""
    Judge.error, Judge.asked, Judge.opened = None, [], []
    monkeypatch.setattr("chatapp.scoring.Scoring", Judge)
    monkeypatch.setattr("storage.rewards.current", lambda store, model_hash: tmp_path / "reward.safetensors")
    return Judge


def session(home: Path, **settings: Any) -> ChatSession:
    made = make_settings(home.parent, reward_picks=True, **settings)
    return ChatSession(Store.open(home), FakeEngine(), made, Model("m", "fake", "fake"))


def test_the_chat_goes_on_from_the_favourite_and_says_whose_choice_it_is(home: Path) -> None:
    chat = session(home)
    chat.ask("About apples")
    turn = chat.answer().turn
    assert (turn.preferred, turn.chosen, turn.judged) == (1, None, False)
    assert turn.continues_id == turn.answers[1].message_id
    assert chat.store.judgments.for_prompt(turn.prompt_id) == [], "the model's choice is nobody's judgment"
    chat.ask("Go on")
    last = chat.answer().turn
    assert chat.engine.asked[-1][1]["content"] == turn.answers[1].text  # type: ignore[union-attr]
    ((past,), _) = past_turns(chat.store, last.prompt_id, 5)
    assert past.mark == "B, the reward model's choice of 3"
    stored = chat.store.threads.generations([answer.message_id for answer in turn.answers])
    assert [stored[a.message_id].sampling["reward_rank"] for a in turn.answers] == [2, 0, 1]
    assert len(Judge.opened) == 1, "one child for the whole chat"
    chat.close()
    assert Judge.opened[0].closed


def test_what_the_user_picks_counts(home: Path) -> None:
    chat = session(home)
    chat.ask("About apples")
    chat.answer()
    turn = chat.pick(2).turn
    assert (turn.preferred, turn.chosen) == (1, 2)
    assert turn.continues_id == turn.answers[2].message_id
    turn = chat.undo().turn
    assert turn.continues_id == turn.answers[1].message_id


def test_a_reward_model_that_cannot_be_asked_costs_nothing(home: Path, judge: type[Judge]) -> None:
    judge.error = "it learned from other layers."
    chat = session(home)
    chat.ask("About apples")
    outcome = chat.answer()
    assert [note.text for note in outcome.notes] == [
        "reward_picks is on, and the answers were not ranked: it learned from other layers."
    ]
    assert (outcome.turn.preferred, outcome.turn.continues_id) == (None, outcome.turn.answers[0].message_id)
    chat.ask("Again")
    assert chat.answer().notes == (), "said once"
    judge.error = None
    chat.ask("And now")
    assert chat.answer().turn.preferred == 1


def test_a_newer_reward_model_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chat = session(home)
    for name in ("a", "a", "b"):
        path = tmp_path / name
        monkeypatch.setattr("storage.rewards.current", lambda store, model_hash, path=path: path)
        chat.ask("About apples")
        chat.answer()
    assert [one.closed for one in Judge.opened] == [True, False]


def test_one_answer_has_no_best(home: Path) -> None:
    chat = session(home, alternatives=1)
    chat.ask("About apples")
    assert chat.answer().turn.preferred is None
    assert Judge.asked == []


async def test_the_card_says_it(open_chat: Open) -> None:
    async with open_chat(reward_picks=True) as chat:
        await chat.ask("About apples")
        await chat.until(lambda: "reward model's choice" in str(chat.answers.cards[1].border_title))
        assert "reward model" not in str(chat.answers.cards[0].border_title)


def test_the_plain_chat_says_it(home: Path) -> None:
    out = io.StringIO()
    settings = make_settings(home.parent, reward_picks=True)
    assert run_plain(settings, io.StringIO("About apples\n/quit\n"), out, lambda config: FakeEngine(config)) == 0
    assert "B is the reward model's choice." in out.getvalue()
