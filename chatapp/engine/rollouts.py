"""Answers by the hundred: many prompts at one time, each answer in a stream of its own.

For a policy's rollouts, where tokens a second count and nobody watches. A stream that ends takes the next answer at
once, so that the batch stays full until the last prompts. Several answers to one prompt share its evaluation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from chatapp.engine import native
from chatapp.engine.base import EngineError, Sampling
from chatapp.engine.context import Context, Stopped
from chatapp.engine.vocab import Vocab

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY = 1.0  #: seconds
SEEDS = 0xFFFFFFFF  #: llama.cpp takes this one seed for "choose one"


class _Drawn:
    """An answer while it grows in its stream."""

    def __init__(self, prompt: int, tokens: list[int], last: int, budget: int, sampler: Any) -> None:
        self.prompt, self.tokens, self.last, self.budget, self.sampler = prompt, tokens, last, budget, sampler


def draw(
    context: Context,
    vocab: Vocab,
    sampler: Callable[[int], Any],
    prompts: Sequence[Sequence[int]],
    n: int,
    sampling: Sampling,
    on_answer: Callable[[int], None],
    give_way: Callable[[float], bool] = lambda _seconds: True,
) -> list[list[list[int]]]:
    """Token ids of n answers to each prompt, with the end-of-turn token where one came; none where a prompt leaves no
    room. The seed of answer i to prompt p is p * n + i beyond that given. on_answer is told how many answers have
    ended, as one does and once a second. give_way: waits until nobody else generates, or so many seconds; whether it is
    so. EngineError when it is stopped.
    """
    if n < 1:
        raise EngineError(f"{n} answers were asked for; it must be at least 1.")
    if any(not prompt for prompt in prompts):
        raise EngineError("A prompt has no tokens; it needs at least one.")
    lib = native.library()
    streams = len(context.cached)
    room = context.size // streams
    found: list[list[list[int]]] = [[] for _ in prompts]
    waiting: Iterator[tuple[int, int]] = (
        (p, i) for p, prompt in enumerate(prompts) if len(prompt) < room for i in range(n)
    )
    base = sampling.seed or 0
    running: dict[int, _Drawn] = {}
    ended, told = 0, time.monotonic()

    def wait() -> None:
        """Let a chat go first. The owner is told of it all the while, so that it can call everything off."""
        nonlocal told
        idle = False
        while not idle:
            idle = give_way(EVERY / 2)
            if time.monotonic() - told >= EVERY:
                told = time.monotonic()
                on_answer(ended)
            if context.stopped:
                raise Stopped

    try:
        while True:
            for stream in range(streams):
                if stream in running:
                    continue
                job = next(waiting, None)
                if job is None:
                    break
                p, i = job
                prompt = prompts[p]
                wait()
                context.begin(stream, prompt[:-1])
                tokens: list[int] = []
                found[p].append(tokens)
                budget = min(sampling.max_tokens, room - len(prompt))
                running[stream] = _Drawn(p, tokens, prompt[-1], budget, sampler((base + p * n + i) % SEEDS))
            if not running:
                return found
            _close_ranks(context, running)
            wait()
            order = sorted(running)  # llama.cpp computes neighbouring streams at one time
            context.step(order, [running[s].last for s in order])
            for row, stream in enumerate(order):
                answer = running[stream]
                token: int = lib.llama_sampler_sample(answer.sampler, context.pointer, row)
                answer.tokens.append(token)
                answer.last = token
                if vocab.is_eog(token) or len(answer.tokens) >= answer.budget:
                    lib.llama_sampler_free(running.pop(stream).sampler)
                    ended += 1
                    on_answer(ended)
    except Stopped:
        raise EngineError("The rollouts were stopped before their end.") from None
    finally:
        for answer in running.values():
            lib.llama_sampler_free(answer.sampler)


def _close_ranks(context: Context, running: dict[int, _Drawn]) -> None:
    """Move the last streams into gaps before them: llama.cpp computes only neighbours at one time."""
    while (last := max(running)) >= len(running):
        gap = next(stream for stream in range(last) if stream not in running)
        context.begin(gap, context.cached[last])
        running[gap] = running.pop(last)
