"""Log-probabilities of responses, the prompt of a turn computed once for all its responses.

A micro-batch is ONE row without padding: [prompt 1 | response 1a | response 1b | prompt 2 | ...]. Position ids
restart after the prompt for each response, and attention runs per segment: a prompt sees itself, a response
sees its prompt and itself. So four answers cost one prompt, and no attention is spent on masked blocks.

Logits exist for response tokens only, a chunk at a time (softmax.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.softmax import chosen_and_means, chosen_logps

ATTENTION = "hone_shared_prefix"


@dataclass(frozen=True, slots=True)
class TokenTurn:
    """A prompt and the distinct responses to it, as token ids."""

    prompt: Sequence[int]
    responses: Sequence[Sequence[int]]
    temperature: float = 1.0  #: of the distribution that the log-probabilities are of: softmax(logits / temperature)

    @property
    def tokens(self) -> int:
        return len(self.prompt) + sum(len(r) for r in self.responses)

    @property
    def predicted(self) -> int:
        """Tokens of the responses."""
        return sum(len(r) for r in self.responses)


@dataclass(frozen=True, slots=True)
class Segment:
    """A response's place in the row: it attends to its prompt and to itself."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Block:
    """One turn's place in the row."""

    prompt: Segment
    responses: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """Several turns as one row. M response tokens of R responses in all."""

    input_ids: Tensor  # (1, T)
    position_ids: Tensor  # (1, T)
    blocks: tuple[Block, ...]
    predictor: Tensor  # (M,) the row index whose hidden state predicts the token
    labels: Tensor  # (M,)
    owner: Tensor  # (M,) 0..R-1, turns in order, responses in order
    lengths: Tensor  # (R,) tokens of each response
    sharpness: Tensor | None = None  # (M, 1) 1 / temperature, where any of them is not 1
    states: Tensor | None = None  # (1, T, D) entering layer `first`, where the layers below are frozen
    first: int = 0
    upper: Callable[[Packed], Tensor] | None = None  #: computes (T, D) before the last norm, in the layers' stead


