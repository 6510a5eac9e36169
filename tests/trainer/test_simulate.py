"""The loop of `hone simulate` with an engine and a trainer that a test can feed: prompts, answers, judging, rows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from chatapp import trainer_process
from chatapp.cli import main as hone
from chatapp.config import Settings
from storage.assets import asset
from storage.ids import new_id
from storage.store import Store
from tests.trainer.simulated import FakeEngine
from trainer import simulate as loop
from trainer.errors import BadSetting, TrainerError
from trainer.practice import requests
from trainer.simulate import Plan, Row, simulate
from trainer.simulation import command as command_line
from trainer.simulation import report, running
from trainer.simulation.answers import Answers, sampling
from trainer.simulation.checks import FLAGS
from trainer.simulation.plot import learning_curve
from trainer.simulation.progress import Progress
from trainer.simulation.prompts import drawn, prompts
from trainer.users import USERS, User, letters_a_word

QUIET = Progress(quiet=True)
#: in every second prompt: they make no two alike
COMMON = """
a about an and are as at be by can describe do does explain few for from give good had has have how i if in into is it
its like lines make me my of on one or sentences short should some story tell that the their them they things this to
tips up use was way we what when where which who why with without write you your
"""


# the prompts


def words(prompt: str) -> set[str]:
    return {w.removesuffix("s") for w in re.findall(r"[^\W\d_]+", prompt.lower())} - set(COMMON.split())


def test_no_prompt_of_the_test_is_like_one_that_is_judged_or_trained_on() -> None:
    """Overlap: words in both over words in either, but for those that every second prompt has. A half is too much."""
    pool, test = prompts("pool"), prompts("test")
    others = list(pool)
    for name in ("neutral.jsonl", "ordinary.jsonl"):
        for line in asset(name).read_text(encoding="utf-8").splitlines():
            others += [m["content"] for m in json.loads(line).get("messages", ()) if m["role"] == "user"]
    others += requests()
    assert not set(requests()) & set(pool)
    assert (len(set(pool)), len(set(test))) == (len(pool), len(test))
    assert len(pool) >= 330
    assert len(test) == 80
    for prompt in test:
        mine = words(prompt)
        assert mine, prompt
        alike = [o for o in others if len(mine & words(o)) >= 0.5 * len(mine | words(o))]
        assert not alike, (prompt, alike)


def test_the_order_follows_from_the_seed() -> None:
    assert drawn("pool", 0) == drawn("pool", 0) != drawn("pool", 1)
    assert sorted(drawn("pool", 1)) == sorted(prompts("pool"))


# the answers


def test_answers_of_the_base_are_kept_and_broken_lines_passed_over(tmp_path: Path) -> None:
    engine = FakeEngine()
    answers = Answers(tmp_path / "simulation", "a" * 64)
    first = answers.get(lambda: engine, "Why?", "judged", 4)
    assert len(first) == 4
    assert answers.get(lambda: engine, "Why?", "judged", 4) == first
    answers.get(lambda: engine, "Why?", "base", 2)  # others, with seeds of their own
    assert [prompt for prompt, _ in engine.asked] == ["Why?", "Why?"]
    assert sampling("Why?", "judged").seed != sampling("Why?", "base").seed
    assert sampling("Why?", "judged").seed == sampling("Why?", "judged").seed

    with answers.path.open("ab") as file:
        file.write(b'{"prompt": "cut o')
    again = Answers(tmp_path / "simulation", "a" * 64)
    assert ("Why?", "judged", 4) in again
    assert again.get(lambda: pytest.fail("it is there"), "Why?", "judged", 4) == first
    again.get(lambda: engine, "How?", "judged", 4)
    assert ("How?", "judged", 4) in Answers(tmp_path / "simulation", "a" * 64)  # on a line of its own
    assert ("Why?", "judged", 4) not in Answers(tmp_path / "simulation", "b" * 64)


# the loop


class FakeTrainer:
    """Registers a version a run, as the worker does, and remembers what it was given."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.homes: list[Path] = []
        self.prompts: list[set[str]] = []
        self.overrides: list[dict[str, Any]] = []
        self.methods: list[str] = []
        self.flagged: dict[str, int] = {}
        self.state = "done"
        self.fails: BaseException | None = None

    def __call__(
        self, store: Store, settings: Settings, overrides: dict[str, Any], on_step: Any, method: str = "dpo"
    ) -> Any:
        assert settings is self.settings
        self.methods.append(method)
        if self.fails is not None:
            raise self.fails
        self.homes.append(store.home)
        self.overrides.append(overrides)
        self.flagged = {store.rules.get(rule).name: count for rule, count in store.rules.flags().items() if count}
        if method == "reward":
            return {"state": "done", "metrics": {"reward.accuracy": 0.8}, "seconds": {"run": 7.0}}
        self.prompts.append({r["content"] for r in store.rows("SELECT content FROM messages WHERE role = 'user'")})
        model = store.rows("SELECT hash FROM models")[0]["hash"]
        version = store.adapters.register(new_id(), model_hash=model, files={})
        live = store.adapters.live(model)
        if self.state == "done":
            store.adapters.promote(version.id, live.id if live else None)
        on_step(1, 2)
        return {
            "state": self.state,
            "adapter": version.id,
            "adapter_state": "live" if self.state == "done" else "rejected",
            "verdict": "Better.",
            "metrics": {"neutral.rise": 0.004, "neutral.kl": 0.03},
            "seconds": {"imports": 1.0, "training": 9.0, "run": 20.0},
        }


