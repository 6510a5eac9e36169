"""Answers of a policy, by llama.cpp, many at one time: what PPO learns from, and what its version is tested with."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from chatapp.engine.base import EngineConfig, Sampling
from chatapp.engine.half import half_precision
from chatapp.engine.process import EngineProcess
from trainer import adapter_file
from trainer.config import PpoConfig
from trainer.errors import Cancelled, TrainerError
from trainer.features import Callbacks
from trainer.logprobs import TokenTurn
from trainer.lora import Lora

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

    def __call__(self, batch: int) -> list[TokenTurn]:
        if batch == 0 and self.first:
            return list(self.first)
        self._swap(batch)
        count = self.config.batch_prompts if batch < self.config.batches else LAST_LOOK
        # where a run goes on after an interruption, its next batch is what it would have been
        order = islice(_endlessly(len(self.prompts), self.config.seed), batch * self.config.batch_prompts, None)
        found: list[TokenTurn] = []
        for attempt in range(TRIES):
            prompts = [self.prompts[next(order)] for _ in range(count - len(found))]
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
        started = time.monotonic()
        found = ask(self.engine, prompts, self.config.answers, self.config.answer_tokens, seed, self.calls)
        self.seconds += time.monotonic() - started
        self.drawn += sum(len(answer) for answers in found for answer in answers)
        return [[answer for answer in answers if self.says_something(answer)] for answers in found]

    def _swap(self, batch: int) -> None:
        """Under another name each time: the engine may hold the one before open."""
        path = self.folder / f"policy-{batch}.gguf"
        adapter_file.write_lora(path, self.lora, architecture=self.architecture, permuted=self.permuted)
        self.engine.swap(path)
        for other in self.folder.glob("policy-*.gguf"):
            if other != path:
                other.unlink(missing_ok=True)


def ask(
    engine: EngineProcess, prompts: Sequence[list[int]], each: int, tokens: int, seed: int, calls: Callbacks
) -> list[list[list[int]]]:
    """So many answers to each prompt, by what the engine serves now. Raises Cancelled within a second."""

    def watch(_ended: int) -> None:
        if calls.cancelled():
            raise Cancelled("the run was cancelled")

    calls.before_batch()
    # min-p alone: top-p sorts the vocabulary for each token, a fifth of the time, to cut what min-p cuts already
    sampling = Sampling(temperature=TEMPERATURE, top_p=1.0, max_tokens=tokens, seed=seed)
    return engine.draw(prompts, each, sampling, watch)


def streams(gguf: Path, folder: Path, longest: int, tokens: int, lock: Path) -> EngineConfig:
    """An engine for that: as many streams as there is room for, each for the longest prompt and its answer.

    folder: of what is cached of the model; the copy in half precision goes there.
    """
    each = -(-(longest + tokens) // 256) * 256
    count = max(1, min(STREAMS, CELLS // each))
    return EngineConfig(half_precision(gguf, folder), context_size=count * each, streams=count, lock_path=lock)


def _endlessly(count: int, seed: int) -> Iterator[int]:
    """Indexes in a random order, all of them before any comes again."""
    draw = random.Random(seed)
    while True:
        yield from draw.sample(range(count), count)
