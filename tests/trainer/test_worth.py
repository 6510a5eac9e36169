"""The penalty for a drift, as a mean over all words: how strong it is, what it costs, where it is at rest."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.trainer.test_logprobs import gradients
from tests.trainer.test_ppo import CONFIG, WORTH, World, lora, rollouts
from trainer import ppo
from trainer.errors import BadSetting
from trainer.features import Callbacks
from trainer.logprobs import Head, TokenTurn, hidden_states
from trainer.ppo import advise, look, ordinary_loss, step_loss
from trainer.worth import LEAST, Output, beta_for, distance, some


def test_the_best_policy_by_hand() -> None:
    """Of two words as likely, one is worth log 3 more. Under a penalty of 1 a nat it is drawn with 3/4: that lies
    3/4 log(3/2) + 1/4 log(1/2) nats away."""
    logps = torch.log(torch.tensor([[0.5, 0.5]]))
    worth = torch.tensor([[math.log(3), 0.0]])
    away = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert distance(logps, worth, 1.0) == pytest.approx(away, abs=1e-6)
    assert beta_for(logps, worth, away) == pytest.approx(1.0, rel=1e-3)
    assert beta_for(logps, 2 * worth, away) == pytest.approx(2.0, rel=1e-3)


def test_the_best_policy_lies_where_it_is_wanted() -> None:
    draw = torch.Generator().manual_seed(0)
    logps, worth = torch.log_softmax(torch.randn(50, 20, generator=draw), -1), torch.randn(50, 20, generator=draw)
    for aim in (0.01, 0.1, 0.5):
        assert distance(logps, worth, beta_for(logps, worth, aim)) == pytest.approx(aim, rel=1e-3)
    assert beta_for(logps, torch.ones(50, 20), 0.1) == pytest.approx(LEAST, rel=1e-3), "no word is worth more"


def test_some_rows_are_at_even_distances() -> None:
    rows = torch.arange(10.0)[:, None]
    assert some([rows[:4], rows[4:]], 5).flatten().tolist() == [0, 2, 4, 6, 8]
    assert some([rows], 100).flatten().tolist() == rows.flatten().tolist()


def test_a_step_weighs_what_words_are_worth_against_their_drift() -> None:
    """The slope of the loss against autograd on E[u] - beta KL over all words, beside the sampled advantages."""
    policy, batch = lora(shaken=True), rollouts()
    for rollout in batch:
        rollout.worth = WORTH.repeat(len(rollout.lengths), 1)
        rollout.shares = torch.zeros(sum(rollout.lengths))
    output = look(policy, None, batch, replace(CONFIG, kl_aim=0.1), Callbacks())
    advise(batch, CONFIG, 0.3, exact=True)
    assert all(rollout.hold > 0 for rollout in batch)
    mine = gradients(policy, step_loss(policy, None, batch, output, CONFIG)[0])
    packed = policy.pack([rollout.turn for rollout in batch])
    weight = policy.model.get_output_embeddings().weight.detach()
    with torch.no_grad(), policy.disabled():
        q = torch.log_softmax(hidden_states(policy.model, packed) @ weight.T, -1)
    p = torch.log_softmax(hidden_states(policy.model, packed) @ weight.T, -1)
    pull = torch.cat([rollout.pull for rollout in batch])
    worth = (pull @ policy.model.get_input_embeddings().weight.detach().T)[packed.owner]
    gain = (p.exp() * (worth - batch[0].hold * (p - q))).sum(1)
    chosen = p.gather(1, packed.labels[:, None])[:, 0]
    advantages = torch.cat([rollout.advantages for rollout in batch])
    wanted = gradients(policy, -(gain + advantages * chosen).mean())
    torch.testing.assert_close(mine, wanted, atol=1e-5, rtol=1e-3)


def test_a_penalty_that_is_a_mean_is_not_sampled_too() -> None:
    policy, batch = lora(shaken=True), rollouts()
    for rollout in batch:
        rollout.worth = torch.zeros(len(rollout.lengths), 64)
        rollout.shares = torch.zeros(sum(rollout.lengths))
    look(policy, None, batch, CONFIG, Callbacks())
    advise(batch, replace(CONFIG, whiten=False), 0.3, exact=True)
    exact = torch.cat([rollout.advantages for rollout in batch])
    advise(batch, replace(CONFIG, whiten=False), 0.0)
    torch.testing.assert_close(exact, torch.cat([rollout.advantages for rollout in batch]))
    assert not any(rollout.hold for rollout in batch)


def test_ordinary_texts_hold_a_policy_where_it_is() -> None:
    """At the base they ask for nothing; away from it they cost its KL there; without a penalty they are learned."""
    texts = [TokenTurn([9, 8], [[7, 6, 5]]), TokenTurn([3], [[4, 4]])]
    still, moved = lora(), lora(shaken=True)
    output = Output(Head.of(still.model), still.model.get_input_embeddings().weight.detach())
    loss = ordinary_loss(still, texts, output, 2.0)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert float(gradients(still, loss).abs().max()) < 1e-6
    output = Output(Head.of(moved.model), moved.model.get_input_embeddings().weight.detach())
    packed = moved.pack(texts)
    with torch.no_grad():
        p = torch.log_softmax(hidden_states(moved.model, packed) @ output.scores.weight.T, -1)
        with moved.disabled():
            q = torch.log_softmax(hidden_states(moved.model, packed) @ output.scores.weight.T, -1)
    cost = ordinary_loss(moved, texts, output, 2.0)
    assert float(cost.detach()) == pytest.approx(2 * float((p.exp() * (p - q)).sum(1).mean()), rel=1e-4)
    assert float(cost.detach()) > 0
    plain = torch.log_softmax(hidden_states(moved.model, packed) @ output.scores.weight.T, -1)
    wanted = gradients(moved, 2 * (plain.exp() * (plain - q)).sum(1).mean())
    torch.testing.assert_close(gradients(moved, ordinary_loss(moved, texts, output, 2.0)), wanted, atol=1e-6, rtol=1e-3)
    nll = -p.gather(1, packed.labels[:, None]).mean()
    assert float(ordinary_loss(moved, texts, output, 0.0).detach()) == pytest.approx(float(nll), rel=1e-4)


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_the_penalty_is_found_at_the_first_batch_and_kept(algorithm: str) -> None:
    """The tighter the aim, the dearer a nat."""
    found = {}
    for aim in (0.01, 0.1):
        policy = lora()
        world = World(policy, worth=WORTH)
        config = replace(CONFIG, algorithm=algorithm, batches=2, kl_aim=aim, kl_budget=10.0)  # type: ignore[arg-type]
        rows = ppo.train(policy, None, world.draw, world.assess, config, Callbacks()).rows
        assert len({row["kl_coefficient"] for row in rows}) == 1
        found[aim] = rows[0]["kl_coefficient"]
    assert found[0.01] > found[0.1] > 0


@pytest.mark.parametrize(
    ("without", "why"),
    [
        ({"expected": False}, "expected is off"),
        ({"kl_coefficient": 0.0}, "is 0"),
        ({"algorithm": "rloo", "ratio": "answer"}, "ratio is 'answer'"),
    ],
)
def test_an_aim_that_could_not_be_kept_is_refused(without: dict[str, Any], why: str) -> None:
    with pytest.raises(BadSetting, match=f"kl_aim is 0.1; it must be 0 where .*{why}"):
        replace(CONFIG, kl_aim=0.1, **without)


def test_where_no_word_is_worth_anything_the_penalty_is_sampled() -> None:
    policy = lora()
    world = World(policy, worth=torch.zeros_like(WORTH))
    config = replace(CONFIG, batches=1, kl_aim=0.1, kl_budget=10.0)
    assert ppo.train(policy, None, world.draw, world.assess, config, Callbacks()).rows[0]["kl_coefficient"] == 0.05
