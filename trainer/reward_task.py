"""A run that learns a reward model, and says whether it is any good before anybody relies on it.

It is tested on every judged prompt: on the held-out ones as it is, on each other one as it would be without that one's
fold. It has to tell more than chance, by the same bootstrap over prompts as the gate's, and to order more pairs than
"the longer answer wins", or "the shorter", does. The file lies in the run's folder, which forgetting empties.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chatapp.engine.vocab import Vocab
from storage import rewards
from storage.store import Store
from trainer import gate, needs, rule_model, rules
from trainer.base_model import load_base, pick_device, pick_dtype
from trainer.config import RewardConfig
from trainer.dataset import Dataset, Turn
from trainer.errors import Cancelled, NotEnoughJudgments, TrainerError
from trainer.features import trunk_path
from trainer.outcome import Outcome
from trainer.pooled import Pooler
from trainer.reward import Judged, RewardModel, learn, left_out
from trainer.rule_model import RuleModel
from trainer.task import Task
from trainer.total import Reward, RuleStanding
from trainer.trunk import KEEP_BYTES, Trunk, adapted_from

MOST_FLAGS = 1500  #: that a rule model learns from, one's own first
BINS = 5  #: of predicted probabilities, for the calibration


@dataclass(frozen=True, slots=True)
class Examined:
    """How a reward model does on judgments that it did not see."""

    accuracy: float  #: share of pairs ordered as judged; every prompt counts the same, ties half
    ends: float  #: the same, of each prompt's best answer against its worst
    longer: float  #: share of pairs in which the longer answer was preferred
    alike: float  #: accuracy on pairs whose lengths differ by at most a tenth; NaN: there are none
    log_loss: float  #: nats a judgment; chance has 0.693
    calibration: float  #: mean gap between the predicted probability and how often it came true, over BINS bins
    gain: gate.Bound  #: over chance, in the share of each prompt's judgments that it orders as they were said
    held_out: int  #: prompts that were held out for ever
    pairs: int


class RewardTask(Task):
    """A reward model, from preferences and flags."""

    labels = True

    def run(self) -> Outcome:
        assert isinstance(self.config, RewardConfig)
        if self.train_base is not None:
            raise TrainerError(
                "a reward model is learned on the served file, which scores answers: leave --train-base out"
            )
        self.team.release()  # it is quick: the other processes are not needed
        home, calls = self.store.home, self.callbacks
        with Vocab.open(self.gguf) as vocab:
            with self.clock.phase("features"):
                dataset = self._dataset(vocab)
                self._settle(dataset, vocab.n_tokens)
                config: RewardConfig = self.config
                known = {rule.id: vocab.tokenize(rule.text) for rule in self.store.rules.list(active_only=False)}
            with self.clock.phase("model"):
                base = load_base(self.gguf, self.cache_dir, train_base=self.train_base)
            trunk = Trunk(base.model, adapted_from(base.model, config.layer_share))
            pooler = Pooler.of(trunk, vocab)
        with self.clock.phase("features"):
            turns = [t for t in dataset.turns if t.pairs or t.singles or t.labels]
            mine = trunk_path(home, self.model_hash, base, trunk.first)
            trunk.recall(mine)
            seen = pooler.see([t.tokens for t in turns], budget=self.config.micro_tokens, before=calls.before_batch)
            texts = {id: pooler.text(ids) for id, ids in known.items()}
        preference, accepted, sentences = self._preferences(turns, seen, config)
        broken_rules, standing = self._rules(turns, seen, texts, sentences)
        if preference is None and broken_rules is None:
            raise NotEnoughJudgments(" ".join(sentences))
        counting = any(rule.counts for rule in standing)
        if preference is not None and not accepted and counting:
            preference = None
            sentences.append("So the rules alone count.")
        lengths = torch.tensor([len(r) for t in turns for r in t.responses], dtype=torch.float64)
        spread = max(1.0, float(lengths.std(correction=0)))
        about = {
            "layer_share": config.layer_share,  # where the states are taken from
            "max_prompt": config.max_prompt,
            "max_response": config.max_response,
            "spread": self.metrics.get("reward.spread"),  # on held-out answers: PPO stops where it grows
        }
        reward = Reward(self.model_hash, preference, broken_rules, standing, (float(lengths.mean()), spread), about)
        with self.clock.phase("files"):
            self._keep_states(trunk, mine, [t.tokens for t in dataset.turns], dataset)
            if self.cancelled():
                raise Cancelled("the run was cancelled")
            path = rewards.file_of(self.store, self.run_id)
            path.parent.parent.mkdir(exist_ok=True, mode=0o700)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            reward.save(path)
        self.metrics |= {"memory.peak_mb": needs.peak_memory() / needs.MB}
        self.metrics = {name: float(value) for name, value in self.metrics.items() if value == value}
        with self.store.write():
            self.store.runs.metrics(self.run_id, 0, self.metrics)
            self.store.runs.record_judgments(self.run_id, dataset.judgments)
        # forgetting marks the rows first and empties the folders after: it finds the file, or this finds the mark
        if self.cancelled() or self.store.judgments.any_forgotten({id for id, _ in dataset.judgments}):
            path.unlink(missing_ok=True)
            raise Cancelled("the run was cancelled: something that it learned from was forgotten")
        return Outcome(
            self.run_id,
            "done" if accepted or counting else "rejected",
            verdict=" ".join([*sentences, *self.remarks]),
            metrics=self.metrics,
            seconds=self.clock.finished(),
        )

    def _settle(self, dataset: Dataset, vocabulary: int) -> None:
        """The lower layers once over all answers are what it costs. Raises TooLittleMemory, TooLittleDisk."""
        folder = self.cache_dir / "models" / self.model_hash
        shape = needs.shape_of(self.gguf, vocabulary, folder)
        self.layers = shape.layers
        self.config = rules.apply(self.config, self.given, len(dataset.train), shape.parameters, shape.layers)
        self.metrics |= needs.check_reading(
            shape,
            self.config,
            self.store.home,
            self.cache_dir,
            available=None if pick_device().type == "cuda" else needs.available_memory(),
            dtype_bytes=pick_dtype(pick_device()).itemsize,
            tokens=sum(t.tokens.tokens for t in dataset.turns),
            longest=max(t.tokens.tokens for t in dataset.turns),
            keep_bytes=KEEP_BYTES,
            cached=(folder / "model.safetensors").exists(),
        )

    def _need(self, dataset: Dataset) -> None:
        """Preferences on as many prompts as any run needs, or flags on as many."""
        flagged = [t for t in dataset.turns if t.labels]
        if len(flagged) < gate.MIN_PROMPTS:
            Task._need(self, dataset)

    def _preferences(
        self, turns: Sequence[Turn], seen: Sequence[Tensor], config: RewardConfig
    ) -> tuple[RewardModel | None, bool, list[str]]:
        """The model, whether it may be relied on, and what is said of it."""
        judged = [Judged(t.key, x, t.pairs, t.singles) for t, x in zip(turns, seen, strict=True)]
        said = [(t, j) for t, j in zip(turns, judged, strict=True) if t.pairs or t.singles]
        train = [j for t, j in said if t.split == "train"]
        if len(said) < gate.MIN_PROMPTS or not train:
            few = f"There are preferences on {len(said)} prompts alone, so rules are all that it can learn."
            return None, False, [few]
        settings: dict[str, Any] = {
            "seed": config.seed,
            "margin_scale": config.margin_scale,
            "before": self.callbacks.before_batch,
        }
        with self.clock.phase("training"):
            model = learn(train, heads=config.heads, **settings)
        with self.clock.phase("gate"):
            logits = dict(zip([j.key for j in train], left_out(train, **settings), strict=True))
            unseen = [j for _, j in said if j.key not in logits]
            logits |= {j.key: model.logits(j.features) for j in unseen}
            found = examine([t for t, _ in said], [logits[t.key] for t, _ in said], seed=config.seed)
            spread = [float(x) for j in unseen for x in model.spread(j.features)]
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
            "reward.spread": _mean(spread),
            "reward.ridge": model.ridge,
        }
        accepted, sentence = decide(found)
        return model, accepted, [sentence]

    def _rules(
        self, turns: Sequence[Turn], seen: Sequence[Tensor], texts: Mapping[str, Tensor], sentences: list[str]
    ) -> tuple[RuleModel | None, list[RuleStanding]]:
        """The rule model, and how well it knows each rule; adds what is to be said of it."""
        said = [
            (t.split, label, rule_model.Flag(t.key, label.rule, x[label.response], label.violated, label.weight))
            for t, x in zip(turns, seen, strict=True)
            for label in t.labels
            if label.rule in texts
        ]
        # one's own first, and of each a draw that is the same in every run
        drawn = sorted(random.Random(0).sample(said, len(said)), key=lambda one: not one[1].own)[:MOST_FLAGS]
        train = [flag for split, _, flag in drawn if split == "train"]
        if not train:
            return None, []
        if len({flag.violated for flag in train}) < 2:
            side = "as breaking a rule" if train[0].violated else "as keeping one"
            sentences.append(
                f"All {len(train)} flags to learn from are of answers {side}: flag some of the others too."
            )
            return None, []
        before = self.callbacks.before_batch
        with self.clock.phase("training"):
            model = rule_model.learn(train, texts, seed=self.config.seed, before=before)
        with self.clock.phase("gate"):
            odds = dict(zip(map(id, train), rule_model.left_out(train, texts, before=before).tolist(), strict=True))
            for split, _, flag in drawn:
                if split != "train":
                    odds[id(flag)] = float(model.logits(flag.features[None], texts[flag.rule])[0])
        standing = []
        everything = torch.cat(list(seen))
        for rule in sorted(model.rules, key=lambda id: self.store.rules.get(id).number):
            of_rule = [(label.own, odds[id(flag)], flag.violated) for _, label, flag in drawn if flag.rule == rule]
            mine = [one for one in of_rule if one[0]] or of_rule
            auc = rule_model.auc([o for _, o, _ in mine], [v for *_, v in mine])
            broken = sum(v for *_, v in mine)
            fewer = min(broken, len(mine) - broken)
            kept = 1 - torch.sigmoid(model.logits(everything, texts[rule]))
            # a standard error above a half, with the fewer side for the sample
            counts = fewer > 0 and auc > 0.5 + math.sqrt(0.25 / fewer)
            unit = max(1e-3, float(kept.std(correction=0)))
            standing.append(RuleStanding(rule, auc, len(mine), broken, counts, float(kept.mean()), unit))
            named = self.store.rules.get(rule)
            self.metrics |= {f"rule.{named.number}.auc": auc, f"rule.{named.number}.flags": len(mine)}
            how = f"AUC {auc:.2f} on prompts left out" if fewer else "one side alone"
            tail = "" if counts else ": too little to count"
            sentences.append(f"Rule {named.number} ({named.name}): {len(mine)} flags, {broken} broken, {how}{tail}.")
        return model, standing


def examine(turns: Sequence[Turn], logits: Sequence[Tensor], *, seed: int = 0) -> Examined:
    """How well logits of the answers, by a model that did not see what was said of them, tell it."""
    right, ends, longer, losses, wrong = [], [], [], [], []
    alike: list[float] = []
    chances: list[tuple[float, float]] = []  # predicted probability of the likelier side, and whether it won; weight 1
    pairs = 0
    for turn, values in zip(turns, logits, strict=True):
        r = [float(v) for v in values]
        said = [(r[p.chosen] - r[p.rejected], p.weight) for p in turn.pairs]
        said += [(r[s.response] * (1 if s.good else -1), s.weight) for s in turn.singles]
        weight = sum(w for _, w in said)
        losses.append(sum(w * gate.log_loss(x) for x, w in said) / weight)
        wrong.append(sum(w * gate.half(-x) for x, w in said) / weight)
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
    # by order: what scores are used for, and one prompt of which it was sure and wrong counts as one
    gain = gate.bootstrap(wrong, [0.5] * len(wrong), seed=seed)
    return Examined(
        _mean(right),
        _mean(ends),
        _mean(longer),
        _mean(alike),
        _mean(losses),
        ece(chances),
        gain,
        sum(t.split == "held_out" for t in turns),
        pairs,
    )


def decide(found: Examined) -> tuple[bool, str]:
    """Whether it may be relied on, and the sentence that says so."""
    prompts = f"{found.gain.prompts} judged prompts, each left out in turn"
    right, bound = gate.percent(0.5 + found.gain.mean), gate.percent(0.5 + found.gain.low)
    figures = (
        f"{right} right, {gate.percent(found.gain.level)} bound {bound} where chance has 50 %, "
        f"log-loss {found.log_loss:.3f} against {math.log(2):.3f}"
    )
    problems = []
    if not found.gain.low > 0:
        problems.append(f"it does not surely tell more than chance on {prompts} ({figures})")
    by_length = max(found.longer, 1 - found.longer)
    if found.pairs and not found.accuracy > by_length:
        mine, length = gate.percent(found.accuracy), gate.percent(by_length)
        which = "longer" if found.longer >= 0.5 else "shorter"
        problems.append(f"it orders {mine} of the pairs as you did, and taking the {which} answer {length}")
    if problems:
        return False, f"Refused: {'; '.join(problems)}. Judge more answers and train it again."
    # not refused for it: a few prompts of which it is sure and wrong decide that (docs/experiments.md)
    good = found.log_loss < math.log(2)
    coin = "" if good else " Its probabilities are no better than a coin's: rely on its order alone."
    if not found.pairs:
        return True, f"It tells good answers from bad ones: {figures}, on {prompts}.{coin}"
    return True, (
        f"It orders {gate.percent(found.accuracy)} of the pairs as you did (the best answer before the worst: "
        f"{gate.percent(found.ends)}; the longer one wins in {gate.percent(found.longer)}) on {prompts}: {figures}; "
        f"its probabilities are off by {gate.percent(found.calibration)}.{coin}"
    )


def current(store: Store, model_hash: str) -> Reward:
    """The one to rely on. Raises NoRewardModel, and TrainerError where its file is broken."""
    return Reward.read(rewards.current(store, model_hash), model_hash)


def ece(chances: Sequence[tuple[float, float]], count: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599, eq. 3) over equal bins of 0.5 to 1.

    chances: the predicted probability of the likelier side, and 1 if it won.
    """
    bins: list[list[tuple[float, float]]] = [[] for _ in range(count)]
    for chance, won in chances:
        bins[min(count - 1, int((chance - 0.5) * 2 * count))].append((chance, won))
    return sum(abs(sum(c - w for c, w in held)) for held in bins) / len(chances) if chances else math.nan


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
