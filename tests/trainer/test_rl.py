"""Reinforcement learning's arithmetic: by hand, against slow loops, and on a problem whose answer is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainer import rl

LENGTHS = (5, 1, 7, 3)


def drawing(seed: int = 0) -> tuple[Callable[[], Tensor], Tensor]:
    """Random numbers of answers of these lengths, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    width = max(LENGTHS)
    mask = torch.tensor([[float(t < n) for t in range(width)] for n in LENGTHS], dtype=torch.float64)
    return lambda: torch.randn(len(LENGTHS), width, generator=generator, dtype=torch.float64), mask


def test_the_score_comes_with_the_last_token_and_each_token_pays_for_its_drift() -> None:
    """0.1 * (-1 + 1.5) = 0.05 is paid by the first token; the second has 2 + 0.1; outside of the mask is nothing."""
    mask = torch.tensor([[1.0, 1, 0], [1, 0, 0]])
    logps, ref = torch.tensor([[-1.0, -2, 9], [-3, 9, 9]]), torch.tensor([[-1.5, -1, 0], [-3, 0, 0]])
    found = rl.token_rewards(torch.tensor([2.0, -1.0]), logps, ref, mask, 0.1)
    torch.testing.assert_close(found, torch.tensor([[-0.05, 2.1, 0.0], [-1.0, 0.0, 0.0]]))
    # of the score 2 the first token has 0.5 and the second 0.25: 1.25 are left for the last, which is the second
    shares = torch.tensor([[0.5, 0.25, 9.0], [0.5, 9.0, 9.0]])
    dense = rl.token_rewards(torch.tensor([2.0, -1.0]), logps, ref, mask, 0.1, shares)
    torch.testing.assert_close(dense, torch.tensor([[0.45, 1.6, 0.0], [-1.0, 0.0, 0.0]]))
    torch.testing.assert_close(dense.sum(1), found.sum(1))


def test_an_answer_without_tokens_is_refused() -> None:
    nothing = torch.zeros(1, 3)
    with pytest.raises(ValueError, match="without tokens"):
        rl.token_rewards(torch.ones(1), nothing, nothing, nothing, 0.1)


@pytest.mark.parametrize(("discount", "decay"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (1.0, 0.0)])
def test_advantages_are_the_sum_of_the_paper(discount: float, decay: float) -> None:
    draw, mask = drawing()
    rewards, values = draw() * mask, draw()
    found, returns = rl.gae(rewards, values, mask, discount=discount, decay=decay)
    for row, n in enumerate(LENGTHS):
        value = [float(values[row, t]) for t in range(n)] + [0.0]
        delta = [float(rewards[row, t]) + discount * value[t + 1] - value[t] for t in range(n)]
        for t in range(mask.shape[1]):
            wanted = sum((discount * decay) ** k * delta[t + k] for k in range(n - t)) if t < n else 0.0
            assert float(found[row, t]) == pytest.approx(wanted)
            assert float(returns[row, t]) == pytest.approx(wanted + value[t] if t < n else 0.0)


def test_without_decay_the_returns_are_the_rewards_still_to_come() -> None:
    draw, mask = drawing(1)
    rewards = draw() * mask
    _, returns = rl.gae(rewards, draw(), mask, decay=1.0)
    torch.testing.assert_close(returns, rewards.flip(1).cumsum(1).flip(1) * mask)


def test_the_policy_loss_by_hand() -> None:
    """Ratio 1.5, advantage 1: no more than 1.2 is to be had. Advantage -1: the whole 1.5 is paid. 0.5 is clipped to 0.8
    where that costs more."""
    ratios, advantages = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1]), torch.tensor([1.0, -1, 1, -1, 2])
    loss, metrics = rl.policy_loss(ratios.log(), torch.zeros(5), advantages)
    assert loss.tolist() == pytest.approx([-1.2, 1.5, -0.5, 0.8, -2.2])
    assert metrics["clipped"] == pytest.approx(0.8)


def test_the_policy_loss_and_its_slopes_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(2)
    logps = torch.randn(50, generator=generator, dtype=torch.float64).requires_grad_()
    old = logps.detach() + 0.3 * torch.randn(50, generator=generator, dtype=torch.float64)
    advantages = torch.randn(50, generator=generator, dtype=torch.float64)
    loss, _ = rl.policy_loss(logps, old, advantages, clip=0.1)
    loss.sum().backward()
    assert logps.grad is not None
    for i in range(50):
        ratio, a = float(torch.exp(logps.detach()[i] - old[i])), float(advantages[i])
        free = (ratio <= 1.1 or a < 0) and (ratio >= 0.9 or a > 0)
        near = min(max(ratio, 0.9), 1.1)
        assert float(loss[i]) == pytest.approx(-min(a * ratio, a * near))
        assert float(logps.grad[i]) == pytest.approx(-a * ratio if free else 0.0)


