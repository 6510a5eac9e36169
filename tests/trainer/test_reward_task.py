"""Whole runs that learn a reward model: on the tiny model, from rankings, from dice, from forgotten judgments."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from chatapp.engine.model_files import file_hash
from storage import forgetting
from storage.errors import NoRewardModel
from storage.rewards import file_of
from storage.store import Store
from tests.trainer import tiny_runs
from trainer import rule_model
from trainer.config import RewardConfig
from trainer.dataset import PairRef, SingleRef, Turn
from trainer.errors import BadSetting
from trainer.outcome import Outcome
from trainer.reward_task import current, decide, examine
from trainer.worker import work


@pytest.fixture
def gguf(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_runs.calm(monkeypatch)
    return tiny_runs.tiny_gguf(tmp_path_factory.getbasetemp())


def learn(store: Store, gguf: Path, **overrides: object) -> Outcome:
    settings = {"layer_share": 0.5, **overrides}
    return work(store.home, gguf.parent / "cache", str(gguf), method="reward", overrides=settings)


def test_a_reward_model_is_learned_tested_and_found_again(store: Store, gguf: Path) -> None:
    model_hash = file_hash(gguf, store.home)
    with pytest.raises(NoRewardModel, match="hone train --method reward"):
        current(store, model_hash)
    tiny_runs.judge(store, gguf, 20)
    waiting = store.judgments.waiting(model_hash)
    found = learn(store, gguf)
    assert (found.state, found.adapter, found.error) == ("done", None, None)
    assert found.metrics["reward.accuracy"] > 0.9
    assert found.metrics["reward.prompts"] == 20
    assert 0 < found.metrics["reward.held_out_prompts"] < 20
    assert "20 judged prompts" in (found.verdict or "")
    assert file_of(store, found.run).exists()
    model = current(store, model_hash).preference
    assert model is not None
    assert len(model.heads) == RewardConfig().heads
    # it is no version of the model: what was judged still waits for one
    assert store.judgments.waiting(model_hash) == waiting
    assert store.adapters.list() == []
    assert {split for _, split in _learned(store, found.run)} == {"train", "held_out"}
    # the same run again gives the same
    again = learn(store, gguf)
    second = current(store, model_hash).preference
    assert second is not None
    torch.testing.assert_close(second.heads, model.heads)
    assert again.run != found.run


def test_what_was_forgotten_takes_the_reward_model_along(store: Store, gguf: Path) -> None:
    tiny_runs.judge(store, gguf, 12)
    run = learn(store, gguf).run
    judgment = next(j for j, split in _learned(store, run) if split == "train")
    forgetting.forget(store, [judgment])
    assert not file_of(store, run).exists()
    with pytest.raises(NoRewardModel, match="forgetting deletes"):
        current(store, file_hash(gguf, store.home))


def test_one_that_tells_nothing_is_refused_and_says_so(store: Store, gguf: Path) -> None:
    tiny_runs.contradict(store, gguf, 12)
    found = learn(store, gguf)
    assert found.state == "rejected"
    assert (found.verdict or "").startswith("Refused: it does not surely tell more than chance on 12 judged prompts")
    with pytest.raises(NoRewardModel, match=r"of run 1 was refused\. Refused: it does not surely"):
        current(store, file_hash(gguf, store.home))


def test_flags_teach_a_rule_with_or_without_preferences(store: Store, gguf: Path) -> None:
    """Answers in b's were flagged as breaking it. Nothing was preferred to anything."""
    rule = store.rules.list()[0]
    flag(store, gguf, rule.id, 16)
    found = learn(store, gguf)
    assert found.state == "done", found.verdict
    assert "There are preferences on 0 prompts alone" in (found.verdict or "")
    said = f"Rule {rule.number} ({rule.name}): 32 flags, 16 broken, AUC 1.00 on prompts left out."
    assert said in (found.verdict or "")
    made = current(store, file_hash(gguf, store.home))
    assert made.preference is None
    assert [(s.id, s.flags, s.violated, s.counts) for s in made.standing] == [(rule.id, 32, 16, True)]
    tiny_runs.judge(store, gguf, 12, first=50)
    both = learn(store, gguf)
    assert both.state == "done"
    assert current(store, file_hash(gguf, store.home)).preference is not None
    assert both.metrics["reward.prompts"] == 12
    assert both.metrics[f"rule.{rule.number}.flags"] == 32


