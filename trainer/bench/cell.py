"""One cell of `bench people`: learn from some people's preferences, then order pairs that were not learned from.

`python -m trainer.bench.cell JOB RESULT`, both JSON. The side is "hone", "reward", "trl", "trl@RATE" or
"trl-reward". Whatever was trained in, test pairs are scored in fp32: at TRL's default learning rate an adapter moves
less than bf16 rounds.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from chatapp.engine.model_files import file_hash
from chatapp.engine.vocab import Vocab
from trainer import reward, rules
from trainer.base_model import load_base
from trainer.bench import child, preferences, with_trl, with_trl_reward
from trainer.bench.learn import learn
from trainer.bench.side import peak_mb
from trainer.bench.with_trl import TokenPair
from trainer.config import TrainConfig
from trainer.evaluate import Example, grouped
from trainer.guards import plain_turns
from trainer.logprobs import score, use_shared_prefix
from trainer.lora import Lora
from trainer.pooled import Pooler
from trainer.trunk import Trunk, adapted_from, layer_count

HONE, REWARD, TRL, TRL_REWARD = "hone", "reward", "trl", "trl-reward"
#: what TRL's command line gives with --use_peft; PEFT chooses q_proj and v_proj. All else is DPOConfig's default: rate
#: 1e-6, beta 0.1, 3 epochs, 8 pairs a step, 1024 tokens, fp32 weights under bf16 autocast
TRL_LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05}
SAY_EVERY = 60.0  #: seconds
BUDGET = 2048  #: tokens scored at one time


@dataclass(frozen=True, slots=True)
class Cell:
    file: str
    source: str
    pairs: int
    side: str
    gguf: str
    cache_dir: str
    test_pairs: int = preferences.TEST_PAIRS
    set: dict[str, Any] = field(default_factory=dict)  #: settings of Hone's run that are not the defaults

    @property
    def rate(self) -> float | None:
        """Of trl@RATE; None: TRL's default."""
        _, _, given = self.side.partition("@")
        return float(given) if given else None


def run(cell: Cell) -> dict[str, Any]:
    """Log-ratio differences of the test pairs (above 0: ordered as people did), and what it took."""
    config = TrainConfig.read(cell.set)
    with Vocab.open(Path(cell.gguf)) as vocab:
        data = preferences.split(
            Path(cell.file), cell.source, vocab, test_pairs=cell.test_pairs, train_pairs=cell.pairs,
            max_prompt=config.max_prompt, max_response=config.max_response,
        )  # fmt: skip
        ordinary = plain_turns(vocab, "ordinary.jsonl")
    seconds: dict[str, float] = {}
    if cell.side == REWARD:
        return _result(cell, data, _reward(cell, config, data, seconds), seconds, {})
    if cell.side == TRL_REWARD:
        return _result(cell, data, _trl_reward(cell, data, seconds), seconds, {})
    if cell.side == HONE:
        policy, config = _hone(cell, config, data.train, ordinary, seconds)
    else:
        policy = _trl(cell, data.train, seconds)
    started = time.perf_counter()
    base = _reference(cell, data.test)
    theirs = logps(policy, data.test)
    seconds["test"] = time.perf_counter() - started
    margins = [(p[0] - b[0]) - (p[1] - b[1]) for p, b in zip(theirs, base, strict=True)]
    return _result(cell, data, margins, seconds, config.as_dict() if cell.side == HONE else {})


def _result(
    cell: Cell, data: preferences.Split, margins: Sequence[float], seconds: dict[str, float], config: dict[str, Any]
) -> dict[str, Any]:
    return {
        "margins": [round(margin, 5) for margin in margins],
        "longer": [len(e.chosen) - len(e.rejected) for e in data.test],
        "keys": [hashlib.sha256(key.encode()).hexdigest()[:12] for key in data.test_keys],
        "train_prompts": len({tuple(e.prompt) for e in data.train}),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "peak_mb": round(peak_mb()),
        "config": config,
    }


def _reward(cell: Cell, config: TrainConfig, data: preferences.Split, seconds: dict[str, float]) -> list[float]:
    """Reward of the chosen less that of the rejected answer of each test pair, by a model of the training pairs."""
    base = load_base(Path(cell.gguf), Path(cell.cache_dir))
    with Vocab.open(Path(cell.gguf)) as vocab:
        trunk = Trunk(base.model, adapted_from(base.model, config.layer_share), keep_bytes=0)
        pooler = Pooler.of(trunk, vocab)
    started = time.perf_counter()
    turns = preferences.turns(data.train)
    seen = pooler.see([turn.tokens for turn in turns], budget=BUDGET)
    seconds["reference"] = time.perf_counter() - started
    model = reward.learn([reward.Judged(t.key, x, t.pairs) for t, x in zip(turns, seen, strict=True)])
    seconds["training"] = time.perf_counter() - started - seconds["reference"]
    groups = grouped(data.test)
    margins: dict[int, float] = {}
    for (turn, pairs), x in zip(groups, pooler.see([t for t, _ in groups], budget=BUDGET), strict=True):
        values = model.logits(x).tolist()
        place = {tuple(response): value for response, value in zip(turn.responses, values, strict=True)}
        for pair in pairs:
            margins[id(pair)] = place[tuple(pair.chosen)] - place[tuple(pair.rejected)]
    seconds["test"] = time.perf_counter() - started - seconds["reference"] - seconds["training"]
    return [margins[id(example)] for example in data.test]


