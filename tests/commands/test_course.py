"""`hone runs RUN --plot`: what a run earned against how far it drifted."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatapp.commands.course import WIDTH, drawn
from storage.store import Store
from tests.commands.shell import Shell


@pytest.fixture
def ran(home: Path) -> int:
    """A run of three batches; its number. Another one of judgments alone has the number before."""
    with Store.open(home) as store:
        store.runs.queue("dpo")
        run = store.runs.queue("ppo")
        for batch, (reward, kl) in enumerate([(-0.5, 0.0), (0.5, 0.01), (0.0, 0.2)], 1):
            store.runs.metrics(run.id, batch, {"ppo.reward": reward, "ppo.kl": kl, "ppo.length": 200.0})
        store.runs.metrics(run.id, 3, {"ppo.batches": 3, "train.loss": 1.0})
        return run.number


def test_the_bars_are_as_long_as_the_rewards_are_high() -> None:
    lines = drawn([{"batch": 1, "reward": -0.5, "kl": 0.0}, {"batch": 2, "reward": 0.5, "kl": 0.01}])
    assert lines == ["batch  drift  reward", "    1  0.000   -0.50  █", f"    2  0.010   +0.50  {'█' * WIDTH}"]
    (_, line) = drawn([{"batch": 1, "reward": 0.25, "kl": 0.0}])
    assert line.endswith("█" * WIDTH)


@pytest.mark.parametrize("words", [(), ("show",)])
def test_a_course_is_drawn_and_told(hone: Shell, ran: int, words: tuple[str, ...]) -> None:
    text = hone("runs", *words, ran, "--plot")
    assert [line.split()[:3] for line in text.splitlines()[-3:]] == [
        ["1", "0.000", "-0.50"], ["2", "0.010", "+0.50"], ["3", "0.200", "+0.00"],
    ]  # fmt: skip
    row = hone.json("runs", *words, ran)
    assert [step["reward"] for step in row["course"]] == [-0.5, 0.5, 0.0]
    assert row["course"][2]["length"] == 200.0


def test_what_has_no_course_says_so(hone: Shell, ran: int) -> None:
    assert f"run {ran - 1} (dpo) has no rewards to draw" in hone("runs", ran - 1, "--plot", code=1)
    assert "name the run to plot: hone runs NUMBER --plot" in hone("runs", "--plot", code=1)
    assert "name one run, not 2" in hone("runs", 1, 2, code=1)
    assert "course" not in hone.json("runs", ran - 1)


def test_a_run_before_its_first_batch_says_so(hone: Shell, home: Path, ran: int) -> None:
    with Store.open(home) as store:
        begun = store.runs.queue("ppo")
        said = f"hone: nothing to draw yet: the first batch of run {begun.number} is not done\n"
        assert hone("runs", begun.number, "--plot", code=1) == said
        store.runs.finish(begun.id, "failed", error="out of memory")
        assert "it ended (failed) before its first batch was done" in hone("runs", begun.number, "--plot", code=1)
