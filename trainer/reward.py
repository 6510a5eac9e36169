"""The reward model: what a user's judgments say of an answer to a prompt that nobody judged.

Bradley-Terry (Ouyang et al. 2022, arXiv 2203.02155, eq. 1) on linear heads over what the frozen base makes of an answer
(pooled.py). The fit is convex and takes a second, so how strongly it is held back is chosen by cross-validation, and
several heads, each on a bootstrap sample of the prompts, say how sure it is: a reward is their mean less their spread
(Coste et al. 2024, arXiv 2310.02743, uncertainty-weighted optimisation), so where they part there is little to be had.

A judgment of a single answer is a comparison with the mean answer, whose reward is about 0.
Not here: data (dataset.py), the test of it (reward_task.py), and what is added to it (total.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import losses
from trainer.dataset import PairRef, SingleRef
from trainer.pooled import LENGTHS, apart

HEADS = 4
FOLDS = 5
MOST = 800  #: prompts that are learned from; more cost seconds and memory and tell little
#: strength of the pull to "nothing matters", as a share of the mean square of two answers' difference
RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
EMBEDDED = 2.0  #: scale of the embeddings' means beside the states'
LENGTH = 0.3  #: and of the length's features


@dataclass(frozen=True, slots=True)
class Judged:
    """The answers to one prompt, as features, and what was said of them."""

    key: str
    features: Tensor  # (R, F)
    pairs: Sequence[PairRef] = ()
    singles: Sequence[SingleRef] = ()

    @property
    def weight(self) -> float:
        return sum(p.weight for p in self.pairs) + sum(s.weight for s in self.singles)


@dataclass(frozen=True, slots=True)
class RewardModel:
    """Rewards are in standard deviations of the answers that it learned from, their mean 0."""

    centre: Tensor  # (F,) of the features
    scale: Tensor  # (F,)
    heads: Tensor  # (H, F) in logits: sigmoid(difference) is the probability that one answer wins
    whole: Tensor  # (F,) the same, of all prompts: no bootstrap sample
    zero: Tensor  # (H,) mean logit of each head over the answers that it learned from
    unit: Tensor  # (H,) and its standard deviation
    ridge: float

    def logits(self, features: Tensor) -> Tensor:  # (R, F) -> (R,)
        """Of the head of all prompts; differences are calibrated, levels say nothing."""
        return self._scaled(features) @ self.whole

    def each(self, features: Tensor) -> Tensor:  # (R, F) -> (R, H)
        """The rewards that the heads give."""
        return (self._scaled(features) @ self.heads.T - self.zero) / self.unit

    def opinions(self, features: Tensor) -> Tensor:  # (R, F) -> (R, H)
        """What each head says in logits: differences are of the scale of `logits`, levels say nothing."""
        return self._scaled(features) @ self.heads.T

    def rewards(self, features: Tensor) -> Tensor:  # (R, F) -> (R,)
        """The heads' mean less their spread."""
        return self.each(features).mean(1) - self.spread(features)

    def spread(self, features: Tensor) -> Tensor:  # (R, F) -> (R,)
        """Standard deviation of the heads' rewards."""
        return self.each(features).std(1, correction=0)

    @property
    def slope(self) -> Tensor:  # (F,)
        """What the heads' mean gains by one more of each feature, as `apart` gives them."""
        found: Tensor = (self.heads / self.unit[:, None]).mean(0) / self.scale
        return found

    def _scaled(self, features: Tensor) -> Tensor:
        return apart(features, self.centre) / self.scale

    def tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ("centre", "scale", "heads", "whole", "zero", "unit")}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> RewardModel:
        return cls(**tensors, ridge=float(about["ridge"]))


def learn(
    judged: Sequence[Judged],
    *,
    heads: int = HEADS,
    seed: int = 0,
    margin_scale: float = 0.0,
    before: Callable[[], object] = lambda: None,
) -> RewardModel:
    """From all that was said, or from the MOST prompts that weigh most; the ridge is chosen by cross-validation over
    prompts. before: called now and then, may raise to end it. ValueError where nothing was said."""
    table = Table.of(sorted(judged, key=lambda one: -round(one.weight, 6))[:MOST], margin_scale, before)
    return table.model(table.choose(seed), heads, seed)


def left_out(
    judged: Sequence[Judged],
    *,
    folds: int = FOLDS,
    seed: int = 0,
    margin_scale: float = 0.0,
    before: Callable[[], object] = lambda: None,
) -> list[Tensor]:  # (R,) logits of each
    """The logits of each prompt's answers by a model that learned from the other folds."""
    order = torch.randperm(len(judged), generator=torch.Generator().manual_seed(seed)) % min(folds, len(judged))
    found: list[Tensor] = [torch.zeros(len(j.features), dtype=torch.float64) for j in judged]
    for fold in range(int(order.max()) + 1):
        rest = [j for j, f in zip(judged, order.tolist(), strict=True) if f != fold]
        if not any(j.weight for j in rest):
            continue
        model = learn(rest, heads=1, seed=seed, margin_scale=margin_scale, before=before)
        for i, (one, f) in enumerate(zip(judged, order.tolist(), strict=True)):
            if f == fold:
                found[i] = model.logits(one.features)
    return found