def test_the_value_loss_by_hand() -> None:
    """1 from 0, wanted 1: plain 0, near 0.2: 0.8^2 / 2. 1 from 0.9, wanted 0: nothing is clipped, 1 / 2."""
    loss, metrics = rl.value_loss(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.9]), torch.tensor([1.0, 0.0]))
    assert loss.tolist() == pytest.approx([0.32, 0.5])
    assert metrics["value_clipped"] == 0.5


def test_whitened_over_the_tokens_alone() -> None:
    draw, mask = drawing(3)
    values = draw() * 5 + 2
    found = rl.whiten(values, mask)
    inside = found[mask.bool()]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-6)
    assert float(inside.std(correction=0)) == pytest.approx(1, abs=1e-6)
    assert not found[~mask.bool()].any()
    kept = rl.whiten(values, mask, centre=False)[mask.bool()]
    assert float(kept.mean()) == pytest.approx(float(values[mask.bool()].mean()))


def test_each_answer_is_compared_with_the_others_of_its_prompt() -> None:
    """6 against the mean of 1 and 2."""
    found = rl.rloo(torch.tensor([[1.0, 2, 6], [0, 0, 3]]))
    torch.testing.assert_close(found, torch.tensor([[1 - 4, 2 - 3.5, 6 - 1.5], [-1.5, -1.5, 3.0]]))
    with pytest.raises(ValueError, match="at least two answers"):
        rl.rloo(torch.ones(3, 1))


def test_kl_estimates_on_a_case_that_can_be_counted() -> None:
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    q = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    exact = float((p * (p / q).log()).sum())
    means = {kind: float((p * rl.kl(p.log(), q.log(), kind)).sum()) for kind in ("k1", "k2", "k3")}
    assert means["k1"] == pytest.approx(exact)
    assert means["k3"] == pytest.approx(exact)
    assert means["k2"] != pytest.approx(exact)
    assert bool((rl.kl(p.log(), q.log(), "k3") >= 0).all())
    spread = {k: float((p * (rl.kl(p.log(), q.log(), k) - exact) ** 2).sum()) for k in ("k1", "k3")}
    assert spread["k3"] < spread["k1"]
    with pytest.raises(ValueError, match="k4"):
        rl.kl(p, q, "k4")


def test_the_coefficient_is_led_to_its_target_by_small_steps() -> None:
    """Twice the target counts as 0.2 above it: times 1 + 0.2 * 10 / 100."""
    found = rl.AdaptiveKL(0.1, 6.0, 100)
    assert found.update(12.0, 10) == pytest.approx(0.1 * 1.02)
    assert found.update(6.0, 10) == pytest.approx(0.1 * 1.02)
    assert found.update(6.6, 10) == pytest.approx(0.1 * 1.02 * 1.01)
    assert found.update(0.0, 10) == pytest.approx(0.1 * 1.02 * 1.01 * 0.98)


@pytest.mark.parametrize("kind", ["ppo", "rloo"])
def test_a_bandit_is_solved(kind: str) -> None:
    """Four arms with known scores. With a KL penalty b the optimum is base * exp(score / b), normalised."""
    torch.manual_seed(0)
    scores, base = torch.tensor([0.0, 1.0, 2.0, 0.5]), torch.log(torch.tensor([0.4, 0.3, 0.1, 0.2]))
    wanted = torch.softmax(base + scores, 0)
    logits, value = base.clone().requires_grad_(True), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.Adam([logits, value], lr=0.05)
    mask = torch.ones(256, 1)
    for _ in range(300):
        with torch.no_grad():
            known = torch.log_softmax(logits, 0)
            arms = torch.multinomial(known.exp(), 256, replacement=True)
            old, expected = known[arms], value.expand(256)[:, None].clone()
            rewards = rl.token_rewards(scores[arms], old[:, None], base[arms][:, None], mask, 1.0)
            advantages, returns = rl.gae(rewards, expected, mask)
            advantages = rl.whiten(advantages, mask)[:, 0] * 0.3
            if kind == "rloo":
                advantages = rl.rloo(rewards.view(64, 4)).view(-1)
        for _ in range(2):
            loss = rl.policy_loss(torch.log_softmax(logits, 0)[arms], old, advantages)[0].mean()
            if kind == "ppo":
                loss = loss + rl.value_loss(value.expand(256), expected[:, 0], returns[:, 0])[0].mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] *= 0.99
    torch.testing.assert_close(torch.softmax(logits, 0).detach(), wanted, atol=0.03, rtol=0)
