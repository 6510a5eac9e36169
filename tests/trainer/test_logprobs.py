"""The packed row with a shared prompt against each prompt + response alone; fp32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.trainer.conftest import random_turns, tiny_lora, tiny_model, tiny_qwen2
from trainer.logprobs import (
    TokenTurn,
    causal_mask,
    micro_batches,
    pack,
    plain_response_logps,
    response_logps,
    score,
    token_logps,
)
from trainer.lora import Lora
from trainer.softmax import chosen_and_means, chosen_logps


def gradients(lora: Lora, value: torch.Tensor) -> torch.Tensor:
    """By the adapter's values, in the masters' order."""
    value.backward()
    lora.collect_gradients()
    found = torch.cat([p.grad.flatten() for p in lora.parameters() if p.grad is not None])
    for parameter in lora.parameters():
        parameter.grad = None
    return found


@pytest.mark.parametrize("layers", [None, [1]], ids=["all layers", "the upper layer, from cached states"])
@pytest.mark.parametrize("made", [tiny_model, tiny_qwen2], ids=["llama", "qwen2 with biases"])
def test_shared_prefix_gives_the_plain_values_and_gradients(made: Callable[[], Any], layers: list[int] | None) -> None:
    """Several turns in one row against each prompt + response alone through the model as transformers runs it.

    Cosine at least 0.9999 and the same length, so the same gradient (seen: 1 - cosine 3e-13, difference 8e-7 of it).
    """
    turns = [replace(t, temperature=at) for t, at in zip(random_turns(5), [1.0, 0.8, 1.0, 0.5, 1.3], strict=True)]
    lora = tiny_lora(model=made(), layers=layers)
    other = tiny_lora(model=made(), layers=layers)
    other.decoder().set_attn_implementation("eager")
    for _ in range(2):  # the second time from states that are kept
        row = lora.pack(turns)
        assert (row.states is not None) == (layers is not None)
        assert row.input_ids.shape[0] == 1
        assert len(row.blocks) == len(turns)
        packed, plain = response_logps(lora.model, row), plain_response_logps(other.model, turns)
        assert (packed - plain).abs().max() < 1e-4
        weights = torch.randn(len(plain), generator=torch.Generator().manual_seed(2))
        a, b = gradients(lora, (packed * weights).sum()), gradients(other, (plain * weights).sum())
        assert torch.cosine_similarity(a, b, dim=0) >= 0.9999
        assert (a - b).norm() / b.norm() < 1e-3


def test_each_turn_is_alone_in_its_row() -> None:
    """Neither order nor company changes a turn's values."""
    lora, turns = tiny_lora(), random_turns(3)
    together = score(lora.model, turns, budget=10_000)
    assert score(lora.model, turns[::-1], budget=10_000)[::-1] == [pytest.approx(x, abs=1e-4) for x in together]
    assert score(lora.model, turns, budget=1) == [pytest.approx(x, abs=1e-4) for x in together]


@pytest.mark.parametrize("temperature", [0.8, 1.0])
def test_scores_are_zero_on_average_where_they_were_drawn(temperature: float) -> None:
    """Over all next tokens, each as often as it is drawn at 0.8: what the score adds up to is 0 at 0.8 alone."""
    lora = tiny_lora()
    every = [TokenTurn([1, 5, 9], [[t] for t in range(259)], temperature)]
    drawn = torch.softmax(response_logps(lora.model, lora.pack([replace(every[0], temperature=1.0)])).detach() / 0.8, 0)
    found = gradients(lora, (drawn * response_logps(lora.model, lora.pack(every))).sum())
    assert (found.abs().max() < 1e-6) == (temperature == 0.8)


def test_token_logps_sum_to_a_distribution() -> None:
    """exp of the log-probs of all tokens at one place is 1."""
    lora = tiny_lora()
    every = [TokenTurn([1, 5, 9], [[t] for t in range(259)])]
    assert token_logps(lora.model, pack(every)).exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_more_tokens_than_one_chunk() -> None:
    lora = tiny_lora()
    long = TokenTurn([1, 2, 3], [[3 + i % 250 for i in range(150)], [9 + i % 200 for i in range(140)]])
    assert (response_logps(lora.model, pack([long])) - plain_response_logps(lora.model, [long])).abs().max() < 2e-3


