"""The rule model: how likely an answer breaks a rule, from the rule's text and what the base makes of the answer.

Rule-conditional, after Sparrow (Glaese et al. 2022, arXiv 2209.14375, section 3.4): one classifier for all rules, which
is given the rule's text. It is a logistic regression with the product of two kernels: how alike two answers are
(pooled.py), and how alike two rules' texts are. So what was flagged for one rule counts for another one as far as
their words agree, and a rule that nobody has flagged anything for is judged by those that are like it. The fit is
convex; how strongly it is held back is chosen by cross-validation over prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.pooled import apart
from trainer.reward import balance

FOLDS = 5
RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SHARED = 0.1  #: how alike two rules are whatever they say: breaking any rule has something in common


@dataclass(frozen=True, slots=True)
class Flag:
    """What was said of an answer under a rule."""

    prompt: str  #: whose answers are left out together
    rule: str
    features: Tensor  # (F,) of the answer
    violated: bool
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class RuleModel:
    centre: Tensor  # (F,) of the features
    scale: Tensor  # (F,)
    rules: list[str]  #: that something was flagged for
    codes: Tensor  # (K, D) what their texts are about, of length 1
    middle: Tensor  # (D,) of all rules' texts, taken off before
    weights: Tensor  # (K, F + 1) the last one is the rule's level
    ridge: float

    def logits(self, features: Tensor, rule: Tensor) -> Tensor:  # (R, F), (D,) -> (R,)
        """log odds that each answer breaks the rule with this text's mean embedding."""
        return _scaled(features, self.centre, self.scale) @ self._of(rule)

    def line(self, rule: Tensor) -> tuple[Tensor, float]:  # (D,) -> (F,), scalar
        """What the log odds gain by one more of each feature of `apart`, and what they are at the centre."""
        weights = self._of(rule)
        return weights[:-1] / self.scale, float(weights[-1])

    def _of(self, rule: Tensor) -> Tensor:  # (D,) -> (F + 1,)
        found: Tensor = alike(code(rule, self.middle)[None], self.codes)[0] @ self.weights
        return found

    def tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ("centre", "scale", "codes", "middle", "weights")}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> RuleModel:
        return cls(**tensors, rules=[str(r) for r in about["rules"]], ridge=float(about["ridge"]))


def code(rule: Tensor, middle: Tensor) -> Tensor:  # (D,), (D,) -> (D,)
    """What a rule's text is about beside what all rules are, of length 1."""
    own = rule.double() - middle
    return own / own.norm().clamp(min=1e-9)


def alike(one: Tensor, other: Tensor) -> Tensor:  # (A, D), (B, D) -> (A, B)
    """The kernel of two rules: 1 for the same text (that says more than all rules do), SHARED for what has nothing in
    common."""
    return SHARED + (1 - SHARED) * (one @ other.T).clamp(min=0)


def learn(
    flags: Sequence[Flag], texts: Mapping[str, Tensor], *, seed: int = 0, before: Callable[[], object] = lambda: None
) -> RuleModel:
    """From all flags. texts: the mean embedding of each rule's text, of more rules than were flagged. ValueError
    where no flag says "broken", or none "kept". before: called now and then, may raise to end it."""
    return _Table(flags, texts, before).learn(seed)


def left_out(
    flags: Sequence[Flag], texts: Mapping[str, Tensor], *, seed: int = 0, before: Callable[[], object] = lambda: None
) -> Tensor:  # (N,)
    """The log odds of each flag by a model that learned nothing of its prompt."""
    names = sorted({flag.prompt for flag in flags})
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)) % min(FOLDS, len(names))
    fold = dict(zip(names, order.tolist(), strict=True))
    found = torch.zeros(len(flags), dtype=torch.float64)
    for part in range(int(order.max()) + 1):
        rest = [flag for flag in flags if fold[flag.prompt] != part]
        if len({flag.violated for flag in rest}) < 2:
            continue
        model = learn(rest, texts, seed=seed, before=before)
        for i, flag in enumerate(flags):
            if fold[flag.prompt] == part:
                found[i] = model.logits(flag.features[None], texts[flag.rule])[0]
    return found


