"""Training beside TRL's DPOTrainer, in one run: same model, same token ids, same LoRA on all linear layers.

Four sides (side.py): Hone's loop on all layers, the same mathematics as TRL's; TRL as it comes; TRL tuned; and what
a run of Hone does by itself (upper layers on a cached trunk, its own passes, ordinary text): different mathematics.
Two kinds of data: independent pairs, and rankings of four, which are six pairs each: TRL computes the prompt and both
answers for every pair, Hone the prompt and each answer once.

Seconds are of training and of the reference log-probabilities, without imports and loading. Tokens a second count
the tokens of all pairs, prompt and both answers, whoever has to compute them or not. Ratios of CPU seconds stand
beside those of the clock: they tell what a machine that does other work too would hide.

`--shape` measures random weights instead: 1B and 8B on a GPU, tiny anywhere.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from trainer.bench import child, with_trl
from trainer.bench.side import HONE, RECIPE, SHAPES, TRL, TUNED, Job, Ranked
from trainer.errors import TrainerError

EPOCHS = 3
BATCH = 8  #: pairs a step, TRL's default
#: (independent pairs, rankings of four) of a full measurement: the largest that TRL does within BUDGET
SIZES = ((40, 8), (24, 4), (16, 3), (16, 2), (8, 2))
BUDGET = 300.0  #: seconds
QUICK = (4, 1)
TOKENS, QUICK_TOKENS = 256, 48  #: the longest answer
#: pairs (TRL) or tokens (Hone) at one time, of which the quickest is taken. On a CPU a pair by itself, without padding,
#: is the quickest for TRL: 3.9 s against 4.9 s a pair in twos, on two cores
TRIED: dict[str, tuple[int, ...]] = {TUNED: (1, 4)}
TRIED_ON_GPU: dict[str, tuple[int, ...]] = {TUNED: (2, 4, 8), HONE: (2048, 8192, 32768)}
#: what issue 4 asks of the same mathematics, by data and side
WANTED = {("pairs", TRL): 6.0, ("pairs", TUNED): 4.0, ("rankings", TRL): 15.0}
WANTED_ON_GPU = 1.6


def measure(settings: Settings, *, quick: bool = False, shape: str | None = None) -> dict[str, Any]:
    """Rows of figures and the ratios of TRL's seconds to Hone's. quick: four pairs and a ranking, one pass."""
    with_trl.require()
    on_gpu = shape is not None and _has_gpu()
    if shape not in (None, "tiny") and not on_gpu:
        raise TrainerError(f"the shape {shape} needs a CUDA GPU, and there is none; `--shape tiny` runs on a CPU")
    epochs = 1 if quick else EPOCHS
    if shape:
        job = Job(HONE, [], epochs, BATCH, shape=shape)
        sizes: tuple[tuple[int, int], ...] = (QUICK if quick else SIZES[0] if on_gpu else SIZES[-1],)
        pairs, rankings = random_turns(shape, *sizes[0])
    else:
        job = _model_job(settings, epochs)
        sizes = (QUICK,) if quick else SIZES
        pairs, rankings = answered_turns(settings, job, *sizes[-1], max_tokens=QUICK_TOKENS if quick else TOKENS)
        first = _run(replace(job, turns=pairs[:1], epochs=1))  # loads and dequantises, if it never was
        job = replace(job, folder=first["folder"])
    micro: dict[str, int | None] = {}
    tried: dict[str, dict[int, float]] = {}
    if not quick:
        for side, ways in (TRIED_ON_GPU if on_gpu else TRIED).items():
            some = replace(job, side=side, turns=pairs[:BATCH], trial=True)
            found = {m: _run(replace(some, micro=m)).get("pair") for m in ways}
            tried[side] = {m: round(seconds, 3) for m, seconds in found.items() if seconds is not None}
            micro[side] = min(tried[side], key=lambda m: tried[side][m]) if tried[side] else None
        micro[RECIPE] = micro.get(HONE)
    size = sizes[0]
    if len(sizes) > 1:
        once = _run(replace(job, side=TRL, turns=pairs[:BATCH], trial=True))["pair"]
        a_pair = epochs * (once + min(tried[TUNED].values()))
        size = fitting(sizes, a_pair, BUDGET)
        pairs, rankings = answered_turns(settings, job, *size, max_tokens=TOKENS)
        child.say(f"TRL takes {a_pair:.1f} s a pair in both ways: {size[0]} pairs and {size[1]} rankings")
    data = {"pairs": pairs, "rankings": rankings}
    rows = []
    order = (HONE, TRL, RECIPE, TUNED) if quick else (HONE, TRL, HONE, TUNED, HONE, RECIPE)
    for name, turns in data.items():
        results: dict[str, list[dict[str, Any]]] = {}
        for side in order:
            child.say(f"{name}: {side}")
            done = _run(replace(job, side=side, turns=turns, micro=micro.get(side)))
            results.setdefault(side, []).append(done)
        rows += [row(name, side, turns, found) for side, found in results.items()]
    ratios = compare(rows)
    return {
        "ok": quick or shape == "tiny" or reached(ratios, on_gpu),
        "shape": shape or "the default model",
        "rows": rows,
        "trl_over_hone": ratios,
        "seconds_a_pair_by_micro_batch": tried,
        "settings": {"epochs": epochs, "pairs_a_step": BATCH, "asked": sizes[0], "measured": size},
    }


def _run(job: Job) -> dict[str, Any]:
    return child.run("trainer.bench.side", asdict(job), f"measuring {job.side}")


def row(data: str, side: str, turns: Sequence[Ranked], found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One side's figures: medians of the seconds, the largest peak."""
    about = {"data": data, "side": side, "same_mathematics": side != RECIPE, "prompts": len(turns)}
    about |= {"pairs": sum(len(t.pairs) for t in turns), "times": len(found)}
    if failed := [f["failed"] for f in found if "failed" in f]:
        return about | {"failed": failed[0]}

    def middle(name: str) -> float:
        return statistics.median(float(f[name]) for f in found)

    seconds = middle("reference_seconds") + middle("train_seconds")
    last = found[-1]
    tokens = sum(pair.tokens for t in turns for pair in t.apart()) * float(last["epochs"])
    return about | {
        "epochs": last["epochs"],
        "steps": last["steps"],
        "seconds": round(seconds, 2),
        "reference_seconds": round(middle("reference_seconds"), 2),
        "train_seconds": round(middle("train_seconds"), 2),
        "cpu_seconds": round(middle("cpu_seconds"), 2),
        "setup_seconds": round(middle("setup_seconds"), 2),
        "tokens_per_second": round(tokens / seconds, 1),
        "peak_mb": round(max(float(f["peak_mb"]) for f in found)),
        "loss": round(last["loss"], 4),
        "accuracy": round(last["accuracy"], 3),
        "margin": round(last["margin"], 4),
        "dtype": last["dtype"].removeprefix("torch."),
    }


