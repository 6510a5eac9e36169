"""Is the new adapter better, and did it break anything?

Better: its log-loss on judgments that it did not see is below the live adapter's, by a bootstrap over PROMPTS (the
pairs of one prompt are not independent); what any version that drifted adds to an answer is taken off (expected.py). At
32 or more prompts the 95 % bound counts; below, the 80 % bound, and the version is provisional. With fewer than
MIN_HELD_OUT held-out prompts, the losses are those of a pooled K-fold: K fits, each tested on the prompts that it left
out. At such sizes a fit is cheap, and three prompts would decide nothing.

Broken: neutral text became less likely, the model drifted from the base, answers left the range of lengths that the
chosen and the base's answers span, they repeat themselves, or harmless requests are refused that the base answers.
Everything in this file is a pure function; what to measure is measured by trial.py, guards.py and answers.py.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trainer.dataset import Turn
from trainer.expected import Ratios

CERTAIN_PROMPTS = 32  #: from here on the 95 % bound
MIN_HELD_OUT = 4  #: below, pooled K-fold predictions on all prompts
MIN_PROMPTS = 8  #: judged prompts that a run needs at all
FOLDS = 3
RESAMPLES = 2000
#: the gate's beta as a share of the training's: on prompts that it did not see, an adapter's margins are overconfident,
#: the more so the further it moved (docs/experiments.md, 2026-11-22)
CAUTION = 0.2
MAX_NEUTRAL_RISE = 0.02  #: of the neutral text's NLL, as a share
MAX_KL = 0.1  #: mean KL(new || base) on neutral text, nats a token
LENGTH_SLACK = 1.5  #: mean answer length may leave the span by this factor
MAX_REPETITION_RISE = 0.2  #: of the share of 4-grams that occurred before in the same answer
#: of the share of harmless requests that are refused: by chance, 8 answers differ by more than 2 in 2 % of the cases
#: where both refuse one in ten
MAX_REFUSAL_RISE = 0.25


@dataclass(frozen=True, slots=True)
class Bound:
    """Gain of the new adapter over the live one in log-loss, nats a judgment; positive is better."""

    mean: float
    low: float  #: the bound that decides
    level: float  #: 0.95 or 0.8, one-sided
    prompts: int

    @property
    def provisional(self) -> bool:
        return self.level < 0.95


@dataclass(frozen=True, slots=True)
class Answers:
    """What sampled answers look like."""

    length: float  #: mean tokens, of answers that are cut at the same place as those they are compared with
    repetition: float  #: mean share of repeated 4-grams
    count: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the decision rests on."""

    gain: Bound
    new_loss: float  #: mean held-out log-loss
    live_loss: float
    live_name: str  #: "v3", or "the base"
    pooled: bool  #: the losses are K-fold predictions
    neutral_rise: float  #: share by which the neutral text's NLL rose over the base's
    kl: float  #: mean KL(new || base), nats a token
    answers: Answers | None = None  #: of the new adapter
    chosen_length: float = 0.0  #: mean tokens of the answers that the user preferred
    base_length: float = 0.0  #: mean tokens of the base's answers
    base_repetition: float = 0.0
    refusals: float = 0.0  #: share of harmless requests that the new adapter refuses
    base_refusals: float = 0.0
    likeness: bool = False  #: the losses are of how like the new version's own answers the judged ones are


@dataclass(frozen=True, slots=True)
class Verdict:
    promote: bool
    provisional: bool
    sentence: str
    reasons: list[str] = field(default_factory=list)  #: machine-readable names of what refused

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def losses(turns: Sequence[Turn], ratios: Sequence[Ratios], beta: float) -> list[float]:
    """`prompt_loss` of each turn under one version. Two versions are compared on the same turns only."""
    rate = drift(turns, ratios)
    found = [prompt_loss(turn, of, beta, rate) for turn, of in zip(turns, ratios, strict=True)]
    assert None not in found, "only turns with pairs or single judgments are tested"
    return [loss for loss in found if loss is not None]


