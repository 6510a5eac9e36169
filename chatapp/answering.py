"""One question to the engine: the answers with how they came to be, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from chatapp.engine.base import Candidate, Engine, EngineError, Message, Sampling

if TYPE_CHECKING:
    from storage.threads import NewAnswer


class Stopped(EngineError):
    """The reader stopped it before there was any text."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the engine answered; not stored yet."""

    answers: list[NewAnswer]
    tokens_per_second: float
    remarks: tuple[str, ...]  #: lines for the reader


def draw(
    engine: Engine,
    conversation: list[Message],
    count: int,
    sampling: Sampling,
    on_token: Callable[[int, str], None] | None,
    *,
    model_hash: str,
    adapter_id: str | None,
) -> Drawn:
    """Have count answers drawn; blocks. Those without text are left out. Raises EngineError when none is left."""
    found = engine.generate(conversation, count, sampling, on_token)
    kept = [candidate for candidate in found if candidate.text.strip()]
    if not kept:
        if any(candidate.finish_reason == "cancelled" for candidate in found):
            raise Stopped("Stopped before there was any text.")
        raise EngineError("The model answered with nothing.")
    answers = [
        _with_provenance(candidate, position, sampling, model_hash, adapter_id)
        for position, candidate in enumerate(kept)
    ]
    return Drawn(answers, _speed(found), _remarks(found))


def _with_provenance(
    candidate: Candidate, position: int, sampling: Sampling, model_hash: str, adapter_id: str | None
) -> NewAnswer:
    from storage.threads import NewAnswer

    return NewAnswer(
        content=candidate.text,
        position=position,
        model_hash=model_hash,
        adapter_id=adapter_id,
        sampling=asdict(sampling),
        seed=candidate.seed,
        token_ids=candidate.token_ids,
        prompt_tokens=candidate.prompt_tokens,
        finish_reason=candidate.finish_reason,
        timings=asdict(candidate.timings),
    )


def _speed(candidates: Sequence[Candidate]) -> float:
    milliseconds = max(candidate.timings.total_ms - candidate.timings.prompt_ms for candidate in candidates)
    return sum(len(candidate.token_ids) for candidate in candidates) / milliseconds * 1000 if milliseconds > 0 else 0.0


def _remarks(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    dropped = candidates[0].dropped_messages
    if not dropped:
        return ()
    what = "message was" if dropped == 1 else f"{dropped} messages were"
    return (f"The conversation no longer fits the context: the oldest {what} left out for this answer.",)
