"""What a version adds beyond what is expected of any: against sums over all words, on the tiny model."""

from __future__ import annotations

import pytest
import torch

from tests.trainer.conftest import VOCABULARY, shake, tiny_lora
from trainer import expected
from trainer.dataset import Turn
from trainer.lora import Lora

PROMPT = [1, 40, 41, 42]


def of(*responses: list[int], drawers: dict[int, str] | None = None) -> Turn:
    return Turn("k", "held_out", [], PROMPT, list(responses), drawers=drawers or {})


def measured(lora: Lora, turns: list[Turn], drew: expected.Drew | None = None) -> list[expected.Ratios]:
    return expected.ratios(lora, turns, drew or {}, budget=64, before=lambda: None)


@torch.no_grad()
def all_words(lora: Lora, response: list[int]) -> tuple[float, float]:
    """(plain, expected), each prompt + response by itself, over the whole vocabulary."""
    ids = torch.tensor([[*PROMPT, *response]])
    places = slice(len(PROMPT) - 1, -1)
    new = lora.model(input_ids=ids).logits[0, places].float()
    with lora.disabled():
        base = lora.model(input_ids=ids).logits[0, places].float()
    ratio = torch.log_softmax(new, -1) - torch.log_softmax(base, -1)
    return float(ratio.gather(1, torch.tensor(response)[:, None]).sum()), float((base.softmax(-1) * ratio).sum())


@pytest.mark.parametrize("layers", [None, [1]], ids=["all layers", "the upper one"])
def test_against_sums_over_all_words(layers: list[int] | None) -> None:
    lora = tiny_lora(layers=layers)
    turns = [of([50, 51, 52], [60]), of([70, 71], [2], [80] * 40)]
    turns[1].key = "other"
    for turn, found in zip(turns, measured(lora, turns), strict=True):
        for response, plain, mean, beyond in zip(
            turn.responses, found.plain, found.expected, found.beyond, strict=True
        ):
            assert (plain, mean) == pytest.approx(all_words(lora, response), abs=1e-4)
            assert beyond == pytest.approx(plain - mean)


def test_whatever_comes_a_version_adds_nothing_on_average() -> None:
    """All answers of one word, each with its probability: plainly the base's own become less likely, by a KL."""
    lora = tiny_lora()
    turn = of(*([word] for word in range(VOCABULARY)))
    (found,) = measured(lora, [turn])
    with torch.no_grad(), lora.disabled():
        chance = torch.softmax(lora.model(input_ids=torch.tensor([PROMPT])).logits[0, -1].float(), -1).tolist()
    assert sum(p * r for p, r in zip(chance, found.beyond, strict=True)) == pytest.approx(0, abs=1e-4)
    assert sum(p * r for p, r in zip(chance, found.plain, strict=True)) < -0.01


def test_an_answer_is_measured_by_the_version_that_drew_it() -> None:
    """Words drawn by one version, as another version likes them: 0 on average by the first one's distribution."""
    words = [[word] for word in range(VOCABULARY)]
    turn = of(*words, drawers=dict.fromkeys(range(VOCABULARY - 1), "v1"))  # the last one is the base's
    lora = tiny_lora()
    shake(lora, 0.4)
    drew: expected.Drew = {}
    expected.look(lora, "v1", [turn], drew, budget=64, before=lambda: None)
    assert len(drew) == VOCABULARY - 1
    with torch.no_grad():
        chance = torch.softmax(lora.model(input_ids=torch.tensor([PROMPT])).logits[0, -1].float(), -1).tolist()
    shake(lora, 0.4, seed=5)
    (found,) = measured(lora, [turn], drew)
    by_base = measured(lora, [of(*words)])[0]
    assert found.plain == pytest.approx(by_base.plain, abs=1e-5)
    assert found.beyond[-1] == pytest.approx(by_base.beyond[-1], abs=1e-4)
    mean = sum(p * (a - e) for p, a, e in zip(chance, found.plain, [found.expected[0]] * VOCABULARY, strict=True))
    assert mean == pytest.approx(0, abs=1e-4)
    assert abs(found.expected[0] - by_base.expected[0]) > 0.01


def test_a_version_that_meets_what_it_drew_notes_it() -> None:
    """In one pass what two give: first what it might have said, then how it likes what was said."""
    turn = of([50, 51, 52], [60], [70, 71], drawers={0: "v1", 1: "v0"})
    lora = tiny_lora()
    shake(lora, 0.4)
    there: expected.Drew = {("k", (60,)): torch.randn(1, 64)}
    twice, once = dict(there), dict(there)
    expected.look(lora, "v1", [turn], twice, budget=64, before=lambda: None)
    (wanted,) = measured(lora, [turn], twice)
    (found,) = expected.ratios(lora, [turn], once, drawer="v1", budget=64, before=lambda: None)
    assert found.plain == pytest.approx(wanted.plain, abs=1e-5)
    assert found.expected == pytest.approx(wanted.expected, abs=1e-4)
    assert once.keys() == twice.keys() == {("k", (50, 51, 52)), ("k", (60,))}
    assert torch.allclose(once["k", (50, 51, 52)], twice["k", (50, 51, 52)])


def test_the_base_adds_nothing() -> None:
    lora = tiny_lora()
    with torch.no_grad():
        for name, master in lora.masters.items():
            if "lora_B" in name:
                master.zero_()
    lora.publish()
    (found,) = measured(lora, [of([50, 51], [60])])
    assert found.plain == pytest.approx([0, 0], abs=1e-5)
    assert found.expected == pytest.approx([0, 0], abs=1e-5)