def drift(turns: Sequence[Turn], ratios: Sequence[Ratios]) -> float:
    """What a version adds to these answers beyond chance whatever is said of them, nats a token.

    The mean of `beyond`; but where they all became likelier than under the base, that is left: it is what good answers
    alone can show.
    """
    tokens = sum(len(response) for turn in turns for response in turn.responses)
    beyond, plain = sum(sum(r.beyond) for r in ratios), sum(sum(r.plain) for r in ratios)
    return (beyond - max(plain, 0.0)) / tokens if tokens else 0.0


def prompt_loss(turn: Turn, ratios: Ratios, beta: float, drift: float = 0.0) -> float | None:
    """The weighted mean log-loss of a turn's judgments; r: what a version adds beyond chance (expected.py), nats.

    A pair: -log sigmoid(beta * (r_chosen - r_rejected)). A single answer: -log sigmoid(+-beta * (r - drift * tokens)).
    The base scores log 2 on either. None where a turn holds nothing but demonstrations of which no pair came.
    """
    found = _margins(turn, ratios, drift)
    weight = sum(w for w, _ in found)
    return sum(w * log_loss(beta * margin) for w, margin in found) / weight if weight else None


def accuracies(turns: Sequence[Turn], ratios: Sequence[Ratios]) -> list[float]:
    """The weighted share of each turn's judgments that a version agrees with; the base's, which prefers nothing: 0.5.

    By the margins that `losses` is of, so a version cannot be right here and wrong there.
    """
    rate = drift(turns, ratios)
    found = [_margins(turn, of, rate) for turn, of in zip(turns, ratios, strict=True)]
    return [sum(w * half(margin) for w, margin in turn) / sum(w for w, _ in turn) for turn in found]


def _margins(turn: Turn, ratios: Ratios, drift: float) -> list[tuple[float, float]]:
    """(weight, nats) of each judgment of a turn: how far a version agrees with it, negative where it does not."""
    r = ratios.beyond
    found = [(pair.weight, r[pair.chosen] - r[pair.rejected]) for pair in turn.pairs]
    for single in turn.singles:
        rest = r[single.response] - drift * len(turn.responses[single.response])
        found.append((single.weight, rest if single.good else -rest))
    return found


def pair_accuracy(turns: Sequence[Turn], ratios: Sequence[Sequence[float]]) -> tuple[float, float, int]:
    """(share of pairs ordered as judged, share in which the longer one won, number of pairs). Ties count half."""
    right = longer = 0.0
    count = 0
    for turn, values in zip(turns, ratios, strict=True):
        for pair in turn.pairs:
            right += half(values[pair.chosen] - values[pair.rejected])
            longer += half(len(turn.responses[pair.chosen]) - len(turn.responses[pair.rejected]))
            count += 1
    return (right / count, longer / count, count) if count else (math.nan, math.nan, 0)


def half(difference: float) -> float:
    """1 if positive, 0 if negative, 0.5 for a tie."""
    return 1.0 if difference > 0 else 0.5 if difference == 0 else 0.0


def wants_second_look(gain: Bound) -> bool:
    """Few held-out prompts did not show it: then predictions on the other prompts (K-fold) are worth their time."""
    return not gain.low > 0 and gain.prompts < CERTAIN_PROMPTS


def bootstrap(
    new: Sequence[float],
    live: Sequence[float],
    *,
    seed: int = 0,
    certain: bool = False,
    resamples: int = RESAMPLES,
) -> Bound:
    """The one-sided lower bound of the mean of live - new over prompts, by resampling prompts (percentile method).

    certain: the 95 % bound however few there are, as for a second look at the same adapter.
    """
    if not new or len(new) != len(live):
        raise ValueError(f"a loss of each prompt is needed from both adapters, got {len(new)} and {len(live)}")
    gains = [b - a for a, b in zip(new, live, strict=True)]
    draw = random.Random(seed)
    count = len(gains)
    means = sorted(sum(draw.choices(gains, k=count)) / count for _ in range(resamples))
    level = 0.95 if certain or count >= CERTAIN_PROMPTS else 0.8
    return Bound(sum(gains) / count, means[int((1 - level) * resamples)], level, count)


