"""The engine in this process: N answers as one batch on llama.cpp, with adapters swapped between answers.

Same seed, same cache, same text. A warm cache changes no result beyond rounding: tokens evaluated in batches of
another shape differ in the last bits, as they do between any two batch sizes of llama.cpp, so at temperature > 0 a
draw that falls on such a hair may differ. `logits` and `score` say how little (tests/engine/test_llama.py).
"""

from __future__ import annotations

import bisect
import ctypes
import functools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatapp.engine import native, rollouts
from chatapp.engine.base import (
    MAX_CANDIDATES,
    AdapterFileError,
    Candidate,
    EngineConfig,
    EngineError,
    EngineInfo,
    FinishReason,
    Message,
    ModelFileError,
    OnToken,
    PromptTooLong,
    Sampling,
    Timings,
)
from chatapp.engine.context import OUTPUTS, Context, Stopped, default_threads, log_probs
from chatapp.engine.model_files import check_gguf
from chatapp.engine.vocab import Detokenizer, Vocab
from chatapp.engine.yield_lock import GenerationLock

if TYPE_CHECKING:
    import numpy as np

_RANDOM_SEED = 0xFFFFFFFF  #: llama.cpp takes this one seed for "choose one"
_PENALTY_WINDOW = 64


@dataclass(slots=True)
class _Answer:
    """A candidate while it grows."""

    index: int
    seed: int
    sampler: Any
    decoder: Detokenizer
    tokens: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    finish: FinishReason | None = None
    first_at: float | None = None
    ended_at: float = 0.0