@pytest.mark.parametrize("bias", [False, True])
def test_what_a_word_is_worth_on_average_is_that_of_all_logits(bias: bool) -> None:
    """Values and slopes, of more places than a chunk holds, against softmax and autograd as they come."""
    drawn = torch.Generator().manual_seed(0)
    states, weight, values = (torch.randn(n, m, generator=drawn) for n, m in ((600, 8), (40, 8), (3, 40)))
    offset = torch.randn(40, generator=drawn) if bias else None
    labels, owner = (torch.randint(0, n, (600,), generator=drawn) for n in (40, 3))
    slopes = torch.randn(2, 600, generator=drawn)
    ours, theirs = (states.clone().requires_grad_() for _ in range(2))
    logps, means = chosen_and_means(ours, weight, offset, labels, values, owner)
    plain = torch.log_softmax(torch.nn.functional.linear(theirs, weight, offset), -1)
    wanted = plain.gather(1, labels[:, None])[:, 0], (plain.exp() * values[owner]).sum(1)
    for found, expected in zip((logps, means), wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (logps * slopes[0] + means * slopes[1]).sum().backward()
    (wanted[0] * slopes[0] + wanted[1] * slopes[1]).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(chosen_and_means(states, weight, offset, labels, values, owner)[1], means.detach())
        torch.testing.assert_close(chosen_logps(states, weight, offset, labels), logps.detach())


@pytest.mark.parametrize("bias", [False, True])
def test_what_a_drift_costs_on_average_is_that_of_all_logits(bias: bool) -> None:
    """sum_v p_v (u_v - 0.7 log(p_v / q_v)) with its slope, against softmax and autograd as they come."""
    drawn = torch.Generator().manual_seed(0)
    states, anchor, weight = (torch.randn(n, 8, generator=drawn) for n in (600, 600, 40))
    values = torch.randn(3, 40, generator=drawn)
    offset = torch.randn(40, generator=drawn) if bias else None
    labels, owner = (torch.randint(0, n, (600,), generator=drawn) for n in (40, 3))
    slopes = torch.randn(600, generator=drawn)
    ours, theirs = (states.clone().requires_grad_() for _ in range(2))
    _, means = chosen_and_means(ours, weight, offset, labels, values, owner, anchor, 0.7)
    p, q = (torch.log_softmax(torch.nn.functional.linear(x, weight, offset), -1) for x in (theirs, anchor))
    wanted = (p.exp() * (values[owner] - 0.7 * (p - q))).sum(1)
    torch.testing.assert_close(means, wanted, atol=1e-5, rtol=1e-5)
    (means * slopes).sum().backward()
    (wanted * slopes).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)


def test_bf16_path_is_near_fp32() -> None:
    """The hand-written attention and the bf16 copies of A and B: rounding only."""
    turns = random_turns(3)
    exact = response_logps(tiny_lora().model, pack(turns))
    lora = tiny_lora()
    lora.model.to(torch.bfloat16)
    rough = response_logps(lora.model, pack(turns))
    tokens = torch.tensor([len(r) for t in turns for r in t.responses])
    assert ((rough - exact).abs() / tokens).max() < 0.15


def test_layout() -> None:
    packed = pack([TokenTurn([7, 8], [[1, 2, 3], [4]]), TokenTurn([9], [[5, 6]])])
    assert packed.input_ids.tolist() == [[7, 8, 1, 2, 9, 5]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 0, 1]]
    assert packed.predictor.tolist() == [1, 2, 3, 1, 4, 5]
    assert packed.labels.tolist() == [1, 2, 3, 4, 5, 6]
    assert packed.owner.tolist() == [0, 0, 0, 1, 2, 2]
    assert packed.lengths.tolist() == [3, 1, 2]


@pytest.mark.parametrize("turn", [TokenTurn([], [[1]]), TokenTurn([1], []), TokenTurn([1], [[1], []])])
def test_empty_parts_are_refused(turn: TokenTurn) -> None:
    with pytest.raises(ValueError, match="at least one"):
        pack([turn])


def test_mask_with_window() -> None:
    mask = causal_mask(2, 5, 3, torch.float32, torch.device("cpu"))
    assert (mask == 0).tolist() == [[False, True, True, True, False], [False, False, True, True, True]]


def test_micro_batches_hold_the_budget() -> None:
    assert micro_batches([3, 3, 5, 20, 1, 1], 8) == [[0, 1], [2], [3], [4, 5]]
    assert micro_batches([], 8) == []
