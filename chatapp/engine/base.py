"""What an engine is: the protocol, its values and its errors.

No native library is imported here, so the chat can import it before it paints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "cancelled"]
MAX_CANDIDATES = 16


class Message(TypedDict):
    """One turn of a conversation, as chat templates take it."""

    role: str
    content: str


class EngineError(RuntimeError):
    """Something the engine could not do; the text says what, with which value, and what to do next."""


class ModelFileError(EngineError, ValueError):
    """The model file is missing, broken, or of a kind that llama.cpp cannot run."""


class AdapterFileError(EngineError, ValueError):
    """The adapter file is missing, broken, or made for another model."""


class PromptTooLong(EngineError, ValueError):
    """The newest message alone does not fit the context."""


class EngineCrashed(EngineError):
    """The engine process died; the next call starts a new one."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Checked when made; the error names the field and the value."""

    temperature: float = 0.8  #: 0 is greedy
    top_p: float = 0.95  #: keep the smallest set of tokens with this total probability; 1 is off
    min_p: float = 0.05  #: drop tokens below this share of the likeliest one; 0 is off
    repeat_penalty: float = 1.0  #: divides the logits of the last 64 tokens; 1 is off
    max_tokens: int = 512  #: of one answer
    seed: int | None = None  #: candidate i draws with seed + i; None: a fresh one, reported in Candidate.seed

    def __post_init__(self) -> None:
        checks: list[tuple[str, bool, str]] = [
            ("temperature", 0 <= self.temperature <= 10, "between 0 and 10"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p < 1, "at least 0 and below 1"),
            ("repeat_penalty", 0.1 <= self.repeat_penalty <= 10, "between 0.1 and 10"),
            ("max_tokens", 1 <= self.max_tokens <= 1_000_000, "at least 1"),
            ("seed", self.seed is None or 0 <= self.seed < 2**32, "between 0 and 4294967295"),
        ]
        for name, ok, wanted in checks:
            if not ok:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {wanted}")


@dataclass(frozen=True, slots=True)
class Timings:
    """Where an answer's time went. Milliseconds."""

    prompt_ms: float  #: evaluating the prompt tokens that were not cached
    first_token_ms: float  #: from the call to the first token
    total_ms: float  #: from the call to this candidate's last token


@dataclass(frozen=True, slots=True)
class Candidate:
    """One alternative answer."""

    index: int  #: 0..n-1, the order asked for
    text: str  #: decoded, without the end-of-turn token
    token_ids: list[int]  #: what was drawn, with the end-of-turn token if finish_reason is "stop"
    finish_reason: FinishReason
    seed: int
    prompt_tokens: int  #: tokens of the whole prompt
    cached_tokens: int  #: of those, how many the cache already held
    dropped_messages: int  #: oldest messages left out so that the prompt fits the context
    timings: Timings


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is loaded."""

    name: str  #: general.name of the file, or its stem
    architecture: str
    parameters: int
    context_size: int  #: tokens, prompt and answer together
    train_context_size: int
    chat_template_hash: str  #: sha256 of the jinja source, hex
    adapter_path: str | None


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What an engine is started with."""

    model_path: Path
    context_size: int = 4096  #: tokens shared by the prompt and all candidates
    #: answers that `EngineProcess.draw` computes at one time, each with context_size // streams tokens of its own;
    #: 0: for a chat, whose candidates share the whole
    streams: int = 0
    threads: int | None = None  #: None: all cores of this machine
    gpu_layers: int = -1  #: -1: all that the build can offload; 0: none
    adapter_path: Path | None = None  #: GGUF adapter
    lock_path: Path | None = None  #: generation lock that the trainer yields to, and an engine with streams too
    log_path: Path | None = None  #: native output goes here; it holds no chat text


#: on_token(candidate index, new text). Called from the thread that called generate(); text is whole characters.
OnToken = Callable[[int, str], None]


class Engine(Protocol):
    """What the chat, the commands and the trainer ask of a model."""

    @property
    def info(self) -> EngineInfo: ...

    def generate(
        self, messages: Sequence[Message], n: int, sampling: Sampling, on_token: OnToken | None = None
    ) -> list[Candidate]:
        """n answers to messages as one batch. After stop() they come back with finish_reason "cancelled"."""
        ...

    def score(self, messages: Sequence[Message], response: str | Sequence[int]) -> list[float]:
        """Natural log-probability of each response token given messages (a text is taken as a whole answer,
        with its end-of-turn token; token ids are taken as they are)."""
        ...

    def swap(self, adapter_path: Path | None) -> float:
        """Use another adapter (None: the base) from the next answer on. Returns the milliseconds it took."""
        ...

    def stop(self) -> None:
        """End the running generate() soon, from any thread. Nothing to stop is no error."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class SelfTestResult:
    """What the child-process test of the native library and the model found."""

    ok: bool
    message: str  #: a sentence for a person; how to rebuild when it is not ok
    details: dict[str, Any] = field(default_factory=dict)