def flag(store: Store, gguf: Path, rule: str, prompts: int, sides: tuple[bool, ...] = (False, True)) -> None:
    """Two answers to each prompt, one that keeps the rule and one that does not; sides: those that are flagged."""
    for number in range(prompts):
        thread = store.threads.new(f"Flags {number}")
        message = store.threads.add_message(thread.id, None, "user", f"Number {number}?")
        for text, violated in (("aaaa", False), ("bbbb", True)):
            answer = store.threads.add_message(thread.id, message.id, "assistant", text)
            if violated in sides:
                store.judgments.flag(message.id, answer.id, rule, violated)


def test_flags_of_held_out_prompts_are_tested_on_and_not_learned_from(store: Store, gguf: Path) -> None:
    rule = store.rules.list()[0]
    flag(store, gguf, rule.id, 20)
    seen: list[str] = []

    def learned(flags: list[rule_model.Flag], *arguments: Any, **named: Any) -> rule_model.RuleModel:
        seen.extend(flag.prompt for flag in flags)
        return learn_rules(flags, *arguments, **named)

    learn_rules = rule_model.learn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule_model, "learn", learned)
        found = learn(store, gguf)
    splits = [split for _, split in _learned(store, found.run)]
    assert found.metrics[f"rule.{rule.number}.flags"] == 40
    assert len(set(seen)) == splits.count("train") / 2 < 20


def test_a_forgotten_flag_ends_the_run_that_learns_from_it(store: Store, gguf: Path) -> None:
    """Forgotten after it was read, before the file is written."""
    rule = store.rules.list()[0]
    flag(store, gguf, rule.id, 12)
    judgment = next(iter(store.judgments.live())).id
    learn_rules = rule_model.learn

    def learned(*arguments: Any, **named: Any) -> rule_model.RuleModel:
        with store.write() as db:  # as by another process
            db.execute("UPDATE judgments SET forgotten_at = 'now', retracted_at = 'now' WHERE id = ?", [judgment])
        return learn_rules(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule_model, "learn", learned)
        found = learn(store, gguf)
    assert found.state == "cancelled"
    assert not file_of(store, found.run).exists()


def test_one_sided_flags_alone_teach_nothing_and_say_so(store: Store, gguf: Path) -> None:
    flag(store, gguf, store.rules.list()[0].id, 12, sides=(True,))
    found = learn(store, gguf)
    assert found.state == "failed"
    assert "are of answers as breaking a rule: flag some of the others too." in (found.error or "")


def test_too_few_judgments_and_wrong_settings_are_named(store: Store, gguf: Path) -> None:
    tiny_runs.judge(store, gguf, 3)
    found = learn(store, gguf)
    assert found.state == "failed"
    assert "at least 8 different prompts" in (found.error or "")
    with pytest.raises(BadSetting, match="'epochs' is no setting of such a run; there are heads, include"):
        RewardConfig.read({"epochs": 3})
    with pytest.raises(BadSetting, match="heads is 1"):
        RewardConfig.read({"heads": 1})


def turn(number: int, split: str, lengths: list[int], pairs: list[tuple[int, int]]) -> Turn:
    found = Turn(str(number), split, [], [1], [[5] * n for n in lengths])
    found.pairs = [PairRef(a, b, 1 / len(pairs)) for a, b in pairs]
    return found


