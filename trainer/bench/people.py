"""Real people's preferences: how often pairs that nobody learned from are ordered as people ordered them.

Hone's recipe, as a run would learn it, and its reward model, beside TRL's DPOTrainer and RewardTrainer with their
defaults and beside "the longer answer wins", on one split by prompt (preferences.py): about 300 pairs to test, 100, 300
and 1000 to learn from. An answer is ahead when its log-probability rose more above the base's, or its reward is higher;
ties count half. Intervals are 95 %, from a bootstrap over prompts.

A cell is data:pairs:side, for instance hh:100:hone. Each is measured in a process of its own and appended to --out as
soon as it is done, so that a measurement of hours goes on where it stopped. `trl@2e-4` is TRL with that learning rate:
its default of 1e-6 is meant for training all weights, and an adapter learns next to nothing with it.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from trainer.bench import child, preferences, with_trl
from trainer.errors import TrainerError

SIZES = (100, 300, 1000)
SIDES = ("hone", "reward", "trl", "trl-reward")
QUICK = (8, 12)  #: pairs to learn from, pairs to test
RESAMPLES = 2000
#: seconds of learning a pair, without the test, for the estimates until a cell of the same kind was measured: from the
#: tokens of a pair and the speed of both sides on two cores with avx512_bf16
SECONDS_A_PAIR = {("hh", "hone"): 1.0, ("hh", "trl"): 27.0, ("qa", "hone"): 1.0, ("qa", "trl"): 110.0}
#: TRL's reward side is a guess, three quarters of its DPO: it has no reference
SECONDS_A_PAIR |= {("hh", "reward"): 0.4, ("qa", "reward"): 0.4, ("hh", "trl-reward"): 20.0, ("qa", "trl-reward"): 80.0}


def measure(
    settings: Settings,
    *,
    quick: bool = False,
    data: Path | None = None,
    out: Path | None = None,
    only: Sequence[str] = (),
    set: Sequence[str] = (),
) -> dict[str, Any]:
    """Rows of all cells that were measured, now or before (those of `out`). quick: eight pairs of HH."""
    from chatapp.engine.model_files import resolve
    from trainer.bench.cell import Cell

    if data is None:
        raise TrainerError(f"bench people needs --data DIR: a folder with {' and '.join(preferences.FILES.values())}")
    names = list(only) or [f"hh:{QUICK[0]}:{side}" for side in SIDES] if quick else list(only) or every_cell()
    wanted = [parse(name) for name in names]
    overrides = settings_of(set)
    gguf = resolve(settings.model, settings.cache_dir).path
    if any(side.startswith("trl") for _, _, side in wanted):
        with_trl.require()
    cells = [
        Cell(
            str(preferences.find(data, source)), source, pairs, side, str(gguf), str(settings.cache_dir),
            test_pairs=QUICK[1] if quick else preferences.TEST_PAIRS, set=overrides if side == "hone" else {},
        )
        for source, pairs, side in wanted
    ]  # fmt: skip
    found = kept(out)
    done = {identity(result["cell"]): result for result in found}
    left = [cell for cell in cells if identity(asdict(cell)) not in done]
    for cell in left:
        child.say(f"{name(asdict(cell))}: about {estimate(asdict(cell), found) / 60:.0f} min")
    for cell in left:
        child.say(f"{name(asdict(cell))} begins")
        result = child.run("trainer.bench.cell", asdict(cell), name(asdict(cell)))
        found.append(result)
        done[identity(result["cell"])] = result
        if out is not None:
            with open(out, "a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
    rows = [row(done[identity(asdict(cell))]) for cell in cells]
    return {"ok": True, "rows": rows, "differences": differences([done[identity(asdict(cell))] for cell in cells])}


def every_cell() -> list[str]:
    """Small ones first: whoever interrupts has something."""
    return [f"{source}:{pairs}:{side}" for pairs in SIZES for source in preferences.FILES for side in SIDES]


def parse(text: str) -> tuple[str, int, str]:
    """data:pairs:side. Raises TrainerError."""
    source, _, rest = text.partition(":")
    pairs, _, side = rest.partition(":")
    kind, at, rate = side.partition("@")
    good = source in preferences.FILES and pairs.isdecimal() and int(pairs) > 0
    good = good and (side in SIDES or (kind == "trl" and bool(at) and _positive(rate)))
    if not good:
        raise TrainerError(
            f"{text!r} is no cell: it is data:pairs:side with data {' or '.join(preferences.FILES)} and side hone, "
            "reward, trl, trl@RATE or trl-reward, for instance hh:100:hone"
        )
    return source, int(pairs), side


def settings_of(given: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE of a run's settings. Raises BadSetting for one that does not exist."""
    from trainer.config import TrainConfig

    found: dict[str, Any] = {}
    for text in given:
        key, _, value = text.partition("=")
        try:
            found[key.strip()] = json.loads(value)
        except ValueError:
            found[key.strip()] = value
    TrainConfig.read(found)
    return found


