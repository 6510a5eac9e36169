"""What one run computes, step by step: model, examples, reference, fit, files, gate, row.

worker.py owns the row's states and the locks; this is the part that needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
from trainer.errors import Cancelled, NotEnoughJudgments, TrainerError
from trainer.fit import Callbacks, Metrics, Work, fit, prepare, reference_path
from trainer.logprobs import TokenTurn, score
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
    ordinary: list[TokenTurn] = field(default_factory=list)
    done: int = 0  #: optimiser steps, over all fits
    total: int = 0

    def run(self) -> Outcome:
        """The whole run. Raises what went wrong; nothing is live before the last line."""
        store, config = self.store, self.config
        home = store.home
        adapter_file.remove_stale(paths.adapters_dir(home))
        store.adapters.remove_orphans()
        live = store.adapters.live(self.model_hash)
        calls = Callbacks(self._progress, self.cancelled, GenerationLock(paths.generation_lock(home)).wait_for_idle)

        with self.clock.phase("features"), Vocab.open(self.gguf) as vocab:
            dataset = self._dataset(vocab)
            neutral_turns = guards.plain_turns(vocab, "neutral.jsonl")
            self.ordinary = guards.plain_turns(vocab, "ordinary.jsonl")
        held_out, unseen = self._choose_test(dataset.turns, live)
        self.team.share((dataset.turns, config, str(self.gguf)))
        with self.clock.phase("model"):
            base = load_base(self.gguf, self.cache_dir, train_base=self.train_base)
        with self.clock.phase("features"):
            cache = reference_path(home, self.model_hash, base)
            live_logps = self._live_logps(dataset.turns, base, live, calls)
            lora = Lora.fresh(base.model, config)
            works = prepare(dataset.turns, lora, config, cache, calls)
            live_ratios = self._live_ratios(works, live_logps)

        by_key = {w.turn.key: w for w in works}
        train = [w for w in works if w.turn.split == "train"]
        tested = [by_key[t.key] for t in held_out]
        live_losses = {
            t.key: _loss(t, live_ratios.get(t.key), config.beta * gate.CAUTION) for t in [*held_out, *unseen]
        }
        self.total = config.steps(len(train))
        with self.clock.phase("training"):
            last = self._fit(train, lora, calls)
        self.metrics |= {f"train.{name}": value for name, value in last.items() if name != "step_seconds"}
        with self.clock.phase("gate"):
            text = guards.NeutralText(neutral_turns, budget=config.micro_tokens, wait=calls.wait)
            neutral, scale = guards.set_strength(lora, text)
            self.metrics |= {"adapter.scale": scale}
            losses = self._losses(tested, lora, calls)

        with self.clock.phase("files"):
            adapter_id = new_id()
            folder = paths.adapter_dir(home, adapter_id)
            permuted = base.check.get("permuted") or adapter_file.permuted_projections(self.gguf, base.model)
            files = adapter_file.write_folder(folder, lora, architecture=self._architecture(), permuted=permuted)
        few = len(tested) < gate.MIN_HELD_OUT
        pooled = few or (bool(unseen) and gate.wants_second_look(self._gain(losses, live_losses, certain=False)))
        if pooled:
            with self.clock.phase("cross-validation"):
                losses |= self._fold_losses([by_key[t.key] for t in unseen], train, lora, scale, calls)
        self.team.share(None)
        with self.clock.phase("gate"):
            gain = self._gain(losses, live_losses, certain=pooled and not few)
            evidence = self._evidence(gain, losses, live_losses, live, pooled, neutral, folder, dataset, calls)
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

    def _live_logps(
        self, turns: Sequence[Turn], base: BaseModel, live: Adapter | None, calls: Callbacks
    ) -> dict[str, list[float]]:
        """The live adapter's log-probabilities where they are needed, by turn: of what it has not learned from."""
        if live is None:
            return {}
        trained = _trained_on(self.store, live)
        wanted = [t for t in turns if t.split == "held_out" or not (t.judgments & trained)]
        try:
            lora = Lora.of(base.model, self.store.adapters.dir(live))
        except FileNotFoundError as error:
            raise TrainerError(
                f"the files of {live.name}, the version in use, are gone from {self.store.adapters.dir(live)}; choose "
                "another with `hone adapters use`, or `hone adapters use base`"
            ) from error
        found = score(lora.model, [t.tokens for t in wanted], budget=self.config.micro_tokens, before=calls.wait)
        base.model = lora.remove()
        return {t.key: sums for t, sums in zip(wanted, found, strict=True)}

    def _live_ratios(self, works: Sequence[Work], logps: dict[str, list[float]]) -> dict[str, list[float]]:
        """log live - log base of each response, by turn; and the live adapter's prequential accuracy as a metric.

        Prequential: on the judgments that no finished run has seen, before anything learns from them.
        """
        ratios = {
            w.turn.key: [a - b for a, b in zip(logps[w.turn.key], w.reference, strict=False)]
            for w in works
            if w.turn.key in logps
        }
        new = _unseen_judgments(self.store, self.model_hash)
        fresh = [w.turn for w in works if w.turn.key in ratios and w.turn.judgments & new]
        right, longer, count = gate.pair_accuracy(fresh, [ratios[t.key] for t in fresh])
        if count:
            self.metrics |= {
                "prequential.accuracy": right,
                "prequential.longer_wins": longer,
                "prequential.pairs": count,
            }
        return ratios

    def _choose_test(self, turns: Sequence[Turn], live: Adapter | None) -> tuple[list[Turn], list[Turn]]:
        """The held-out turns; and those of the others that the live adapter has not learned from.

        On those that it has, it would look better than it is.
        """
        judged = [t for t in turns if t.pairs or t.singles]
        trained = _trained_on(self.store, live) if live else set()
        held_out = [t for t in judged if t.split == "held_out"]
        unseen = [t for t in judged if t.split == "train" and not t.judgments & trained]
        if len(held_out) < gate.MIN_HELD_OUT and len(held_out) + len(unseen) < gate.MIN_HELD_OUT:
            raise NotEnoughJudgments(
                f"the test needs at least {gate.MIN_HELD_OUT} prompts that {live.name if live else 'the base'} has not "
                f"learned from; there are {len(held_out) + len(unseen)}: judge a few more answers"
            )
        return held_out, unseen

    def _fit(self, works: Sequence[Work], lora: Lora, calls: Callbacks) -> Metrics:
        """fit(), together with the other processes."""
        self.team.share([w.turn.key for w in works])
        return fit(lora, works, self.config, self.team, calls, self.ordinary)

    def _fold_losses(
        self, unseen: Sequence[Work], train: Sequence[Work], lora: Lora, scale: float, calls: Callbacks
    ) -> dict[str, float]:
        """K-fold predictions: each turn's loss under an adapter that was trained in the same way without it."""
        losses: dict[str, float] = {}
        parts = [[unseen[i] for i in part] for part in gate.folds(len(unseen), seed=self.config.seed)]
        keys = [{w.turn.key for w in part} for part in parts]
        rests = [[w for w in train if w.turn.key not in out] for out in keys]
        self.total += sum(self.config.steps(len(rest)) for rest in rests)
        for part, rest in zip(parts, rests, strict=True):
            self._fit(rest, lora, calls)
            lora.rescale(scale)
            losses |= self._losses(part, lora, calls)
        return losses

    def _losses(self, tested: Sequence[Work], lora: Lora, calls: Callbacks) -> dict[str, float]:
        ratios = _ratios(tested, lora, self.config, calls)
        return {
            w.turn.key: _loss(w.turn, r, self.config.beta * gate.CAUTION) for w, r in zip(tested, ratios, strict=True)
        }

    def _gain(self, new: dict[str, float], live: dict[str, float], *, certain: bool) -> gate.Bound:
        return gate.bootstrap(list(new.values()), [live[k] for k in new], seed=self.config.seed, certain=certain)

    def _evidence(
        self,
        gain: gate.Bound,
        new: dict[str, float],
        live_losses: dict[str, float],
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
            gain=gain,
            new_loss=sum(new.values()) / len(new),
            live_loss=sum(live_losses[key] for key in new) / len(new),
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
        if self.cancelled():  # the user may have forgotten what it learned from, and is waiting
            raise Cancelled("the run was cancelled")
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
    lora = Lora.fresh(base.model, config)
    works = prepare(turns, lora, config, None, Callbacks())
    keys: list[str] | None
    while (keys := team.share(None)) is not None:
        fit(lora, [w for w in works if w.turn.key in keys], config, team, Callbacks())
    return Outcome("", "done", seconds=clock.finished())


def _ratios(works: Sequence[Work], lora: Lora, config: TrainConfig, calls: Callbacks) -> list[list[float]]:
    """log pi - log base of each turn's responses, under what lora holds."""
    tokens = [w.turn.tokens for w in works]
    found = score(lora.model, tokens, budget=config.micro_tokens, before=calls.wait, packer=lora.pack)
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