@pytest.fixture
def faked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Settings, FakeEngine, FakeTrainer]]:
    settings = Settings(tmp_path / "mine", tmp_path / "none.toml", tmp_path / "cache")
    engine, trainer = FakeEngine(), FakeTrainer(settings)

    @contextmanager
    def served(config: Any) -> Iterator[FakeEngine]:
        yield engine

    monkeypatch.setattr(loop, "served", served)
    monkeypatch.setattr(loop, "train", trainer)
    yield settings, engine, trainer
    assert not settings.home.exists()  # the user's own was not opened
    assert trainer.homes
    assert not any(home.exists() for home in trainer.homes)


def run(
    faked: tuple[Settings, FakeEngine, FakeTrainer], plan: Plan, *names: str, then: User | None = None
) -> list[Row]:
    return list(simulate(faked[0], plan, [USERS[name] for name in names], QUIET, then))


def test_ppo_learns_its_reward_first(faked: Any) -> None:
    (row,) = run(faked, Plan((10,), test_prompts=8, method="ppo", overrides={"batches": 2}), "plain-words")
    _, _, trainer = faked
    assert trainer.methods == ["reward", "ppo"]
    assert trainer.overrides == [{"seed": 0}, {"seed": 0, "batches": 2}]
    assert row.reward_accuracy == 0.8
    assert row.seconds["reward"] == 7.0
    assert row.win_rate is not None


def test_a_rule_is_flagged_and_what_breaks_it_is_counted(faked: Any) -> None:
    (row,) = run(faked, Plan((20,), test_prompts=8, method="ppo", rule="questions"), "plain-words")
    assert faked[2].flagged == {"questions": FLAGS}
    assert (row.broken_new, row.broken_base) == (0.0, 0.0), "the engine asks nothing"
    assert "rule broken 0% -> 0%" in report.line(row.as_dict())
    (small,) = run(faked, Plan((5,), test_prompts=8, method="ppo", rule="the reader"), "plain-words")
    assert faked[2].flagged == {"the reader": 20}, "every answer there is"
    assert small.broken_new == 0.0
    assert run(faked, Plan((5,), test_prompts=8, method="ppo"), "plain-words")[0].broken_new is None


def test_a_curve_has_nested_judgments_and_never_sees_a_test_prompt(faked: Any) -> None:
    rows = run(faked, Plan((20, 10), test_prompts=80, seed=3, overrides={"epochs": 1}), "concise", "plain-words")
    _, engine, trainer = faked
    plain = [row for row in rows if row.user == "plain-words"]
    assert [(row.judgments, row.round, row.compared) for row in plain] == [(10, 1, "v1"), (20, 1, "v1")]
    assert trainer.prompts[0] < trainer.prompts[1]
    assert [len(p) for p in trainer.prompts[:2]] == [10, 20]
    assert all(row.turns >= row.judgments for row in plain)
    assert all(row.promoted and row.state == "done" for row in plain)
    assert plain[1].win_rate is not None
    assert plain[1].win_rate > 0.9  # the version answers in short words alone
    assert plain[1].comparisons == 80 * 4
    assert plain[1].tokens_new == 4
    assert plain[1].seconds["answers"] == pytest.approx(0.5 * plain[1].turns)
    assert plain[1].seconds["comparison"] == pytest.approx(0.5 * 160)
    assert trainer.overrides[0] == {"seed": 3, "epochs": 1}
    # the fakes' answers differ in letters, not in words: the other users go on all the same
    assert [row.user for row in rows] == ["concise", "plain-words", "plain-words"]
    assert (rows[0].state, rows[0].judgments, rows[0].turns) == ("failed", 0, len(prompts("pool")))
    assert not set().union(*trainer.prompts) & set(prompts("test"))
    assert {prompt for prompt, adapter in engine.asked if adapter is not None} == set(prompts("test"))
    assert json.dumps([row.as_dict() for row in rows])


