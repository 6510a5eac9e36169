"""Whole runs of PPO on the tiny model, whose answers llama.cpp draws."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from chatapp.engine.process import EngineProcess
from storage import paths
from storage.store import Store
from tests.trainer import tiny_runs
from tests.trainer.test_reward_task import flag
from tests.trainer.test_reward_task import learn as learn_reward
from trainer import drawer, gate, ppo_lesson
from trainer.logprobs import TokenTurn
from trainer.outcome import Outcome
from trainer.rollouts import Rollout, figures
from trainer.worker import work

SETTINGS = {
    "layer_share": 0.5, "rank": 4, "learning_rate": 1e-2, "ordinary_weight": 0.0, "batches": 3, "batch_prompts": 4,
    "answers": 4, "answer_tokens": 8, "first_prompts": 0, "kl_budget": 10.0, "spread_budget": 1000.0,
}  # fmt: skip


@pytest.fixture
def gguf(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_runs.calm(monkeypatch)
    # what is learned here is to say "aaaa", and how far a model of random weights drifts on the way is a draw: the
    # guards have tests of their own (test_gate.py), and what a version gained is said of those alone that they let by
    for guard in ("MAX_REPETITION_RISE", "MAX_KL", "MAX_NEUTRAL_RISE"):
        monkeypatch.setattr(gate, guard, 1.0)
    return tiny_runs.tiny_gguf(tmp_path_factory.getbasetemp())


def learn(store: Store, gguf: Path, **overrides: Any) -> Outcome:
    return work(store.home, gguf.parent / "cache", str(gguf), method="ppo", overrides={**SETTINGS, **overrides})


@pytest.fixture
def judged(store: Store, gguf: Path) -> Store:
    tiny_runs.judge(store, gguf, 30)
    assert learn_reward(store, gguf).state == "done"
    return store


def test_without_a_reward_model_it_says_why_it_does_not_start(store: Store, gguf: Path) -> None:
    tiny_runs.judge(store, gguf, 12)
    found = learn(store, gguf)
    assert found.state == "failed"
    assert "there is no reward model of this model yet: train one with" in (found.error or "")


def test_with_too_few_held_out_prompts_neither(store: Store, gguf: Path) -> None:
    tiny_runs.judge(store, gguf, 9)
    assert learn_reward(store, gguf).state == "done"
    assert "is tested on held-out prompts alone, at least 4; there are " in (learn(store, gguf).error or "")


def test_with_a_refused_one_neither(store: Store, gguf: Path) -> None:
    tiny_runs.contradict(store, gguf, 12)
    assert learn_reward(store, gguf).state == "rejected"
    assert "was refused. Refused: it does not surely tell more than chance" in (learn(store, gguf).error or "")


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_a_policy_learns_from_its_reward_and_meets_the_gate(judged: Store, gguf: Path, algorithm: str) -> None:
    flag(judged, gguf, judged.rules.list()[0].id, 10)
    assert learn_reward(judged, gguf).state == "done"
    found = learn(judged, gguf, algorithm=algorithm)
    assert found.state in ("done", "rejected"), found.error
    assert "The reward of what it writes went from" in (found.verdict or "")
    assert found.metrics["ppo.batches"] == 3
    assert found.metrics["ppo.drawn_tokens"] > 0
    names = {name for _, name, _ in judged.runs.read_metrics(found.run)}
    assert {"ppo.reward", "ppo.kl", "ppo.preference", "ppo.rules", "ppo.spread", "ppo.length"} <= names
    assert len(judged.runs.read_metrics(found.run, "ppo.reward")) == 4, "each batch, and the last look"
    adapter = judged.adapters.get(found.adapter or "")
    assert judged.adapters.there(adapter)
    # what it learned from is what its reward did, flags too; it is tested on human judgments that it did not see
    reward_run = next(run for run in judged.runs.list() if run.kind == "reward")
    rows = judged.rows("SELECT judgment_id FROM run_judgments WHERE run_id = ? AND split = 'train'", [reward_run.id])
    learned = judged.adapters.learned_from(adapter)
    assert set(learned["train"]) == {row["judgment_id"] for row in rows}
    assert "flag" in {judged.judgments.get(id).kind for id in learned["train"]}
    assert found.metrics["adapter.scale"] <= 1.0
    assert found.metrics["gate.prompts"] == found.metrics["data.held_out_prompts"]
    assert "by how like its own answers, rather than those of the base, the preferred ones are" in (found.verdict or "")
    assert 0 < found.metrics["gate.chance"] <= 1
    assert "gate.likelihood_gain" in found.metrics
    assert not list(paths.run_dir(judged.home, found.run).glob("policy-*"))


def test_the_whole_pipeline_is_one_run(store: Store, gguf: Path) -> None:
    """Corrections are imitated, a reward is learned, the policy learns from it: three stages, one version."""
    tiny_runs.judge(store, gguf, 20)
    tiny_runs.correct(store, gguf, 6, first=100)
    found = work(store.home, gguf.parent / "cache", str(gguf), method="rlhf", overrides=SETTINGS)
    assert found.state in ("done", "rejected"), found.error
    assert found.metrics["sft.turns"] > 0
    assert found.metrics["reward.accuracy"] > 0.9
    assert found.metrics["ppo.batches"] == 3
    assert found.metrics["ppo.drawn_tokens"] > 0
    assert "Its reward model: It orders" in (found.verdict or "")
    assert [run.kind for run in store.runs.list()] == ["rlhf"]
    assert len(store.adapters.list()) == 1
    # its reward model is there for others, whatever became of the policy
    assert learn(store, gguf).state in ("done", "rejected")


def test_a_pipeline_ends_where_its_reward_model_is_no_good(store: Store, gguf: Path) -> None:
    tiny_runs.contradict(store, gguf, 12)
    found = work(store.home, gguf.parent / "cache", str(gguf), method="rlhf", overrides=SETTINGS)
    assert found.state == "failed"
    assert (found.error or "").startswith(
        "its reward model was refused, so there is nothing to learn from. Refused: it"
    )
    assert "no reward model of this model yet" in (learn(store, gguf).error or "")


def test_a_reward_that_learned_from_what_was_taken_back_is_not_used(judged: Store, gguf: Path) -> None:
    row = judged.row("SELECT judgment_id FROM run_judgments WHERE split = 'train' LIMIT 1")
    assert row is not None
    judged.judgments.retract(row["judgment_id"])
    assert "learned from 1 judgments that were taken back since: train one" in (learn(judged, gguf).error or "")


def test_the_rewards_layer_is_taken(judged: Store, gguf: Path) -> None:
    assert "the reward model was learned with 0.5" in (learn(judged, gguf, layer_share=1.0).error or "")


def test_a_copy_for_the_rollouts_that_does_not_fit_is_refused_at_once(
    judged: Store, gguf: Path, monkeypatch: Any
) -> None:
    """Before anything is computed: the tiny model's takes next to nothing, so that of a large one is put there."""
    monkeypatch.setattr(ppo_lesson.PpoLesson, "_copied", lambda *_: 10**15)
    assert "training writes about 1000000.0 GB below" in (learn(judged, gguf).error or "")


