"""How often the gate promotes good versions, and refuses those that learned from flipped or random judgments.

Real: answers of the served model (those that `hone simulate` keeps), a scripted user's rankings of them, and for each
kind of judgment `fits` adapters that are trained as a run trains them, each on prompts drawn anew; their log-ratios on
TESTED other prompts, and the neutral text. Resampled: which of those are the held-out ones, RUNS draws for each number
of them, dealt evenly over the adapters; so the draws of one adapter resemble each other. The test judgments are the
honest user's, except that the adapters of random judgments also meet random ones, as of a user who rolls dice (`coin`),
those of one who takes the shorter answer (`shorter`), thumbs up on every answer (`praised`) and down (`blamed`).
Left out: the gate's second look (K-fold) at fewer than 32 prompts, and the answers that it samples.
"""

from __future__ import annotations

import functools
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from chatapp.engine.base import EngineConfig
from chatapp.engine.model_files import file_hash, resolve
from chatapp.engine.vocab import Vocab
from storage.store import Store
from trainer import expected, gate, guards
from trainer.bench.loop import record_rankings
from trainer.config import TrainConfig
from trainer.dataset import PairRef, SingleRef, Turn, best_and_worst, build
from trainer.expected import Ratios
from trainer.features import Callbacks, focus, prepare, some_words
from trainer.fit import fit
from trainer.served import served
from trainer.simulate import CANDIDATES, CONTEXT
from trainer.simulation.answers import Answers
from trainer.simulation.prompts import drawn
from trainer.users import letters_a_word

RUNS = 20
FITS = 4  #: of each kind
#: kind of training judgments -> the rows that its adapters are counted in, with the test judgments of each
ROWS = {
    "good": {"good": "good"},
    "flipped": {"flipped": "good"},
    "random": {"random": "good", "coin": "random", "shorter": "shorter", "praised": "praise", "blamed": "blame"},
}
HELD_OUT = (4, 8, 16, 32)
TESTED = 40  #: other prompts that an adapter is scored on


def relabelled(turn: Turn, kind: str, seed: int) -> Turn:
    """The same pairs, as ranked ("good"), the other way round ("flipped"), or by a random order of the answers.

    "shorter": the shorter answer of each pair is the better one; without pairs of one length, of which a turn may have
    no others. "praise", "blame": a thumb on each answer, and no pair.
    """
    if kind == "good":
        return turn
    if kind in ("praise", "blame"):
        return replace(
            turn, pairs=[], singles=[SingleRef(i, kind == "praise", 1.0) for i in range(len(turn.responses))]
        )
    if kind == "shorter":
        length = [len(r) for r in turn.responses]
        ordered = [sorted((p.chosen, p.rejected), key=length.__getitem__) for p in turn.pairs]
        pairs = [PairRef(a, b, 1.0) for a, b in ordered if length[a] < length[b]]
        return replace(turn, pairs=pairs)
    order = list(range(len(turn.responses)))
    random.Random(f"{seed}:{turn.key}").shuffle(order)
    pairs = [
        PairRef(p.rejected, p.chosen, p.weight, p.margin)
        if kind == "flipped" or order[p.chosen] > order[p.rejected]
        else p
        for p in turn.pairs
    ]
    return replace(turn, pairs=pairs)


#: the prompts that an adapter is tested on, with its ratios of their responses
Tested = list[tuple[Turn, Ratios]]


def promoted(new: Sequence[float], seed: int, neutral: guards.Neutral) -> tuple[bool, bool]:
    """(whether the gain alone would promote it, whether the neutral text lets it pass too), against the base."""
    gain = gate.bootstrap(new, [math.log(2)] * len(new), seed=seed)  # the base prefers nothing
    passes = neutral.rise <= gate.MAX_NEUTRAL_RISE and neutral.kl <= gate.MAX_KL
    return gain.low > 0, gain.low > 0 and passes


def count(
    adapters: Sequence[Tested], neutrals: Sequence[guards.Neutral], prompts: int, beta: float, seed: int = 0
) -> dict[str, Any]:
    """RUNS draws of held-out prompts, dealt over the adapters; beta: the gate's."""
    draw = random.Random(f"{seed}:{prompts}")
    found = []
    for at in range(RUNS):
        tested = draw.sample(adapters[at % len(adapters)], prompts)
        turns, ratios = zip(*tested, strict=True)
        found.append(promoted(gate.losses(turns, ratios, beta), at, neutrals[at % len(adapters)]))
    return {
        "held_out": prompts,
        "level": 0.95 if prompts >= gate.CERTAIN_PROMPTS else 0.8,
        "promoted": sum(both for _, both in found) / RUNS,
        "gain_alone": sum(gain for gain, _ in found) / RUNS,
    }