def compare(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """TRL's seconds over Hone's by data, then "TRL's side / Hone's side"; what failed is left out."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for data in dict.fromkeys(row["data"] for row in rows):
        sides = {row["side"]: row for row in rows if row["data"] == data and "failed" not in row}
        result[data] = {
            f"{theirs} / {ours}": {
                "with_reference": round(sides[theirs]["seconds"] / sides[ours]["seconds"], 2),
                "without_reference": round(sides[theirs]["train_seconds"] / sides[ours]["train_seconds"], 2),
                "cpu": round(sides[theirs]["cpu_seconds"] / sides[ours]["cpu_seconds"], 2),
            }
            for theirs in (TRL, TUNED)
            for ours in (HONE, RECIPE)
            if theirs in sides and ours in sides
        }
    return result


def reached(ratios: dict[str, dict[str, dict[str, float]]], on_gpu: bool) -> bool:
    """Whether the same mathematics is as much faster as it should be."""
    if on_gpu:
        found = [r["with_reference"] for of in ratios.values() for name, r in of.items() if name.endswith(f"/ {HONE}")]
        return bool(found) and min(found) >= WANTED_ON_GPU
    return all(
        ratios[data].get(f"{side} / {HONE}", {}).get("with_reference", 0.0) >= wanted
        for (data, side), wanted in WANTED.items()
    )


def fitting(sizes: Sequence[tuple[int, int]], seconds_a_pair: float, budget: float) -> tuple[int, int]:
    """The first of the sizes (independent pairs, rankings of six) that TRL does within budget; else the last."""
    for pairs, rankings in sizes:
        if (pairs + 6 * rankings) * seconds_a_pair <= budget:
            return pairs, rankings
    return sizes[-1]


def random_turns(shape: str, pairs: int, rankings: int) -> tuple[list[Ranked], list[Ranked]]:
    """Random tokens of the lengths that chats have; short ones for the tiny shape."""
    draw = random.Random(0)
    prompt, answer = ((8, 16), (8, 24)) if shape == "tiny" else ((60, 140), (128, 256))

    def ids(span: tuple[int, int]) -> list[int]:
        return [draw.randrange(3, SHAPES[shape]["vocab_size"]) for _ in range(draw.randint(*span))]

    def turn(answers: int) -> Ranked:
        return Ranked(ids(prompt), [ids(answer) for _ in range(answers)], list(combinations(range(answers), 2)))

    return [turn(2) for _ in range(pairs)], [turn(4) for _ in range(rankings)]


def answered_turns(
    settings: Settings, job: Job, pairs: int, rankings: int, *, max_tokens: int
) -> tuple[list[Ranked], list[Ranked]]:
    """Two answers of the model itself to each of `pairs` prompts, four to `rankings` others; the shorter the better.

    They are kept in the cache, so that the next measurement has the same data.
    """
    from chatapp.engine.base import EngineConfig, Sampling
    from chatapp.engine.model_files import file_hash
    from chatapp.engine.vocab import Vocab
    from trainer.bench.prompts import PROMPTS
    from trainer.served import served

    assert job.gguf, "a job with a model"
    gguf = Path(job.gguf)
    kept = settings.cache_dir / "bench" / f"answers-{file_hash(gguf, settings.cache_dir)[:16]}-{max_tokens}.json"
    try:
        known: dict[str, list[list[int]]] = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    first = max(most for _, most in SIZES)
    wanted = [(p, 4) for p in PROMPTS[:rankings]] + [(p, 2) for p in PROMPTS[first : first + pairs]]
    if missing := [(p, n) for p, n in wanted if len(known.get(p, ())) < n]:
        child.say(f"the model answers {len(missing)} prompts")
        with served(EngineConfig(gguf, context_size=4096)) as engine:
            for prompt, count in missing:
                seed = 1000 + 10 * PROMPTS.index(prompt)
                sampling = Sampling(temperature=0.8, max_tokens=max_tokens, seed=seed)
                answers = engine.generate([{"role": "user", "content": prompt}], count, sampling)
                known[prompt] = [list(a.token_ids) for a in answers if a.token_ids]
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".tmp")
        unfinished.write_text(json.dumps(known), encoding="utf-8")
        unfinished.replace(kept)
    turns = []
    with Vocab.open(gguf) as vocab:
        for prompt, count in wanted:
            shortest_first = sorted(known[prompt][:count], key=len)
            order = list(combinations(range(len(shortest_first)), 2))
            turns.append(Ranked(vocab.prompt_ids([{"role": "user", "content": prompt}]), shortest_first, order))
    return turns[rankings:], turns[:rankings]


def _model_job(settings: Settings, epochs: int) -> Job:
    from chatapp.engine.model_files import resolve

    gguf = resolve(settings.model, settings.cache_dir).path
    return Job(HONE, [], epochs, BATCH, gguf=str(gguf), cache_dir=str(settings.cache_dir))


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
