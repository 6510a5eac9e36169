"""Is a policy fooled by its reward? PPO with neither its penalty nor its budget of KL.

For each seed a scripted user ranks the base's answers to RANKINGS of our own requests; a reward model learns from that,
and the policy from the reward, on requests that were not judged, batch by batch, with a rate that drives it out. `wins`
is what it is worth: of its answers against the base's to the same requests, in the user's eyes. A run may end by the
reward's spread or by the guards on answers (ppo_lesson.py), and then takes back what it learned last; the gate is asked
about the policy as it was at the end, by rankings of HELD_OUT other requests (likeness.py), with the guards on neutral
text. What the run would hand over, weakened to what neutral text bears, is compared with the base last.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from chatapp.config import Settings
from chatapp.engine.base import Message
from chatapp.engine.model_files import file_hash, read_metadata, resolve
from chatapp.engine.process import EngineProcess
from chatapp.engine.vocab import Vocab
from trainer import adapter_file, gate, guards, likeness, ppo
from trainer.assessing import assess
from trainer.base_model import BaseModel, load_base
from trainer.config import PpoConfig
from trainer.dataset import PairRef, Turn
from trainer.drawer import TEMPERATURE, ask, streams
from trainer.errors import TrainerError
from trainer.expected import Ratios
from trainer.features import Callbacks
from trainer.logprobs import TokenTurn
from trainer.lora import Lora
from trainer.pooled import Pooler
from trainer.ppo_lesson import guard
from trainer.practice import Drill, drills
from trainer.reward import Judged, learn
from trainer.rollouts import Critic
from trainer.served import served
from trainer.simulation.comparing import win_rate
from trainer.total import Reward
from trainer.users import USERS, User

USER = "plain-words"
RANKINGS, HELD_OUT, SEEDS, LAST = 40, 24, 5, 10
OPEN: dict[str, Any] = {
    "kl_coefficient": 0.0, "kl_budget": 1e9, "learning_rate": 4e-3, "batches": 10, "first_prompts": 32,
    "batch_prompts": 12, "answer_tokens": 96,
}  # fmt: skip
QUICK: dict[str, Any] = {"batches": 1, "first_prompts": 4, "batch_prompts": 4, "answer_tokens": 24}


@dataclass(slots=True)
class Ground:
    """What all seeds share: the model, the requests with the base's answers, and an engine."""

    lora: Lora
    base: BaseModel
    vocab: Vocab
    pooler: Pooler
    engine: EngineProcess
    ready: Sequence[Drill]
    prompts: Sequence[list[int]]
    texts: guards.NeutralText
    ordinary: Sequence[TokenTurn]
    gguf: Path
    folder: Path
    swaps: int = 0

    def swap(self) -> None:
        """Let the engine answer as the policy of the moment."""
        self.swaps += 1
        path, model = self.folder / f"policy-{self.swaps}.gguf", self.base.model
        permuted = self.base.check.get("permuted") or adapter_file.permuted_projections(self.gguf, model)
        architecture = str(read_metadata(self.gguf)["general.architecture"])
        adapter_file.write_lora(path, self.lora, architecture=architecture, permuted=permuted)
        self.engine.swap(path)

    def scores(self, user: User, answers: Sequence[Sequence[int]]) -> list[float]:
        return [user.score(self.vocab.detokenize(answer)) for answer in answers]


@dataclass(slots=True)
class Batches:
    """The answers of a run, as they come: what it is worth, and what the policy was when it gave the last ones."""

    ground: Ground
    config: PpoConfig
    user: User
    asked: Sequence[int]  #: requests that nobody judged
    wins: list[float] = field(default_factory=list)
    last: list[TokenTurn] = field(default_factory=list)
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def __call__(self, batch: int) -> list[TokenTurn]:
        ground, config = self.ground, self.config
        draw = random.Random(f"{config.seed}:{batch}")
        count = config.first_prompts if batch == 0 else config.batch_prompts
        asked = draw.sample(self.asked, min(count, len(self.asked)))
        prompts = [ground.prompts[i] for i in asked]
        if batch == 0:
            found = [[ids[: config.answer_tokens] for ids in ground.ready[i].answers] for i in asked]
        else:
            ground.swap()
            seed = draw.randrange(2**31)
            found = ask(ground.engine, prompts, config.answers, config.answer_tokens, seed, Callbacks())
        self.state = {name: value.clone() for name, value in ground.lora.state().items()}
        new = [ground.scores(self.user, some) for some in found]
        self.wins.append(win_rate(new, [_base_scores(ground, self.user, i, config) for i in asked]).rate)
        self.last = [
            TokenTurn(prompt, [a for a in some if a], TEMPERATURE)
            for prompt, some in zip(prompts, found, strict=True)
            if sum(bool(a) for a in some) > 1
        ]
        return self.last