def test_it_stops_at_its_budget_of_kl(judged: Store, gguf: Path) -> None:
    found = learn(judged, gguf, kl_budget=1e-6, kl_coefficient=0.0, batches=6)
    assert found.state in ("done", "rejected"), found.error
    assert found.metrics["ppo.batches"] < 6
    assert "It was stopped: it drifted" in (found.verdict or "")
    assert "of what it learned last was kept" in (found.verdict or "")


def test_answers_of_the_base_are_the_first_batch(judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are there for practice: nothing is drawn but for the last look."""
    from trainer.practice import Drill, requests

    known = [Drill(text, [[100, 101, 102, 2], [110, 111, 2]]) for text in requests()[:6]]
    monkeypatch.setattr(ppo_lesson, "drills", lambda *_: known)
    asked: list[int] = []
    draw = EngineProcess.draw

    def counted(self: Any, prompts: Any, *arguments: Any) -> Any:
        asked.append(len(prompts))
        return draw(self, prompts, *arguments)

    monkeypatch.setattr(EngineProcess, "draw", counted)
    found = learn(judged, gguf, batches=1, first_prompts=4)
    assert found.state in ("done", "rejected"), found.error
    assert asked == [ppo_lesson.LAST_LOOK, ppo_lesson.TESTED, ppo_lesson.TESTED], "and what the test compares"


def test_it_is_compared_with_the_version_that_is_live(judged: Store, gguf: Path, monkeypatch: Any) -> None:
    """The second run is measured from what the first one writes, not from the base."""
    first = learn(judged, gguf)
    adapter = judged.adapters.get(first.adapter or "")
    if first.state != "done":
        judged.adapters.use(adapter.id, adapter.model_hash)
    served: list[Path | None] = []
    swap = EngineProcess.swap

    def noted(self: Any, path: Path | None) -> float:
        served.append(path)
        return swap(self, path)

    monkeypatch.setattr(EngineProcess, "swap", noted)
    found = learn(judged, gguf)
    assert found.state in ("done", "rejected"), found.error
    assert f"rather than those of {adapter.name}, the preferred ones are" in (found.verdict or "")
    mine = judged.adapters.gguf(judged.adapters.get(found.adapter or ""))
    assert served[-2:] == [mine, judged.adapters.gguf(adapter)]


@pytest.mark.parametrize("says", ["nothing", "the same"])
def test_a_version_that_says_nothing_or_nothing_new_is_refused(
    judged: Store, gguf: Path, monkeypatch: Any, says: str
) -> None:
    draw = EngineProcess.draw

    def drawn(self: Any, prompts: Any, n: int, *arguments: Any) -> Any:
        if len(prompts) != ppo_lesson.TESTED:
            return draw(self, prompts, n, *arguments)
        return [[[2] if says == "nothing" else [100, 101, 2]]] * len(prompts)

    monkeypatch.setattr(EngineProcess, "draw", drawn)
    found = learn(judged, gguf, batches=1)
    assert (found.state, found.metrics["gate.gain"]) == ("rejected", 0.0)
    remark = {
        "nothing": "or the base has no answer to 32 of 32 prompts",
        "the same": "cannot be told from what the base",
    }
    assert remark[says] in (found.verdict or "")


def test_a_run_ends_where_its_answers_repeat_themselves(judged: Store, gguf: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(gate, "MAX_REPETITION_RISE", -1.0)
    found = learn(judged, gguf)
    assert found.state == "rejected", found.error
    assert found.metrics["ppo.batches"] == 1
    assert re.search(
        r"It was stopped: its answers repeat themselves \(.*\), so that was taken back", found.verdict or ""
    )
    assert "not surely better" in (found.verdict or ""), "it is the base again"


def test_prompts_that_have_no_two_answers_are_passed_over(judged: Store, gguf: Path, monkeypatch: Any) -> None:
    """An engine that answers nothing at first."""
    calls: list[int] = []

    def draw(self: Any, prompts: Any, n: int, sampling: Any, on_answer: Any = None) -> list[list[list[int]]]:
        calls.append(len(prompts))
        return [[[2] if len(calls) == 1 else [100, 2]] * n for _ in prompts]

    monkeypatch.setattr("chatapp.engine.process.EngineProcess.draw", draw)
    found = learn(judged, gguf, batches=1)
    assert found.state in ("done", "rejected"), found.error
    expected = [4, 4, ppo_lesson.LAST_LOOK, ppo_lesson.TESTED, ppo_lesson.TESTED]
    assert calls == expected, "what the first attempt left empty is drawn from other prompts"


def test_the_guards_on_answers_are_the_gates() -> None:
    """Beside the first batch's, and as long as those that the user preferred are too."""

    def batch(*responses: list[int]) -> dict[str, float]:
        return figures([Rollout(TokenTurn([1], list(responses), 1.0), torch.zeros(len(responses)))], 0.0)

    plain, again = batch(list(range(60))), batch([5] * 60)
    short, shorter = (batch(list(range(n))) for n in (24, 15))
    broken = ppo_lesson.guard(chosen_length=30)
    assert broken([again]) is None, "the first one is what the others are measured by"
    assert broken([again, again]) is None
    assert broken([plain, plain]) is None
    assert broken([plain, plain, short]) is None, "short ones are what the user prefers"
    stop = broken([plain, plain, short, shorter])
    assert stop is not None
    assert stop.sentence == "its answers are 15 tokens long (20 to 90 expected)"
    assert stop.kept == pytest.approx(0.9 * 4 / 9), "from 24 to 15 it is 20 after four parts of nine"
    stop = broken([plain, batch(list(range(60)), [5] * 60)])
    assert stop is not None
    said = "its answers repeat themselves (49 % of their word groups, those of the first batch 0 %)"
    assert (stop.why, stop.sentence) == ("guard", said)
    assert stop.kept == pytest.approx(0.9 * 0.2 / (0.5 * 56 / 57))


def test_a_killed_pipeline_goes_on_too(store: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reward is learned again, in no time; what was imitated and what was learned from that reward is there."""
    tiny_runs.judge(store, gguf, 20)
    tiny_runs.correct(store, gguf, 6, first=100)
    run = tiny_runs.killed(store, gguf, monkeypatch, 2, method="rlhf", **SETTINGS)
    found = work(store.home, gguf.parent / "cache", str(gguf), run_id=run)
    assert found.state in ("done", "rejected"), found.error
    assert found.metrics["resume.step"] == 1
    assert found.metrics["ppo.batches"] == 3
    rows = store.rows("SELECT judgment_id FROM run_judgments WHERE run_id = ?", [run])
    assert len(rows) == len({row["judgment_id"] for row in rows})


def test_a_killed_pipeline_whose_flags_were_taken_back_begins_anew(
    store: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reward is another one, and what was learned from the one before is nothing to go on with."""
    tiny_runs.judge(store, gguf, 20)
    flag(store, gguf, store.rules.list()[0].id, 10)
    run = tiny_runs.killed(store, gguf, monkeypatch, 2, method="rlhf", **SETTINGS)
    row = store.row(
        "SELECT j.id FROM judgments j JOIN run_judgments r ON r.judgment_id = j.id WHERE j.kind = 'flag' AND "
        "r.split = 'train' LIMIT 1"
    )
    assert row is not None
    store.judgments.retract(row["id"])
    found = work(store.home, gguf.parent / "cache", str(gguf), run_id=run)
    assert found.state in ("done", "rejected"), found.error
    assert found.metrics["resume.step"] == 0
    assert "It began anew: judgments, rules or settings had changed" in (found.verdict or "")
    learned = store.rows("SELECT judgment_id FROM run_judgments WHERE run_id = ?", [run])
    assert row["id"] not in {other["judgment_id"] for other in learned}


def test_a_killed_run_goes_on_after_its_last_batch(judged: Store, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_runs.killed(judged, gguf, monkeypatch, 3, method="ppo", **{**SETTINGS, "answers": 2})
    assert judged.runs.checkpoints(run)
    drawn: list[int] = []
    draw = drawer.Drawer.__call__

    def noted(self: Any, batch: int) -> Any:
        drawn.append(batch)
        return draw(self, batch)

    monkeypatch.setattr(drawer.Drawer, "__call__", noted)
    found = work(judged.home, gguf.parent / "cache", str(gguf), run_id=run)
    assert found.state in ("done", "rejected"), found.error
    assert drawn == [2, 3]
    assert found.metrics["resume.step"] == 2
    assert "It went on after batch 2, where it had been interrupted." in (found.verdict or "")
    assert [step for step, _, _ in judged.runs.read_metrics(run, "ppo.reward")] == [1, 2, 3, 4]
    assert not judged.runs.checkpoints(run)
