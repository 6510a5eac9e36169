"""What a version learned from, and whether a new run begins at the base or goes on from the version in use.

A refit from the base on all judgments is the rule. Past a time budget a run goes on from the version in use: on what
was judged since, and on some of the old turns again, so that they are not unlearned. The reference stays the base in
both cases. What such a version learned from includes its ancestors': one judgment of theirs that does not count any
more (taken back, replaced, forgotten, made private, or no longer included) forces a refit.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.adapters import Adapter
from storage.store import Store
from trainer.config import TrainConfig
from trainer.dataset import Dataset, Turn

SPEED = "speed.tokens_per_second"  #: metric of a run: tokens of its turns, times passes, by seconds of training


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a run begins: at the base with all turns, or at the version in use with new and some old ones."""

    turns: list[Turn]  #: to train on
    adapter: Adapter | None  #: to go on from; None: the base
    why: str
    new: int = 0  #: of the turns
    replayed: int = 0


def trained_on(store: Store, adapter: Adapter) -> set[str]:
    """The judgments that a version and the versions that it went on from learned from."""
    rows = store.rows("SELECT judgment_id FROM run_judgments WHERE run_id = ? AND split = 'train'", [adapter.run_id])
    return {row["judgment_id"] for row in rows}


def unseen_judgments(store: Store, model_hash: str) -> set[str]:
    """Judgments that no finished run that trained a version of this model has seen."""
    rows = store.rows(
        "SELECT id FROM judgments j WHERE NOT EXISTS (SELECT 1 FROM run_judgments rj JOIN runs r ON r.id = rj.run_id "
        "WHERE rj.judgment_id = j.id AND r.kind <> 'reward' AND r.model_hash = ? AND r.state IN ('done', 'rejected'))",
        [model_hash],
    )
    return {row["id"] for row in rows}


def begin(
    store: Store,
    config: TrainConfig,
    live: Adapter | None,
    dataset: Dataset,
    practised: Sequence[Turn],
    model_hash: str,
    layers: int,
) -> Beginning:
    """Choose by config.start, the judgments behind the version in use, its shape, and the time of a refit.

    practised: what a refit would learn beside the judgments. layers: of the model.
    """
    train = dataset.train
    if config.start == "refit":
        return Beginning(train, None, "a refit was asked for")
    if live is None:
        return Beginning(train, None, "there is no version to go on from")
    known = trained_on(store, live)
    gone = known - {judgment for judgment, split in dataset.judgments if split == "train"}
    if not known:
        return Beginning(train, None, f"it is not known what {live.name} learned from")
    if gone:
        why = f"{len(gone)} of the {len(known)} judgments that {live.name} learned from no longer count"
        return Beginning(train, None, why)
    if not fits(store.adapters.dir(live), config, layers) or maps(live) != set(config.modules):
        return Beginning(train, None, f"{live.name} has another rank, or other layers or maps")
    new = [turn for turn in train if turn.judgments - known]
    if not new:
        return Beginning(train, None, f"there is nothing that {live.name} has not learned from")
    why = "a warm start was asked for"
    if config.start == "auto":
        seconds = refit_seconds(store, config, [*train, *practised], model_hash)
        if seconds is None:
            return Beginning(train, None, "how long a refit takes is not known yet")
        why = f"a refit would take about {seconds:.0f} s of training, the limit is {config.refit_seconds:.0f} s"
        if seconds <= config.refit_seconds:
            return Beginning(train, None, why)
    old = [turn for turn in train if not turn.judgments - known]
    again = replay(old, len(new), config.replay_share, f"{config.seed}:{live.id}")
    return Beginning([*new, *again], live, why, len(new), len(again))


def fits(folder: Path, config: TrainConfig, layers: int) -> bool:
    """Whether a fit with these settings can go on from the adapter in folder: the same rank, scale and layers."""
    try:
        about = json.loads((folder / "adapter_config.json").read_text())
    except (OSError, ValueError):
        return False
    wanted = range(layers - max(1, round(layers * config.layer_share)), layers)
    found = about.get("layers_to_transform")
    return (
        about.get("r") == config.rank
        and about.get("lora_alpha") == config.alpha
        and sorted(range(layers) if found is None else found) == list(wanted)
    )


def maps(adapter: Adapter) -> set[str]:
    """The linear maps that a version was to change, by their names; none: all of them, as before this was a setting."""
    return set((adapter.report.get("config") or {}).get("modules", ()))


def replay(old: Sequence[Turn], new: int, share: float, seed: str) -> list[Turn]:
    """Old turns beside `new` new ones, so that they are `share` of both, drawn at random; all of them if too few."""
    wanted = round(new * share / (1 - share))
    return random.Random(seed).sample(list(old), min(wanted, len(old)))


def refit_seconds(store: Store, config: TrainConfig, turns: Sequence[Turn], model_hash: str) -> float | None:
    """Seconds of training on these turns at the speed of this model's last run; None if there was none."""
    speed = store.value(
        "SELECT m.value FROM run_metrics m JOIN runs r ON r.id = m.run_id "
        "WHERE m.name = ? AND r.model_hash = ? AND m.value > 0 ORDER BY r.number DESC LIMIT 1",
        [SPEED, model_hash],
    )
    return None if speed is None else fit_tokens(config, turns) / float(speed)


def fit_tokens(config: TrainConfig, turns: Sequence[Turn]) -> int:
    """Tokens that a fit computes, all its passes together."""
    return round(sum(turn.tokens.tokens for turn in turns) * config.passes(len(turns)))