class LlamaEngine:
    """`Engine` (see base.py) on one model. One call runs at a time; only stop() may come from elsewhere."""

    def __init__(self, config: EngineConfig) -> None:
        """Load the model and its adapter. ModelFileError, AdapterFileError or EngineError when that fails."""
        if config.context_size < 64:
            raise EngineError(f"context_size is {config.context_size}; it must be at least 64 tokens.")
        if config.threads is not None and config.threads < 1:
            raise EngineError(f"threads is {config.threads}; it must be at least 1, or left out.")
        if not 0 <= config.streams <= OUTPUTS:
            raise EngineError(f"streams is {config.streams}; it must be from 0 to {OUTPUTS}.")
        native.log_to(config.log_path)
        self._config = config
        self._lib = native.library()
        self._lock = threading.Lock()
        self._generation_lock = GenerationLock(config.lock_path) if config.lock_path else None
        self.on_begin: Callable[[], None] | None = None  #: called when stop() begins to count for a call
        self._adapter: Any = None
        self._adapter_path: Path | None = None
        self._model = native.load_model(config.model_path, vocab_only=False, gpu_layers=config.gpu_layers)
        try:
            if self._lib.llama_model_has_encoder(self._model):
                raise ModelFileError(f"{config.model_path} has an encoder and cannot chat. Choose a chat model.")
            self._context = Context(
                self._model, config.context_size, config.threads or default_threads(), config.streams
            )
        except EngineError:
            self._lib.llama_model_free(self._model)
            raise
        self.vocab = Vocab(self._model, config.model_path)
        trained: int = self._lib.llama_model_n_ctx_train(self._model)
        #: tokens of one prompt with one answer; the context may be larger, as candidates share it
        self._longest = min(config.context_size, trained) if trained > 0 else config.context_size
        if self.vocab.template_source != "model":
            native.note(f"the model has no chat template; using {self.vocab.template_source}")
        self._closed = False
        if config.adapter_path is not None:
            try:
                self.swap(config.adapter_path)
            except EngineError:
                self.close()
                raise

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            name=self.vocab.name,
            architecture=self.vocab.architecture,
            parameters=self._lib.llama_model_n_params(self._model),
            context_size=self._config.context_size,
            train_context_size=self._lib.llama_model_n_ctx_train(self._model),
            chat_template_hash=self.vocab.chat_template_hash,
            adapter_path=str(self._adapter_path) if self._adapter_path else None,
        )

    def generate(
        self, messages: Sequence[Message], n: int, sampling: Sampling, on_token: OnToken | None = None
    ) -> list[Candidate]:
        """n answers as one batch; see base.Engine. The repeat penalty looks at the answer's own tokens alone, or it
        would punish the template's end-of-turn token."""
        started = time.perf_counter()
        if not 1 <= n <= MAX_CANDIDATES:
            raise EngineError(f"{n} candidates were asked for; it must be 1 to {MAX_CANDIDATES}.")
        with self._running():
            prompt, dropped = self._fit(messages, n, sampling.max_tokens)
            cached = self._context.reuse(prompt)
            budget = min(sampling.max_tokens, (self._context.size - len(prompt)) // n, self._longest - len(prompt))
            seed = random.randrange(_RANDOM_SEED) if sampling.seed is None else sampling.seed
            answers = [
                _Answer(i, s, self._sampler(sampling, s), self.vocab.decoder())
                for i, s in enumerate((seed + i) % _RANDOM_SEED for i in range(n))
            ]
            evaluated = started
            try:
                self._context.prompt(prompt[cached:])
                evaluated = time.perf_counter()
                self._context.share(n)
                self._decode(answers, budget, on_token)
            except Stopped:
                pass
            finally:
                for answer in answers:
                    self._lib.llama_sampler_free(answer.sampler)
        now = time.perf_counter()
        prompt_ms = 1000 * ((evaluated if evaluated > started else now) - started)
        return [
            Candidate(
                index=answer.index,
                text="".join(answer.text),
                token_ids=answer.tokens,
                finish_reason=answer.finish or "cancelled",
                seed=answer.seed,
                prompt_tokens=len(prompt),
                cached_tokens=cached,
                dropped_messages=dropped,
                timings=Timings(
                    prompt_ms=prompt_ms,
                    first_token_ms=1000 * ((answer.first_at or now) - started),
                    total_ms=1000 * ((answer.ended_at or now) - started),
                ),
            )
            for answer in answers
        ]

    def draw(
        self, prompts: Sequence[Sequence[int]], n: int, sampling: Sampling, on_answer: Callable[[int], None]
    ) -> list[list[list[int]]]:
        """n answers to each prompt, as many at one time as there are streams (rollouts.py). It yields to the lock."""
        if not self._config.streams:
            raise EngineError("Rollouts need an engine with streams; this one was started for a chat.")
        give_way = self._generation_lock.wait_for_idle if self._generation_lock else lambda _seconds: True
        with self._running():
            return rollouts.draw(
                self._context,
                self.vocab,
                functools.partial(self._sampler, sampling),
                prompts,
                n,
                sampling,
                on_answer,
                give_way,
            )

    def score(self, messages: Sequence[Message], response: str | Sequence[int]) -> list[float]:
        """Log-probabilities at temperature 1; see base.Engine. Oldest turns are dropped as in generate()."""
        tokens = self.vocab.response_ids(response) if isinstance(response, str) else list(response)
        wrong = [token for token in tokens if not 0 <= token < self.vocab.n_tokens]
        if wrong:
            raise EngineError(f"Token id {wrong[0]} is not in this model's vocabulary of {self.vocab.n_tokens}.")
        if not tokens:
            return []
        with self._running():
            prompt, _ = self._fit(messages, 1, len(tokens), squeeze=False)
            cached = self._context.reuse(prompt)
            found: list[float] = []
            rest = (prompt + tokens[:-1])[cached:]
            try:
                for block in self._context.rows(rest, len(prompt) - 1 - cached):
                    wanted = tokens[len(found) : len(found) + len(block)]
                    found += log_probs(block, wanted)
            except Stopped:
                raise EngineError("Scoring was stopped before its end.") from None
        return found

    def logits(self, token_ids: Sequence[int]) -> np.ndarray:
        """float32 (len(token_ids), vocabulary): the next-token logits after each token, from an empty cache.

        The same ids give the same bits, whatever ran before, with the same adapter and threads.
        """
        import numpy

        if not 0 < len(token_ids) <= self._context.size:
            raise PromptTooLong(f"{len(token_ids)} tokens were given; 1 to {self._context.size} fit the context.")
        with self._running():
            self._context.clear()
            try:
                return numpy.concatenate([block.copy() for block in self._context.rows(token_ids, 0)])
            except Stopped:
                raise EngineError("The evaluation was stopped before its end.") from None
            finally:
                self._context.clear()

    def swap(self, adapter_path: Path | None) -> float:
        """See base.Engine. When the file is refused (AdapterFileError), the adapter in use stays."""
        started = time.perf_counter()
        with self._lock:
            self._check_open()
            new = self._open_adapter(adapter_path) if adapter_path is not None else None
            pointers = (self._lib.llama_adapter_lora_p_ctypes * 1)(new)
            scales = (ctypes.c_float * 1)(1.0)
            self._lib.llama_set_adapters_lora(self._context.pointer, pointers, 1 if new else 0, scales)
            self._context.clear()  # what another adapter computed is poison
            if self._adapter:
                self._lib.llama_adapter_lora_free(self._adapter)
            self._adapter, self._adapter_path = new, adapter_path
        return 1000 * (time.perf_counter() - started)

    def stop(self) -> None:
        self._context.stop()

    def close(self) -> None:
        """Free everything. Further calls raise EngineError; closing twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._context.free()
            self._lib.llama_model_free(self._model)  # and its adapters
            self.vocab.close()

    def __enter__(self) -> LlamaEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _running(self) -> Iterator[None]:
        """One call at a time, and the trainer out of the way."""
        with self._lock:
            self._check_open()
            self._context.go()
            if self.on_begin is not None:
                self.on_begin()
            with (
                self._generation_lock.generating()
                if self._generation_lock and not self._config.streams
                else nullcontext()
            ):
                yield

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("The engine is closed; make a new one.")

    def _decode(self, answers: list[_Answer], budget: int, on_token: OnToken | None) -> None:
        """Draw tokens until every answer has ended. Ended ones leave the batch; their cells stay for the next turn."""
        rows = dict.fromkeys(range(len(answers)), -1)  # all begin with the logits of the prompt's last token
        running = answers
        while running:
            for answer in running:
                token: int = self._lib.llama_sampler_sample(answer.sampler, self._context.pointer, rows[answer.index])
                self._add(answer, token, budget, on_token)
            running = [answer for answer in running if answer.finish is None]
            if running:
                self._context.step([a.index for a in running], [a.tokens[-1] for a in running])
                rows = {answer.index: row for row, answer in enumerate(running)}

    def _add(self, answer: _Answer, token: int, budget: int, on_token: OnToken | None) -> None:
        answer.tokens.append(token)
        answer.ended_at = time.perf_counter()
        answer.first_at = answer.first_at or answer.ended_at
        if self.vocab.is_eog(token):
            answer.finish = "stop"
            return
        text = answer.decoder.feed(token)
        if len(answer.tokens) >= budget:
            answer.finish = "length"
        if text:
            answer.text.append(text)
            if on_token is not None:
                on_token(answer.index, text)

    def _sampler(self, sampling: Sampling, seed: int) -> Any:
        lib = self._lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        if sampling.repeat_penalty != 1:
            lib.llama_sampler_chain_add(
                chain,
                lib.llama_sampler_init_penalties(
                    self.vocab.n_tokens, _PENALTY_WINDOW, sampling.repeat_penalty, 0.0, 0.0
                ),
            )
        if sampling.temperature == 0:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
            return chain
        if sampling.top_p < 1:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_min_p(sampling.min_p, 1))
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(sampling.temperature))
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(seed))
        return chain

    def _fit(self, messages: Sequence[Message], n: int, max_tokens: int, squeeze: bool = True) -> tuple[list[int], int]:
        """The prompt's tokens, and how many of the oldest messages had to go to make room for the answers.

        The system prompt and the newest user message stay; turns go as a whole. More goes than just now needed, in
        steps of a quarter of the room, or each further turn would shift the prompt and find nothing cached.
        squeeze: answers may be shorter than max_tokens, each a 4n-th of the context (or 16 tokens, for the newest
        message alone).
        """
        if not messages:
            raise EngineError("The conversation is empty; it needs at least one user message.")
        reserve = max(1, min(max_tokens, self._context.size // (4 * n))) if squeeze else max_tokens
        least = min(reserve, 16) if squeeze else reserve
        head, turns = _turns(messages)
        prompts: dict[int, list[int]] = {}

        def length(dropped: int) -> int:
            if dropped not in prompts:
                kept = [message for turn in turns[dropped:] for message in turn]
                prompts[dropped] = self.vocab.prompt_ids([*head, *kept])
            return len(prompts[dropped])

        room = min(self._context.size - n * reserve, self._longest - reserve)
        if (full := length(0)) <= room:
            return prompts[0], 0
        last = len(turns) - 1
        most = min(self._context.size - n * least, self._longest - least)
        if length(last) > most:
            raise PromptTooLong(
                f"The newest message and the system prompt are {length(last)} tokens; with {n} answer(s) at most "
                f"{max(0, most)} fit the context of {self._context.size}. Shorten it, ask for fewer alternatives, "
                "or start with a larger context size."
            )
        step = max(1, room // 4)
        goal = full - -(-(full - room) // step) * step
        # lengths fall with each turn dropped, so bisect on their negatives
        dropped = min(last, bisect.bisect_left(range(last + 1), -goal, key=lambda k: -length(k)))
        length(dropped)
        return prompts[dropped], sum(len(turn) for turn in turns[:dropped])

    def _open_adapter(self, path: Path) -> Any:
        if not path.exists():
            raise AdapterFileError(f"There is no adapter file {path}; the adapter in use stays. Check the path.")
        try:
            check_gguf(path)
        except ModelFileError as error:
            raise AdapterFileError(f"The adapter cannot be used: {error}") from error
        native.take_errors()
        adapter = self._lib.llama_adapter_lora_init(self._model, os.fsencode(path))
        if not adapter:
            raise AdapterFileError(
                f"llama.cpp refuses the adapter {path} for {self.vocab.name}: "
                f"{native.take_errors() or 'no reason given'}. "
                "It was made for another model, or the file is broken; the adapter in use stays."
            )
        return adapter


def _turns(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system messages at the head, and the rest in turns that begin with a user's message each."""
    start = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    turns: list[list[Message]] = []
    for message in messages[start:]:
        if message["role"] == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return list(messages[:start]), turns or [[]]
