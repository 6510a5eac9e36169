"""Measurements for the gate that need the model: neutral text, drift from the base, and what answers look like."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chatapp.engine.base import EngineConfig, Message, Sampling
from chatapp.engine.vocab import Vocab
from storage.assets import asset
from trainer.dataset import Turn
from trainer.errors import Cancelled
from trainer.fit import Callbacks
from trainer.gate import Answers, describe_answers
from trainer.logprobs import ROWS, TokenTurn, hidden_states, micro_batches
from trainer.lora import Lora
from trainer.served import served

#: tokens of a plain passage that are given, not predicted
GIVEN = 8
SAMPLED_PROMPTS = 4
ANSWERS_EACH = 4
#: what a run aims at on neutral text; the gate's limits are wider
AIM_RISE, AIM_KL = 0.009, 0.035
MIN_SCALE, MAX_SCALE, SHRINK, MAX_TRIES = 0.5, 2.0, 0.9, 8


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

    def __init__(self, turns: Sequence[TokenTurn], *, budget: int, wait: Callable[[], object]) -> None:
        """budget: tokens computed at one time; wait runs before each batch."""
        self._turns = turns
        self._groups = micro_batches([t.tokens for t in turns], budget)
        self._wait = wait
        self._base: list[Tensor] = []  # (M, D) the base's last states, a group each

    @torch.no_grad()
    def measure(self, lora: Lora) -> Neutral:
        """NLL under the base and under the adapter, and KL(new || base) at every predicted token."""
        head: Any = lora.model.get_output_embeddings()
        base_sum = new_sum = kl_sum = 0.0
        count = 0
        for at, group in enumerate(self._groups):
            self._wait()
            packed = lora.pack([self._turns[i] for i in group])
            new = hidden_states(lora.model, packed)
            if at == len(self._base):
                with lora.disabled():
                    self._base.append(hidden_states(lora.model, packed))
            for p_rows, q_rows, labels in zip(
                new.split(ROWS), self._base[at].split(ROWS), packed.labels.split(ROWS), strict=True
            ):
                p = torch.log_softmax(F.linear(p_rows, head.weight, head.bias).float(), -1)
                q = torch.log_softmax(F.linear(q_rows, head.weight, head.bias).float(), -1)
                new_sum -= float(_picked(p, labels))
                base_sum -= float(_picked(q, labels))
                kl_sum += float((p.exp() * (p - q)).sum())
            count += len(packed.labels)
        return Neutral(base_sum / count, new_sum / count, kl_sum / count)


def set_strength(lora: Lora, text: NeutralText) -> tuple[Neutral, float]:
    """Scale the adapter up or down to what neutral text bears; returns how that is then, and the scale.

    How far a run moves varies by a factor of three with the data and the order. Going on in the direction that was
    found is worth more than its side effects, until those reach the aim (model extrapolation, Zheng et al. 2024,
    arXiv:2404.16792). KL grows with the square of the scale s, the NLL's rise as a s + b s^2. No judgment is looked at.
    """
    found, scale = text.measure(lora), 1.0
    first = found
    wanted = math.sqrt(AIM_KL / max(found.kl, 1e-9))
    for _ in range(MAX_TRIES):
        wanted = min(max(wanted, MIN_SCALE), MAX_SCALE)
        lora.rescale(wanted / scale)
        found, scale = text.measure(lora), wanted
        if found.kept or scale <= MIN_SCALE:
            break
        wanted = scale * SHRINK
        if scale != 1.0 and found.rise > AIM_RISE:  # where a s + b s^2, through both measurements, reaches the aim
            b = (found.rise / scale - first.rise) / (scale - 1.0)
            a = first.rise - b
            if b > 0 and (root := a * a + 4 * b * AIM_RISE) > 0:
                wanted = min(wanted, (math.sqrt(root) - a) / (2 * b))
    return found, scale


def _picked(logps: Tensor, labels: Tensor) -> Tensor:  # (N, V), (N,) -> scalar
    return logps.gather(1, labels[:, None]).sum()


def sample_answers(
    gguf: Path, adapter: Path | None, conversations: Sequence[Sequence[Message]], *, max_tokens: int, calls: Callbacks
) -> Answers:
    """Answers of the served model (llama.cpp, as the chat has it) to some conversations, described."""
    answers: list[list[int]] = []
    config = EngineConfig(gguf, context_size=4096, adapter_path=adapter)
    with served(config) as engine:
        for at, messages in enumerate(conversations):
            calls.wait()
            if calls.cancelled():
                raise Cancelled("the run was cancelled in its test")
            sampling = Sampling(temperature=0.8, max_tokens=max_tokens, seed=at * ANSWERS_EACH)
            answers += [c.token_ids for c in engine.generate(messages, ANSWERS_EACH, sampling)]
    return describe_answers(answers)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the judged answers look like."""

    chosen_length: float  #: mean tokens of what was preferred
    base: Answers  #: those that the base gave
    longest: int  #: tokens


def seen_answers(turns: Sequence[Turn]) -> Seen:
    """Describe the answers in the judgments; the base's are those generated without an adapter."""
    chosen = [(len(t.responses[p.chosen]), p.weight) for t in turns for p in t.pairs]
    chosen += [(len(t.responses[s.response]), s.weight) for t in turns for s in t.singles if s.good]
    weight = sum(w for _, w in chosen)
    mean = sum(n * w for n, w in chosen) / weight if weight else 0.0
    base = describe_answers([t.responses[i] for t in turns for i in t.from_base])
    return Seen(mean, base, max((len(r) for t in turns for r in t.responses), default=0))
