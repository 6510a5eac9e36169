"""Measurements for the gate that need the model: neutral text, drift from the base, and what answers look like."""

from __future__ import annotations

import json
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
from trainer.logprobs import CHUNK, ROWS, TokenTurn, hidden_states, micro_batches, pack
from trainer.lora import Lora
from trainer.served import served

#: tokens of a plain passage that are given, not predicted
GIVEN = 8
SAMPLED_PROMPTS = 4
ANSWERS_EACH = 4
#: what a run aims at on neutral text; the gate's limits are wider
AIM_RISE, AIM_KL = 0.01, 0.05
SHRINK, SMALLEST_SCALE = 0.8, 0.4


@dataclass(frozen=True, slots=True)
class Neutral:
    """Teacher-forced on our own fixed texts, which no judgment touches."""

    base_nll: float  #: nats a token
    new_nll: float
    kl: float  #: mean KL(new || base), nats a token

    @property
    def rise(self) -> float:
        return self.new_nll / self.base_nll - 1


def neutral_turns(vocab: Vocab) -> list[TokenTurn]:
    """assets/neutral.jsonl: passages after their first tokens, and each assistant message after its conversation."""
    turns = []
    for line in asset("neutral.jsonl").read_text(encoding="utf-8").splitlines():
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


@torch.no_grad()
def hold_back(
    lora: Lora, turns: Sequence[TokenTurn], *, budget: int, wait: Callable[[], object]
) -> tuple[Neutral, float]:
    """Shrink the adapter step by step until neutral text is as it should be; returns how it is then, and the scale.

    How far a run drifts varies by a factor of two with the data and the order; what was learned outlasts a smaller
    scale better than the side effects do, since those grow with its square. No judgment is looked at here.
    """
    scale = 1.0
    while True:
        found = neutral(lora, turns, budget=budget, wait=wait)
        if (found.rise <= AIM_RISE and found.kl <= AIM_KL) or scale < SMALLEST_SCALE:
            return found, scale
        lora.shrink(SHRINK)
        scale *= SHRINK


@torch.no_grad()
def neutral(lora: Lora, turns: Sequence[TokenTurn], *, budget: int, wait: Callable[[], object]) -> Neutral:
    """NLL under the base and under the adapter, and KL(new || base) at every predicted token."""
    head: Any = lora.model.get_output_embeddings()
    base_sum = new_sum = kl_sum = 0.0
    count = 0
    for group in micro_batches([t.tokens for t in turns], budget):
        wait()
        packed = pack([turns[i] for i in group], lora.device)
        new = hidden_states(lora.model, packed)
        with lora.disabled():
            base = hidden_states(lora.model, packed)
        for at in range(0, len(packed.labels), CHUNK):
            rows = slice(at, at + CHUNK)
            p_all = F.linear(new[rows], head.weight, head.bias)
            q_all = F.linear(base[rows], head.weight, head.bias)
            parts = zip(p_all.split(ROWS), q_all.split(ROWS), packed.labels[rows].split(ROWS), strict=True)
            for p_logits, q_logits, labels in parts:
                p, q = torch.log_softmax(p_logits.float(), -1), torch.log_softmax(q_logits.float(), -1)
                new_sum -= float(_picked(p, labels))
                base_sum -= float(_picked(q, labels))
                kl_sum += float((p.exp() * (p - q)).sum())
        count += len(packed.labels)
    return Neutral(base_sum / count, new_sum / count, kl_sum / count)


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