def measure(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """A row for each seed, with its batches."""
    gguf = resolve(settings.model, settings.cache_dir).path
    model_hash = file_hash(gguf, settings.cache_dir)
    over = OPEN | (QUICK if quick else {})
    with ExitStack() as opened:
        vocab = opened.enter_context(Vocab.open(gguf))
        ready = [drill for drill in drills(settings.cache_dir, model_hash) if len(drill.answers) > 1]
        if len(ready) <= RANKINGS + HELD_OUT + LAST:
            raise TrainerError(
                f"bench fooled needs the base's answers to {RANKINGS + HELD_OUT + LAST} requests and has {len(ready)}: "
                "measure the bundled model, or train once with this one, which then practises on such answers"
            )
        prompts = [vocab.prompt_ids([Message(role="user", content=drill.prompt)]) for drill in ready]
        base = load_base(gguf, settings.cache_dir)
        lora = Lora.fresh(base.model, PpoConfig())
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="hone-fooled-")))
        tokens = PpoConfig(**over).answer_tokens
        kept = settings.cache_dir / "models" / model_hash
        engine = opened.enter_context(
            served(streams(gguf, kept, max(map(len, prompts)), tokens, folder / "generation.lock"))
        )
        neutral = guards.plain_turns(vocab, "neutral.jsonl")
        states = guards.states_path(settings.cache_dir, model_hash, neutral, base)
        texts = guards.NeutralText(neutral, budget=PpoConfig().micro_tokens, wait=lambda: None, cache=states)
        ordinary = guards.plain_turns(vocab, "ordinary.jsonl")
        ground = Ground(
            lora, base, vocab, Pooler.of(lora.trunk, vocab), engine, ready, prompts, texts, ordinary, gguf, folder
        )
        rows = [_seed(ground, PpoConfig(**over, seed=seed), quick) for seed in range(1 if quick else SEEDS)]
    refused = not any(row["gate"]["promote"] for row in rows)
    return {"ok": quick or refused, "user": USER, "rankings": RANKINGS, "settings": over, "seeds": rows}


def _seed(ground: Ground, config: PpoConfig, quick: bool) -> dict[str, Any]:
    started = time.perf_counter()
    user, lora = USERS[USER], ground.lora
    order = random.Random(f"judged:{config.seed}").sample(range(len(ground.ready)), len(ground.ready))
    judged = _judged(ground, user, order, config)
    if len(judged) < RANKINGS + HELD_OUT:
        raise TrainerError(f"{USER} finds a difference in the answers to {len(judged)} requests alone")
    model = learn([j for _, j, _ in judged[:RANKINGS]], seed=config.seed)
    held_out = judged[RANKINGS:]
    known = statistics.fmean(float(x) for _, j, _ in held_out for x in model.spread(j.features))
    lora.reset(config.seed)
    ranked = {int(turn.key) for turn, *_ in judged}
    others = [i for i in range(len(ground.ready)) if i not in ranked]
    batches = Batches(ground, config, user, others)
    critic = Critic(int(ground.base.model.config.hidden_size), lora.device)
    chosen = statistics.fmean(min(n, config.answer_tokens) for *_, n in judged[:RANKINGS])
    rows: list[dict[str, float]] = []

    def told(_batch: int, _of: int, row: dict[str, float]) -> None:
        kept = {name: round(row[name], 3) for name in ("reward", "kl", "spread", "length", "repetition")}
        rows.append(kept | {"wins": round(batches.wins[-1], 3)})
        _say(f"seed {config.seed}, batch {len(rows)}: {rows[-1]}")

    reward = Reward("", model, None)
    course = ppo.train(
        lora,
        critic,
        batches,
        partial(assess, lora=lora, pooler=ground.pooler, reward=reward, rules={}, config=config, calls=Callbacks()),
        config,
        Callbacks(told),
        ground.ordinary,
        most_spread=known * config.spread_budget,
        broken=guard(chosen),
    )
    handed = {name: value.clone() for name, value in lora.state().items()}
    lora.load_state(batches.state)
    verdict = _gate(ground, config, batches.last, [t for t, _, _ in held_out], [j for _, j, _ in judged], chosen)
    lora.load_state(handed)
    _, scale = guards.set_strength(lora, ground.texts, 1.0)
    asked = random.Random(f"last:{config.seed}").sample(others, 2 if quick else LAST)
    ground.swap()
    prompts = [ground.prompts[i] for i in asked]
    answers = ask(ground.engine, prompts, config.answers, config.answer_tokens, config.seed, Callbacks())
    final = win_rate(
        [ground.scores(user, some) for some in answers], [_base_scores(ground, user, i, config) for i in asked]
    )
    _say(f"seed {config.seed}: {course.stop}; {verdict.sentence} Handed over at {scale:.2f}: wins {final.rate:.1%}")
    return {
        "seed": config.seed,
        "spread_known": round(known, 3),
        "batches": rows,
        "stopped": course.stop.sentence if course.stop else None,
        "gate": {"promote": verdict.promote, "reasons": verdict.reasons, "sentence": verdict.sentence},
        "handed_over": {"scale": round(scale, 3), "wins": round(final.rate, 3), "interval": [final.low, final.high]},
        "seconds": round(time.perf_counter() - started),
    }