def pack(turns: Sequence[TokenTurn], device: torch.device | str = "cpu") -> Packed:
    """Lay turns out in one row. A response's last token is predicted but never fed: nothing follows it."""
    ids: list[int] = []
    positions: list[int] = []
    blocks: list[Block] = []
    predictor: list[int] = []
    labels: list[int] = []
    owner: list[int] = []
    lengths: list[int] = []
    sharpness: list[float] = []
    for turn in turns:
        if not turn.prompt or not turn.responses or not all(turn.responses):
            raise ValueError("a turn needs a prompt and at least one response, each of at least one token")
        prompt = Segment(len(ids), len(turn.prompt))
        ids += turn.prompt
        positions += range(len(turn.prompt))
        segments = []
        for response in turn.responses:
            start, fed = len(ids), len(response) - 1
            predictor += [prompt.start + prompt.length - 1, *range(start, start + fed)]
            labels += response
            owner += [len(lengths)] * len(response)
            lengths.append(len(response))
            sharpness += [1 / turn.temperature] * len(response)
            ids += response[:-1]
            positions += range(prompt.length, prompt.length + fed)
            segments.append(Segment(start, fed))
        blocks.append(Block(prompt, tuple(segments)))

    def tensor(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return Packed(
        tensor(ids)[None],
        tensor(positions)[None],
        tuple(blocks),
        tensor(predictor),
        tensor(labels),
        tensor(owner),
        tensor(lengths),
        torch.tensor(sharpness, device=device)[:, None] if any(s != 1.0 for s in sharpness) else None,
    )


@lru_cache(maxsize=256)
def causal_mask(
    queries: int, keys: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:  # (queries, keys)
    """0 where a query sees a key, else -inf. The queries are the last of the keys; all layers share one mask."""
    seen = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    if window is not None:
        seen &= torch.ones_like(seen).triu(keys - queries - window + 1)
    return torch.zeros(queries, keys, dtype=dtype, device=device).masked_fill_(~seen, float("-inf"))


def shared_prefix_attention(
    module: Any,
    query: Tensor,  # (1, H, T, D)
    key: Tensor,  # (1, H_kv, T, D)
    value: Tensor,  # (1, H_kv, T, D)
    attention_mask: Tensor | None,
    scaling: float | None = None,
    blocks: Sequence[Block] | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention that transformers calls in each layer; `blocks` comes through from the model's forward.

    Without blocks a row is one sequence, or its last tokens where a cache holds the others. What it does not know
    (soft-capping, sinks) would show as a difference from llama.cpp in base_model.check, which runs through here too.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    by_hand = query.device.type == "cpu" and query.dtype == torch.bfloat16
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # (1, H, Q, D), (1, H, K, D): the queries are the last of K
        mask = causal_mask(q.shape[2], k.shape[2], sliding_window, q.dtype, q.device)
        if by_hand:  # short rows in bf16 on a CPU: 2.8 ms against 4.3 of the fused kernel, forward and backward
            scores = torch.baddbmm(mask.expand(q.shape[1], -1, -1), q[0], k[0].transpose(1, 2), alpha=scale)
            return torch.bmm(torch.softmax(scores, -1), v[0])[None]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)

    if blocks is None:
        return attend(query, key, value).transpose(1, 2).contiguous(), None
    parts: list[Tensor] = []
    for block in blocks:
        p = slice(block.prompt.start, block.prompt.start + block.prompt.length)
        prompt_key, prompt_value = key[:, :, p], value[:, :, p]
        parts.append(attend(query[:, :, p], prompt_key, prompt_value))
        for segment in block.responses:
            if not segment.length:
                continue
            r = slice(segment.start, segment.start + segment.length)
            k = torch.cat([prompt_key, key[:, :, r]], 2)
            v = torch.cat([prompt_value, value[:, :, r]], 2)
            parts.append(attend(query[:, :, r], k, v))
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None  # (1, T, H, D)


def use_shared_prefix(model: Any) -> None:
    """Make a transformers model run its attention through shared_prefix_attention."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, shared_prefix_attention)
    model.set_attn_implementation(ATTENTION)


def decoder(model: Any) -> Any:
    """The part of a transformers model that holds the layers."""
    return model.get_decoder() if hasattr(model, "get_decoder") else model.model


@contextmanager
def upper_layers(body: Any, first: int) -> Iterator[None]:
    """A decoder without its first layers."""
    whole = body.layers
    body.layers = whole[first:]
    try:
        yield
    finally:
        body.layers = whole


def hidden_states(model: Any, packed: Packed) -> Tensor:  # (M, D)
    """The last layer's states at the places that predict a response token, over the temperature of their turn.

    Scaling them scales the logits. A model whose output layer has a bias is taken at temperature 1.
    """
    states = _last_states(model, packed)
    if packed.sharpness is None or getattr(model.get_output_embeddings(), "bias", None) is not None:
        return states
    return states * packed.sharpness.to(states.dtype)


def _last_states(model: Any, packed: Packed) -> Tensor:  # (M, D)
    body = decoder(model)
    given = {"position_ids": packed.position_ids, "use_cache": False, "blocks": packed.blocks}
    if packed.upper is not None:
        return body.norm(packed.upper(packed).index_select(0, packed.predictor))
    if packed.states is None:
        states = body(input_ids=packed.input_ids, **given).last_hidden_state
    else:
        with upper_layers(body, packed.first):
            states = body(inputs_embeds=packed.states, **given).last_hidden_state
    return states[0].index_select(0, packed.predictor)


class Scores(Protocol):
    """What turns states into the log-probabilities of labels, and into what a word drawn there is worth on average."""

    @property
    def weight(self) -> Tensor:  # (V, D) of the words that count
        ...

    @property
    def bias(self) -> Tensor | None:  # (V,)
        ...

    def logps(self, states: Tensor, labels: Tensor) -> Tensor:  # (M, D), (M,) -> (M,)
        ...

    def means(
        self,
        states: Tensor,
        labels: Tensor,
        values: Tensor,
        owner: Tensor,
        anchor: Tensor | None = None,
        hold: float = 0.0,
    ) -> tuple[Tensor, Tensor]:  # (M, D), (M,), (R, V), (M,) -> (M,), (M,)
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """The whole output layer."""

    weight: Tensor  # (V, D)
    bias: Tensor | None

    @classmethod
    def of(cls, model: Any) -> Head:
        layer = model.get_output_embeddings()
        return cls(layer.weight, layer.bias)

    def logps(self, states: Tensor, labels: Tensor) -> Tensor:  # (M, D), (M,) -> (M,)
        return chosen_logps(states, self.weight, self.bias, labels)

    def means(
        self,
        states: Tensor,
        labels: Tensor,
        values: Tensor,
        owner: Tensor,
        anchor: Tensor | None = None,
        hold: float = 0.0,
    ) -> tuple[Tensor, Tensor]:  # (M, D), (M,), (R, V), (M,) -> (M,), (M,)
        return chosen_and_means(states, self.weight, self.bias, labels, values, owner, anchor, hold)


def token_logps(model: Any, packed: Packed, head: Scores | None = None) -> Tensor:  # (M,)
    """Log-probability of every response token. Natural log, fp32. head: another than the model's own."""
    return (head or Head.of(model)).logps(hidden_states(model, packed), packed.labels)


def summed(values: Tensor, owner: Tensor, count: int) -> Tensor:  # (M,), (M,) -> (count,)
    """The sum of each owner's values."""
    return torch.zeros(count, dtype=torch.float32, device=values.device).index_add(0, owner, values)


def response_logps(model: Any, packed: Packed, head: Scores | None = None) -> Tensor:  # (R,)
    """Summed log-probability of every response."""
    return summed(token_logps(model, packed, head), packed.owner, len(packed.lengths))


def plain_response_logps(model: Any, turns: Sequence[TokenTurn]) -> Tensor:  # (R,)
    """The same, the slow and obvious way: each prompt + response alone, all logits. For tests."""
    sums = []
    for turn in turns:
        for response in turn.responses:
            ids = torch.tensor([[*turn.prompt, *response]], device=next(model.parameters()).device)
            logits = model(input_ids=ids, use_cache=False).logits[0].float()  # (T, V)
            logps = torch.log_softmax(logits[len(turn.prompt) - 1 : -1] / turn.temperature, -1)
            sums.append(logps.gather(1, ids[0, len(turn.prompt) :, None]).sum())
    return torch.stack(sums)


def micro_batches(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Group neighbours so that each group holds at most `budget` tokens, or one member that is larger alone."""
    groups: list[list[int]] = []
    held = 0
    for index, size in enumerate(sizes):
        if groups and held + size <= budget:
            groups[-1].append(index)
            held += size
        else:
            groups.append([index])
            held = size
    return groups


@torch.no_grad()
def score(
    model: Any,
    turns: Sequence[TokenTurn],
    *,
    budget: int,
    before: Callable[[], object] | None = None,
    packer: Callable[[Sequence[TokenTurn]], Packed] | None = None,
) -> list[list[float]]:
    """Summed log-probability of every response of every turn, without gradients.

    `before` runs before each batch; `packer` is a trunk's, where one is at hand.
    """
    device = next(model.parameters()).device
    lay_out = packer or partial(pack, device=device)
    result: list[list[float]] = []
    for group in micro_batches([turn.tokens for turn in turns], budget):
        if before is not None:
            before()
        sums = response_logps(model, lay_out([turns[i] for i in group])).tolist()
        for i in group:
            count = len(turns[i].responses)
            result.append(sums[:count])
            sums = sums[count:]
    return result
