"""`hone simulate`: a user with a known taste closes the whole loop on the real model.

The engine answers prompts of a pool with four candidates, the user judges them (trainer/users.py), a run trains and is
gated as ever, and on prompts that nobody judged two answers of the new version meet two of the base. All of it in a
temporary home: the user's own is never opened. What the base answers is the same for every user and is kept in the
cache folder; everything else goes when it ends, also by Ctrl+C.

Not here: the search for better settings. A run takes those of the trainer, or `--set`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from chatapp.engine.base import Candidate, Engine, EngineConfig
from chatapp.engine.model_files import file_hash, read_metadata, resolve
from storage.adapters import Adapter
from storage.store import Store
from trainer.errors import BadSetting
from trainer.served import served
from trainer.simulation.answers import MAX_TOKENS, Answers, answer, seconds
from trainer.simulation.checks import CHECKS, flag
from trainer.simulation.comparing import spread, win_rate
from trainer.simulation.judging import KINDS, MIXED, Judge, Seen, Turn, record
from trainer.simulation.keeping import Kept
from trainer.simulation.progress import Progress
from trainer.simulation.prompts import drawn, prompts
from trainer.simulation.running import Result, train
from trainer.users import User

CANDIDATES = 4  #: answers to a prompt that is judged
ANSWERS_EACH = 2  #: of each side, to a prompt of the comparison
CONTEXT = 4096  #: tokens of the engine
TEST_PROMPTS = 80
VERSIONS = ("dpo", "sft", "ppo")  #: methods that make a version


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for, of every user. Checked when made; the error names the value."""

    judgments: tuple[int, ...] = (40,)  #: turns with a difference; several: a learning curve, each from the base
    seed: int = 0  #: of the order of prompts, the flips and the training
    flip: float = 0.0  #: share of judgments that are turned round
    kinds: str = "rankings"  #: rankings, thumbs, corrections or mixed
    method: str = "dpo"  #: of the runs, as `hone train --method` takes it; before ppo a reward model is learned
    rounds: int = 1  #: the version of one answers the prompts of the next
    test_prompts: int = TEST_PROMPTS
    compare_all: bool = False  #: every round, not the first, each third and the last
    rule: str | None = None  #: of checks.py; answers of the judged turns are flagged for it, for the reward of ppo
    keep: Path | None = None  #: folder in which rounds are kept, and gone on from
    overrides: Mapping[str, Any] = field(default_factory=dict)  #: settings of the runs
    max_tokens: int = MAX_TOKENS  #: of an answer

    def __post_init__(self) -> None:
        unseen = len(prompts("test"))
        checks: list[tuple[str, bool, str]] = [
            ("judgments", bool(self.judgments) and min(self.judgments) >= 1, "at least 1"),
            ("flip", 0 <= self.flip <= 1, "between 0 and 1"),
            ("kinds", self.kinds in (*KINDS, MIXED), f"one of {', '.join(KINDS)}, {MIXED}"),
            ("rule", self.rule is None or self.rule in CHECKS, f"one of {', '.join(CHECKS)}"),
            ("method", self.method in VERSIONS, f"one of {', '.join(VERSIONS)}"),
            ("rounds", self.rounds >= 1, "at least 1"),
            ("test_prompts", 1 <= self.test_prompts <= unseen, f"between 1 and {unseen}"),
            ("max_tokens", 1 <= self.max_tokens <= 512, "between 1 and 512"),
        ]
        for name, ok, wanted in checks:
            if not ok:
                raise BadSetting(f"{name} is {getattr(self, name)!r}; it must be {wanted}")
        if self.rounds > 1 and len(self.judgments) > 1:
            raise BadSetting("several numbers of judgments and several rounds do not go together: give one of them")
        if self.rule is not None and self.method != "ppo":
            raise BadSetting("--rule is flagged for a reward model: give --method ppo too")
        if self.keep is not None and self.rounds == 1:
            raise BadSetting("--keep is for rounds, which take hours: give --rounds too")


