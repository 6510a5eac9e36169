"""Log-probabilities and fifty steps of training on the real model against TRL's DPOTrainer, in fp32: about ten minutes.

`python -m tests.soak.trajectory [--steps 50]`. The default model draws three answers to each prompt, which are ranked
(the shorter the better): the same data, order, first values, optimiser and clipping on both sides. Ours is
trainer.fit.fit, theirs trl.DPOTrainer.train. The suite does the same on a tiny model (tests/trainer/test_trl_*.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from chatapp.config import Settings
from chatapp.engine.base import EngineConfig, Message, Sampling
from chatapp.engine.model_files import resolve
from chatapp.engine.vocab import Vocab
from tests.trainer.conftest import shake
from tests.trainer.trl_side import curves, dpo_trainer, fit_and_note, logps_in_the_loss, rows_of, take_values
from trainer.base_model import load_base
from trainer.bench.prompts import PROMPTS
from trainer.config import TrainConfig
from trainer.dataset import PairRef, Turn
from trainer.features import Callbacks, Work, prepare
from trainer.logprobs import score
from trainer.lora import Lora
from trainer.served import served

#: the largest difference allowed: of a response's log-probability and the gradient norm relative to theirs, of the loss
#: in nats. Answers have 30 to 200 nats, and fp32 puts either side 2e-4 to 4e-4 nats from fp64 after 30 layers, so the
#: suite's 1e-4 nats holds for its tiny model only. Seen in five steps: 7e-6 (2.5e-4 nats), 1.1e-6, 1.3e-5
LIMITS = {"logps": 2e-5, "loss": 1e-4, "norm": 1e-2}
ANSWER_TOKENS = 40
PASSES = 5


def ranked(gguf: Path, count: int) -> list[Turn]:
    """Turns of three sampled answers each, as many as are all different."""
    pairs = [PairRef(0, 1, 1 / 3), PairRef(0, 2, 1 / 3), PairRef(1, 2, 1 / 3)]
    turns: list[Turn] = []
    with Vocab.open(gguf) as vocab, served(EngineConfig(gguf, context_size=1024)) as engine:
        for number, prompt in enumerate(PROMPTS):
            if len(turns) == count:
                break
            asked = [Message(role="user", content=prompt)]
            found = engine.generate(asked, 3, Sampling(max_tokens=ANSWER_TOKENS, seed=number), lambda *_: None)
            answers = sorted({tuple(candidate.token_ids) for candidate in found}, key=len)
            if len(answers) == 3 and all(answers):
                made = Turn(str(number), "train", asked, vocab.prompt_ids(asked), [list(a) for a in answers], pairs)
                turns.append(made)
    return turns


def compare(settings: Settings, steps: int, layer_share: float) -> dict[str, float]:
    """The largest differences, by the names of LIMITS; and what else is worth a line."""
    gguf = resolve(settings.model, settings.cache_dir).path
    config = TrainConfig(
        epochs=PASSES, min_steps=steps, turns_per_step=1, ordinary_weight=0, words=0, layer_share=layer_share
    )
    turns = ranked(gguf, max(1, steps // PASSES))

    def base() -> Any:
        cpu = torch.device("cpu")
        return load_base(gguf, settings.cache_dir, dtype=torch.float32, device=cpu, check=False).model

    lora = Lora.fresh(base(), config)
    works = prepare(turns, lora, config, None, Callbacks())
    began = time.perf_counter()
    history, order = fit_and_note(lora, works, config)
    ours = time.perf_counter() - began

    plain = base()
    plain.set_attn_implementation("sdpa")
    with tempfile.TemporaryDirectory(prefix="hone-soak-") as folder:
        theirs = dpo_trainer(plain, lora, order, len(history), config, Path(folder))
        shake(lora, scale=0.02)
        nats, relative = _logps_apart(lora, theirs, works)
        lora.reset(config.seed)
        take_values(theirs.model, lora)
        began = time.perf_counter()
        theirs.train()
    (loss, norm), (their_loss, their_norm) = curves(history), curves(theirs.state.log_history)
    return {
        "steps": len(loss),
        "logps": relative,
        "logps_nats": nats,
        "loss": float((loss - their_loss).abs().max()),
        "norm": float(((norm - their_norm).abs() / their_norm).max()),
        "first_loss": float(loss[0]),
        "last_loss": float(loss[-1]),
        "our_seconds": ours,
        "their_seconds": time.perf_counter() - began,
    }


def _logps_apart(lora: Lora, theirs: Any, works: Sequence[Work]) -> tuple[float, float]:
    """The largest difference of a response's log-probability, with the adapter and without: nats, and relative."""
    take_values(theirs.model, lora)
    some = works[:4]
    found = logps_in_the_loss(theirs, rows_of(some))
    policy = score(lora.model, [w.tokens for w in some], budget=4096, packer=lora.pack)
    apart: list[torch.Tensor] = []
    relative: list[torch.Tensor] = []
    for values, sums in zip(found, (policy, [w.reference for w in some]), strict=True):
        pairs = [
            (of[pair.chosen], of[pair.rejected]) for w, of in zip(some, sums, strict=True) for pair in w.turn.pairs
        ]
        mine = torch.tensor(pairs).T.flatten()  # chosen, then rejected, as theirs
        apart.append((values - mine).abs())
        relative.append(apart[-1] / values.abs())
    return float(torch.cat(apart).max()), float(torch.cat(relative).max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--layer-share", type=float, default=0.5, help="of the layers, from the top, with an adapter")
    asked = parser.parse_args()
    found = compare(Settings.load({}), asked.steps, asked.layer_share)
    print(json.dumps({name: round(value, 9) for name, value in found.items()}))
    for name, limit in LIMITS.items():
        if not found[name] <= limit:
            print(
                f"BROKEN {name} differs by {found[name]:.2g} from TRL's, at most {limit:g} is allowed", file=sys.stderr
            )
            return 1
    print(f"{found['steps']} steps on the real model are TRL's: loss, gradient norm, log-probabilities")
    return 0


if __name__ == "__main__":
    sys.exit(main())
