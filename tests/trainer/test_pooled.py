"""What the base makes of an answer, against a plain pass of each prompt and answer alone."""

from __future__ import annotations

import math

import pytest
import torch

from tests.trainer.conftest import tiny_model
from trainer.logprobs import TokenTurn, use_shared_prefix
from trainer.pooled import HELD, LENGTHS, Pooler, apart
from trainer.trunk import Trunk

END = 2
TURNS = [TokenTurn([5, 6, 7], [[8, 9, END], [10], [11, 12, 13, 14]], 0.8), TokenTurn([20, 21], [[22, 23]])]


@pytest.mark.parametrize("first", [0, 1])
def test_features_are_means_over_an_answers_tokens(first: int) -> None:
    """Of the embeddings over all of them, of the states that enter layer `first` over those that are fed: the last one
    is not. An answer of one token has the state of the prompt's last. first 0: the last layer's states. The temperature
    that answers were drawn at is no matter."""
    model = tiny_model()
    use_shared_prefix(model)
    pooler = Pooler(Trunk(model, first), {END})
    found = pooler.see(TURNS, budget=64)
    assert [len(x) for x in found] == [3, 1]
    assert all(x.shape[1] == pooler.size for x in found)
    width = 64
    for turn, rows in zip(TURNS, found, strict=True):
        for response, row in zip(turn.responses, rows, strict=True):
            ids = torch.tensor([[*turn.prompt, *response]])
            with torch.no_grad():
                output = model(input_ids=ids, output_hidden_states=True, use_cache=False)
            words = model.get_input_embeddings().weight[torch.tensor(response)].mean(0)
            states = output.hidden_states[first if first else -1][0]
            at = len(turn.prompt)
            read = states[at : at + len(response) - 1] if len(response) > 1 else states[at - 1 : at]
            torch.testing.assert_close(row[:width], words.detach(), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(row[width : 2 * width], read.mean(0), atol=1e-4, rtol=1e-3)
            wanted = [math.log(len(response)), len(response) / 100, float(response[-1] == END)]
            assert row[-LENGTHS:].tolist() == pytest.approx(wanted)


def test_batches_change_nothing() -> None:
    model = tiny_model()
    use_shared_prefix(model)
    pooler = Pooler(Trunk(model, 1), {END})
    calls: list[int] = []
    singly = pooler.see(TURNS, budget=1, before=lambda: calls.append(1))
    assert len(calls) == 2
    for one, other in zip(singly, pooler.see(TURNS, budget=1000), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("first", [0, 1])
def test_the_shares_of_tokens_add_up_to_what_is_linear_in_an_answer(first: int) -> None:
    model = tiny_model()
    use_shared_prefix(model)
    pooler = Pooler(Trunk(model, first), {END})
    generator = torch.Generator().manual_seed(0)
    slope, centre = (torch.randn(pooler.size, generator=generator, dtype=torch.float64) for _ in range(2))
    slope[-LENGTHS:] = 0  # belongs to no token
    seen = pooler.see(TURNS, budget=64)
    for budget in (1, 64):
        shares = pooler.shares(TURNS, slope, centre, budget=budget)
        for turn, rows, mine in zip(TURNS, seen, shares, strict=True):
            sums = torch.stack([part.sum() for part in mine.split([len(r) for r in turn.responses])])
            torch.testing.assert_close(sums, (apart(rows, centre) @ slope).float(), atol=1e-4, rtol=1e-4)
    # what follows a token changes nothing of its share but by how many it is divided
    (short, long) = pooler.shares(
        [TokenTurn([5, 6], [[8, 9, 10]]), TokenTurn([5, 6], [[8, 9, 10, 30, 31]])], slope, 0 * centre, budget=64
    )
    words = model.get_input_embeddings().weight.detach().double() @ slope[:64]
    inside = [float(short[i] - words[t] / (3 + HELD)) * 2 for i, t in enumerate((8, 9))]
    assert [float(long[i] - words[t] / (5 + HELD)) * 4 for i, t in enumerate((8, 9))] == pytest.approx(inside, abs=1e-3)


def test_the_words_of_a_curt_answer_say_less() -> None:
    """Of HELD tokens half, of three times as many three quarters; states and length as they are."""
    centre = torch.tensor([1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0])
    rows = torch.tensor([[3.0, -2.0, 2.5, 1.0, math.log(n), n / 100, 1.0] for n in (HELD, 3 * HELD)])
    found = apart(rows, centre)
    assert found.dtype == torch.float64
    assert found[:, :2].flatten().tolist() == pytest.approx([1.0, -1.0, 1.5, -1.5])
    torch.testing.assert_close(found[:, 2:], (rows - centre)[:, 2:].double())
