"""Neutral text: what it says about an adapter, and the strength that it allows.

The base's last states of these fixed texts never change: they are kept on disk by the model's hash. While the strength
is searched for, a fixed third of the texts is read; all of them at the end.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chatapp.engine.base import Message
from chatapp.engine.vocab import Vocab
from storage.assets import asset
from trainer import tensor_file
from trainer.logprobs import TokenTurn, hidden_states, micro_batches
from trainer.lora import Lora
from trainer.softmax import ROWS
from trainer.trunk import Trunk

#: tokens of a plain passage that are given, not predicted
GIVEN = 8
#: what a run aims at on neutral text; the gate's limits are wider
AIM_RISE, AIM_KL = 0.009, 0.045
MIN_SCALE, MAX_SCALE, SHRINK, MAX_TRIES = 0.5, 3.0, 0.9, 8
WORTH = 1.1  #: another measurement, when there is room for this factor


@dataclass(frozen=True, slots=True)
class Neutral:
    """Teacher-forced on our own fixed texts, which no judgment touches."""

    base_nll: float  #: nats a token
    new_nll: float
    kl: float  #: mean KL(new || base), nats a token

    @property
    def rise(self) -> float:
        return self.new_nll / self.base_nll - 1

    @property
    def kept(self) -> bool:
        """Whether a run's aims are met."""
        return self.rise <= AIM_RISE and self.kl <= AIM_KL * 1.1


def plain_turns(vocab: Vocab, name: str) -> list[TokenTurn]:
    """Texts of assets/: passages after their first tokens, and each assistant message after its conversation.

    name: "neutral.jsonl", which only the gate reads, or "ordinary.jsonl", which training sees: no text is in both.
    """
    turns = []
    for line in asset(name).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "text" in row:
            ids = vocab.tokenize(row["text"])
            start = [vocab.bos] if vocab.bos >= 0 else []
            turns.append(TokenTurn([*start, *ids[:GIVEN]], [ids[GIVEN:]]))
            continue
        messages: list[Message] = row["messages"]
        for at, message in enumerate(messages):
            if message["role"] == "assistant":
                turns.append(TokenTurn(vocab.prompt_ids(messages[:at]), [vocab.response_ids(message["content"])]))
    return turns


class NeutralText:
    """Texts, and what the base makes of them, to be compared with an adapter as often as needed."""

    def __init__(
        self, turns: Sequence[TokenTurn], *, budget: int, wait: Callable[[], object], cache: Path | None = None
    ) -> None:
        """budget: tokens computed at one time; wait runs before each batch; cache: a file for the base's states."""
        self._turns = turns
        self._budget = budget
        self._wait = wait
        self._cache = cache
        self._base: dict[int, Tensor] = {}  # (M, D) the base's last states of each text
        if cache is not None and cache.exists():
            sizes = [_predicted(turn) for turn in turns]
            self._base = {i: s for i, s in _read(cache, len(turns)).items() if len(s) == sizes[i]}

    @torch.no_grad()
    def measure(self, lora: Lora, *, part: bool = False) -> Neutral:
        """NLL under the base and under the adapter, and KL(new || base) at every predicted token.

        part: of every third text only.
        """
        head: Any = lora.model.get_output_embeddings()
        chosen = list(range(0, len(self._turns), 3 if part else 1))
        base_sum = new_sum = kl_sum = 0.0
        count = 0
        for group in micro_batches([self._turns[i].tokens for i in chosen], self._budget):
            self._wait()
            texts = [chosen[i] for i in group]
            packed = lora.pack([self._turns[i] for i in texts])
            new = hidden_states(lora.model, packed)
            if any(i not in self._base for i in texts):
                with lora.disabled():
                    states = hidden_states(lora.model, packed)
                self._base |= zip(texts, states.split([_predicted(self._turns[i]) for i in texts]), strict=True)
            base = torch.cat([self._base[i].to(new.device, new.dtype) for i in texts])
            for p_rows, q_rows, labels in zip(
                new.split(ROWS), base.split(ROWS), packed.labels.split(ROWS), strict=True
            ):
                p = torch.log_softmax(F.linear(p_rows, head.weight, head.bias).float(), -1)
                q = torch.log_softmax(F.linear(q_rows, head.weight, head.bias).float(), -1)
                new_sum -= float(_picked(p, labels))
                base_sum -= float(_picked(q, labels))
                kl_sum += float((p.exp() * (p - q)).sum())
            count += len(packed.labels)
        if self._cache is not None and not self._cache.exists() and len(self._base) == len(self._turns):
            _write(self._cache, {str(i): states for i, states in self._base.items()})
        return Neutral(base_sum / count, new_sum / count, kl_sum / count)


