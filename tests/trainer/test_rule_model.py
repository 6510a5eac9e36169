"""The rule model: rules told apart by their text, new ones by what they have in common, the fit and AUC by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainer.pooled import LENGTHS
from trainer.rule_model import SHARED, Flag, _Table, alike, auc, code, learn, left_out

SIZE, WIDTH = 2 * 8 + 3, 6
#: "no lists", "no questions"; "no bullet points" is nearly the first, "be kind" has nothing in common with either
TEXTS = {
    "lists": torch.tensor([4.0, 0, 0, 1, 0, 0]),
    "questions": torch.tensor([0.0, 4, 0, 1, 0, 0]),
    "bullets": torch.tensor([3.5, 0, 1, 1, 0, 0]),
    "kind": torch.tensor([0.0, 0, 0, 1, 4, 0]),
}


def broken(features: Tensor, rule: str) -> Tensor:  # (R, F) -> (R,)
    """Lists show in one feature, questions in another."""
    return features[:, 2 if rule in ("lists", "bullets") else 5] > 0.5


def drawn(count: int, seed: int) -> Tensor:
    """Features of answers of 150 tokens."""
    x = torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed))
    x[:, -LENGTHS] = math.log(150)
    return x


def flags(count: int, seed: int, *rules: str) -> list[Flag]:
    x = drawn(count, seed)
    return [Flag(str(i), rule, x[i], bool(broken(x[i : i + 1], rule)[0])) for i in range(count) for rule in rules]


def seen(count: int = 400, seed: int = 99) -> Tensor:
    return drawn(count, seed)


def measured(model: object, rule: str) -> float:
    x = seen()
    return auc(model.logits(x, TEXTS[rule]).tolist(), broken(x, rule).tolist())  # type: ignore[attr-defined]


def test_two_rules_are_told_apart_by_their_text() -> None:
    model = learn(flags(60, 0, "lists", "questions"), TEXTS)
    assert model.rules == ["lists", "questions"]
    assert measured(model, "lists") > 0.9
    assert measured(model, "questions") > 0.9


def test_a_new_rule_is_judged_by_those_that_are_like_it() -> None:
    """Its words alone: nothing was flagged for it."""
    model = learn(flags(60, 1, "lists", "questions"), TEXTS)
    assert measured(model, "bullets") > 0.85
    known, new = (model.logits(seen(), TEXTS[rule]) for rule in ("lists", "kind"))
    assert float(new.std()) < float(known.std())


def test_the_kernel_of_rules_by_hand() -> None:
    middle = torch.zeros(WIDTH, dtype=torch.float64)
    codes = torch.stack([code(TEXTS[rule], middle) for rule in ("lists", "questions")])
    cosine = 1 / 17  # (4, 0, 1) and (0, 4, 1)
    wanted = SHARED + (1 - SHARED) * cosine
    torch.testing.assert_close(alike(codes, codes), torch.tensor([[1.0, wanted], [wanted, 1.0]], dtype=torch.float64))
    turned = alike(codes[:1], -codes[:1])
    assert float(turned) == pytest.approx(SHARED)


def test_the_weights_are_where_the_kernels_loss_is_flat() -> None:
    """With logits K a: K [sigmoid(K a) - y + r s a] = 0, by a loop over flags."""
    table, ridge = _Table(flags(12, 2, "lists", "questions"), TEXTS), 0.1
    found = table.turn @ (table.fit(torch.ones(24, dtype=torch.bool), ridge) / table.roots)
    rest = []
    for i in range(24):
        logit = sum(float(table.kernel[i, j]) * float(found[j]) for j in range(24))
        rest.append(1 / (1 + math.exp(-logit)) - float(table.broken[i]) + ridge * table.size * float(found[i]))
    slope = table.kernel @ torch.tensor(rest, dtype=torch.float64)
    assert float(slope.abs().max()) < 1e-4


def test_what_is_saved_gives_the_kernels_logits() -> None:
    given = flags(12, 3, "lists", "questions")
    table = _Table(given, TEXTS)
    model = table.learn(0)
    logits = table.basis @ table.fit(torch.ones(24, dtype=torch.bool), model.ridge)
    for i, flag in enumerate(given):
        assert float(model.logits(flag.features[None], TEXTS[flag.rule])[0]) == pytest.approx(
            float(logits[i]), abs=1e-6
        )


def test_what_was_left_out_was_not_learned_from() -> None:
    given = flags(20, 4, "lists")
    turned = [*given[:-1], Flag("19", "lists", given[-1].features, not given[-1].violated)]
    torch.testing.assert_close(left_out(given, TEXTS)[-1], left_out(turned, TEXTS)[-1])
    assert auc(left_out(flags(60, 5, "lists"), TEXTS).tolist(), [f.violated for f in flags(60, 5, "lists")]) > 0.8


def test_auc_by_hand() -> None:
    """Broken 3, 1; kept 2, 1: 3 > 2, 3 > 1, 1 < 2, 1 = 1, so 2.5 of 4."""
    assert auc([3, 1, 2, 1], [True, True, False, False]) == pytest.approx(2.5 / 4)
    assert math.isnan(auc([1.0, 2.0], [True, True]))


def test_one_side_alone_is_refused() -> None:
    kept = [flag for flag in flags(40, 6, "lists") if not flag.violated]
    with pytest.raises(ValueError, match="keeping it"):
        learn(kept, TEXTS)