def auc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Share of (broken, kept) pairs that are ordered rightly, ties half; NaN without one of each (Hanley and McNeil
    1982)."""
    yes = [s for s, p in zip(scores, positive, strict=True) if p]
    no = [s for s, p in zip(scores, positive, strict=True) if not p]
    if not yes or not no:
        return float("nan")
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in yes for b in no) / (len(yes) * len(no))


def _scaled(features: Tensor, centre: Tensor, scale: Tensor) -> Tensor:  # (R, F) -> (R, F + 1)
    x = apart(features, centre) / scale
    return torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)


class _Table:
    """The flags as a kernel matrix."""

    def __init__(
        self, flags: Sequence[Flag], texts: Mapping[str, Tensor], before: Callable[[], object] = lambda: None
    ) -> None:
        if len({flag.violated for flag in flags}) < 2:
            raise ValueError("a rule model needs answers that were flagged as breaking a rule and others as keeping it")
        self.before = before
        features = torch.stack([flag.features for flag in flags]).double()
        self.centre = features.mean(0)
        scale = apart(features, self.centre).std(0, correction=0)
        self.scale = scale.clamp(min=1e-3 * float(scale.median()) + 1e-12) / balance(features.shape[1])
        self.rules = sorted({flag.rule for flag in flags})
        self.middle = torch.stack([t.double() for t in texts.values()]).mean(0)
        self.codes = torch.stack([code(texts[rule], self.middle) for rule in self.rules])
        self.x = _scaled(features, self.centre, self.scale)
        self.rule = torch.tensor([self.rules.index(flag.rule) for flag in flags])
        self.broken = torch.tensor([float(flag.violated) for flag in flags], dtype=torch.float64)
        self.weights = torch.tensor([flag.weight for flag in flags], dtype=torch.float64)
        names = sorted({flag.prompt for flag in flags})
        self.prompt = torch.tensor([names.index(flag.prompt) for flag in flags])
        self.kernel = (self.x @ self.x.T) * alike(self.codes, self.codes)[self.rule][:, self.rule]
        self.size = float(self.kernel.diagonal().mean())
        # the kernel's features, kernel = basis basis^T, so that the fit is an ordinary ridge regression. A kernel whose
        # negative cosines are cut off may have directions of negative size: those are left out
        values, turn = torch.linalg.eigh(self.kernel)
        kept = values > 1e-9 * values.max()
        self.turn, self.roots = turn[:, kept], values[kept].sqrt()  # (N, M), (M,)
        self.basis = self.turn * self.roots  # (N, M)

    def fit(
        self, chosen: Tensor, ridge: float, *, start: Tensor | None = None, tolerance: float = 1e-7
    ) -> Tensor:  # (N,) bool -> (M,)
        """Weights of `basis` from the chosen flags. Convex: start saves time alone."""
        basis, broken, weights = self.basis[chosen], self.broken[chosen], self.weights[chosen]
        begin = torch.zeros(self.basis.shape[1], dtype=torch.float64) if start is None else start.clone()
        found = begin.requires_grad_()
        optimiser = torch.optim.LBFGS(
            [found], max_iter=200, tolerance_grad=tolerance, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            self.before()
            loss = F.binary_cross_entropy_with_logits(basis @ found, broken, weights, reduction="sum")
            value = loss + 0.5 * ridge * self.size * found.pow(2).sum()
            value.backward()
            return value

        optimiser.step(closure)
        return found.detach()

    def choose(self, seed: int) -> float:
        """The ridge with which flags of prompts that were left out are likeliest."""
        count = int(self.prompt.max()) + 1
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)) % min(FOLDS, count)
        fold = order[self.prompt]
        losses = dict.fromkeys(RIDGES, 0.0)
        for part in range(int(order.max()) + 1):
            out = fold == part
            if bool(out.all()) or not bool(out.any()):
                continue
            weights = None
            for ridge in sorted(RIDGES, reverse=True):
                weights = self.fit(~out, ridge, start=weights, tolerance=1e-3)
                logits = self.basis[out] @ weights
                unseen = F.binary_cross_entropy_with_logits(
                    logits, self.broken[out], self.weights[out], reduction="sum"
                )
                losses[ridge] += float(unseen)
        return min(losses, key=lambda r: (losses[r], -r))

    def learn(self, seed: int) -> RuleModel:
        ridge = self.choose(seed)
        found = self.fit(torch.ones(len(self.x), dtype=torch.bool), ridge)
        dual = self.turn @ (found / self.roots)  # (N,) logit(x) = sum_i dual_i k(x, x_i)
        weights = torch.zeros(len(self.rules), self.x.shape[1], dtype=torch.float64)
        weights.index_add_(0, self.rule, dual[:, None] * self.x)
        return RuleModel(self.centre, self.scale, self.rules, self.codes, self.middle, weights, ridge)
