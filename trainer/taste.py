"""What a user's judgments say of words: a stand-in for him on answers that nobody judged.

A linear Bradley-Terry model on how often each word stands in an answer. It is no judge, and no answer is ever chosen or
shown by it. But a few dozen rankings tell it far more of an answer to a prompt that nobody judged than they tell a
gradient of the model itself (docs/experiments.md), and it reads thousands of answers a second: practice.py lets it
order answers of the base to requests of our own, and the fit learns from those beside the judgments.

Counts go in as square roots: the tenth "the" says less than the first. A word that was never judged is known by its
length alone. What it cannot see is order, and so whether something is true.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.dataset import Turn

#: strength of the pull to "no word matters", as a share of the mean square of two answers' difference
RIDGES = (0.01, 0.03, 0.1, 0.3)
FOLDS = 5
LONGEST = 12  #: letters; longer words count as this long
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d|\n+|[^\w\s]|_")
#: `features` of an answer's tokens
Read = Callable[[Sequence[int]], Mapping[str, int]]


def features(text: str, ended: bool) -> Counter[str]:
    """How often each word, digit, mark and line break stands in an answer; words of each length; and how it ends."""
    found: Counter[str] = Counter()
    for word in _WORD.findall(text.lower().replace("’", "'")):
        found[word] += 1
        if word[0].isalpha():
            found[f"letters {min(LONGEST, len(word))}"] += 1
    found["the end" if ended else "cut off"] += 1
    return found


@dataclass(frozen=True, slots=True)
class Taste:
    """`weights` of words; `accuracy`: share of judgments on prompts it had not seen that it tells, by their weight."""

    weights: dict[str, float]
    accuracy: float
    prompts: float  #: behind the accuracy; fewer than there are where they do not weigh the same
    ridge: float = 0.0  #: that was chosen

    def score(self, answer: Mapping[str, int]) -> float:
        """Of an answer's `features`, in logits: sigmoid(difference) is the probability that one of two wins."""
        return sum(self.weights.get(word, 0.0) * math.sqrt(n) for word, n in answer.items())

    @property
    def certain(self) -> bool:
        """Whether it seems to tell more than chance would: a standard error above a half."""
        return self.prompts > 0 and self.accuracy > 0.5 + math.sqrt(0.25 / self.prompts)

    @classmethod
    def learn(cls, turns: Sequence[Turn], read: Read, *, seed: int = 0) -> Taste:
        """From the pairs and single judgments of turns; which of RIDGES is chosen by cross-validation."""
        judged = [turn for turn in turns if turn.pairs or turn.singles]
        table = _Table.of(judged, read)
        if not judged or not len(table.weights):
            return cls({}, 0.5, 0)
        owner = table.owner
        order = torch.randperm(len(judged), generator=torch.Generator().manual_seed(seed))
        fold = (order % min(FOLDS, len(judged)))[owner]  # of each comparison, by its prompt
        best: tuple[float, float, Tensor] | None = None
        for ridge in RIDGES:
            unseen = torch.zeros(len(owner))
            for part in range(int(fold.max()) + 1):
                out = fold == part
                if bool(out.all()):  # a single prompt: nothing to learn it from
                    continue
                unseen[out] = table.logits(table.fit(~out, ridge))[out]
            loss = float((table.weights * F.softplus(-unseen)).sum())
            if best is None or loss < best[0]:
                best = (loss, ridge, unseen)
        assert best is not None
        _, ridge, unseen = best
        weight = torch.zeros(len(judged)).index_add(0, owner, table.weights)
        right = float((table.weights * ((unseen > 0) + 0.5 * (unseen == 0))).sum() / weight.sum())
        prompts = float(weight.sum() ** 2 / (weight**2).sum())  # Kish's effective sample size
        return cls(table.taught(ridge), right, prompts, ridge)

    @classmethod
    def again(cls, turns: Sequence[Turn], read: Read, ridge: float) -> Taste:
        """From fewer turns, with a ridge that was chosen before; how good it is, is not asked."""
        judged = [turn for turn in turns if turn.pairs or turn.singles]
        table = _Table.of(judged, read)
        return cls(table.taught(ridge) if len(table.weights) else {}, 0.5, 0, ridge)


@dataclass(slots=True)
class _Table:
    """Comparisons as differences of features, most of which are 0."""

    words: list[str]
    row: Tensor  # (N,) the comparison of each entry that is not 0
    word: Tensor  # (N,)
    value: Tensor  # (N,) the better answer less the worse
    weights: Tensor  # (C,)
    owner: Tensor  # (C,) the turn

    @classmethod
    def of(cls, turns: Sequence[Turn], read: Read) -> _Table:
        """A pair is a comparison; a single answer is compared with the mean of all."""
        vocabulary: dict[str, int] = {}
        roots: list[list[dict[int, float]]] = []
        for turn in turns:
            roots.append([])
            for response in turn.responses:
                counts = read(response).items()
                roots[-1].append({vocabulary.setdefault(w, len(vocabulary)): math.sqrt(n) for w, n in counts})
        mean: dict[int, float] = {}
        if any(turn.singles for turn in turns):
            judged = [roots[i][s.response] for i, turn in enumerate(turns) for s in turn.singles]
            for answer in judged:
                for word, value in answer.items():
                    mean[word] = mean.get(word, 0.0) + value / len(judged)
        rows: list[dict[int, float]] = []
        weights: list[float] = []
        owner: list[int] = []
        for i, turn in enumerate(turns):
            sides = [(roots[i][p.chosen], roots[i][p.rejected], p.weight) for p in turn.pairs]
            for s in turn.singles:
                mine = roots[i][s.response]
                sides.append((mine, mean, s.weight) if s.good else (mean, mine, s.weight))
            for better, worse, weight in sides:
                rows.append({w: better.get(w, 0.0) - worse.get(w, 0.0) for w in better.keys() | worse.keys()})
                weights.append(weight)
                owner.append(i)
        return cls(
            list(vocabulary),
            torch.tensor([row for row, values in enumerate(rows) for _ in values], dtype=torch.long),
            torch.tensor([word for values in rows for word in values], dtype=torch.long),
            torch.tensor([value for values in rows for value in values.values()]),
            torch.tensor(weights),
            torch.tensor(owner, dtype=torch.long),
        )

    def logits(self, weights: Tensor) -> Tensor:  # (W,) -> (C,)
        return torch.zeros(len(self.weights)).index_add(0, self.row, self.value * weights[self.word])

    def taught(self, ridge: float) -> dict[str, float]:
        """What all comparisons say of each word."""
        found = self.fit(torch.ones(len(self.weights), dtype=torch.bool), ridge)
        return dict(zip(self.words, found.tolist(), strict=True))

    def fit(self, chosen: Tensor, ridge: float) -> Tensor:  # (C,) bool -> (W,)
        """Weights that make the chosen comparisons likely: Bradley and Terry 1952, with a ridge. Convex."""
        mine = self.weights * chosen
        size = float((self.value**2).sum()) / max(1, len(self.weights))
        found = torch.zeros(len(self.words), requires_grad=True)
        optimiser = torch.optim.LBFGS([found], lr=1, max_iter=60, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = (mine * F.softplus(-self.logits(found))).sum() + 0.5 * ridge * size * (found**2).sum()
            value.backward()
            return value

        optimiser.step(loss)
        return found.detach()