@dataclass(slots=True)
class Row:
    """What one run came to."""

    user: str
    judgments: int  #: turns judged, of this round
    turns: int  #: turns spent on them, those without a difference too
    pairs: int  #: that all judgments so far give
    flip: float
    kinds: str
    round: int
    win_rate: float | None = None  #: against the base; None: not compared, or nothing to compare
    low: float | None = None
    high: float | None = None
    comparisons: int = 0
    compared: str | None = None  #: which version: of one round the new one, promoted or not; of several the live one
    first_win_rate: float | None = None  #: in the eyes of the first round's user, where another one took over
    promoted: bool = False
    state: str = ""  #: of the run: done, rejected, failed
    verdict: str | None = None
    neutral_rise: float | None = None  #: share by which neutral text's NLL rose
    kl: float | None = None  #: mean KL to the base on neutral text, nats a token
    reward_accuracy: float | None = None  #: of the reward model, on pairs that it did not see; None: there is none
    broken_new: float | None = None  #: share of the compared answers that break the rule that was flagged
    broken_base: float | None = None
    tokens_new: float | None = None  #: mean length of an answer
    tokens_base: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)  #: by phase, as a user waits for them

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "seconds": {name: round(value, 2) for name, value in self.seconds.items()}}


class Simulation:
    """One model and its engine, for any number of users. A context manager: the engine ends with it."""

    def __init__(self, settings: Settings, plan: Plan, progress: Progress) -> None:
        self.settings, self.plan, self.progress = settings, plan, progress
        self.gguf = resolve(settings.model, settings.cache_dir).path
        self.model_hash = file_hash(self.gguf, settings.cache_dir)
        self.answers = Answers(settings.cache_dir / "simulation", self.model_hash, plan.max_tokens)
        self.pool = drawn("pool", plan.seed)
        self.test = drawn("test", 0)[: plan.test_prompts]
        self._open = ExitStack()
        self._engine: Engine | None = None
        self._swapped: Path | None = None

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def engine(self, adapter: Path | None) -> Engine:
        """The engine with this adapter (None: the base); started at the first call."""
        if self._engine is None:
            self._engine = self._open.enter_context(served(EngineConfig(self.gguf, context_size=CONTEXT)))
        if adapter != self._swapped:
            self._engine.swap(adapter)
            self._swapped = adapter
        return self._engine

    def curve(self, user: User) -> Iterator[Row]:
        """A row for each number of judgments, each learned from the base; fewer where the pool is used up."""
        plan = self.plan
        self.progress.phase(f"{user.name}: answers to be judged")
        seen = self._judge(user, None, iter(self.pool), max(plan.judgments))
        done = 0
        if not seen.turns:
            yield self._nothing(user, seen, 1)
        for wanted in sorted(set(plan.judgments)):
            if done == len(seen.turns):
                self.progress.note(f"{user.name}: {len(self.pool)} prompts give {done} judgments, no more")
                break
            part = seen.first(wanted)
            done = len(part.turns)
            with self._home() as store:
                row = self._record(store, user, None, part, 1)
                result = self._train(store, row)
                if result.get("adapter"):
                    self._compare(store, row, store.adapters.get(result["adapter"]), user)
            yield row

    def rounds(self, user: User, then: User | None = None) -> Iterator[Row]:
        """A row for each round in one home: the live version answers, is judged, and a run trains.

        The pool is gone through once and then again. then: judges from the second round on. What `keep` holds of the
        same simulation is not done again.
        """
        plan = self.plan
        with ExitStack() as opened:
            folder = plan.keep or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="hone-simulate-")))
            kept = opened.enter_context(Kept(folder, self._identity(user, then)))
            rows = [Row(**row) for row in kept.rows[: plan.rounds]]
            yield from rows
            asked = islice(cycle(self.pool), sum(row.turns for row in rows), None)
            for number in range(len(rows) + 1, plan.rounds + 1):
                with kept.round() as home, self._store(home) as store:
                    row = self._round(store, number, user, then, asked)
                if not row.judgments:
                    yield row
                    return
                kept.done(asdict(row))
                yield row

    def _round(self, store: Store, number: int, user: User, then: User | None, asked: Iterator[str]) -> Row:
        plan = self.plan
        who = then if then is not None and number > 1 else user
        live = store.adapters.live(self.model_hash)
        self.progress.phase(f"{who.name}, round {number}: answers of {live.name if live else 'the base'}")
        seen = self._judge(who, self._path(store, live), islice(asked, len(self.pool)), plan.judgments[0])
        if not seen.turns:
            return self._nothing(who, seen, number)
        row = self._record(store, who, live, seen, number)
        self._train(store, row)
        now = store.adapters.live(self.model_hash)
        if now and (plan.compare_all or number in (1, plan.rounds) or number % 3 == 0):
            self._compare(store, row, now, who, user if who is not user else None)
        return row

    def _identity(self, user: User, then: User | None) -> dict[str, Any]:
        """What kept rounds must have in common with this simulation; more rounds are none of it."""
        asked = {k: v for k, v in asdict(self.plan).items() if k not in ("rounds", "keep", "compare_all")}
        return {"user": user.name, "then": then.name if then else None, "model": self.model_hash, **asked}

    def survey(self, users: Sequence[User], count: int) -> list[dict[str, Any]]:
        """How often the base's answers to the first prompts of the pool differ to each user."""
        self.progress.phase(f"answers of the base to {count} prompts")
        texts = []
        for at, prompt in enumerate(self.pool[:count], 1):
            texts.append([c.text for c in self._candidates(None, prompt)])
            self.progress.step(at, count)
        return [
            {
                "user": user.name,
                "common": user.common,
                "turns": len(texts),
                **spread([[user.score(text) for text in turn] for turn in texts]),
            }
            for user in users
        ]

    # the steps

    def _candidates(self, adapter: Path | None, prompt: str) -> list[Candidate]:
        if adapter is None:
            return self.answers.get(lambda: self.engine(None), prompt, "judged", CANDIDATES)
        return answer(self.engine(adapter), prompt, "judged", CANDIDATES, self.plan.max_tokens)

    def _judge(self, user: User, adapter: Path | None, asked: Iterator[str], wanted: int) -> Seen:
        """Ask and judge until there are `wanted` turns with a difference, or no more prompts."""
        judge = Judge(user, self.plan.kinds, flip=self.plan.flip, seed=self.plan.seed)
        seen = Seen()
        for prompt in asked:
            batch = self._candidates(adapter, prompt)
            seen.waits.append(seconds(batch))
            said = judge.judge(prompt, [c.text for c in batch])
            if said is not None:
                seen.turns.append(Turn(prompt, batch, said, len(seen.waits)))
                self.progress.step(len(seen.turns), wanted)
                if len(seen.turns) == wanted:
                    break
        return seen

    @contextmanager
    def _home(self) -> Iterator[Store]:
        """A home that is thrown away."""
        with tempfile.TemporaryDirectory(prefix="hone-simulate-") as folder, self._store(Path(folder)) as store:
            yield store

    @contextmanager
    def _store(self, home: Path) -> Iterator[Store]:
        """The store of a home of ours. Which prompts are held out follows from the seed."""
        with Store.open(home) as store:
            metadata = read_metadata(self.gguf)
            template = hashlib.sha256(str(metadata.get("tokenizer.chat_template", "")).encode()).hexdigest()
            name, kind = str(metadata.get("general.name", "")), str(metadata.get("general.architecture", ""))
            store.add_model(self.model_hash, name, kind, template, str(self.gguf))
            store.meta_set("store_id", f"simulation-{self.plan.seed}")
            yield store

    def _record(self, store: Store, user: User, live: Adapter | None, seen: Seen, number: int) -> Row:
        answers = []
        for turn in seen.turns:
            answers += record(store, self.model_hash, live.id if live else None, turn)
        if self.plan.rule is not None and number == 1:
            flag(store, CHECKS[self.plan.rule], answers, self.plan.seed)
        pairs = len(store.judgments.derived().pairs)
        row = Row(user.name, len(seen.turns), len(seen.waits), pairs, self.plan.flip, self.plan.kinds, number)
        row.seconds["answers"] = sum(seen.waits)
        return row

    def _nothing(self, user: User, seen: Seen, number: int) -> Row:
        """The row of a user to whom all answers are the same."""
        row = Row(user.name, 0, len(seen.waits), 0, self.plan.flip, self.plan.kinds, number, state="failed")
        row.verdict = f"{user.name} finds no difference in the answers to {row.turns} prompts"
        return row

    def _train(self, store: Store, row: Row) -> Result:
        self.progress.phase(f"{row.user}, {row.judgments} judgments ({row.pairs} pairs): training")
        plan, seconds = self.plan, {}
        if plan.method == "ppo":
            reward = train(store, self.settings, {"seed": plan.seed}, self.progress.step, "reward")
            seconds["reward"] = reward["seconds"]["run"]
            row.reward_accuracy = reward["metrics"].get("reward.accuracy")
        overrides = {"seed": plan.seed, **plan.overrides}
        result = train(store, self.settings, overrides, self.progress.step, plan.method)
        metrics = result["metrics"]
        row.state, row.verdict = result["state"], result["verdict"]
        row.promoted = result["adapter_state"] == "live"
        row.neutral_rise, row.kl = metrics.get("neutral.rise"), metrics.get("neutral.kl")
        row.seconds |= seconds | result["seconds"]
        return result

    def _compare(self, store: Store, row: Row, version: Adapter, user: User, first: User | None = None) -> None:
        """Fill in how the version's answers to the test prompts do against the base's."""
        self.progress.phase(f"{row.user}, {row.judgments} judgments: {version.name} against the base")
        new, base = [], []
        path, limit = self._path(store, version), self.plan.max_tokens
        for at, prompt in enumerate(self.test, 1):
            new.append(answer(self.engine(path), prompt, "new", ANSWERS_EACH, limit))
            self.progress.step(at, 2 * len(self.test))
        for at, prompt in enumerate(self.test, 1):
            base.append(self.answers.get(lambda: self.engine(None), prompt, "base", ANSWERS_EACH))
            self.progress.step(len(self.test) + at, 2 * len(self.test))
        found = win_rate(_scores(new, user), _scores(base, user))
        row.win_rate, row.low, row.high, row.comparisons = found.rate, found.low, found.high, found.meetings
        row.compared = version.name
        if first is not None:
            row.first_win_rate = win_rate(_scores(new, first), _scores(base, first)).rate
        if self.plan.rule is not None:
            share = CHECKS[self.plan.rule].share
            row.broken_new, row.broken_base = (share([c.text for b in side for c in b]) for side in (new, base))
        row.tokens_new, row.tokens_base = _mean_tokens(new), _mean_tokens(base)
        row.seconds["comparison"] = sum(map(seconds, [*new, *base]))

    def _path(self, store: Store, version: Adapter | None) -> Path | None:
        return store.adapters.gguf(version) if version else None


def simulate(
    settings: Settings, plan: Plan, users: Sequence[User], progress: Progress, then: User | None = None
) -> Iterator[Row]:
    """The rows of all users, each as soon as it is there."""
    with Simulation(settings, plan, progress) as simulation:
        for user in users:
            yield from simulation.rounds(user, then) if plan.rounds > 1 else simulation.curve(user)


def _scores(answered: Sequence[Sequence[Candidate]], user: User) -> list[list[float]]:
    return [[user.score(c.text) for c in batch] for batch in answered]


def _mean_tokens(answered: Sequence[Sequence[Candidate]]) -> float:
    counts = [len(c.token_ids) for batch in answered for c in batch]
    return sum(counts) / len(counts)