def folds(count: int, parts: int = FOLDS, seed: int = 0) -> list[list[int]]:
    """Indexes 0..count-1, shuffled and dealt into parts."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return [sorted(order[part::parts]) for part in range(min(parts, count))]


def repetition(tokens: Sequence[int], n: int = 4) -> float:
    """Share of n-grams that occurred before in the same answer; 0 for a short one."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def describe_answers(answers: Sequence[Sequence[int]]) -> Answers:
    count = max(1, len(answers))
    return Answers(sum(map(len, answers)) / count, sum(map(repetition, answers)) / count, len(answers))


def decide(e: Evidence) -> Verdict:
    """Promote or refuse, in one sentence with the figures."""
    prompts = f"{e.gain.prompts} {'judged prompts (each left out in turn)' if e.pooled else 'held-out prompts'}"
    losses = f"log-loss {e.new_loss:.3f} against {e.live_loss:.3f} of {'chance' if e.likeness else e.live_name}"
    if e.likeness:
        losses = f"by how like its own answers, rather than those of {e.live_name}, the preferred ones are, {losses}"
    bound = f"{percent(e.gain.level)} bound {e.gain.low:+.3f}"
    problems: dict[str, str] = {}
    if not e.gain.low > 0:  # not: a NaN is refused too
        problems["gain"] = f"it is not surely better on {prompts}: {losses}, gain {e.gain.mean:+.3f}, {bound}"
    if not e.neutral_rise <= MAX_NEUTRAL_RISE:
        limit = percent(MAX_NEUTRAL_RISE)
        problems["neutral"] = f"ordinary text became {percent(e.neutral_rise, 1)} harder for it (at most {limit})"
    if not e.kl <= MAX_KL:
        problems["kl"] = f"it drifted {e.kl:.3f} nats a token from the base (at most {MAX_KL})"
    if not e.refusals <= e.base_refusals + MAX_REFUSAL_RISE:
        mine, base = percent(e.refusals), percent(e.base_refusals)
        problems["refusals"] = f"it refuses {mine} of harmless requests (the base {base})"
    about = f"neutral text {e.neutral_rise * 100:+.1f} %, drift {e.kl:.3f} nats a token"
    if e.answers is not None and e.answers.count:
        problems |= answer_problems(e.answers, [e.chosen_length, e.base_length], e.base_repetition)
        about += f", answers {e.answers.length:.0f} tokens long"
    if problems:
        return Verdict(False, e.gain.provisional, f"Refused: {'; '.join(problems.values())}.", list(problems))
    provisional = f", provisional until there are {CERTAIN_PROMPTS}" if e.gain.provisional else ""
    sentence = f"Better on {prompts}: {losses} (gain {e.gain.mean:+.3f}, {bound}{provisional}); {about}."
    return Verdict(True, e.gain.provisional, sentence)


def answer_problems(
    answers: Answers, lengths: Sequence[float], base_repetition: float, base: str = "the base's"
) -> dict[str, str]:
    """What is wrong with how answers look. lengths: mean tokens of those that are all right; 0: there are none.
    base: whose repetition theirs is compared with."""
    problems = {}
    low, high = span(lengths)
    if not low <= answers.length <= high:
        problems["length"] = f"its answers are {answers.length:.0f} tokens long ({low:.0f} to {high:.0f} expected)"
    if answers.repetition > base_repetition + MAX_REPETITION_RISE:
        mine, share = percent(answers.repetition), percent(base_repetition)
        problems["repetition"] = f"its answers repeat themselves ({mine} of their word groups, {base} {share})"
    return problems


def span(lengths: Sequence[float]) -> tuple[float, float]:
    """Mean tokens, the least and the most, that answers may have beside such; 0 is of none."""
    known = [n for n in lengths if n]
    return (min(known) / LENGTH_SLACK, max(known) * LENGTH_SLACK) if known else (0.0, math.inf)


def percent(share: float, digits: int = 0) -> str:
    return f"{share * 100:.{digits}f} %"


def log_loss(x: float) -> float:
    """-log sigmoid(x), without overflow."""
    return math.log1p(math.exp(-abs(x))) + max(-x, 0.0)
