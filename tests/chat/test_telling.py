"""Of many answers those are shown that tell most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chatapp.telling import most_telling
from tests.chat.fakes import FakeEngine
from tests.chat.test_chat_lessons import adapter

Open = Callable[..., Any]


def test_the_pair_that_the_voices_differ_on_most() -> None:
    """Two voices. Of answers 0 and 2 the one says +4, the other -4: sigmoid 0.982 and 0.018, variance 0.232.
    Of 0 and 1 both say 0: variance 0."""
    opinions = [[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [3.0, 0.5]]
    assert most_telling(opinions, 2) == [0, 2]
    # beside them 1: 0 + 0.232; 3: of (1, -0.5) 0.031, of (-3, 3.5) 0.213, together 0.244
    assert most_telling(opinions, 3) == [0, 2, 3]
    assert most_telling(opinions, 4) == [0, 1, 2, 3]
    assert most_telling(opinions, 1) == [0]


def test_where_all_agree_the_first_are_shown() -> None:
    assert most_telling([[1.0, 1.0], [2.0, 2.0], [0.0, 0.0]], 2) == [0, 1]


def test_opinions_far_apart_do_not_overflow() -> None:
    assert most_telling([[1e9, -1e9], [0.0, 0.0], [-1e9, 1e9]], 2) in ([0, 1], [0, 2], [1, 2])


class Judge(FakeEngine):
    """The live version likes the second and the fourth answer; the base finds all alike."""

    def score(self, messages: Any, response: Any) -> list[float]:
        live = self.swaps and self.swaps[-1] is not None
        return [-1.0 if not live or len(response) in (12, 2) else -9.0]


async def test_live_version_and_base_choose_where_there_is_no_reward_model(open_chat: Open) -> None:
    engine = Judge()
    async with open_chat(engine=engine, drawn=4, alternatives=2) as chat:
        adapter(chat, "good")
        await chat.until(lambda: chat.screen.session.adapter is not None)
        await chat.ask()
        shown = [answer.text for answer in chat.answers.turn.answers]
        # one that the live version likes and one that it does not; the base finds them alike
        assert len({text in (engine.texts[1], engine.texts[3]) for text in shown}) == 2
        assert engine.swaps[-1] is not None
        positions = chat.store.rows("SELECT position FROM generations ORDER BY position")
        assert [row["position"] for row in positions] == [0, 1]


@pytest.mark.parametrize("drawn", [0, 2, 3])
async def test_no_more_are_drawn_than_asked_for(open_chat: Open, drawn: int) -> None:
    async with open_chat(drawn=drawn) as chat:
        await chat.ask()
        assert len(chat.answers.turn.answers) == 3