def recall(trunk: Trunk, turns: Sequence[TokenTurn], path: Path) -> set[str]:
    """Give the trunk what earlier runs made of these public texts; returns which (by their place in turns)."""
    if not trunk.first or not path.exists():
        return set()
    found = _read(path, len(turns))
    for i, states in found.items():
        trunk.put(turns[i], states)
    return {str(i) for i in found}


def keep(trunk: Trunk, turns: Sequence[TokenTurn], path: Path, known: set[str]) -> None:
    """Keep on disk what the trunk made of public texts, if there is more than was known. Never a user's text."""
    if trunk.first:
        states = {str(i): found for i, turn in enumerate(turns) if (found := trunk.get(turn)) is not None}
        if states.keys() - known:
            _write(path, states)


def states_path(cache_dir: Path, model_hash: str, turns: Sequence[TokenTurn], base: Any, kind: str = "neutral") -> Path:
    """Where the base's states of these texts lie: other texts, tokens, weights or precision are another file.

    kind: "neutral" for the last states, "lower-N" for those that enter layer N.
    """
    texts = hashlib.blake2b(digest_size=8)
    for turn in turns:
        texts.update(repr((list(turn.prompt), [list(r) for r in turn.responses])).encode())
    weights = hashlib.sha256(str(base.folder).encode()).hexdigest()[:8]  # a train_base is not the served file
    number = f"{base.device.type}-{str(base.dtype).removeprefix('torch.')}"
    return cache_dir / f"{kind}-{model_hash[:16]}-{weights}-{texts.hexdigest()}-{number}.safetensors"


def _predicted(turn: TokenTurn) -> int:
    return sum(len(r) for r in turn.responses)


def _read(path: Path, count: int) -> dict[int, Tensor]:
    """States by a text's place, below count. A broken file, or one of another layout, counts as none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(str(path))
        return {int(name): states for name, states in found.items() if name.isdecimal() and int(name) < count}
    except (OSError, SafetensorError):
        path.unlink(missing_ok=True)
        return {}


def _write(path: Path, states: Mapping[str, Tensor]) -> None:
    """A cache that cannot be written is no error: it is only slower."""
    with suppress(OSError):
        tensor_file.write(path, states)


def set_strength(lora: Lora, text: NeutralText, most: float = MAX_SCALE) -> tuple[Neutral, float]:
    """Scale the adapter up or down to what neutral text bears; returns how that is then, and the scale.

    How far a run moves varies by a factor of three with the data and the order. Going on in the direction that was
    found is worth more than its side effects, until those reach the aim (model extrapolation, Zheng et al. 2024,
    arXiv:2404.16792). KL grows with the square of the scale s, the NLL's rise as a s + b s^2. No judgment is looked at.
    most: the largest scale.
    """
    found, scale = text.measure(lora, part=True), 1.0
    first = found
    wanted = math.sqrt(AIM_KL / max(found.kl, 1e-9))
    for _ in range(MAX_TRIES):
        wanted = min(max(wanted, MIN_SCALE), most)
        lora.rescale(wanted / scale)
        found, scale = text.measure(lora, part=True), wanted
        if found.kept or scale <= MIN_SCALE:
            break
        wanted = scale * SHRINK
        if found.rise > AIM_RISE:
            wanted = min(wanted, _reach(first.rise, found.rise, scale))
    found = text.measure(lora)
    while not found.kept and scale > MIN_SCALE:  # all of the texts bear less than their third did
        wanted = max(scale * min(SHRINK, math.sqrt(AIM_KL / max(found.kl, 1e-9))), MIN_SCALE)
        lora.rescale(wanted / scale)
        found, scale = text.measure(lora), wanted
    # what all of the texts bear lies near: a little less than the aim, or it would be missed half of the times
    room = min(
        math.sqrt(AIM_KL / max(found.kl, 1e-9)), most / scale, 0.97 * _reach(first.rise, found.rise, scale) / scale
    )
    if found.kept and room > WORTH:  # or more
        lora.rescale(room)
        further = text.measure(lora)
        if further.kept:
            return further, scale * room
        lora.rescale(1 / room)
    return found, scale


def _reach(at_one: float, at_scale: float, scale: float) -> float:
    """Where a rise of a s + b s^2 through both measurements reaches the aim; infinite where it never does."""
    if scale == 1.0:
        return math.inf
    b = (at_scale / scale - at_one) / (scale - 1.0)
    a = at_one - b
    root = a * a + 4 * b * AIM_RISE
    return (math.sqrt(root) - a) / (2 * b) if b > 0 and root > 0 else math.inf


def _picked(logps: Tensor, labels: Tensor) -> Tensor:  # (N, V), (N,) -> scalar
    return logps.gather(1, labels[:, None]).sum()
