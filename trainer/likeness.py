"""How like the answers that a version writes now are those that people preferred, on prompts that it did not see.

The gate asks whether judged answers became likelier where they were preferred. Of a version that learned to imitate or
to tell apart written answers that says most. One that learned from a reward was taught what to write: the probability
of whole answers that it would not write any more moves with every habit of its words, and on eight rankings the noise
of that hides wins of nine in ten (docs/experiments.md, 2026-11-28). The same ratio of two densities, new over live, can
be had from samples (Sugiyama et al. 2012, "Density Ratio Estimation in Machine Learning", chapter 4): both versions
answer the same prompts, and what tells their answers apart is put to the judged ones. Of the features that a reward
model sees (pooled.py) that is Fisher's discriminant, held back by a ridge. No reward model has a say, and no judgment
but the held-out ones.

Pure functions; ppo_lesson.py has the answers drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.dataset import Turn
from trainer.expected import Ratios
from trainer.reward import balance

SHARPNESS = 0.25  #: log-odds of a preference, of two held-out answers as far apart as such answers are on average
#: of the mean square of an answer's distance from the others': more of it takes what goes along with what changed for
#: what changed, less of it takes chance for it
RIDGE = 0.01
MOST = 2000  #: judged answers that say how answers vary
DRAWS = 1000  #: of who wrote which, for `chance`
SURE = 0.2  #: chance, at most, of versions that are told apart: the judgments have to agree as well


@dataclass(frozen=True, slots=True)
class Direction:
    """What tells the answers of the new version from those of the live one."""

    weights: Tensor  # (F,)
    chance: float  #: how often one and the same version would seem to have gone as far

    @property
    def sure(self) -> bool:
        return self.chance <= SURE

    def along(self, features: Tensor) -> Tensor:  # (R, F) -> (R,)
        return features.double() @ self.weights


def direction(new: Sequence[Tensor], live: Sequence[Tensor], judged: Sequence[Tensor]) -> Direction:
    """Fisher's, of answers to the same prompts.

    new, live: of each prompt the features (K, F) of answers by both; K may differ. judged: of answers to other prompts,
    (R, F) each, from which follows how answers to one prompt vary. ValueError where any is missing.
    `chance` is of a permutation test: in each prompt the two versions may as well have been changed for each other.
    """
    both = [(a.double().mean(0), b.double().mean(0)) for a, b in zip(new, live, strict=True) if len(a) and len(b)]
    seen = [x.double() for x in judged if len(x)]
    if not both or not seen:
        raise ValueError("answers of both versions to at least one prompt are needed, and some that were judged")
    centre = torch.stack([x.mean(0) for x in seen]).mean(0)
    # how answers to one prompt vary; of a prompt with a single one it is not known, and prompts vary too
    rest = torch.cat([(x - x.mean(0)) * (len(x) / (len(x) - 1)) ** 0.5 if len(x) > 1 else x - centre for x in seen])
    rest = rest[:MOST]
    apart = rest.pow(2).mean(0).sqrt()
    scale = balance(len(apart)) / apart.clamp(min=1e-3 * float(apart.median()) + 1e-12)
    x, gone = rest * scale, torch.stack([a - b for a, b in both]) * scale  # (N, F), (P, F)
    ridge = RIDGE * float(x.pow(2).sum(1).mean()) + 1e-12
    # (x^T x / N + ridge)^-1 gone^T by the Woodbury identity: there are fewer answers than features
    inner = torch.linalg.solve(x @ x.T + ridge * len(x) * torch.eye(len(x), dtype=torch.float64), x @ gone.T)
    solved = (gone.T - x.T @ inner) / ridge  # (F, P)
    table = gone @ solved  # (P, P); the squared distance of the means, whichever way each prompt's pair is turned
    signs = torch.randint(0, 2, (DRAWS, len(gone)), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    turned = ((signs @ table) * signs).sum(1)
    chance = (1 + int((turned >= float(table.sum()) * (1 - 1e-9)).sum())) / (1 + DRAWS)
    return Direction(solved.mean(1) * scale, chance)


def ratios(turns: Sequence[Turn], features: Sequence[Tensor], found: Direction) -> dict[str, Ratios]:
    """How much likelier the new version writes something like each response of the turns, by their keys.

    Answers to one prompt differ by SHARPNESS on average, and so do the means of two prompts; the mean of these is 0.
    All are 0 where the versions cannot be told apart. Nothing that was said of the answers is in it.
    """
    along = [found.along(x) for x in features]
    means = torch.stack([v.mean() for v in along])
    count = sum(len(v) * (len(v) - 1) for v in along)
    squares = torch.stack([(v[:, None] - v[None]).pow(2).sum() for v in along]).sum()
    within = float(squares / count) ** 0.5 if count else 0.0
    between = float(2 * means.var(correction=0)) ** 0.5
    rows: dict[str, Ratios] = {}
    for turn, values, mean in zip(turns, along, means, strict=True):
        row = _over(values - mean, within) + _over(mean - means.mean(), between)
        rows[turn.key] = Ratios((SHARPNESS * row if found.sure else 0 * row).tolist(), [0.0] * len(row))
    return rows


def _over(value: Tensor, unit: float) -> Tensor:
    return value / unit if unit > 0 else 0 * value