def test_a_refused_version_is_compared_too(faked: Any) -> None:
    faked[2].state = "rejected"
    (row,) = run(faked, Plan((8,), test_prompts=4), "plain-words")
    assert (row.promoted, row.state, row.compared) == (False, "rejected", "v1")
    assert row.win_rate is not None


def test_rounds_go_on_from_the_live_version_with_fresh_prompts(faked: Any) -> None:
    other = User("long-words", "", True, letters_a_word)
    rows = run(faked, Plan((8,), rounds=4, test_prompts=4), "plain-words", then=other)
    _, engine, trainer = faked
    assert [row.round for row in rows] == [1, 2, 3, 4]
    assert [row.win_rate is not None for row in rows] == [True, False, True, True]
    assert [row.user for row in rows] == ["plain-words", *["long-words"] * 3]
    assert rows[0].first_win_rate is None
    assert rows[3].first_win_rate is not None
    assert len(set(trainer.homes)) == 1
    asked = [prompt for prompt, _ in engine.asked if prompt in set(prompts("pool"))]
    assert len(asked) == len(set(asked))
    assert {adapter is not None for prompt, adapter in engine.asked if prompt in trainer.prompts[0]} == {False}
    assert {
        adapter is not None for prompt, adapter in engine.asked if prompt in trainer.prompts[1] - trainer.prompts[0]
    }


def test_rounds_that_are_kept_are_not_done_again(faked: Any, tmp_path: Path) -> None:
    """Killed in the third round, gone on with to the fourth: as if it had not been."""
    trainer = faked[2]
    folder = tmp_path / "rounds"
    plan = Plan((8,), rounds=4, test_prompts=4, keep=folder)
    whole = run(faked, replace(plan, keep=None), "plain-words")
    begun = simulate(faked[0], plan, [USERS["plain-words"]], QUIET, None)
    first = [next(begun), next(begun)]
    with pytest.raises(BadSetting, match="another simulation works on the rounds"):
        run(faked, plan, "plain-words")
    trainer.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        next(begun)
    trainer.fails = None
    count = len(trainer.prompts)
    rows = run(faked, plan, "plain-words")
    assert len(trainer.prompts) == count + 2
    assert rows[:2] == first
    assert [replace(row, seconds={}) for row in rows] == [replace(row, seconds={}) for row in whole]
    assert sorted(path.name for path in folder.iterdir()) == ["home-4", "lock", "rounds.json"]
    assert run(faked, replace(plan, rounds=3), "plain-words") == rows[:3]
    assert len(trainer.prompts) == count + 2


def test_a_folder_of_something_else_is_left_alone(faked: Any, tmp_path: Path) -> None:
    plan = Plan((8,), rounds=2, test_prompts=4, keep=tmp_path / "rounds")
    run(faked, plan, "plain-words")
    with pytest.raises(BadSetting, match=r"have test_prompts 4, not 5: name another folder"):
        run(faked, replace(plan, test_prompts=5), "plain-words")
    with pytest.raises(BadSetting, match="have user 'plain-words', not 'concise'"):
        run(faked, plan, "concise")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letters.txt").write_text("mine")
    with pytest.raises(BadSetting, match="holds something else than rounds"):
        run(faked, replace(plan, keep=tmp_path / "other"), "plain-words")
    with pytest.raises(BadSetting, match="give --rounds too"):
        Plan(keep=tmp_path)


def test_a_plan_that_cannot_be_is_named() -> None:
    with pytest.raises(BadSetting, match=r"flip is 1\.5; it must be between 0 and 1"):
        Plan(flip=1.5)
    with pytest.raises(BadSetting, match="method is 'reward'; it must be one of dpo, sft, ppo"):
        Plan(method="reward")
    with pytest.raises(BadSetting, match="rule is 'polite'; it must be one of numbered lists, questions"):
        Plan(method="ppo", rule="polite")
    with pytest.raises(BadSetting, match="flagged for a reward model: give --method ppo too"):
        Plan(rule="bold")
    with pytest.raises(BadSetting, match="kinds is 'stars'"):
        Plan(kinds="stars")
    with pytest.raises(BadSetting, match="test_prompts is 81"):
        Plan(test_prompts=81)
    with pytest.raises(BadSetting, match="do not go together"):
        Plan((10, 20), rounds=2)


