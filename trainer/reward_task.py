"""A run that learns a reward model, and says whether it is any good before anybody relies on it.

It is tested on every judged prompt: on the held-out ones as it is, on each other one as it would be without that one's
fold. It has to tell more than chance, by the same bootstrap over prompts as the gate's, and to order more pairs than
"the longer answer wins" does. The file lies in the run's folder, which forgetting empties.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from chatapp.engine.vocab import Vocab
from storage import paths
from storage.store import Store
from trainer import gate, needs
from trainer.base_model import load_base
from trainer.config import RewardConfig
from trainer.dataset import Turn
from trainer.errors import Cancelled, TrainerError
from trainer.features import trunk_path
from trainer.outcome import Outcome
from trainer.pooled import Pooler
from trainer.reward import Judged, RewardModel, learn, left_out
from trainer.task import Task
from trainer.trunk import Trunk, adapted_from

FILE = "reward.safetensors"
BINS = 5  #: of predicted probabilities, for the calibration


class NoRewardModel(TrainerError):
    """There is none that could be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Examined:
    """How a reward model does on judgments that it did not see."""

    accuracy: float  #: share of pairs ordered as judged; every prompt counts the same, ties half
    ends: float  #: the same, of each prompt's best answer against its worst
    longer: float  #: share of pairs in which the longer answer was preferred
    alike: float  #: accuracy on pairs whose lengths differ by at most a tenth; NaN: there are none
    log_loss: float  #: nats a judgment; chance has 0.693
    calibration: float  #: mean gap between the predicted probability and how often it came true, over BINS bins
    gain: gate.Bound  #: over chance, in log-loss
    held_out: int  #: prompts that were held out for ever
    pairs: int


class RewardTask(Task):
    """A reward model, from preferences."""

    def run(self) -> Outcome:
        assert isinstance(self.config, RewardConfig)
        home, calls = self.store.home, self.callbacks
        with Vocab.open(self.gguf) as vocab:
            with self.clock.phase("features"):
                dataset = self._dataset(vocab)
                heads = self.config.heads
                self._settle(dataset, vocab.n_tokens)
            with self.clock.phase("model"):
                base = load_base(self.gguf, self.cache_dir, train_base=self.train_base)
            trunk = Trunk(base.model, adapted_from(base.model, self.config.layer_share))
            pooler = Pooler.of(trunk, vocab)
        with self.clock.phase("features"):
            turns = [t for t in dataset.turns if t.pairs or t.singles]
            mine = trunk_path(home, self.model_hash, base, trunk.first)
            trunk.recall(mine)
            seen = pooler.see([t.tokens for t in turns], budget=self.config.micro_tokens, before=calls.before_batch)
            judged = [Judged(t.key, x, t.pairs, t.singles) for t, x in zip(turns, seen, strict=True)]
        train = [j for j, t in zip(judged, turns, strict=True) if t.split == "train"]
        settings: dict[str, Any] = {"seed": self.config.seed, "margin_scale": self.config.margin_scale}
        with self.clock.phase("training"):
            model = learn(train, heads=heads, model_hash=self.model_hash, **settings)
        with self.clock.phase("gate"):
            logits = dict(zip([j.key for j in train], left_out(train, **settings), strict=True))
            logits |= {j.key: model.logits(j.features) for j in judged if j.key not in logits}
            found = examine(turns, [logits[t.key] for t in turns], seed=self.config.seed)
            spread = [float(x) for j in judged if j.key not in {t.key for t in train} for x in model.spread(j.features)]
        accepted, sentence = decide(found)
        with self.clock.phase("files"):
            self._keep_states(trunk, mine, [t.tokens for t in dataset.turns], dataset)
            if self.cancelled():
                raise Cancelled("the run was cancelled")
            path = file_of(self.store, self.run_id)
            path.parent.parent.mkdir(exist_ok=True, mode=0o700)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            model.save(path)
        self.metrics |= {
            "reward.accuracy": found.accuracy,
            "reward.ends": found.ends,
            "reward.longer_wins": found.longer,
            "reward.alike": found.alike,
            "reward.log_loss": found.log_loss,
            "reward.calibration": found.calibration,
            "reward.gain": found.gain.mean,
            "reward.bound": found.gain.low,
            "reward.prompts": found.gain.prompts,
            "reward.held_out_prompts": found.held_out,
            "reward.spread": sum(spread) / len(spread) if spread else math.nan,
            "reward.ridge": model.ridge,
            "memory.peak_mb": needs.peak_memory() / needs.MB,
        }
        self.metrics = {name: float(value) for name, value in self.metrics.items() if value == value}
        with self.store.write():
            self.store.runs.metrics(self.run_id, self.total, self.metrics)
            self.store.runs.record_judgments(self.run_id, dataset.judgments)
        return Outcome(
            self.run_id,
            "done" if accepted else "rejected",
            verdict=" ".join([sentence, *self.remarks]),
            metrics=self.metrics,
            seconds=self.clock.finished(),
        )


