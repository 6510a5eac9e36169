"""A training run as one looks at it: its state in words, how long it will take, its curves and its figures.

Reads the store, and is quick: the screen asks once a second. No widgets here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

from chatapp.gate_words import at_least, tested

if TYPE_CHECKING:
    from storage.runs import Run
    from storage.store import Store

KINDS = {
    "dpo": "lesson",
    "sft": "lesson (sft)",
    "ppo": "lesson (ppo)",
    "rlhf": "lesson (rlhf)",
    "reward": "reward model",
}
SIGNS = {"queued": "…", "running": "●", "done": "✓", "rejected": "✗", "failed": "!", "cancelled": "–"}
#: of one run by its steps: metric, name, what it means
_CURVES = [
    ("ppo.reward", "reward", "by batch · higher is better"),
    ("ppo.kl", "KL", "to the base, by batch · nats a token"),
    ("ppo.length", "length", "of its answers, by batch · tokens"),
    ("ppo.spread", "doubt", "how far the reward's heads part, by batch"),
    ("train.loss", "loss", "by step · lower is better"),
    ("train.margin", "margin", "by step · higher is better"),
]
#: of all lessons up to this one
_HISTORY = [
    ("gate.accuracy", "agreement", "with judgments held out or left out, by lesson"),
    ("neutral.kl", "KL", "to the base, by lesson · nats a token"),
]
_LATER = [("train.accuracy", "fit", "right of what it learns from, by step")]


@dataclass(frozen=True, slots=True)
class Curve:
    """What a plot shows."""

    name: str
    note: str
    points: tuple[tuple[float, float], ...]  #: two or more

    @property
    def words(self) -> str:
        """ "loss: 0.69, then 0.41 (by step · lower is better)"."""
        first, last = self.points[0][1], self.points[-1][1]
        return f"{self.name}: {first:.3g}, then {last:.3g} ({self.note})"


@dataclass(frozen=True, slots=True)
class Watched:
    """One run, closely."""

    run: Run
    state: str  #: in words
    share: float | None  #: of the steps of what it is at
    left: str  #: time, in words; empty where nothing is known
    learned: str  #: from how much, and what it was tested on, in a sentence; empty where it is not known
    figures: Sequence[str]  #: sentences
    curves: Sequence[Curve]  #: the most telling first


def doing(store: Store, run: Run) -> str:
    """What a run that has not ended is at."""
    if run.state == "queued":
        return "waiting for its turn"
    if progress := store.runs.progress(run.id):
        if progress[0] >= progress[1]:
            return "testing"  # the version; the second look, which few judgments can ask for, tests its recipe
        return f"{'testing' if store.runs.checking(run.id) else 'learning'} {progress[0]}/{progress[1]}"
    if (count := store.runs.practising(run.id)) is not None:
        return f"practice: request {count}"  # a model's answers to our own requests are written once
    return "reading judgments"  # and the model, for some seconds before the first step


def kind(run: Run) -> str:
    return KINDS.get(run.kind, run.kind)


def state(run: Run) -> str:
    """How it ended, or that it has not, in two or three words."""
    if run.state == "done" and run.kind != "reward":
        return "adopted" if run.result.get("adapter_state", "live") == "live" else "passed, not used"
    if run.state == "rejected":
        return "refused" if run.kind == "reward" else "not adopted"
    if run.state == "running":
        return "stopping" if run.cancel_requested_at else "under way"
    return {"queued": "interrupted" if run.interrupted else "waiting"}.get(run.state, run.state)


def watch(store: Store, run_id: str) -> Watched:
    """Look at one run. Raises NotFound."""
    run = store.runs.get(run_id)
    series: dict[str, list[tuple[float, float]]] = {}
    for step, name, value in store.runs.read_metrics(run.id):
        if math.isfinite(value):
            series.setdefault(name, []).append((float(step), value))
    last = {name: points[-1][1] for name, points in series.items()}
    progress = None if run.finished else store.runs.progress(run.id)
    splits = Counter(
        {
            row["split"]: int(row["n"])
            for row in store.rows(
                "SELECT split, count(*) AS n FROM run_judgments WHERE run_id = ? GROUP BY split", [run.id]
            )
        }
    )
    return Watched(
        run,
        state(run) if run.finished else doing(store, run),
        None if progress is None or not progress[1] else progress[0] / progress[1],
        "" if progress is None or run.state != "running" else _left(run, progress, series),
        _learned(splits, last),
        _figures(last, bool(splits)),
        _curves(store, run, series),
    )


def _left(run: Run, progress: tuple[int, int], series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """From what the last steps took; before they say so, from what all of it took so far."""
    done, total = progress
    if done >= total or not done:
        return ""
    steps = [seconds for _, seconds in series.get("train.step_seconds", [])[-20:]]
    if not steps and run.started_at is not None:
        steps = [(datetime.now(UTC) - datetime.fromisoformat(run.started_at)).total_seconds() / done]
    then = "" if "progress.second_look" in series else ", then a test"
    return f"about {span(median(steps) * (total - done))} left{then}" if steps else ""


def _learned(splits: Mapping[str, int], last: Mapping[str, float]) -> str:
    if not splits:
        return ""
    train = splits.get("train", 0)
    many = f"{train} judgment{'s' if train != 1 else ''}"
    return f"Learned from {many} and was {tested(splits.get('held_out', 0), last)}."


def span(seconds: float) -> str:
    """ "40 s", "3 min", "2 h 10 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def took(run: Run) -> str:
    """How long it ran; empty where it did not."""
    if run.started_at is None or run.finished_at is None:
        return ""
    began, ended = (datetime.fromisoformat(time) for time in (run.started_at, run.finished_at))
    return span((ended - began).total_seconds())


