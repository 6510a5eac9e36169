"""A few of the kills of `make soak`, with the same functions."""

from __future__ import annotations

from pathlib import Path

from tests.soak.kills import soak


def test_what_is_killed_leaves_all_that_it_acknowledged_and_nothing_half(tmp_path: Path) -> None:
    phases = soak(tmp_path, kills=30, seed=1)
    assert all(phase.counts["killed"] for phase in phases)
