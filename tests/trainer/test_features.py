"""What is computed once before a fit: references over all words and among some, and a fit that sees only those."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.trainer.conftest import tiny_lora
from tests.trainer.test_fit import CONFIG, turns
from trainer.config import TrainConfig
from trainer.features import Callbacks, focus, prepare, see, some_words
from trainer.fit import fit, turn_loss
from trainer.logprobs import TokenTurn, response_logps, score
from trainer.team import Team
from trainer.words import Words


def test_held_out_turns_have_their_reference_over_all_words() -> None:
    lora, given = tiny_lora(), turns("pairs")
    given[0].split = "held_out"
    works = prepare(given, lora, CONFIG, None, Callbacks(), states_only=True)
    assert works[0].reference
    assert works[0].states is None
    assert works[1].states is not None


@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_among_all_words_the_reference_is_the_same(temperature: float) -> None:
    lora, given = tiny_lora(), [replace(t, temperature=temperature) for t in turns("singles")]
    exact = prepare(given, lora, CONFIG, None, Callbacks())
    works = prepare(given, lora, CONFIG, None, Callbacks(), states_only=True)
    assert not any(w.reference for w in works)
    see(works, Words(lora.model.get_output_embeddings(), torch.arange(259)))
    for one, two in zip(exact, works, strict=True):
        assert two.among == pytest.approx(one.reference, abs=1e-4)
        assert len(two.among) == 3  # with the probe


def test_what_occurs_is_among_the_words() -> None:
    lora = tiny_lora()
    works = prepare(turns("pairs"), lora, CONFIG, None, Callbacks(), states_only=True)
    words = focus(works, lora, [TokenTurn([1], [[200, 201]])], TrainConfig(words=16))
    assert {10, 2, 20, 200, 201} <= set(words.ids.tolist())
    assert len(words) == 16
    assert all(w.among for w in works)


@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_policy_and_reference_cancel_among_the_words_too(temperature: float) -> None:
    """The adapter off: every ratio is 0, the loss log 2 a pair."""
    lora, given = tiny_lora(), [replace(t, temperature=temperature) for t in turns("pairs")]
    works = prepare(given, lora, CONFIG, None, Callbacks(), states_only=True)
    words = focus(works, lora, [], TrainConfig(words=32))
    with lora.disabled(), torch.no_grad():
        for work in works:
            logps = response_logps(lora.model, lora.pack([work.tokens]), words)
            assert logps.tolist() == pytest.approx(work.among, abs=1e-4)
            loss, _ = turn_loss(work, logps, CONFIG, among_words=True)
            assert loss.item() == pytest.approx(0.693147, abs=1e-3)


def test_a_fit_among_a_few_words_learns_what_all_words_show() -> None:
    lora = tiny_lora()
    works = prepare(turns("pairs"), lora, CONFIG, None, Callbacks(), states_only=True)
    words = focus(works, lora, [], TrainConfig(words=64))
    last = fit(lora, works, CONFIG, Team(), Callbacks(), words=words)
    assert last["accuracy"] == 1.0
    exact = prepare(turns("pairs"), lora, CONFIG, None, Callbacks())
    found = score(lora.model, [w.turn.tokens for w in exact], budget=1000)
    for work, (good, bad) in zip(exact, found, strict=True):
        assert good - work.reference[0] > bad - work.reference[1] + 1.0


def test_where_a_fit_sees_only_some_words() -> None:
    lora = tiny_lora()
    assert some_words(lora, TrainConfig(words=100))
    assert not some_words(lora, TrainConfig(words=259))
    assert not some_words(lora, TrainConfig(words=0))
