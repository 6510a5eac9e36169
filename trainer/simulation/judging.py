"""What a simulated user says of the answers to a prompt: a ranking, thumbs or a correction; and how it is recorded.

A judgment depends on the texts, the kind and what this user saw before, never on how many are asked for: the first
ten of forty judgments are the ten of a run with ten.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from chatapp.engine.base import Candidate
from storage.store import Store
from storage.threads import NewAnswer
from trainer.simulation import edits
from trainer.users import User

Kind = Literal["rankings", "thumbs", "corrections"]
KINDS: tuple[Kind, ...] = ("rankings", "thumbs", "corrections")
MIXED = "mixed"  #: each kind in turn
SOURCE = "judge"  #: his judgments count as the user's own


@dataclass(frozen=True, slots=True)
class Ranking:
    """Indexes of the answers in groups, the best first; one group holds what is tied."""

    groups: list[list[int]]


@dataclass(frozen=True, slots=True)
class Thumbs:
    """1 or -1 by the index of the answer; those in between have none."""

    values: dict[int, int]


@dataclass(frozen=True, slots=True)
class Correction:
    """A better text than the answer `of` and the others in `over`."""

    of: int
    text: str
    over: list[int]


Said = Ranking | Thumbs | Correction


class Judge:
    """One user at one kind of judging. Ask him about each turn once, in order."""

    def __init__(self, user: User, kinds: str = "rankings", *, flip: float = 0.0, seed: int = 0) -> None:
        """kinds: one of KINDS or "mixed". flip: share of judgments that are turned round."""
        self.user, self.kinds, self.flip, self.seed = user, kinds, flip, seed
        self._seen: list[float] = []  # all scores so far, sorted
        self._said = 0

    def judge(self, prompt: str, texts: Sequence[str]) -> Said | None:
        """What he says; None where all answers are the same to him. Thumbs compare with the median of all scores
        that he has met up to and with this turn."""
        scores = [self.user.score(text) for text in texts]
        for score in scores:
            insort(self._seen, score)
        if len(set(scores)) == 1:
            return None
        kind = KINDS[self._said % len(KINDS)] if self.kinds == MIXED else self.kinds
        self._said += 1
        flipped = flips(prompt, self.seed, self.flip)
        if flipped:
            scores = [-score for score in scores]
        if kind == "rankings":
            return Ranking(groups(scores))
        if kind == "thumbs":
            middle = self._median() * (-1 if flipped else 1)
            return Thumbs({i: 1 if score > middle else -1 for i, score in enumerate(scores) if score != middle})
        return self._correct(texts, scores, flipped)

    def _median(self) -> float:
        """The lower middle one, so that it is a score that was given."""
        return self._seen[(len(self._seen) - 1) // 2]

    def _correct(self, texts: Sequence[str], scores: Sequence[float], flipped: bool) -> Correction:
        """The best answer written better; where he has nothing to write, the best in place of the worst."""
        order = sorted(range(len(texts)), key=lambda i: (-scores[i], i))
        best, worst = order[0], order[-1]
        if self.user.edit is not None and not flipped:
            text = self.user.edit(texts[best])
            if self.user.score(text) > max(scores):
                return Correction(best, text, list(range(len(texts))))
        return Correction(worst, edits.as_whole(texts[best]), [i for i in order if scores[i] < scores[best]])


def groups(scores: Sequence[float]) -> list[list[int]]:
    """Indexes by falling score; equal ones share a group."""
    levels = sorted(set(scores), reverse=True)
    return [[i for i, score in enumerate(scores) if score == level] for level in levels]


def flips(prompt: str, seed: int, share: float) -> bool:
    """Whether the judgment of this prompt is turned round: the same ones whatever the user, the kind or the number."""
    return random.Random(f"flip:{seed}:{prompt}").random() < share


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt that was judged."""

    prompt: str
    batch: list[Candidate]
    said: Said
    spent: int  #: turns seen up to this one, those without a difference among them


@dataclass(slots=True)
class Seen:
    """The turns that were judged, and what it took to find them."""

    turns: list[Turn] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)  #: seconds that the answers took, of every turn seen

    def first(self, count: int) -> Seen:
        """What there was when so many were judged; all of it where there are fewer."""
        turns = self.turns[:count]
        return Seen(turns, self.waits[: turns[-1].spent] if len(turns) == count else self.waits)


def record(store: Store, model_hash: str, adapter_id: str | None, turn: Turn) -> list[tuple[str, str, str]]:
    """Store a prompt, its answers with their provenance, and the judgment, as `hone ask` and `hone judge` do.

    adapter_id: of the version that answered; None: the base. Returns of each answer the id of its prompt's message, its
    own, and its text.
    """
    thread = store.threads.new(turn.prompt[:60], origin=SOURCE)
    message = store.threads.add_message(thread.id, None, "user", turn.prompt)
    rows = [
        NewAnswer(
            c.text, c.index, model_hash, adapter_id, {"temperature": 0.8}, c.seed, c.token_ids, c.prompt_tokens,
            c.finish_reason, asdict(c.timings),
        )
        for c in turn.batch
    ]  # fmt: skip
    ids = [answer.id for answer in store.threads.add_answers(thread.id, message.id, rows)]
    match turn.said:
        case Ranking(ranked):
            store.judgments.rank(message.id, [[ids[i] for i in group] for group in ranked], source=SOURCE)
        case Thumbs(values):
            for i, value in sorted(values.items()):
                store.judgments.thumb(message.id, ids[i], value, source=SOURCE)
        case Correction(of, text, over):
            store.judgments.correct(message.id, ids[of], text, [ids[i] for i in over], source=SOURCE)
    return [(message.id, id, c.text) for id, c in zip(ids, turn.batch, strict=True)]