def examine(turns: Sequence[Turn], logits: Sequence[Tensor], *, seed: int = 0) -> Examined:
    """How well logits of the answers, by a model that did not see what was said of them, tell it."""
    right, ends, longer, losses = [], [], [], []
    alike: list[float] = []
    chances: list[tuple[float, float]] = []  # predicted probability of the likelier side, and whether it won; weight 1
    pairs = 0
    for turn, values in zip(turns, logits, strict=True):
        r = [float(v) for v in values]
        said = [(r[p.chosen] - r[p.rejected], p.weight) for p in turn.pairs]
        said += [(r[s.response] * (1 if s.good else -1), s.weight) for s in turn.singles]
        weight = sum(w for _, w in said)
        losses.append(sum(w * gate.log_loss(x) for x, w in said) / weight)
        chances += [(1 / (1 + math.exp(-min(abs(x), 500))), gate.half(x)) for x, _ in said]
        if not turn.pairs:
            continue
        pairs += len(turn.pairs)
        lengths = [len(response) for response in turn.responses]
        right.append(_mean([gate.half(r[p.chosen] - r[p.rejected]) for p in turn.pairs]))
        longer.append(_mean([gate.half(lengths[p.chosen] - lengths[p.rejected]) for p in turn.pairs]))
        alike += [
            gate.half(r[p.chosen] - r[p.rejected])
            for p in turn.pairs
            if abs(math.log(lengths[p.chosen] / lengths[p.rejected])) <= math.log(1.1)
        ]
        standing = [0.0] * len(lengths)
        for pair in turn.pairs:
            standing[pair.chosen] += pair.weight
            standing[pair.rejected] -= pair.weight
        best, worst = standing.index(max(standing)), standing.index(min(standing))
        ends.append(gate.half(r[best] - r[worst]))
    chance = [math.log(2)] * len(losses)
    return Examined(
        _mean(right),
        _mean(ends),
        _mean(longer),
        _mean(alike),
        _mean(losses),
        _calibration(chances),
        gate.bootstrap(losses, chance, seed=seed),
        sum(t.split == "held_out" for t in turns),
        pairs,
    )


def decide(found: Examined) -> tuple[bool, str]:
    """Whether it may be relied on, and the sentence that says so."""
    prompts = f"{found.gain.prompts} judged prompts, each left out in turn"
    bound = f"{gate.percent(found.gain.level)} bound of its gain {found.gain.low:+.3f}"
    figures = f"log-loss {found.log_loss:.3f} against {math.log(2):.3f} of chance, {bound}"
    problems = []
    if not found.gain.low > 0:
        problems.append(f"it does not surely tell more than chance on {prompts} ({figures})")
    if found.pairs and not found.accuracy > found.longer:
        mine, length = gate.percent(found.accuracy), gate.percent(found.longer)
        problems.append(f"it orders {mine} of the pairs as you did, and taking the longer answer {length}")
    if problems:
        return False, f"Refused: {'; '.join(problems)}. Judge more answers and train it again."
    if not found.pairs:
        return True, f"It tells good answers from bad ones: {figures}, on {prompts}."
    return True, (
        f"It orders {gate.percent(found.accuracy)} of the pairs as you did (the best answer before the worst: "
        f"{gate.percent(found.ends)}; the longer one wins in {gate.percent(found.longer)}) on {prompts}: {figures}; "
        f"its probabilities are off by {gate.percent(found.calibration)}."
    )


def file_of(store: Store, run_id: str) -> Path:
    """Where a run's reward model lies."""
    return paths.run_dir(store.home, run_id) / FILE


def current(store: Store, model_hash: str) -> RewardModel:
    """The one to rely on: the newest that a run learned. Raises NoRewardModel, with why there is none."""
    run = next(
        (
            r
            for r in store.runs.list()
            if r.kind == "reward" and r.model_hash == model_hash and r.state in ("done", "rejected")
        ),
        None,
    )
    again = "train one with `hone train --method reward --wait`"
    if run is None:
        raise NoRewardModel(f"there is no reward model of this model yet: {again}")
    if run.state == "rejected":
        verdict = run.result.get("verdict", "")
        raise NoRewardModel(f"the reward model of run {run.number} was refused. {verdict}".strip())
    try:
        return RewardModel.read(file_of(store, run.id), model_hash)
    except FileNotFoundError:
        raise NoRewardModel(
            f"the reward model of run {run.number} is gone, with something that was forgotten: {again}"
        ) from None


def _calibration(chances: Sequence[tuple[float, float]]) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599, eq. 3) over equal bins of 0.5 to 1."""
    bins: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for chance, won in chances:
        bins[min(BINS - 1, int((chance - 0.5) * 2 * BINS))].append((chance, won))
    return sum(abs(sum(c - w for c, w in held)) for held in bins) / len(chances) if chances else math.nan


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
