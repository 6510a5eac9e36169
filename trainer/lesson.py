"""What one run computes, step by step: model, examples, reference, fit, files, gate, row.

worker.py owns the row's states and the locks; this is the part that needs torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from chatapp.engine.vocab import Vocab
from chatapp.engine.yield_lock import GenerationLock
from storage import paths
from storage.adapters import Adapter
from storage.ids import new_id
from storage.store import Store
from trainer import adapter_file, gate, guards
from trainer.base_model import BaseModel, load_base
from trainer.config import TrainConfig
from trainer.dataset import Dataset, Turn, build
from trainer.errors import NotEnoughJudgments, TrainerError
from trainer.fit import Callbacks, Metrics, Work, fit, prepare, reference_path
from trainer.logprobs import score
from trainer.lora import Lora
from trainer.outcome import Clock, Outcome
from trainer.team import Team


def import_libraries() -> None:
    """Import what takes seconds, so that its time is counted as such."""
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    import safetensors.torch  # noqa: F401
    import transformers  # noqa: F401
    from transformers import AutoModelForCausalLM, LlamaForCausalLM  # noqa: F401


@dataclass(slots=True)
class Lesson:
    store: Store
    run_id: str
    config: TrainConfig
    gguf: Path
    model_hash: str
    cache_dir: Path
    train_base: Path | None
    team: Team
    clock: Clock
    cancelled: Callable[[], bool]
    metrics: dict[str, Any] = field(default_factory=dict)
    done: int = 0  #: optimiser steps, over all fits
    total: int = 0

    def run(self) -> Outcome:
        """The whole run. Raises what went wrong; nothing is live before the last line."""
        store, config = self.store, self.config
        home = store.home
        adapter_file.remove_stale(paths.adapters_dir(home))
        _remove_orphans(store)
        live = store.adapters.live(self.model_hash)
        calls = Callbacks(self._progress, self.cancelled, GenerationLock(paths.generation_lock(home)).wait_for_idle)

        with self.clock.phase("features"), Vocab.open(self.gguf) as vocab:
            dataset = self._dataset(vocab)
            neutral_turns = guards.neutral_turns(vocab)
        test_turns, pooled = self._choose_test(dataset.turns, live)
        self.team.share((dataset.turns, config, str(self.gguf)))
        with self.clock.phase("model"):
            base = load_base(self.gguf, self.cache_dir, train_base=self.train_base)
            lora = Lora(base.model, rank=config.rank, alpha=config.alpha, seed=config.seed)
        with self.clock.phase("features"):
            cache = reference_path(home, self.model_hash, base)
            works = prepare(dataset.turns, lora, config, cache, calls)
            live_ratios = self._live_ratios(works, lora, live, calls)

        by_key = {w.turn.key: w for w in works}
        tested = [by_key[t.key] for t in test_turns]
        with self.clock.phase("training"):
            self._count_steps(works, tested if pooled else [])
            new_losses = self._fold_losses(tested, works, lora, calls) if pooled else []
            last = self._fit([w for w in works if w.turn.split == "train"], lora, calls)
            self.team.share(None)
        with self.clock.phase("gate"):
            neutral, scale = guards.hold_back(lora, neutral_turns, budget=config.micro_tokens, wait=calls.wait)
        self.metrics |= {"adapter.scale": scale}
        self.metrics |= {f"train.{name}": value for name, value in last.items() if name != "step_seconds"}

        with self.clock.phase("files"):
            adapter_id = new_id()
            folder = paths.adapter_dir(home, adapter_id)
            permuted = base.check.get("permuted") or adapter_file.permuted_projections(self.gguf, base.model)
            files = adapter_file.write_folder(folder, lora, architecture=self._architecture(), permuted=permuted)
        with self.clock.phase("gate"):
            if not pooled:
                new_losses = [x for _, x in self._losses(tested, lora, calls)]
            live_losses = [_loss(w.turn, live_ratios.get(w.turn.key), config.beta) for w in tested]
            evidence = self._evidence(new_losses, live_losses, live, pooled, neutral, folder, dataset, calls)
            verdict = gate.decide(evidence)
        return self._conclude(adapter_id, files, live, verdict, evidence, dataset, base)

    def _dataset(self, vocab: Vocab) -> Dataset:
        config = self.config
        derived = self.store.judgments.derived(config.include)
        dataset = build(
            self.store,
            derived,
            vocab,
            self.model_hash,
            max_prompt=config.max_prompt,
            max_response=config.max_response,
            weight_of_others=config.include_weight,
        )
        counts = dataset.counts()
        self.metrics |= counts
        self.store.runs.metrics(self.run_id, 0, counts)
        usable = [t for t in dataset.turns if t.pairs or t.singles]
        if len(usable) < gate.MIN_PROMPTS or not any(t.split == "train" for t in usable):
            raise NotEnoughJudgments(
                f"training needs judgments of at least {gate.MIN_PROMPTS} different prompts, so that some can be kept "
                f"for the test; there are {len(usable)} that prefer one answer to another or call one good or bad"
            )
        return dataset

    def _live_ratios(
        self, works: Sequence[Work], lora: Lora, live: Adapter | None, calls: Callbacks
    ) -> dict[str, list[float]]:
        """The live adapter's log-ratios where they are needed, by turn; and its prequential accuracy as a metric.

        Prequential: on the judgments that no finished run has seen, before anything learns from them.
        """
        if live is None:
            return {}
        new = _unseen_judgments(self.store, self.model_hash)
        trained = _trained_on(self.store, live)
        wanted = [w for w in works if w.turn.split == "held_out" or not (w.turn.judgments & trained)]
        try:
            lora.load(self.store.adapters.dir(live))
        except FileNotFoundError as error:
            raise TrainerError(
                f"the files of {live.name}, the version in use, are gone from {self.store.adapters.dir(live)}; choose "
                "another with `hone adapters use`, or `hone adapters use base`"
            ) from error
        ratios = _ratios(wanted, lora, self.config, calls)
        fresh = [(w, r) for w, r in zip(wanted, ratios, strict=True) if w.turn.judgments & new]
        right, longer, count = gate.pair_accuracy([w.turn for w, _ in fresh], [r for _, r in fresh])
        if count:
            self.metrics |= {
                "prequential.accuracy": right,
                "prequential.longer_wins": longer,
                "prequential.pairs": count,
            }
        return {w.turn.key: r for w, r in zip(wanted, ratios, strict=True)}

    def _choose_test(self, turns: Sequence[Turn], live: Adapter | None) -> tuple[list[Turn], bool]:
        """The turns that decide, and whether they are tested by K-fold.

        Held-out ones if there are enough. Else every turn that the live adapter has not learned from: on those that it
        has, it would look better than it is.
        """
        judged = [t for t in turns if t.pairs or t.singles]
        held_out = [t for t in judged if t.split == "held_out"]
        if len(held_out) >= gate.MIN_HELD_OUT:
            return held_out, False
        trained = _trained_on(self.store, live) if live else set()
        unseen = [t for t in judged if not t.judgments & trained]
        if len(unseen) < gate.MIN_HELD_OUT:
            raise NotEnoughJudgments(
                f"the test needs at least {gate.MIN_HELD_OUT} prompts that {live.name if live else 'the base'} has not "
                f"learned from; there are {len(unseen)}: judge a few more answers"
            )
        return unseen, True

    def _fit(self, works: Sequence[Work], lora: Lora, calls: Callbacks) -> Metrics:
        """fit(), together with the other processes."""
        self.team.share([w.turn.key for w in works])
        return fit(lora, works, self.config, self.team, calls)

    def _fold_losses(self, tested: Sequence[Work], works: Sequence[Work], lora: Lora, calls: Callbacks) -> list[float]:
        losses: dict[str, float] = {}
        for left_out in gate.folds(len(tested), seed=self.config.seed):
            out = {tested[i].turn.key for i in left_out}
            self._fit([w for w in works if w.turn.key not in out], lora, calls)
            losses.update(self._losses([tested[i] for i in left_out], lora, calls))
        return [losses[w.turn.key] for w in tested]

    def _losses(self, tested: Sequence[Work], lora: Lora, calls: Callbacks) -> list[tuple[str, float]]:
        ratios = _ratios(tested, lora, self.config, calls)
        return [(w.turn.key, _loss(w.turn, r, self.config.beta)) for w, r in zip(tested, ratios, strict=True)]

    def _evidence(
        self,
        new: list[float],
        old: list[float],
        live: Adapter | None,
        pooled: bool,
        neutral: guards.Neutral,
        folder: Path,
        dataset: Dataset,
        calls: Callbacks,
    ) -> gate.Evidence:
        seen = guards.seen_answers(dataset.turns)
        order = sorted(dataset.turns, key=lambda t: (t.split != "held_out", t.key))[: guards.SAMPLED_PROMPTS]
        limit = min(512, max(32, seen.longest))  # where the judged answers were cut off, these are too
        asked = [t.messages for t in order]
        sampled = guards.sample_answers(
            self.gguf, folder / adapter_file.GGUF_NAME, asked, max_tokens=limit, calls=calls
        )
        theirs = seen.base
        if theirs.count < guards.SAMPLED_PROMPTS * guards.ANSWERS_EACH:
            # what was judged is not the base's: ask the base the same
            theirs = guards.sample_answers(self.gguf, None, asked, max_tokens=limit, calls=calls)
        self.metrics |= {
            "neutral.base_nll": neutral.base_nll,
            "neutral.new_nll": neutral.new_nll,
            "neutral.rise": neutral.rise,
            "neutral.kl": neutral.kl,
            "answers.length": sampled.length,
            "answers.repetition": sampled.repetition,
            "answers.base_length": theirs.length,
            "answers.chosen_length": seen.chosen_length,
        }
        return gate.Evidence(
            gain=gate.bootstrap(new, old, seed=self.config.seed),
            new_loss=sum(new) / len(new),
            live_loss=sum(old) / len(old),
            live_name=live.name if live else "the base",
            pooled=pooled,
            neutral_rise=neutral.rise,
            kl=neutral.kl,
            answers=sampled,
            chosen_length=seen.chosen_length,
            base_length=theirs.length,
            base_repetition=theirs.repetition,
        )

    def _conclude(
        self,
        adapter_id: str,
        files: dict[str, str],
        live: Adapter | None,
        verdict: gate.Verdict,
        evidence: gate.Evidence,
        dataset: Dataset,
        base: BaseModel,
    ) -> Outcome:
        """Write the rows: the adapter's, what it learned from, and last of all that it is live."""
        store = self.store
        self.metrics |= {
            "gate.new_loss": evidence.new_loss,
            "gate.live_loss": evidence.live_loss,
            "gate.gain": evidence.gain.mean,
            "gate.bound": evidence.gain.low,
            "gate.prompts": evidence.gain.prompts,
        }
        self.metrics = {k: v for k, v in self.metrics.items() if v == v}  # NaN is not JSON
        store.runs.metrics(self.run_id, self.total, {k: float(v) for k, v in self.metrics.items()})
        report = {"evidence": asdict(evidence), "config": self.config.as_dict(), "metrics": self.metrics}
        with store.write():
            store.runs.record_judgments(self.run_id, dataset.judgments)
            adapter = store.adapters.register(
                adapter_id,
                run_id=self.run_id,
                model_hash=self.model_hash,
                parent_id=live.id if live else None,
                files=files,
                state="candidate" if verdict.promote else "rejected",
                verdict=verdict.sentence,
                report=report,
                provisional=verdict.provisional and verdict.promote,
            )
        state, sentence = adapter.state, verdict.sentence
        if verdict.promote:
            if store.adapters.promotion_paused(self.model_hash):
                sentence += " It was not put in use: you chose a version by hand, and there are no judgments since."
            elif store.adapters.promote(adapter.id, live.id if live else None):
                state = "live"
            else:
                sentence += " It was not put in use: another version became live while it was trained."
            if state != "live":
                store.adapters.update(adapter.id, verdict=sentence)
        return Outcome(
            self.run_id,
            "done" if verdict.promote else "rejected",
            adapter=adapter.id,
            adapter_state=state,
            verdict=sentence,
            metrics=self.metrics,
            seconds=self.clock.finished(),
        )

    def _architecture(self) -> str:
        from chatapp.engine.model_files import read_metadata

        return str(read_metadata(self.gguf)["general.architecture"])

    def _count_steps(self, works: Sequence[Work], folded: Sequence[Work]) -> None:
        per_step, epochs = self.config.turns_per_step, self.config.epochs
        sizes = [sum(w.turn.split == "train" for w in works)]
        if folded:
            sizes += [len(works) - len(part) for part in gate.folds(len(folded), seed=self.config.seed)]
        self.total = sum(-(-size // per_step) * epochs for size in sizes)

    def _progress(self, step: int, total: int, line: Metrics) -> None:
        self.done += 1
        values = {f"train.{name}": value for name, value in line.items() if value == value}
        self.store.runs.metrics(
            self.run_id, self.done, {**values, "progress.step": self.done, "progress.total": self.total}
        )


def assist(cache_dir: Path, train_base: Path | None, team: Team, clock: Clock) -> Outcome:
    """Compute along with the main process: the same fits in the same order, nothing written."""
    nothing: tuple[list[Turn], TrainConfig, str] = ([], TrainConfig(), "")
    turns, config, gguf = team.share(nothing)
    base = load_base(Path(gguf), cache_dir, train_base=train_base)
    lora = Lora(base.model, rank=config.rank, alpha=config.alpha, seed=config.seed)
    works = prepare(turns, lora, config, None, Callbacks())
    keys: list[str] | None
    while (keys := team.share(None)) is not None:
        fit(lora, [w for w in works if w.turn.key in keys], config, team, Callbacks())
    return Outcome("", "done", seconds=clock.finished())


def _ratios(works: Sequence[Work], lora: Lora, config: TrainConfig, calls: Callbacks) -> list[list[float]]:
    """log pi - log base of each turn's responses, under what lora holds."""
    found = score(lora.model, [w.turn.tokens for w in works], budget=config.micro_tokens, before=calls.wait)
    return [[a - b for a, b in zip(mine, w.reference, strict=False)] for w, mine in zip(works, found, strict=True)]


def _loss(turn: Turn, ratios: Sequence[float] | None, beta: float) -> float:
    """prompt_loss; no ratios: the base's."""
    loss = gate.prompt_loss(turn, ratios or [0.0] * len(turn.responses), beta)
    assert loss is not None, "only turns with pairs or single judgments are tested"
    return loss


def _trained_on(store: Store, adapter: Adapter) -> set[str]:
    rows = store.rows("SELECT judgment_id FROM run_judgments WHERE run_id = ? AND split = 'train'", [adapter.run_id])
    return {row["judgment_id"] for row in rows}


def _unseen_judgments(store: Store, model_hash: str) -> set[str]:
    """Judgments that no finished run of this model has seen."""
    rows = store.rows(
        "SELECT id FROM judgments j WHERE NOT EXISTS (SELECT 1 FROM run_judgments rj JOIN runs r ON r.id = rj.run_id "
        "WHERE rj.judgment_id = j.id AND r.model_hash = ? AND r.state IN ('done', 'rejected'))",
        [model_hash],
    )
    return {row["id"] for row in rows}


def _remove_orphans(store: Store) -> None:
    """Files of a run that was killed before it wrote the adapter's row. Only folders named like our ids."""
    known = {a.path for a in store.adapters.list()}
    for folder in paths.adapters_dir(store.home).iterdir():
        try:
            UUID(folder.name)
        except ValueError:
            continue
        if folder.is_dir() and folder.name not in known:
            shutil.rmtree(folder, ignore_errors=True)