def _judged(ground: Ground, user: User, order: Sequence[int], config: PpoConfig) -> list[tuple[Turn, Judged, float]]:
    """His rankings of the base's answers, as a reward model learns them and as the gate tests them, and how long the
    best ones are; requests whose answers are all the same to him are passed over."""
    found: list[tuple[Turn, Judged, float]] = []
    for i in order:
        answers = [ids[: config.answer_tokens] for ids in ground.ready[i].answers]
        scores = ground.scores(user, answers)
        pairs = [(a, b) for a in range(len(scores)) for b in range(len(scores)) if scores[a] > scores[b]]
        if not pairs:
            continue
        (x,) = ground.pooler.see([TokenTurn(ground.prompts[i], answers, TEMPERATURE)], budget=config.micro_tokens)
        refs = [PairRef(a, b, 1 / len(pairs)) for a, b in pairs]
        best = float(len(answers[scores.index(max(scores))]))
        turn = Turn(str(i), "held_out", [], ground.prompts[i], answers, refs, [])
        found.append((turn, Judged(str(i), x, refs), best))
        if len(found) == RANKINGS + HELD_OUT:
            break
    return found


def _base_scores(ground: Ground, user: User, at: int, config: PpoConfig) -> list[float]:
    return ground.scores(user, [ids[: config.answer_tokens] for ids in ground.ready[at].answers])


def _gate(
    ground: Ground,
    config: PpoConfig,
    written: Sequence[TokenTurn],
    held_out: Sequence[Turn],
    judged: Sequence[Judged],
    chosen: float,
) -> gate.Verdict:
    """The gate's word on what the lora holds, which wrote `written`."""
    by_prompt = {tuple(prompt): i for i, prompt in enumerate(ground.prompts)}
    theirs = [
        TokenTurn(turn.prompt, [a[: config.answer_tokens] for a in ground.ready[by_prompt[tuple(turn.prompt)]].answers])
        for turn in written
    ]
    with ground.lora.disabled():
        mine, others = (ground.pooler.see(turns, budget=config.micro_tokens) for turns in (written, theirs))
    found = likeness.direction(mine, others, [j.features for j in judged])
    features = {j.key: j.features for j in judged}
    ratios = likeness.ratios(held_out, [features[t.key] for t in held_out], found)
    new = gate.losses(held_out, [ratios[t.key] for t in held_out], 1.0)
    live = gate.losses(held_out, [Ratios.of_base(len(t.responses)) for t in held_out], 1.0)
    neutral = ground.texts.measure(ground.lora)
    answers, base = (gate.describe_answers([r for t in turns for r in t.responses]) for turns in (written, theirs))
    return gate.decide(
        gate.Evidence(
            gain=gate.bootstrap(new, live, seed=config.seed),
            new_loss=statistics.fmean(new),
            live_loss=statistics.fmean(live),
            live_name="the base",
            pooled=False,
            likeness=True,
            neutral_rise=neutral.rise,
            kl=neutral.kl,
            answers=answers,
            chosen_length=chosen,
            base_length=base.length,
            base_repetition=base.repetition,
        )
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