# the training process


def command(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(trainer_process, "command", lambda *_: [sys.executable, "-c", code])


def test_a_run_is_a_process_whose_word_is_taken(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(tmp_path, tmp_path / "none.toml", tmp_path / "cache")
    command(monkeypatch, 'import json; print(json.dumps({"state": "failed", "seconds": {"imports": 1}}))')
    result = running.train(store, settings, {"epochs": 2}, lambda *_: None)
    assert result["state"] == "failed"
    assert result["seconds"]["run"] > 0
    command(monkeypatch, "import sys; print('trainer: no', file=sys.stderr); sys.exit(1)")
    with pytest.raises(TrainerError, match="ended with code 1: trainer: no"):
        running.train(store, settings, {}, lambda *_: None)


def test_an_interruption_ends_the_run(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(tmp_path, tmp_path / "none.toml", tmp_path / "cache")
    command(monkeypatch, "import time; time.sleep(60)")
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def remembered(*arguments: Any, **named: Any) -> Any:
        started.append(real(*arguments, **named))
        return started[0]

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running.subprocess, "Popen", remembered)
    monkeypatch.setattr(store.runs, "active", interrupted)
    with pytest.raises(KeyboardInterrupt):
        running.train(store, settings, {}, lambda *_: None)
    assert started[0].returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(started[0].pid, 0)


def test_a_second_signal_does_not_stop_the_cleaning_up() -> None:
    before = {number: signal.getsignal(number) for number in command_line._ENDINGS}
    try:
        with pytest.raises(KeyboardInterrupt):
            command_line._interrupt()
        for number in before:
            os.kill(os.getpid(), number)  # would end this process
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# what is shown


def rows_of(name: str, *rates: float) -> list[dict[str, Any]]:
    return [
        Row(name, 10 * 2**i, 12, 60, 0.0, "rankings", 1, win_rate=r, low=r - 0.1, high=min(1, r + 0.1), state="done",
            promoted=True, neutral_rise=0.004, kl=0.03, tokens_new=200.0, tokens_base=210.0).as_dict()
        for i, r in enumerate(rates)
    ]  # fmt: skip


def test_the_curve_is_an_svg_with_every_user() -> None:
    rows = [*rows_of("plain-words", 0.8, 0.85, 0.9), *rows_of("a<b", 0.55, 0.6, 0.8), *rows_of("none")]
    picture = learning_curve([*rows, {**rows[0], "win_rate": None}])
    root = ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    said = [text.text for text in root.iter(f"{space}text")]
    assert {"plain-words", "a<b", "10", "20", "40", "50 %", "100 %", "judgments"} <= set(said)
    lines = [line.attrib["points"].split() for line in root.iter(f"{space}polyline")]
    assert [len(line) for line in lines] == [3, 3]
    heights = [float(point.split(",")[1]) for point in lines[0]]
    assert heights == sorted(heights, reverse=True)  # a better rate is higher up
    assert "prefers-color-scheme:dark" in picture
    assert ElementTree.fromstring(learning_curve([])) is not None


def test_a_row_is_a_line() -> None:
    (row,) = rows_of("plain-words", 0.8)
    assert re.fullmatch(
        r"plain-words +1 +10 +12 +60  80.0% \(70%-90%\) +\+0.4% +0.030 +200/210 +0  promoted", report.line(row)
    )
    failed = {**row, "win_rate": None, "kl": None, "promoted": False, "state": "failed", "verdict": "no disk"}
    assert report.line(failed).endswith("no disk")


def test_hone_lists_the_users(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert hone(["simulate", "--list", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)["rows"]
    assert {row["user"] for row in listed} == set(USERS)
    assert hone(["simulate", "--user", "nobody"]) == 1
    assert capfd.readouterr().err.startswith("trainer: there is no simulated user 'nobody'; there are concise,")
    assert not home.exists()


def test_it_needs_no_torch() -> None:
    """Training is another process; this one would only pay for it."""
    code = "import sys, trainer.simulation.command; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
