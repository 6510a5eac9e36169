"""How good a reward model of eighty rankings is, and a rule model of sixty flags, on answers that they never saw.

Real: answers of the served model (those that ship for practice, then those that `hone simulate` keeps), four to a
prompt, ranked by scripted users. Each seed draws anew which prompts are learned from; up to TESTED others are ordered.
"longer" stands beside every accuracy, and so does the accuracy on pairs that are about as long as each other. With
FLIPPED of the rankings turned round: one head of all prompts, one of a bootstrap sample, the least of four, and what a
run takes, their mean less their spread. Intervals are 95 %, over the seeds' draws of prompts.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chatapp.config import Settings
from chatapp.engine.base import Engine, EngineConfig, Message
from chatapp.engine.model_files import file_hash, resolve
from chatapp.engine.vocab import Vocab
from storage.migrations import DEFAULT_RULES
from trainer import rule_model
from trainer.base_model import load_base
from trainer.config import TrainConfig
from trainer.dataset import PairRef
from trainer.logprobs import TokenTurn
from trainer.pooled import Pooler
from trainer.practice import drills
from trainer.reward import Judged, RewardModel, learn
from trainer.reward_task import BINS, ece
from trainer.served import served
from trainer.simulate import CANDIDATES, CONTEXT
from trainer.simulation.answers import Answers
from trainer.simulation.checks import CHECKS, FLAGS
from trainer.simulation.prompts import drawn
from trainer.trunk import Trunk, adapted_from
from trainer.users import USERS, User

RANKINGS, TESTED, SEEDS, FLIPPED = 80, 80, 5, 0.25
BUDGET = 2048  #: tokens computed at one time


@dataclass(frozen=True, slots=True)
class Answered:
    """Four answers to a prompt."""

    texts: list[str]
    lengths: list[int]
    features: Tensor  # (4, F)


def measure(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Rows by user, with and without flips, and by rule. quick: few prompts, one user."""
    count, seeds = (24, 1) if quick else (RANKINGS + TESTED, SEEDS)
    users = [USERS["plain-words"]] if quick else list(USERS.values())
    started = time.perf_counter()
    known, texts = _answers(settings, count)
    seconds = time.perf_counter() - started
    rows = []
    for user in users:
        for flip in (0.0, FLIPPED):
            _say(f"{user.name}, {flip:.0%} turned round")
            rows.append(_preferences(known, user, flip, seeds, len(known) // 2))
    rules = []
    for name in CHECKS:
        _say(f"rule: {name}")
        rules.append(_rule(known, name, texts, seeds))
    return {"ok": True, "prompts": len(known), "features_seconds": round(seconds, 1), "users": rows, "rules": rules}


def _answers(settings: Settings, count: int) -> tuple[list[Answered], dict[str, Tensor]]:
    """Answers to `count` prompts with their features, and the mean embedding of each rule's text."""
    gguf = resolve(settings.model, settings.cache_dir).path
    model_hash = file_hash(gguf, settings.cache_dir)
    base = load_base(gguf, settings.cache_dir)
    found: list[Answered] = []
    with Vocab.open(gguf) as vocab, ExitStack() as opened:
        trunk = Trunk(base.model, adapted_from(base.model, TrainConfig().layer_share), keep_bytes=0)
        pooler = Pooler.of(trunk, vocab)
        texts = {name: pooler.text(vocab.tokenize(check.text)) for name, check in CHECKS.items()}
        texts |= {id: pooler.text(vocab.tokenize(text)) for id, _, text in DEFAULT_RULES}
        asked = [(drill.prompt, drill.answers) for drill in drills(settings.cache_dir, model_hash)][:count]
        kept = Answers(settings.cache_dir / "simulation", model_hash)
        engines: list[Engine] = []

        def engine() -> Engine:
            if not engines:
                engines.append(opened.enter_context(served(EngineConfig(gguf, context_size=CONTEXT))))
            return engines[0]

        pool = drawn("pool", 0)
        order = sorted(pool, key=lambda p: (p, "judged", CANDIDATES) not in kept)  # those that are there first
        for prompt in order[: count - len(asked)]:
            batch = kept.get(engine, prompt, "judged", CANDIDATES)
            asked.append((prompt, [list(c.token_ids) for c in batch]))
        for at, (prompt, answers) in enumerate(asked, 1):
            ids = vocab.prompt_ids([Message(role="user", content=prompt)])
            (x,) = pooler.see([TokenTurn(ids, answers)], budget=BUDGET)
            found.append(Answered([vocab.detokenize(a) for a in answers], [len(a) for a in answers], x))
            if at % 20 == 0:
                _say(f"{at} of {len(asked)} prompts")
    return found, texts


def _preferences(known: Sequence[Answered], user: User, flip: float, seeds: int, rankings: int) -> dict[str, Any]:
    scores = [[user.score(text) for text in one.texts] for one in known]
    figures: dict[str, list[float]] = {}
    test_prompts = 0
    for seed in range(seeds):
        order = [i for i in random.Random(seed).sample(range(len(known)), len(known)) if len(set(scores[i])) > 1]
        turned = random.Random(f"flip:{seed}")
        train = [_judged(i, known[i], scores[i], turned.random() < flip) for i in order[:rankings]]
        test = order[rankings:][:TESTED]
        if not train or len(test) < 8:
            continue
        test_prompts = len(test)
        started = time.perf_counter()
        model = learn(train, seed=seed)
        figures.setdefault("seconds", []).append(time.perf_counter() - started)
        for name, value in _figures(model, [(known[i], scores[i]) for i in test]).items():
            if value == value:
                figures.setdefault(name, []).append(value)
    return {"user": user.name, "flipped": flip, "rankings": rankings, "test_prompts": test_prompts} | {
        name: {"mean": round(statistics.fmean(v), 4), "interval": _interval(v)} for name, v in figures.items()
    }


def _figures(model: RewardModel, test: Sequence[tuple[Answered, list[float]]]) -> dict[str, float]:
    """Of one model: means over prompts; `ends` is the best answer against the worst."""
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "whole": model.logits,
        "one_head": lambda x: model.each(x)[:, 0],
        "least": lambda x: model.each(x).min(1).values,
        "reward": model.rewards,
    }
    found: dict[str, list[float]] = {}
    chances: list[tuple[float, float]] = []
    for one, score in test:
        best, worst = score.index(max(score)), score.index(min(score))
        pairs = [(i, j) for i in range(len(score)) for j in range(len(score)) if score[i] > score[j]]
        for name, way in ways.items():
            value = way(one.features).tolist()
            found.setdefault(f"{name}_ends", []).append(float(value[best] > value[worst]))
            found.setdefault(f"{name}_pairs", []).append(statistics.fmean(value[i] > value[j] for i, j in pairs))
            alike = [(i, j) for i, j in pairs if abs(math.log(one.lengths[i] / one.lengths[j])) <= math.log(1.1)]
            if alike:
                found.setdefault(f"{name}_alike", []).append(statistics.fmean(value[i] > value[j] for i, j in alike))
        longer = [(one.lengths[i] > one.lengths[j]) + 0.5 * (one.lengths[i] == one.lengths[j]) for i, j in pairs]
        found.setdefault("longer_pairs", []).append(statistics.fmean(longer))
        found.setdefault("longer_ends", []).append(
            (one.lengths[best] > one.lengths[worst]) + 0.5 * (one.lengths[best] == one.lengths[worst])
        )
        logits = model.logits(one.features).tolist()
        for i, j in pairs:
            x = logits[i] - logits[j]
            chances.append((1 / (1 + math.exp(-abs(x))), float(x > 0)))
    return {name: statistics.fmean(values) for name, values in found.items()} | {"calibration": ece(chances, BINS)}


def _judged(key: int, one: Answered, score: list[float], turned: bool) -> Judged:
    pairs = [(i, j) for i in range(len(score)) for j in range(len(score)) if score[i] > score[j]]
    if turned:
        pairs = [(j, i) for i, j in pairs]
    return Judged(str(key), one.features, [PairRef(i, j, 1 / len(pairs)) for i, j in pairs])


def _rule(known: Sequence[Answered], name: str, texts: dict[str, Tensor], seeds: int) -> dict[str, Any]:
    """FLAGS answers, drawn from all, flagged as they are; AUC on the answers to other prompts."""
    broken = CHECKS[name].broken
    rows = [
        (i, x, broken(text)) for i, one in enumerate(known) for x, text in zip(one.features, one.texts, strict=True)
    ]
    found = []
    for seed in range(seeds):
        order = random.Random(seed).sample(rows, len(rows))
        flags = [rule_model.Flag(str(i), name, x, b) for i, x, b in order[:FLAGS]]
        if len({flag.violated for flag in flags}) < 2:
            continue
        seen = {i for i, _, _ in order[:FLAGS]}
        rest = [(x, b) for i, x, b in order[FLAGS:] if i not in seen]
        model = rule_model.learn(flags, texts, seed=seed)
        odds = model.logits(torch.stack([x for x, _ in rest]), texts[name]).tolist()
        if (value := rule_model.auc(odds, [b for _, b in rest])) == value:
            found.append(value)
    share = statistics.fmean(b for _, _, b in rows)
    row: dict[str, Any] = {"rule": name, "flags": FLAGS, "broken_share": round(share, 3)}
    return row | ({"auc": round(statistics.fmean(found), 3), "interval": _interval(found)} if found else {})


def _interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % of the mean over the seeds, by Student's t; None of one value."""
    if len(values) < 2:
        return None
    t = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}.get(len(values), 2.0)
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    return round(statistics.fmean(values) - half, 4), round(statistics.fmean(values) + half, 4)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
