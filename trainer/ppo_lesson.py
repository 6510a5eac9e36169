"""A version of the model from a reward: PPO or RLOO on answers that it gives itself, through the same gate as all.

The reward model is one that a run before has learned and found good; without one it does not start, and says why. What
is answered are the user's judged prompts (those to train on) and everyday requests of our own. The first batch costs
nothing: the policy begins as the base, whose answers to those requests are at hand (practice.py). From then on
llama.cpp answers, with the adapter of the moment swapped in; torch only scores.

It is judged on held-out human judgments, never on the reward that it was trained on: by whether the answers that were
preferred there are like those that it writes (likeness.py). What it earned and how far it drifted is kept batch by
batch: `ppo.reward`, `ppo.kl` and each part of the reward.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from chatapp.engine import half
from chatapp.engine.base import EngineConfig, Message
from chatapp.engine.vocab import Vocab
from storage import paths, rewards
from storage.errors import NoRewardModel
from trainer import adapter_file, gate, likeness, lineage, needs, ppo
from trainer.answers import seen_answers
from trainer.assessing import assess
from trainer.base_model import load_base
from trainer.checkpoint import Checkpoint, fingerprint
from trainer.config import PpoConfig, TrainConfig
from trainer.dataset import Dataset, Turn, fit_prompt
from trainer.drawer import CELLS, LAST_LOOK, TEMPERATURE, Drawer, ask, streams
from trainer.errors import BadSetting, NotEnoughJudgments
from trainer.expected import Ratios
from trainer.fit import Metrics
from trainer.lesson import Given, Lesson
from trainer.logprobs import TokenTurn
from trainer.lora import Lora
from trainer.outcome import Outcome
from trainer.pooled import Pooler
from trainer.practice import Drill, drills, requests
from trainer.reward_task import current
from trainer.rollouts import Critic
from trainer.served import served
from trainer.softmax import CHUNK
from trainer.total import Reward

#: prompts that the new version and the live one answer for the test, half of them the user's own where there are as
#: many; one answer to each, as other prompts say more than other answers
TESTED = 32
WORTH = 32  #: answers at one time, at most, in which all words have a worth of their own: an estimate


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
        critic = Critic(int(base.model.config.hidden_size), lora.device) if config.algorithm == "ppo" else None
        told = {id: pooler.text(ids) for id, ids in texts.items()}

        self.total = config.batches
        checkpoint = self._kept(given, {rule.id: rule.text for rule in rules})
        there = checkpoint.path.exists()
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
                    lora,
                    critic,
                    draw,
                    partial(assess, lora=lora, pooler=pooler, reward=reward, rules=told, config=config, calls=calls),
                    config,
                    calls,
                    self.ordinary,
                    most_spread=_most_spread(reward, config),
                    broken=guard(seen_answers(given.said, config.answer_tokens).chosen_length),
                    checkpoint=checkpoint,
                )
            finally:
                for path in folder.glob("policy-*.gguf"):
                    path.unlink(missing_ok=True)
        if checkpoint.resumed_at is not None:
            self.metrics |= {"resume.step": checkpoint.resumed_at}
            self.remarks.append(f"It went on after batch {checkpoint.resumed_at}, where it had been interrupted.")
        elif there:
            self.metrics |= {"resume.step": 0}
            self.remarks.append("It began anew: judgments, rules or settings had changed since it was interrupted.")
        self._tell(course, draw)
        beginning = lineage.Beginning(given.dataset.train, None, "what learns from a reward begins at the base")
        return self._finish(base, lora, given, beginning, [], None)

    def _reward(self) -> Reward:
        """What is learned from. That there is none, or why not, is said before all else."""
        found = current(self.store, self.model_hash)
        run = self._rewarder()
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

    def _rewarder(self) -> str:
        """The run that learned the reward."""
        return rewards.current(self.store, self.model_hash).parent.name

    def _learned_from(self, dataset: Dataset) -> list[tuple[str, str]]:
        """The judgments behind the reward, and those that the version is tested on."""
        run = self._rewarder()
        rows = self.store.rows("SELECT judgment_id FROM run_judgments WHERE run_id = ? AND split = 'train'", [run])
        return [*((row["judgment_id"], "train") for row in rows), *(j for j in dataset.judgments if j[1] == "held_out")]

    def _kept(self, given: Given, rules: Mapping[str, str]) -> Checkpoint:
        """The run as it is after each batch: of these judgments, this reward, these rules (by id) and settings."""
        run = self._rewarder()
        rows = self.store.rows("SELECT judgment_id FROM run_judgments WHERE run_id = ? AND split = 'train'", [run])
        reward = json.dumps([run, sorted(row["judgment_id"] for row in rows), sorted(rules.items())])
        of = fingerprint(given.said, self.config, self.model_hash, reward)
        return Checkpoint(paths.run_dir(self.store.home, self.run_id), "ppo", of)

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
        turns = config.first_prompts + config.batches * config.batch_prompts + LAST_LOOK + 2 * TESTED
        return turns * longest, longest

    def _copied(self, shape: needs.Shape, folder: Path) -> int:
        return 2 * shape.parameters if shape.file_bytes <= half.LARGEST and not (folder / half.NAME).exists() else 0

    def _beside(self, config: TrainConfig, shape: needs.Shape) -> int:
        """The engine that draws: the model in half precision, or as its file has it, and its cells. And what all words
        are worth: of a chunk's places, and of the answers in a batch; and the base beside the policy."""
        assert isinstance(config, PpoConfig)
        weights = 2 * shape.parameters if shape.file_bytes <= half.LARGEST else shape.file_bytes
        words = 4 * shape.vocabulary * (CHUNK + WORTH) if config.expected else 0
        if config.kl_aim:  # the base's states at all places, and its logits at a chunk's
            drawn = max(config.first_prompts, config.batch_prompts) * config.answers * config.answer_tokens
            words += 4 * (shape.width * drawn + shape.vocabulary * CHUNK)
        return weights + 2 * 2 * shape.layers * shape.kv_width * CELLS + words

    def _streams(self, prompts: Sequence[list[int]], config: PpoConfig) -> EngineConfig:
        lock = paths.generation_lock(self.store.home)
        folder = self.cache_dir / "models" / self.model_hash
        return streams(self.gguf, folder, max(map(len, prompts)), config.answer_tokens, lock)

    def _tested(self, ratios: dict[str, Ratios], given: Given, lora: Lora, folder: Path) -> dict[str, Ratios]:
        """How much likelier this version writes something like each held-out answer than the live one does."""
        assert isinstance(self.config, PpoConfig)
        config, trial, calls = self.config, given.trial, self.callbacks
        self.metrics["gate.likelihood_gain"] = trial.gain(ratios, certain=False).mean
        nothing = {key: Ratios.of_base(len(of.plain)) for key, of in ratios.items()}
        if lora.untouched:
            return trial.by_likeness(nothing)
        live = self.store.adapters.gguf(trial.live) if trial.live else None
        with self.clock.phase("gate"), Vocab.open(self.gguf) as vocab:
            prompts = self._compared(vocab, given.said, config)
            written: list[list[list[int]]] = []
            with served(self._streams(prompts, config)) as engine:
                for adapter in (folder / adapter_file.GGUF_NAME, live):
                    engine.swap(adapter)
                    answers = ask(engine, prompts, 1, config.answer_tokens, config.seed, calls)
                    written.append([some[0] if some and vocab.detokenize(some[0]).strip() else [] for some in answers])
            asked = [i for i in range(len(prompts)) if all(answers[i] for answers in written)]
            if 2 * len(asked) < len(prompts):
                self.remarks.append(
                    f"It or {trial.live_name} has no answer to {len(prompts) - len(asked)} of {TESTED} prompts."
                )
                return trial.by_likeness(nothing)
            cut = config.answer_tokens  # as what was written is
            others = [t for t in given.judged if t.split == "train"]
            judged = [TokenTurn(t.prompt, [r[:cut] for r in t.responses]) for t in [*trial.held_out, *others]]
            pooler = Pooler.of(lora.trunk, vocab)
            with lora.disabled():
                see = partial(pooler.see, budget=config.micro_tokens, before=calls.before_batch)
                mine, theirs = (see([TokenTurn(prompts[i], [answers[i]]) for i in asked]) for answers in written)
                features = see(judged)
        found = likeness.direction(mine, theirs, features)
        self.metrics["gate.chance"] = found.chance
        if not found.sure:
            self.remarks.append(f"What it writes cannot be told from what {trial.live_name} writes.")
        return trial.by_likeness(likeness.ratios(trial.held_out, features[: len(trial.held_out)], found))

    def _compared(self, vocab: Vocab, said: Sequence[Turn], config: PpoConfig) -> list[list[int]]:
        """Prompts for both versions: the user's own that were not held out, and everyday requests."""
        draw = random.Random(config.seed)
        own = [t.prompt for t in said if vocab.prompt_ids(t.messages) == t.prompt]
        chosen = draw.sample(own, min(len(own), TESTED // 2))
        others = requests()
        for text in draw.sample(others, len(others)):
            ids = fit_prompt(vocab, [Message(role="user", content=text)], config.max_prompt)
            if ids is not None and len(chosen) < TESTED:
                chosen.append(ids)
        return chosen

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


def guard(chosen_length: float) -> Callable[[Sequence[Metrics]], ppo.Stop | None]:
    """The gate's guards on answers, for each batch beside the first one; chosen_length: of what the user preferred.

    What is kept of the last lesson is what keeps within the guard if answers change evenly along it.
    """

    def broken(rows: Sequence[Metrics]) -> ppo.Stop | None:
        if len(rows) == 1:
            return None
        first, before, now = (gate.Answers(r["length"], r["repetition"], 1) for r in (rows[0], rows[-2], rows[-1]))
        lengths = [chosen_length, first.length]
        problems = gate.answer_problems(now, lengths, first.repetition, "those of the first batch")
        if not problems:
            return None
        most = first.repetition + gate.MAX_REPETITION_RISE
        kept = min(
            ppo.share_within(before.length, now.length, *gate.span(lengths)),
            ppo.share_within(before.repetition, now.repetition, -math.inf, most),
        )
        return ppo.Stop("guard", "; ".join(problems.values()), ppo.CAREFUL * kept)

    return broken


def _most_spread(reward: Reward, config: PpoConfig) -> float:
    """Where the heads part further than on judged answers that they had not seen, the reward is not to be trusted."""
    known = reward.about.get("spread")
    return float(known) * config.spread_budget if known and known == known else math.inf