def test_the_figures_by_hand() -> None:
    """Prompt one, best to worst 0, 1, 2: right but for (0, 1), so 2 of 3; its best is before its worst. Longer: 10 is
    not above 20, 20 above 5, 10 above 5. Prompt two: tied, and as long. Log-losses of logits -1, 1, 2; log 2 of a tie.
    """
    turns = [turn(1, "train", [10, 20, 5], [(0, 1), (0, 2), (1, 2)]), turn(2, "held_out", [10, 10], [(0, 1)])]
    found = examine(turns, [torch.tensor([0.0, 1.0, -1.0]), torch.tensor([0.0, 0.0])])
    assert found.accuracy == pytest.approx((2 / 3 + 0.5) / 2)
    assert found.ends == pytest.approx((1 + 0.5) / 2)
    assert found.longer == pytest.approx((2 / 3 + 0.5) / 2)
    assert found.alike == pytest.approx(0.5)
    first = sum(math.log1p(math.exp(-x)) for x in (-1, 1, 2)) / 3
    assert found.log_loss == pytest.approx((first + math.log(2)) / 2)
    assert found.gain.mean == pytest.approx((2 / 3 + 0.5) / 2 - 0.5)
    assert (found.held_out, found.pairs) == (1, 4)
    # bins from 0.5: 0.5 (a tie, half); 0.731 twice (lost, won); 0.881 (won)
    p, q = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))
    assert found.calibration == pytest.approx((0 + abs(2 * p - 1) + (1 - q)) / 4)


def test_single_answers_are_told_from_the_mean() -> None:
    one = Turn("a", "train", [], [1], [[5], [6]])
    one.singles = [SingleRef(0, True, 0.5), SingleRef(1, False, 0.5)]
    found = examine([one] * 40, [torch.tensor([2.0, -2.0])] * 40)
    assert found.log_loss == pytest.approx(math.log1p(math.exp(-2)))
    accepted, sentence = decide(found)
    assert accepted
    assert sentence.startswith(
        "It tells good answers from bad ones: 100 % right, 95 % bound 100 % where chance has 50 %"
    )


def test_one_prompt_of_which_it_was_sure_and_wrong_counts_as_one() -> None:
    """Of thirty-nine prompts it orders the pair rightly, of one it is sure and wrong, and worse than chance by
    log-loss; one that is right of every other prompt is not surely better than chance."""
    turns = [turn(i, "train", [10, 20 if i % 2 else 5], [(0, 1)]) for i in range(40)]
    logits = [torch.tensor([-40.0 if i == 7 else 1.0, 0.0]) for i in range(40)]
    found = examine(turns, logits)
    assert found.log_loss > math.log(2)
    accepted, sentence = decide(found)
    assert accepted
    assert sentence.endswith(" Its probabilities are no better than a coin's: rely on its order alone.")
    assert "a coin's" not in decide(replace(found, log_loss=0.6))[1]
    accepted, sentence = decide(examine(turns, [torch.tensor([float(i % 2), 0.4]) for i in range(40)]))
    assert not accepted
    assert sentence.startswith("Refused: it does not surely tell more than chance on 40 judged prompts")
    assert "50 % right" in sentence


@pytest.mark.parametrize("which", ["longer", "shorter"])
def test_what_tells_no_more_than_length_is_refused(which: str) -> None:
    """It has to order more pairs than "the longer one" does, or "the shorter one"."""
    lengths = [20, 10] if which == "longer" else [10, 20]
    turns = [turn(i, "train", lengths, [(0, 1)]) for i in range(40)]
    accepted, sentence = decide(examine(turns, [torch.tensor([1.0, 0.0])] * 40))
    assert not accepted
    assert f"it orders 100 % of the pairs as you did, and taking the {which} answer 100 %" in sentence


def _learned(store: Store, run: str) -> list[tuple[str, str]]:
    rows = store.rows("SELECT judgment_id, split FROM run_judgments WHERE run_id = ?", [run])
    return [(row["judgment_id"], row["split"]) for row in rows]
