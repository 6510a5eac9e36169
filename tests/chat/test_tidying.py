"""When the collector of cycles runs: never while somebody types."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from chatapp.tidying import QUIET, Tidying


@pytest.fixture
def rounds() -> Iterator[list[int]]:
    """The generations that were looked through; all is as it was afterwards."""
    seen: list[int] = []

    def told(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(info["generation"])

    before = gc.get_threshold()
    gc.callbacks.append(told)
    yield seen
    gc.callbacks.remove(told)
    gc.set_threshold(*before)
    gc.unfreeze()


def test_a_full_round_comes_once_in_each_pause(rounds: list[int]) -> None:
    quiet = 0.0
    tidying = Tidying(lambda: quiet)
    tidying.begin()
    rounds.clear()
    tidying.tick()
    assert 2 not in rounds, "not while somebody types"
    quiet = QUIET
    tidying.tick()
    assert rounds.count(2) == 1
    tidying.tick()
    assert rounds.count(2) == 1, "nothing was made since"
    quiet = 0.0
    tidying.tick()
    quiet = QUIET
    tidying.tick()
    assert rounds.count(2) == 2


def test_none_comes_by_itself(rounds: list[int]) -> None:
    Tidying(lambda: 0.0).begin()
    rounds.clear()
    kept = [[number] for number in range(300_000)]
    assert kept
    assert 2 not in rounds
    assert 0 in rounds, "young ones are still looked through"