def _hone(
    cell: Cell, config: TrainConfig, examples: Sequence[Example], ordinary: Any, seconds: dict[str, float]
) -> tuple[Any, TrainConfig]:
    """The recipe of a run: the model with what was learned, in fp32, and the settings that the rules gave.

    The gate's setting of an adapter's strength is left out: it scales all margins alike, so it hardly changes which
    of two answers is ahead.
    """
    base = load_base(Path(cell.gguf), Path(cell.cache_dir))
    turns = preferences.turns(examples)
    parameters = sum(p.numel() for p in base.model.parameters())
    config = rules.apply(config, cell.set, len(turns), parameters, layer_count(base.model))
    done = learn(base.model, turns, config, ordinary, _progress())
    seconds |= {"reference": done.reference_seconds, "training": done.train_seconds}
    learned = done.lora.state()
    del done
    exact = load_base(Path(cell.gguf), Path(cell.cache_dir), dtype=torch.float32, device=base.device)
    scorer = Lora.fresh(exact.model, config)
    scorer.load_state(learned)
    return scorer.model, config


def _trl(cell: Cell, examples: Sequence[Example], seconds: dict[str, float]) -> Any:
    folder = load_base(Path(cell.gguf), Path(cell.cache_dir)).folder  # dequantised, if it was not
    pairs = [TokenPair(e.prompt, e.chosen, e.rejected) for e in examples]
    options = {"learning_rate": cell.rate} if cell.rate else {}
    with tempfile.TemporaryDirectory(prefix="hone-trl-") as made:
        model = with_trl.load(folder, torch.float32)
        done = with_trl.train(model, pairs, Path(made), lora=TRL_LORA, options=options, progress=_progress())
    seconds |= {"reference": done.reference_seconds, "training": done.train_seconds}
    use_shared_prefix(done.model.get_base_model())
    return done.model.eval()


def _trl_reward(cell: Cell, data: preferences.Split, seconds: dict[str, float]) -> list[float]:
    """Reward of the chosen less that of the rejected answer of each test pair, by TRL's RewardTrainer."""
    folder = load_base(Path(cell.gguf), Path(cell.cache_dir)).folder
    train, test = ([TokenPair(e.prompt, e.chosen, e.rejected) for e in part] for part in (data.train, data.test))
    with tempfile.TemporaryDirectory(prefix="hone-trl-") as made:
        done = with_trl_reward.train(folder, train, Path(made), lora=TRL_LORA, progress=_progress())
    seconds |= {"reference": 0.0, "training": done.seconds}
    started = time.perf_counter()
    chosen = with_trl_reward.rewards(done.model, [[*p.prompt, *p.chosen] for p in test])
    rejected = with_trl_reward.rewards(done.model, [[*p.prompt, *p.rejected] for p in test])
    seconds["test"] = time.perf_counter() - started
    return [c - r for c, r in zip(chosen, rejected, strict=True)]


def logps(model: Any, examples: Sequence[Example]) -> list[tuple[float, float]]:
    """(chosen, rejected) log-probability of each example, in the order of examples."""
    found: dict[int, tuple[float, float]] = {}
    groups = grouped(examples)
    for (turn, pairs), sums in zip(groups, score(model, [t for t, _ in groups], budget=BUDGET), strict=True):
        place = {tuple(r): i for i, r in enumerate(turn.responses)}
        for pair in pairs:
            found[id(pair)] = sums[place[tuple(pair.chosen)]], sums[place[tuple(pair.rejected)]]
    return [found[id(e)] for e in examples]


def _reference(cell: Cell, test: Sequence[Example]) -> list[tuple[float, float]]:
    """The base's log-probabilities of the test pairs, computed once for all cells."""
    ids = hashlib.sha256(json.dumps([[e.prompt, e.chosen, e.rejected] for e in test]).encode()).hexdigest()[:16]
    model_hash = file_hash(Path(cell.gguf), Path(cell.cache_dir))
    kept = Path(cell.cache_dir) / "bench" / f"people-{model_hash[:16]}-{ids}.json"
    try:
        return [(chosen, rejected) for chosen, rejected in json.loads(kept.read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        pass
    base = load_base(Path(cell.gguf), Path(cell.cache_dir), dtype=torch.float32)
    found = logps(base.model, test)
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(f".{cell.side}.tmp")
    unfinished.write_text(json.dumps(found), encoding="utf-8")
    unfinished.replace(kept)
    return found


def _progress() -> Callable[[int, int], None]:
    """Says now and then how long it will still take."""
    began = said = time.perf_counter()

    def step(done: int, total: int) -> None:
        nonlocal said
        now = time.perf_counter()
        if done == 1 or now - said > SAY_EVERY:
            said = now
            child.report(f"step {done} of {total}, about {(now - began) / done * (total - done) / 60:.1f} min left")

    return step


if __name__ == "__main__":
    child.follow_parent()
    job = Cell(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    Path(sys.argv[2]).write_text(json.dumps(run(job) | {"cell": asdict(job)}), encoding="utf-8")