def kept(out: Path | None) -> list[dict[str, Any]]:
    """The results of a file; a line that was cut off by a kill is left out."""
    found = []
    if out is not None and out.exists():
        for line in out.read_text(encoding="utf-8").splitlines():
            try:
                result = json.loads(line)
            except ValueError:
                continue
            if isinstance(result, dict) and "cell" in result:
                found.append(result)
    return found


def name(cell: dict[str, Any]) -> str:
    changed = "".join(f" {key}={value}" for key, value in sorted(cell["set"].items()))
    return f"{cell['source']}:{cell['pairs']}:{cell['side']}{changed}"


def identity(cell: dict[str, Any]) -> str:
    """What makes a result the same measurement, wherever the files lie."""
    return f"{name(cell)} tested on {cell['test_pairs']} with {Path(cell['gguf']).name}"


def estimate(cell: dict[str, Any], found: Sequence[dict[str, Any]]) -> float:
    """Seconds that a cell will take: as others of its kind did, else as on our machine."""
    kind = cell["side"].partition("@")[0]
    like = [r for r in found if r["cell"]["source"] == cell["source"] and r["cell"]["side"].partition("@")[0] == kind]
    if like:
        each = statistics.median(r["seconds"]["reference"] + r["seconds"]["training"] for r in like)
        each /= statistics.median(r["cell"]["pairs"] for r in like)
    else:
        each = SECONDS_A_PAIR[cell["source"], kind]
    return float(each * cell["pairs"])


def row(result: dict[str, Any]) -> dict[str, Any]:
    """The figures of one cell."""
    cell = result["cell"]
    right = [half(margin) for margin in result["margins"]]
    longer = [half(difference) for difference in result["longer"]]
    low, high = interval(right, result["keys"])
    longer_low, longer_high = interval(longer, result["keys"])
    gain_low, gain_high = interval([a - b for a, b in zip(right, longer, strict=True)], result["keys"])
    return {
        "cell": name(cell),
        "data": preferences.WHAT[cell["source"]],
        "side": cell["side"],
        "train_pairs": cell["pairs"],
        "train_prompts": result["train_prompts"],
        "test_pairs": len(right),
        "test_prompts": len(set(result["keys"])),
        "accuracy": round(statistics.fmean(right), 4),
        "interval": [low, high],
        "longer_wins": round(statistics.fmean(longer), 4),
        "longer_wins_interval": [longer_low, longer_high],
        "above_longer": round(statistics.fmean(right) - statistics.fmean(longer), 4),
        "above_longer_interval": [gain_low, gain_high],
        "mean_log_ratio_difference": round(statistics.fmean(result["margins"]), 4),
        "seconds": result["seconds"],
        "peak_mb": result["peak_mb"],
    }


def differences(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hone's accuracy less the other side's, where both learned from the same pairs: the same test pairs, paired."""
    found = []
    for ours in results:
        for theirs in results:
            same = all(ours["cell"][key] == theirs["cell"][key] for key in ("source", "pairs", "test_pairs"))
            other = theirs["cell"]["side"]
            compared = {"hone": other not in ("hone", "trl-reward"), "reward": other == "trl-reward"}
            if same and compared.get(ours["cell"]["side"], False):
                gains = [half(a) - half(b) for a, b in zip(ours["margins"], theirs["margins"], strict=True)]
                low, high = interval(gains, ours["keys"])
                about = f"{name(ours['cell'])} less {theirs['cell']['side']}"
                found.append({"of": about, "accuracy": round(statistics.fmean(gains), 4), "interval": [low, high]})
    return found


def half(value: float) -> float:
    """1 above 0, 0 below, a tie counts half."""
    return 1.0 if value > 0 else 0.0 if value < 0 else 0.5


def interval(values: Sequence[float], keys: Sequence[str]) -> tuple[float, float]:
    """95 % interval of the mean. Whole prompts are drawn anew, for the pairs of one prompt are not independent."""
    groups: dict[str, list[float]] = {}
    for key, value in zip(keys, values, strict=True):
        groups.setdefault(key, []).append(value)
    sums = [(sum(group), len(group)) for group in groups.values()]
    draw = random.Random(0)
    means = []
    for _ in range(RESAMPLES):
        drawn = draw.choices(sums, k=len(sums))
        means.append(sum(total for total, _ in drawn) / sum(count for _, count in drawn))
    means.sort()
    return round(means[int(0.025 * RESAMPLES)], 4), round(means[int(0.975 * RESAMPLES) - 1], 4)


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False
