"""What a user's judgments say of words: a stand-in for him on answers that nobody judged.

A linear Bradley-Terry model on how often each word stands in an answer, and on the mean of its tokens' embeddings. It
is no judge, and no answer is ever chosen or shown by it. But a few dozen rankings tell it far more of an answer to a
prompt that nobody judged than they tell a gradient of the model itself (docs/experiments.md), and it reads thousands of
answers a second: practice.py lets it order answers of the base to requests of our own, and the fit learns from those
beside the judgments. (The reward model, reward.py, looks deeper, and has to compute the model's layers for it.)

Counts go in as square roots: the tenth "the" says less than the first. A word that was never judged is known by its
length and by what the model's embedding says of it. What it cannot see is order, and so whether something is true.
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
EMBEDDED = 2.0  #: scale of the embeddings' mean beside the words
LONGEST = 12  #: letters; longer words count as this long
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d|\n+|[^\w\s]|_")


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
class Seen:
    """An answer: its `features`, and the mean of its tokens' embeddings."""

    words: Mapping[str, int]
    mean: Tensor  # (D,) fp32; (0,) where there are none


#: what an answer's tokens are
Read = Callable[[Sequence[int]], Seen]


@dataclass(frozen=True, slots=True)
class Taste:
    """`weights` of words; `accuracy`: share of judgments on prompts it had not seen that it tells, by their weight."""

    weights: dict[str, float]
    means: Tensor  # (D,) weights of the embeddings' mean
    accuracy: float
    prompts: float  #: behind the accuracy; fewer than there are where they do not weigh the same
    ridge: float = 0.0  #: that was chosen

    def score(self, answer: Seen) -> float:
        """In logits: sigmoid(difference) is the probability that one of two wins."""
        words = sum(self.weights.get(word, 0.0) * math.sqrt(n) for word, n in answer.words.items())
        return words + (float(self.means @ answer.mean) if len(self.means) else 0.0)

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
            return cls({}, torch.zeros(0), 0.5, 0)
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
        return cls(*table.taught(ridge), right, prompts, ridge)

    @classmethod
    def again(cls, turns: Sequence[Turn], read: Read, ridge: float) -> Taste:
        """From fewer turns, with a ridge that was chosen before; how good it is, is not asked."""
        judged = [turn for turn in turns if turn.pairs or turn.singles]
        table = _Table.of(judged, read)
        weights, means = table.taught(ridge) if len(table.weights) else ({}, torch.zeros(0))
        return cls(weights, means, 0.5, 0, ridge)


@dataclass(slots=True)
class _Table:
    """Comparisons as differences of features, most of which are 0."""

    words: list[str]
    row: Tensor  # (N,) the comparison of each entry that is not 0
    word: Tensor  # (N,)
    value: Tensor  # (N,) the better answer less the worse
    dense: Tensor  # (C, D) the same of the embeddings' means
    weights: Tensor  # (C,)
    owner: Tensor  # (C,) the turn
    norm: float  #: root mean square length of a comparison's words
    scale: Tensor  # (D,) what the means are divided by

    @classmethod
    def of(cls, turns: Sequence[Turn], read: Read) -> _Table:
        """A pair is a comparison; a single answer is compared with the mean of all."""
        vocabulary: dict[str, int] = {}
        roots: list[list[dict[int, float]]] = []
        means: list[list[Tensor]] = []
        for turn in turns:
            seen = [read(response) for response in turn.responses]
            means.append([one.mean for one in seen])
            roots.append(
                [
                    {vocabulary.setdefault(w, len(vocabulary)): math.sqrt(n) for w, n in one.words.items()}
                    for one in seen
                ]
            )
        mean: dict[int, float] = {}
        middle = torch.zeros(0)
        if any(turn.singles for turn in turns):
            places = [(i, s.response) for i, turn in enumerate(turns) for s in turn.singles]
            for i, response in places:
                for word, value in roots[i][response].items():
                    mean[word] = mean.get(word, 0.0) + value / len(places)
            middle = torch.stack([means[i][response] for i, response in places]).mean(0)
        rows: list[dict[int, float]] = []
        dense: list[Tensor] = []
        weights: list[float] = []
        owner: list[int] = []
        for i, turn in enumerate(turns):
            answers = [*zip(roots[i], means[i], strict=True), (mean, middle)]
            sides = [(answers[p.chosen], answers[p.rejected], p.weight) for p in turn.pairs]
            for s in turn.singles:
                mine, all_of_them = answers[s.response], answers[-1]
                sides.append((mine, all_of_them, s.weight) if s.good else (all_of_them, mine, s.weight))
            for (better, above), (worse, below), weight in sides:
                rows.append({w: better.get(w, 0.0) - worse.get(w, 0.0) for w in better.keys() | worse.keys()})
                dense.append(above - below)
                weights.append(weight)
                owner.append(i)
        values = torch.tensor([value for values in rows for value in values.values()])
        apart = torch.stack(dense) if dense else torch.zeros(0, 0)
        spread = apart.pow(2).mean(0).sqrt() if len(apart) else torch.zeros(0)
        floor = 1e-3 * float(spread.median()) + 1e-12 if len(spread) else 1.0
        scale = spread.clamp(min=floor) * max(1, len(spread)) ** 0.5 / EMBEDDED
        return cls(
            list(vocabulary),
            torch.tensor([row for row, values in enumerate(rows) for _ in values], dtype=torch.long),
            torch.tensor([word for values in rows for word in values], dtype=torch.long),
            values,
            apart / scale,
            torch.tensor(weights),
            torch.tensor(owner, dtype=torch.long),
            max(1e-9, (float((values**2).sum()) / max(1, len(rows))) ** 0.5),
            scale,
        )

    @property
    def size(self) -> float:
        """Mean square length of a comparison."""
        return 1.0 + float(self.dense.pow(2).sum(1).mean())

    def logits(self, weights: Tensor) -> Tensor:  # (W + D,) -> (C,)
        """weights: of the words, which are divided by `norm`, then of the scaled means."""
        words, means = weights[: len(self.words)], weights[len(self.words) :]
        found = torch.zeros(len(self.weights)).index_add(0, self.row, self.value / self.norm * words[self.word])
        return found + self.dense @ means

    def taught(self, ridge: float) -> tuple[dict[str, float], Tensor]:
        """What all comparisons say of each word, and of the means."""
        found = self.fit(torch.ones(len(self.weights), dtype=torch.bool), ridge)
        words = found[: len(self.words)] / self.norm
        return dict(zip(self.words, words.tolist(), strict=True)), found[len(self.words) :] / self.scale

    def fit(self, chosen: Tensor, ridge: float) -> Tensor:  # (C,) bool -> (W + D,)
        """Weights that make the chosen comparisons likely: Bradley and Terry 1952, with a ridge. Convex."""
        mine = self.weights * chosen
        found = torch.zeros(len(self.words) + self.dense.shape[1], requires_grad=True)
        optimiser = torch.optim.LBFGS([found], lr=1, max_iter=60, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = (mine * F.softplus(-self.logits(found))).sum() + 0.5 * ridge * self.size * (found**2).sum()
            value.backward()
            return value

        optimiser.step(loss)
        return found.detach()
