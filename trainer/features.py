"""What is computed once before a fit: the base's log-probabilities, its states, and the words that a run is about."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer import tensor_file
from trainer.config import TrainConfig
from trainer.dataset import Turn
from trainer.errors import Cancelled
from trainer.logprobs import TokenTurn, hidden_states, micro_batches, score, summed
from trainer.lora import Lora
from trainer.words import Words

Metrics = dict[str, float]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the loop tells and asks its owner. Each may be called thousands of times."""

    progress: Callable[[int, int, Metrics], None] = lambda step, total, metrics: None
    cancelled: Callable[[], bool] = lambda: False
    wait: Callable[[], object] = lambda: None  #: before each micro-batch: lets the chat go first

    def before_batch(self) -> None:
        """Outside the loop. Raises Cancelled."""
        self.wait()
        if self.cancelled():
            raise Cancelled("the run was cancelled")


@dataclass(slots=True)
class Work:
    """A turn with the base's log-probabilities, and a strange answer that estimates KTO's baseline."""

    turn: Turn
    reference: list[float]  #: of turn.responses, then of probe; empty where `states` is there
    probe: list[int] | None = None  #: an answer to another prompt
    states: Tensor | None = None  #: (M, D) the base's last states, where a response's tokens are predicted
    among: list[float] = field(default_factory=list)  #: as reference, among the run's words

    @property
    def tokens(self) -> TokenTurn:
        extra = [self.probe] if self.probe is not None else []
        return TokenTurn(self.turn.prompt, [*self.turn.responses, *extra], self.turn.temperature)


def some_words(lora: Lora, config: TrainConfig) -> bool:
    """Whether a fit sees only some of the vocabulary: on a CPU, where the output layer is a third of the time."""
    count = len(lora.model.get_output_embeddings().weight)
    return lora.device.type == "cpu" and 0 < config.words < count


def prepare(
    turns: Sequence[Turn],
    lora: Lora,
    config: TrainConfig,
    cache: Path | None,
    calls: Callbacks,
    *,
    states_only: bool = False,
) -> list[Work]:
    """Turns with their reference log-probabilities, from the cache or computed with the adapter off.

    states_only: those to train on get the base's states instead, for `focus`.
    """
    single = [t for t in turns if t.singles]
    probes: dict[str, list[int]] = {}
    for turn, other in zip(single, [*single[1:], *single[:1]], strict=True):
        if other is not turn:
            probes[turn.key] = other.responses[other.singles[0].response]
    work = [Work(turn, [], probes.get(turn.key)) for turn in turns]
    known = ReferenceCache(cache)
    focused = [w for w in work if w.turn.split == "train"] if states_only else []
    later = {id(w) for w in focused}
    missing = [w for w in work if id(w) not in later and not known.covers(w.tokens)]

    with lora.disabled(), torch.no_grad():
        # longest first: were there too little memory, this fails at once and not after minutes
        missing.sort(key=lambda w: -w.tokens.tokens)
        tokens = [w.tokens for w in missing]
        found = score(lora.model, tokens, budget=config.micro_tokens, before=calls.before_batch, packer=lora.pack)
        for group in micro_batches([w.tokens.tokens for w in focused], config.micro_tokens):
            calls.before_batch()
            mine = [focused[i] for i in group]
            states = hidden_states(lora.model, lora.pack([w.tokens for w in mine]))
            for w, part in zip(mine, states.split([w.tokens.predicted for w in mine]), strict=True):
                w.states = part.clone()
    for w, sums in zip(missing, found, strict=True):
        known.add(w.tokens, sums)
    known.save()
    for w in work:
        if known.covers(w.tokens):
            w.reference = known.get(w.tokens)
    return work