@dataclass(slots=True)
class Table:
    """Comparisons of answers: row of the better one, row of the worse; the row past the last is the mean answer."""

    x: Tensor  # (N + 1, F) scaled; the last row is 0
    centre: Tensor  # (F,)
    scale: Tensor  # (F,)
    better: Tensor  # (C,)
    worse: Tensor  # (C,)
    weights: Tensor  # (C,)
    margins: Tensor  # (C,)
    owner: Tensor  # (C,) the prompt
    prompts: int
    margin_scale: float
    size: float  #: mean square of two compared answers' difference
    before: Callable[[], object] = lambda: None  #: now and then in a fit

    @classmethod
    def of(
        cls, judged: Sequence[Judged], margin_scale: float = 0.0, before: Callable[[], object] = lambda: None
    ) -> Table:
        features = torch.cat([j.features for j in judged]).double() if judged else torch.zeros(0, 0)
        rows: list[tuple[int, int, float, float, int]] = []  # better, worse, weight, margin, prompt
        at, mean = 0, len(features)
        for i, one in enumerate(judged):
            rows += [(at + p.chosen, at + p.rejected, p.weight, p.margin, i) for p in one.pairs]
            for single in one.singles:
                sides = (at + single.response, mean) if single.good else (mean, at + single.response)
                rows.append((*sides, single.weight, 0.0, i))
            at += len(one.features)
        if not rows:
            raise ValueError("a reward model needs at least one judgment that calls an answer better, good or bad")
        better, worse, weights, margins, owner = zip(*rows, strict=True)
        centre = features.mean(0)
        firsts, seconds = torch.tensor(better), torch.tensor(worse)
        whole = torch.cat([apart(features, centre), torch.zeros(1, features.shape[1], dtype=torch.float64)])
        # by how far what is compared differs, the mean answer included
        scale = (whole[firsts] - whole[seconds]).pow(2).mean(0).sqrt()
        scale = scale.clamp(min=1e-3 * float(scale.median()) + 1e-12) / balance(features.shape[1])
        x = whole / scale
        return cls(
            x,
            centre,
            scale,
            firsts,
            seconds,
            torch.tensor(weights, dtype=torch.float64),
            torch.tensor(margins, dtype=torch.float64),
            torch.tensor(owner),
            len(judged),
            margin_scale,
            float((x[firsts] - x[seconds]).pow(2).sum(1).mean()),
            before,
        )

    def logits(self, weights: Tensor) -> Tensor:  # (F,) -> (C,)
        values = self.x @ weights
        return values[self.better] - values[self.worse]

    def loss(self, found: Tensor, weights: Tensor, ridge: float) -> Tensor:  # (F,), (C,) -> ()
        values = self.x @ found
        better, worse = values[self.better], values[self.worse]
        each = losses.bradley_terry(better, worse, margin=self.margins, margin_scale=self.margin_scale)
        return (weights * each).sum() + 0.5 * ridge * self.size * found.pow(2).sum()

    def fit(
        self, weights: Tensor, ridge: float, *, start: Tensor | None = None, tolerance: float = 1e-7
    ) -> Tensor:  # (C,) -> (F,)
        """The weights at which the loss is least, of comparisons that weigh so much. Convex: start saves time alone."""
        found = (torch.zeros_like(self.centre) if start is None else start.clone()).requires_grad_()
        optimiser = torch.optim.LBFGS(
            [found], max_iter=200, tolerance_grad=tolerance, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            self.before()
            optimiser.zero_grad()
            value = self.loss(found, weights, ridge)
            value.backward()
            return value

        optimiser.step(closure)
        return found.detach()

    def choose(self, seed: int) -> float:
        """The ridge with which judgments of prompts that were left out are likeliest."""
        order = torch.randperm(self.prompts, generator=torch.Generator().manual_seed(seed))
        fold = (order % min(FOLDS, self.prompts))[self.owner]
        found = dict.fromkeys(RIDGES, 0.0)
        for part in range(int(fold.max()) + 1):
            out = fold == part
            if bool(out.all()):  # a single prompt: nothing to learn it from
                continue
            weights = None
            for ridge in sorted(RIDGES, reverse=True):
                weights = self.fit(self.weights * ~out, ridge, start=weights, tolerance=1e-3)
                found[ridge] += float((self.weights[out] * F.softplus(-self.logits(weights)[out])).sum())
        return min(found, key=lambda ridge: (found[ridge], -ridge))

    def model(self, ridge: float, heads: int, seed: int) -> RewardModel:
        """One head of all comparisons, and `heads` of bootstrap samples of the prompts."""
        whole = self.fit(self.weights, ridge)
        drawn = torch.Generator().manual_seed(seed)
        sampled = []
        for _ in range(heads):
            picks = torch.randint(self.prompts, (self.prompts,), generator=drawn)
            times = torch.bincount(picks, minlength=self.prompts).double()[self.owner]
            sampled.append(self.fit(self.weights * times, ridge))
        stacked = torch.stack(sampled)
        values = self.x[:-1] @ stacked.T  # (N, H)
        unit = values.std(0, correction=0).clamp(min=1e-9)
        return RewardModel(self.centre, self.scale, stacked, whole, values.mean(0), unit, ridge)


def balance(size: int) -> Tensor:  # (F,)
    """How much each kind of feature weighs: a kind's squares add up to the square of its scale."""
    each = (size - LENGTHS) // 2
    parts = [(EMBEDDED, each), (1.0, size - LENGTHS - each), (LENGTH, LENGTHS)]
    return torch.cat([torch.full((n,), s / max(1, n) ** 0.5, dtype=torch.float64) for s, n in parts])
