"""Each loss against arithmetic done by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainer import losses


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)


CHOSEN, REJECTED = column(-10.0, -8.0), column(-12.0, -7.0)
REF_CHOSEN, REF_REJECTED = column(-11.0, -8.0), column(-11.0, -9.0)
# h = (chosen - ref_chosen) - (rejected - ref_rejected) = (1 - -1, 0 - 2) = (2, -2)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_dpo_is_minus_log_sigmoid_of_beta_h() -> None:
    """beta 0.5: -log s(1) = 0.3133 and -log s(-1) = 1.3133."""
    loss, metrics = losses.dpo(CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, beta=0.5)
    assert loss.tolist() == pytest.approx([0.313262, 1.313262], abs=1e-5)
    assert metrics == {"accuracy": 0.5, "margin": 0.0, "chosen_ratio": 0.5}


def test_dpo_of_the_base_itself_is_log_two() -> None:
    loss, _ = losses.dpo(CHOSEN, REJECTED, CHOSEN, REJECTED)
    assert loss.tolist() == pytest.approx([math.log(2)] * 2)


def test_label_smoothing_mixes_in_the_opposite() -> None:
    """e 0.1: 0.9 * 0.3133 + 0.1 * 1.3133 = 0.4133; and 0.9 * 1.3133 + 0.1 * 0.3133 = 1.2133."""
    loss, _ = losses.dpo(CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, beta=0.5, label_smoothing=0.1)
    assert loss.tolist() == pytest.approx([0.413262, 1.213262], abs=1e-5)


def test_ipo_is_squared_distance_to_half_over_beta() -> None:
    """beta 0.5: (2 - 1)^2 = 1 and (-2 - 1)^2 = 9."""
    loss, _ = losses.dpo(CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, beta=0.5, kind="ipo")
    assert loss.tolist() == pytest.approx([1.0, 9.0])


def test_length_normalised_uses_ratios_per_token() -> None:
    """lengths 2 and 4, 1 and 4: h = 1/2 - (-1/4) = 0.75 and 0/1 - 2/4 = -0.5; beta 2: -log s(1.5), -log s(-1)."""
    loss, _ = losses.dpo(
        CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, beta=2.0, lengths=(column(2.0, 1.0), column(4.0, 4.0))
    )
    assert loss.tolist() == pytest.approx([-math.log(sigmoid(1.5)), -math.log(sigmoid(-1.0))], abs=1e-6)


def test_margin_asks_for_a_gap() -> None:
    """beta 0.5, scale 2, margins 0.5 and 0: logits 1 - 1 = 0 and -1."""
    loss, _ = losses.dpo(
        CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, beta=0.5, margin=column(0.5, 0.0), margin_scale=2.0
    )
    assert loss.tolist() == pytest.approx([math.log(2), 1.313262], abs=1e-5)


def test_dpop_punishes_a_chosen_answer_that_fell() -> None:
    """The chosen one fell from -9 to -10: 1 nat. h = -1 - (-3) = 2, lambda 3: 0.5 * (2 - 3) = -0.5."""
    loss, _ = losses.dpo(column(-10.0), column(-12.0), column(-9.0), column(-9.0), beta=0.5, dpop=3.0)
    assert loss.item() == pytest.approx(-math.log(sigmoid(-0.5)), abs=1e-6)


def test_dpop_leaves_a_chosen_answer_that_rose_alone() -> None:
    """The chosen one rose from -11 to -10: h = 1 - (-1) = 2, nothing is taken off: -log s(0.5 * 2)."""
    loss, _ = losses.dpo(column(-10.0), column(-12.0), column(-11.0), column(-11.0), beta=0.5, dpop=3.0)
    assert loss.item() == pytest.approx(-math.log(sigmoid(1.0)), abs=1e-6)


def test_dpop_per_token() -> None:
    """4 tokens, fell by 1 nat: 0.25 a token; 2 tokens, fell by 3: h = -0.25 + 1.5 = 1.25; 2 (1.25 - 3 * 0.25) = 1."""
    loss, _ = losses.dpo(
        column(-10.0), column(-12.0), column(-9.0), column(-9.0), beta=2.0, dpop=3.0, lengths=(column(4.0), column(2.0))
    )
    assert loss.item() == pytest.approx(-math.log(sigmoid(1.0)), abs=1e-6)


def test_smoothing_and_margin_together() -> None:
    """beta 0.5, h 2, margin 0.5 at scale 2: logit 0, so both terms are log 2, whatever the smoothing."""
    loss, _ = losses.dpo(
        CHOSEN[:1],
        REJECTED[:1],
        REF_CHOSEN[:1],
        REF_REJECTED[:1],
        beta=0.5,
        label_smoothing=0.3,
        margin=column(0.5),
        margin_scale=2.0,
    )
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)


def test_ipo_refuses_what_it_would_ignore() -> None:
    for option in ({"label_smoothing": 0.1}, {"dpop": 1.0}, {"margin_scale": 1.0}):
        with pytest.raises(ValueError, match="ipo takes no"):
            losses.dpo(CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, kind="ipo", **option)  # type: ignore[arg-type]


def test_no_pairs_are_no_loss() -> None:
    none = column()
    loss, metrics = losses.dpo(none, none, none, none)
    assert loss.shape == (0,)
    assert all(math.isnan(value) for value in metrics.values())


def test_nll_is_per_token() -> None:
    assert losses.nll(column(-10.0, -3.0), column(5.0, 1.0)).tolist() == pytest.approx([2.0, 3.0])


def test_sft_is_per_token_of_the_batch() -> None:
    """13 nats over 6 tokens; the mean of the means would be 2.5."""
    assert losses.sft(column(-10.0, -3.0), column(5.0, 1.0)).item() == pytest.approx(13 / 6)


def test_log_loss_is_dpos() -> None:
    """-log s(0.5 * 2) and -log s(0)."""
    assert losses.log_loss(column(2.0, 0.0), 0.5).tolist() == pytest.approx([0.313262, math.log(2)], abs=1e-6)


def test_kto_by_hand() -> None:
    """r = (1, -1), z0 = 0.5, beta 2: good 1 - s(2 * 0.5) = 0.2689; bad 1 - s(2 * 1.5) = 0.0474."""
    loss, metrics = losses.kto(column(-4.0, -6.0), column(-5.0, -5.0), torch.tensor([True, False]), 0.5, beta=2.0)
    assert loss.tolist() == pytest.approx([1 - sigmoid(1.0), 1 - sigmoid(3.0)], abs=1e-6)
    assert metrics == {"unpaired_accuracy": 1.0, "kto_baseline": 0.5}


def test_kto_weights_good_and_bad_apart() -> None:
    """r = 0 and z0 = 0: 1 - s(0) = 0.5 for both, times 2 and 0.5."""
    loss, _ = losses.kto(
        column(-5.0, -5.0), column(-5.0, -5.0), torch.tensor([True, False]), good_weight=2.0, bad_weight=0.5
    )
    assert loss.tolist() == pytest.approx([1.0, 0.25])


def test_kto_of_a_bad_answer_never_pulls_it_up() -> None:
    """Its gradient by the log-prob is beta s (1 - s) > 0 everywhere: descending always makes it less likely."""
    logps = torch.linspace(-40, 30, 15).requires_grad_()
    losses.kto(logps, torch.full((15,), -5.0), torch.zeros(15, dtype=torch.bool), 0.5)[0].sum().backward()
    assert logps.grad is not None
    assert (logps.grad > 0).all()


def test_kto_baseline_is_at_least_zero_and_has_no_gradient() -> None:
    logps = column(-4.0).requires_grad_()
    baseline = column(-3.0).requires_grad_().sum()
    loss, metrics = losses.kto(logps, column(-5.0), torch.tensor([True]), baseline)
    loss.sum().backward()
    assert metrics["kto_baseline"] == 0.0
    assert logps.grad is not None
    # d/dlogp of 1 - s(0.1 * 1) is -0.1 s (1 - s)
    assert logps.grad.item() == pytest.approx(-0.1 * sigmoid(0.1) * (1 - sigmoid(0.1)), abs=1e-6)


def test_dpo_gradient_pushes_apart() -> None:
    chosen = CHOSEN.clone().requires_grad_()
    rejected = REJECTED.clone().requires_grad_()
    losses.dpo(chosen, rejected, REF_CHOSEN, REF_REJECTED, beta=0.5)[0].sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    # eq. 7's gradient: -beta * sigmoid(-beta h)
    assert chosen.grad.tolist() == pytest.approx([-0.5 * sigmoid(-1.0), -0.5 * sigmoid(1.0)], abs=1e-6)
    assert rejected.grad.tolist() == pytest.approx([0.5 * sigmoid(-1.0), 0.5 * sigmoid(1.0)], abs=1e-6)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="four vectors"):
        losses.dpo(CHOSEN, REJECTED[:1], REF_CHOSEN, REF_REJECTED)