@torch.no_grad()
def focus(works: Sequence[Work], lora: Lora, texts: Sequence[TokenTurn], config: TrainConfig) -> Words:
    """Choose the words of a run, those likely in the answers and all that occur in them and in `texts`.

    Works have the base's states; each gets its reference among the words.
    """
    states = [w.states for w in works if w.states is not None]
    head = lora.model.get_output_embeddings()
    wanted = {t for w in works for r in w.tokens.responses for t in r} | {
        t for x in texts for r in x.responses for t in r
    }
    words = Words.likely(head, states, torch.tensor(sorted(wanted)), config.words)
    see(works, words)
    return words


@torch.no_grad()
def see(works: Sequence[Work], words: Words) -> None:
    """Give each work its reference among these words."""
    for w in works:
        w.among = _sums(w, words)


def _sums(work: Work, head: Words) -> list[float]:
    """Of a work's responses, from the base's states."""
    assert work.states is not None
    responses = work.tokens.responses
    labels = torch.tensor([t for r in responses for t in r])
    owner = torch.tensor([i for i, r in enumerate(responses) for _ in r])
    return summed(head.logps(work.states, labels), owner, len(responses)).tolist()


@dataclass(slots=True)
class ReferenceCache:
    """Summed base log-probabilities on disk, keyed by a hash of (prompt and response ids, temperature); a file a model.

    It lies in the personal cache, holds hashes and numbers only, and is erased on forget. A broken file counts as none.
    """

    path: Path | None
    values: dict[bytes, float] = field(default_factory=dict)
    dirty: bool = False

    def __post_init__(self) -> None:
        if self.path is None or not self.path.exists():
            return
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            stored = load_file(str(self.path))
            keys = stored["keys"].numpy().tobytes()
            self.values = {keys[i * 16 : i * 16 + 16]: v for i, v in enumerate(stored["values"].tolist())}
        except (OSError, SafetensorError, KeyError):
            self.values = {}

    @staticmethod
    def key(prompt: Sequence[int], response: Sequence[int], temperature: float = 1.0) -> bytes:
        at = b"" if temperature == 1.0 else f"|{temperature:.6g}".encode()
        return hashlib.blake2b(
            array("i", prompt).tobytes() + b"|" + array("i", response).tobytes() + at, digest_size=16
        ).digest()

    def covers(self, turn: TokenTurn) -> bool:
        return all(self.key(turn.prompt, r, turn.temperature) in self.values for r in turn.responses)

    def get(self, turn: TokenTurn) -> list[float]:
        return [self.values[self.key(turn.prompt, r, turn.temperature)] for r in turn.responses]

    def add(self, turn: TokenTurn, sums: Sequence[float]) -> None:
        for response, value in zip(turn.responses, sums, strict=True):
            self.values[self.key(turn.prompt, response, turn.temperature)] = value
        self.dirty = True

    def save(self) -> None:
        if self.path is None or not self.dirty:
            return
        keys = torch.frombuffer(bytearray(b"".join(self.values)), dtype=torch.uint8).reshape(-1, 16)
        with suppress(OSError):  # the next run is only slower
            tensor_file.write(self.path, {"keys": keys, "values": torch.tensor(list(self.values.values()))})
        self.dirty = False


def reference_path(home: Path, model_hash: str, base: Any) -> Path:
    """The cache of this model's log-probabilities; another precision is another file."""
    return _personal(home, "reference", model_hash, base)


def trunk_path(home: Path, model_hash: str, base: Any, first: int) -> Path:
    """The cache of what enters layer `first` of this model, of what the user judged."""
    weights = hashlib.sha256(str(base.folder).encode()).hexdigest()[:8]  # a train_base is not the served file
    return _personal(home, f"lower-{first}-{weights}-{base.device.type}", model_hash, base)


def _personal(home: Path, kind: str, model_hash: str, base: Any) -> Path:
    """A file of the personal cache, which is emptied on forget."""
    from storage import paths

    return paths.cache_dir(home) / f"{kind}-{model_hash[:16]}-{str(base.dtype).removeprefix('torch.')}.safetensors"