def _curves(store: Store, run: Run, series: Mapping[str, Sequence[tuple[float, float]]]) -> list[Curve]:
    # steps behind these are those of the second look, which begins anew five times
    second = series.get("progress.second_look")
    end = second[-1][1] if second else math.inf
    found = []
    for steps, curves in ((True, _CURVES), (False, _HISTORY), (True, _LATER)):
        for metric, name, note in curves:
            points = [point for point in series.get(metric, ()) if point[0] <= end or not steps]
            if not steps and (points or not run.finished):
                points = _by_lesson(store, run, metric)
            if len(points) > 1:
                found.append(Curve(name, note, tuple(points)))
    return found


def _by_lesson(store: Store, run: Run, metric: str) -> list[tuple[float, float]]:
    rows = store.tuples(
        "SELECT r.number, m.value FROM runs r JOIN run_metrics m ON m.run_id = r.id "
        "WHERE m.name = ? AND r.model_hash IS ? AND r.number <= ? ORDER BY r.number, m.step",
        [metric, run.model_hash, run.number],
    )
    return [(float(number), value) for number, value in dict(rows).items() if math.isfinite(value)]


def _figures(last: Mapping[str, float], known: bool) -> list[str]:
    """What the test found, a sentence each."""

    def has(*names: str) -> bool:
        return all(name in last for name in names)

    found = []
    if not known and has("data.prompts", "data.held_out_prompts"):
        found.append(
            f"It reads {last['data.prompts']:.0f} prompts; {last['data.held_out_prompts']:.0f} are held out. "
            "Where these do not decide, all are tested, each left out in turn."
        )
    if has("gate.new_loss", "gate.live_loss"):
        bound = f", gain {at_least(last['gate.bound'])}" if has("gate.bound") else ""
        found.append(
            f"Log-loss on what it was tested on: {last['gate.new_loss']:.3f}, "
            f"before {last['gate.live_loss']:.3f}{bound}."
        )
    if has("gate.accuracy"):
        before = f", the version before with {last['gate.live_accuracy']:.0%}" if has("gate.live_accuracy") else ""
        found.append(f"Of the judgments that it was tested on, it agrees with {last['gate.accuracy']:.0%}{before}.")
    if has("prequential.accuracy", "prequential.longer_wins"):
        found.append(
            f"On the new judgments the version before was right in {last['prequential.accuracy']:.0%}; "
            f"taking the longer answer is in {last['prequential.longer_wins']:.0%}."
        )
    if has("reward.accuracy", "reward.longer_wins"):
        found.append(
            f"It orders {last['reward.accuracy']:.0%} of held-out pairs as you did; "
            f"taking the longer answer does {last['reward.longer_wins']:.0%}."
        )
    if has("neutral.kl", "neutral.rise"):
        found.append(
            f"Drift from the base: {last['neutral.kl']:.3f} nats a token (KL); neutral text is "
            f"{abs(last['neutral.rise']):.1%} {'harder' if last['neutral.rise'] > 0 else 'easier'} to foretell."
        )
    return found
