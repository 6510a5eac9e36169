"""A version of the model from a reward: PPO or RLOO on answers that it gives itself, through the same gate as all.

The reward model is one that a run before has learned and found good; without one it does not start, and says why. What
is answered are the user's judged prompts (those to train on) and everyday requests of our own. The first batch costs
nothing: the policy begins as the base, whose answers to those requests are at hand (practice.py). From then on
llama.cpp answers, with the adapter of the moment swapped in; torch only scores.

It is judged on held-out human judgments, never on the reward that it was trained on. What it earned and how far it
drifted is kept batch by batch: `ppo.reward`, `ppo.kl` and each part of the reward.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chatapp.engine.base import EngineConfig, Message, Sampling
from chatapp.engine.half import LARGEST, half_precision
from chatapp.engine.process import EngineProcess
from chatapp.engine.vocab import Vocab
from storage import paths, rewards
from storage.errors import NoRewardModel
from trainer import adapter_file, gate, lineage, needs, ppo
from trainer.base_model import load_base
from trainer.config import PpoConfig, TrainConfig
from trainer.dataset import Dataset, Turn, fit_prompt
from trainer.errors import BadSetting, Cancelled, NotEnoughJudgments, TrainerError
from trainer.features import Callbacks
from trainer.fit import Metrics
from trainer.lesson import Given, Lesson
from trainer.logprobs import TokenTurn
from trainer.lora import Lora
from trainer.outcome import Outcome
from trainer.pooled import Pooler
from trainer.practice import Drill, drills, requests
from trainer.reward_task import current
from trainer.served import served
from trainer.total import Reward, Weights

TEMPERATURE = 0.8
STREAMS = 32  #: answers drawn at one time
CELLS = 32768  #: tokens of prompts and answers that they hold together, at most: 0.8 GB of the default model
TRIES = 3  #: times that a batch is filled up
LAST_LOOK = 8  #: prompts whose answers say what the last batch did


@dataclass(slots=True)
class Drawer:
    """Answers of the policy that a Lora holds, by llama.cpp."""

    engine: EngineProcess
    lora: Lora
    prompts: Sequence[list[int]]
    says_something: Callable[[Sequence[int]], bool]
    config: PpoConfig
    folder: Path  #: where the adapter of the moment lies
    architecture: str
    permuted: Mapping[str, bool]
    calls: Callbacks
    first: Sequence[TokenTurn] = ()  #: answers of the base, for the first batch
    drawn: int = 0  #: tokens
    seconds: float = 0.0  #: that drawing them took
    order: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self.order = _endlessly(len(self.prompts), self.config.seed)

    def __call__(self, batch: int) -> list[TokenTurn]:
        if batch == 0 and self.first:
            return list(self.first)
        self._swap(batch)
        count = self.config.batch_prompts if batch < self.config.batches else LAST_LOOK
        found: list[TokenTurn] = []
        for attempt in range(TRIES):
            prompts = [self.prompts[next(self.order)] for _ in range(count - len(found))]
            seed = random.Random(f"{self.config.seed}:{batch}:{attempt}").randrange(2**31)
            for prompt, answers in zip(prompts, self._answers(prompts, seed), strict=True):
                if len(answers) > 1:
                    found.append(TokenTurn(prompt, answers, TEMPERATURE))
            if len(found) == count:
                break
        if not found:
            raise TrainerError(
                f"in batch {batch + 1} none of {TRIES * count} prompts got two answers that say "
                "something: the policy has come to write nothing. Learn from a lower learning_rate"
            )
        return found

    def _answers(self, prompts: Sequence[list[int]], seed: int) -> list[list[list[int]]]:
        def watch(_ended: int) -> None:
            if self.calls.cancelled():
                raise Cancelled("the run was cancelled")

        self.calls.before_batch()
        started = time.monotonic()
        # min-p alone: top-p sorts the vocabulary for each token, a fifth of the time, to cut what min-p cuts already
        sampling = Sampling(temperature=TEMPERATURE, top_p=1.0, max_tokens=self.config.answer_tokens, seed=seed)
        found = self.engine.draw(prompts, self.config.answers, sampling, watch)
        self.seconds += time.monotonic() - started
        self.drawn += sum(len(answer) for answers in found for answer in answers)
        return [[answer for answer in answers if self.says_something(answer)] for answers in found]

    def _swap(self, batch: int) -> None:
        """Under another name each time: the engine may hold the one before open."""
        path = self.folder / f"policy-{batch}.gguf"
        config = self.lora.decoder().config
        adapter_file.write_gguf(
            path,
            self.lora.state(),
            architecture=self.architecture,
            layers=int(config.num_hidden_layers),
            alpha=self.config.alpha,
            heads=adapter_file.heads_of(config),
            permuted=self.permuted,
        )
        self.engine.swap(path)
        for other in self.folder.glob("policy-*.gguf"):
            if other != path:
                other.unlink(missing_ok=True)


class PpoLesson(Lesson):
    """A version of the model, from a reward."""

    strongest = 1.0  # its steps were weighed against its drift: it is weakened where ordinary text asks for it, no more

    def run(self) -> Outcome:
        assert isinstance(self.config, PpoConfig)
        reward = self._reward()
        calls = self.callbacks
        with Vocab.open(self.gguf) as vocab:
            given = self._read(vocab)
            share = float(reward.about.get("layer_share", self.config.layer_share))
            if share != self.config.layer_share:
                if "layer_share" in self.given:
                    raise BadSetting(
                        f"layer_share is {self.config.layer_share:g}, and the reward model was learned with {share:g}: "
                        "leave it out, or learn the reward anew"
                    )
                self.config = replace(self.config, layer_share=share)
            given.dataset.judgments = self._learned_from(given.dataset)
            given.trial.unseen = []  # there is no second look
            if (there := len(given.trial.held_out)) < gate.MIN_HELD_OUT:
                raise NotEnoughJudgments(
                    f"what learns from a reward is tested on held-out prompts alone, at least {gate.MIN_HELD_OUT}; "
                    f"there are {there}: judge some more answers (one prompt in five is held out)"
                )
            config: PpoConfig = self.config
            rules = [r for r in self.store.rules.list() if any(s.id == r.id for s in reward.standing)]
            texts = {rule.id: vocab.tokenize(rule.text) for rule in rules}
            prompts, known = self._prompts(vocab, given.said, config)
            with self.clock.phase("model"):
                base = load_base(self.gguf, self.cache_dir, train_base=self.train_base)
            self.metrics["memory.loading_peak_mb"] = needs.forget_peak() / needs.MB
            with self.clock.phase("features"):
                lora = self._meet(given, base)
            if self._imitate(lora, given):
                known = []  # the policy is not the base any more
            pooler = Pooler.of(lora.trunk, vocab)
        critic = ppo.Critic(int(base.model.config.hidden_size), lora.device) if config.algorithm == "ppo" else None
        told = {id: pooler.text(ids) for id, ids in texts.items()}

        def assess(turns: Sequence[TokenTurn]) -> list[ppo.Rollout]:
            return _assess(turns, lora, pooler, reward, told, config, calls)

        self.total = config.batches
        with self.clock.phase("training"), ExitStack() as opened:
            words = opened.enter_context(Vocab.open(self.gguf))

            def says_something(answer: Sequence[int]) -> bool:
                return bool(words.detokenize(answer).strip())

            folder = paths.run_dir(self.store.home, self.run_id)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            engine = opened.enter_context(served(self._streams(prompts, config)))
            permuted = base.check.get("permuted") or adapter_file.permuted_projections(self.gguf, base.model)
            draw = Drawer(
                engine, lora, prompts, says_something, config, folder, self._architecture(), permuted, calls, known
            )
            try:
                course = ppo.train(
                    lora, critic, draw, assess, config, calls, self.ordinary, most_spread=_most_spread(reward, config)
                )
            finally:
                for path in folder.glob("policy-*.gguf"):
                    path.unlink(missing_ok=True)
        self._tell(course, draw)
        beginning = lineage.Beginning(given.dataset.train, None, "what learns from a reward begins at the base")
        return self._finish(base, lora, given, beginning, [], None)

    def _reward(self) -> Reward:
        """What is learned from. That there is none, or why not, is said before all else."""
        found = current(self.store, self.model_hash)
        run = rewards.current(self.store, self.model_hash).parent.name
        gone = self.store.value(
            "SELECT count(*) FROM run_judgments r JOIN judgments j ON j.id = r.judgment_id "
            "WHERE r.run_id = ? AND r.split = 'train' AND j.retracted_at IS NOT NULL",
            [run],
        )
        if gone:
            raise NoRewardModel(
                f"the reward model learned from {gone} judgments that were taken back since: {rewards.AGAIN}"
            )
        self.team.release()
        return found

    def _learned_from(self, dataset: Dataset) -> list[tuple[str, str]]:
        """The judgments behind the reward, and those that the version is tested on."""
        run = rewards.current(self.store, self.model_hash).parent.name
        rows = self.store.rows("SELECT judgment_id FROM run_judgments WHERE run_id = ? AND split = 'train'", [run])
        return [*((row["judgment_id"], "train") for row in rows), *(j for j in dataset.judgments if j[1] == "held_out")]

    def _imitate(self, lora: Lora, given: Given) -> bool:
        """What the policy begins with: the base. Whether it is another one."""
        lora.reset(self.config.seed)
        return False

    def _prompts(
        self, vocab: Vocab, said: Sequence[Turn], config: PpoConfig
    ) -> tuple[list[list[int]], list[TokenTurn]]:
        """What is answered, and the base's answers for the first batch."""
        found: list[list[int]] = []
        # what was cut to fit would be answered whole and scored in part
        found += [t.prompt for t in said if vocab.prompt_ids(t.messages) == t.prompt]
        ready: list[Drill] = drills(self.cache_dir, self.model_hash)
        for text in requests():
            messages = [Message(role="user", content=text)]
            ids = fit_prompt(vocab, messages, config.max_prompt)
            if ids is not None:
                found.append(ids)
        first = random.Random(config.seed).sample(ready, min(len(ready), config.first_prompts))
        known = []
        for drill in first:
            answers = [ids[: config.answer_tokens] for ids in drill.answers if vocab.detokenize(ids).strip()]
            if len(answers) > 1:
                prompt = vocab.prompt_ids([Message(role="user", content=drill.prompt)])
                known.append(TokenTurn(prompt, answers, TEMPERATURE))
        return found, known

    def _written(self, config: TrainConfig, dataset: Dataset) -> tuple[int, int]:
        assert isinstance(config, PpoConfig)
        longest = max(len(t.prompt) for t in dataset.turns) + config.answers * config.answer_tokens
        return (config.first_prompts + config.batches * config.batch_prompts + LAST_LOOK) * longest, longest

    def _beside(self, config: TrainConfig, shape: needs.Shape) -> int:
        """The engine that draws: the model in half precision, or as its file has it, and its cells."""
        weights = 2 * shape.parameters if shape.file_bytes <= LARGEST else shape.file_bytes
        return weights + 2 * 2 * shape.layers * shape.kv_width * CELLS

    def _streams(self, prompts: Sequence[list[int]], config: PpoConfig) -> EngineConfig:
        """As many streams as there is room for, each for the longest prompt and its answer."""
        each = -(-(max(map(len, prompts)) + config.answer_tokens) // 256) * 256
        streams = max(1, min(STREAMS, CELLS // each))
        gguf = half_precision(self.gguf, self.cache_dir / "models" / self.model_hash)
        return EngineConfig(
            gguf, context_size=streams * each, streams=streams, lock_path=paths.generation_lock(self.store.home)
        )

    def _tell(self, course: ppo.Course, draw: Drawer) -> None:
        """The course of the rewards, and why it ended, for the run's metrics and the verdict."""
        for batch, row in enumerate(course.rows, 1):
            self.store.runs.metrics(self.run_id, batch, {f"ppo.{name}": value for name, value in row.items()})
        first, last, stop = course.rows[0], course.rows[-1], course.stop
        learned = len(course.rows) - 1
        if not learned:
            assert stop is not None
            self.remarks.append(f"It was stopped at once: {stop.sentence}. So nothing was learned from the reward.")
        else:
            batches = "one batch" if learned == 1 else f"{learned} batches"
            self.remarks.append(
                f"The reward of what it writes went from {first['reward']:+.2f} to {last['reward']:+.2f} in {batches}, "
                f"{last['kl']:.3f} nats a token from the base."
            )
            if stop is not None:
                kept = f"{stop.kept:.0%} of what it learned last was kept" if stop.kept else "that was taken back"
                self.remarks.append(f"It was stopped: {stop.sentence}, so {kept}.")
        self.metrics |= {
            "ppo.batches": learned,
            "ppo.first_reward": first["reward"],
            "ppo.last_reward": last["reward"],
            "ppo.last_kl": last["kl"],
            "ppo.drawn_tokens": draw.drawn,
            "ppo.drawing_seconds": draw.seconds,
        }

    def _progress(self, step: int, total: int, line: Metrics) -> None:
        values = {f"ppo.{name}": value for name, value in line.items() if value == value}
        self.store.runs.metrics(self.run_id, step, {**values, "progress.step": step, "progress.total": total})


def _assess(
    turns: Sequence[TokenTurn],
    lora: Lora,
    pooler: Pooler,
    reward: Reward,
    rules: Mapping[str, Tensor],
    config: PpoConfig,
    calls: Callbacks,
) -> list[ppo.Rollout]:
    """Each answer's reward and its parts. What the lower layers make of them is kept for the steps."""
    # the reward is of what the base makes of an answer, also where no layer lies below the adapter
    with lora.disabled():
        how: dict[str, Any] = {"budget": config.micro_tokens, "before": calls.before_batch}
        seen = pooler.see(turns, **how)
        shares = [torch.zeros(0)] * len(turns)
        if config.dense and reward.preference is not None:
            shares = pooler.shares(turns, reward.preference.slope, reward.preference.centre, **how)
    weights = Weights(config.rules_weight, config.length_weight)
    found = []
    for turn, features, earned in zip(turns, seen, shares, strict=True):
        lengths = torch.tensor([len(r) for r in turn.responses])
        parts = reward.parts(features, lengths, rules, weights)
        rows = {"preference": parts.preference, "spread": parts.spread, "length_part": parts.length}
        if rules:
            rows |= {"rules": parts.rules, "violation": parts.violation.mean(1)}
        found.append(ppo.Rollout(turn, parts.total.float(), {name: row.float() for name, row in rows.items()}, earned))
    return found


def _most_spread(reward: Reward, config: PpoConfig) -> float:
    """Where the heads part further than on judged answers that they had not seen, the reward is not to be trusted."""
    known = reward.about.get("spread")
    return float(known) * config.spread_budget if known and known == known else math.inf


def _endlessly(count: int, seed: int) -> Iterator[int]:
    """Indexes in a random order, all of them before any comes again."""
    draw = random.Random(seed)
    while True:
        yield from draw.sample(range(count), count)