def measure(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """quick: 20 prompts, one small fit of each kind, 8 held-out prompts at most; to see that it works."""
    learn, fits, asked, tokens = (8, 1, 20, 32) if quick else (32, FITS, 104, 256)
    config = TrainConfig(epochs=1, min_steps=4, turns_per_step=4) if quick else TrainConfig()
    gguf = resolve(settings.model, settings.cache_dir).path
    model_hash = file_hash(gguf, settings.cache_dir)
    started = time.perf_counter()
    answers = Answers(settings.cache_dir / "simulation", model_hash, tokens)
    turns = _turns(gguf, model_hash, drawn("pool", 0)[:asked], answers)
    seconds = {"answers": time.perf_counter() - started}
    started = time.perf_counter()
    adapters = _Adapters(gguf, settings.cache_dir, model_hash, turns, config)
    rows: dict[str, list[Tested]] = {name: [] for tests in ROWS.values() for name in tests}
    neutrals: dict[str, list[guards.Neutral]] = {name: [] for name in rows}
    for kind, tests in ROWS.items():
        for seed in range(fits):
            print(f"{kind} {seed + 1}/{fits}", file=sys.stderr)
            ratios, neutral = adapters.fit(kind, seed, learn)
            for name, test in tests.items():
                rows[name].append(adapters.tested(ratios, test, seed))
                neutrals[name].append(neutral)
    seconds["fits"] = time.perf_counter() - started
    left = {name: min(map(len, found)) for name, found in rows.items()}
    beta = config.beta * gate.CAUTION
    table = {
        name: [count(found, neutrals[name], n, beta) for n in HELD_OUT if n <= left[name]]
        for name, found in rows.items()
    }
    return {
        "real": {"prompts": len(turns), "learned_from": learn, "fits_of_each_kind": fits, "tokens_at_most": tokens},
        "resampled": {"draws_of_held_out_prompts": RUNS, "out_of": left},
        "rows": table,
        "neutral": {n: [{"rise": x.rise, "kl": x.kl} for x in found] for n, found in neutrals.items() if n in ROWS},
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def _turns(gguf: Path, model_hash: str, asked: Sequence[str], answers: Answers) -> list[Turn]:
    """Four answers of the base to each prompt, ranked by the plain-words user; those that are not all tied."""
    with tempfile.TemporaryDirectory(prefix="hone-gate-") as home, Store.open(Path(home)) as store:
        with ExitStack() as engines:
            engine = functools.cache(lambda: engines.enter_context(served(EngineConfig(gguf, context_size=CONTEXT))))
            answered = [(text, answers.get(engine, text, "judged", CANDIDATES)) for text in asked]
        record_rankings(store, gguf, model_hash, answered, letters_a_word)
        with Vocab.open(gguf) as vocab:
            return [t for t in build(store, store.judgments.derived(), vocab, model_hash).turns if t.pairs]


class _Adapters:
    """One model on which adapters are trained one after the other."""

    def __init__(
        self, gguf: Path, cache_dir: Path, model_hash: str, turns: Sequence[Turn], config: TrainConfig
    ) -> None:
        from trainer.base_model import load_base
        from trainer.lora import Lora
        from trainer.team import Team

        base = load_base(gguf, cache_dir)
        self.config, self.team = config, Team()
        self.lora = Lora.fresh(base.model, config)
        self.turns = list(turns)
        with Vocab.open(gguf) as vocab:
            neutral, self.ordinary = (guards.plain_turns(vocab, f"{n}.jsonl") for n in ("neutral", "ordinary"))
        states = guards.states_path(cache_dir, model_hash, neutral, base)
        self.text = guards.NeutralText(neutral, budget=config.micro_tokens, wait=lambda: None, cache=states)

    def fit(self, kind: str, seed: int, learn: int) -> tuple[dict[str, Ratios], guards.Neutral]:
        """Train on `learn` prompts drawn by seed; the log-ratios on the others by prompt, and the neutral text."""
        drawn = random.Random(f"prompts:{seed}").sample(self.turns, learn)
        turns = [replace(relabelled(t, kind, seed), split="train") for t in drawn]
        if self.config.best_and_worst:
            turns = [best_and_worst(t) for t in turns]
        some = some_words(self.lora, self.config)
        works = prepare(turns, self.lora, self.config, None, Callbacks(), states_only=some)
        words = focus(works, self.lora, self.ordinary, self.config) if some else None
        config = replace(self.config, seed=seed)
        fit(self.lora, works, config, self.team, Callbacks(), self.ordinary, words=words)
        neutral, _ = guards.set_strength(self.lora, self.text)
        learned = {t.key for t in drawn}
        others = [t for t in self.turns if t.key not in learned]
        others = random.Random(f"tested:{seed}").sample(others, min(TESTED, len(others)))
        found = expected.ratios(self.lora, others, {}, budget=self.config.micro_tokens, before=lambda: None)
        ratios = {t.key: of for t, of in zip(others, found, strict=True)}
        return ratios, neutral

    def tested(self, ratios: dict[str, Ratios], test: str, seed: int) -> Tested:
        """The prompts of these log-ratios with test judgments of that kind."""
        turns = {t.key: t for t in self.turns}
        # another seed than in training: what dice say of these prompts, nobody has seen
        found = [(relabelled(turns[key], test, seed + 1000), ratios[key]) for key in sorted(ratios)]
        return [(turn, values) for turn, values in found if turn.pairs or turn.singles]
