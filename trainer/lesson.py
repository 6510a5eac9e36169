"""What one run computes, step by step: examples, settings, model, reference, fit, files, test, row.

worker.py owns the row's states and the locks; this is the part that needs torch. trial.py tests, lineage.py says where
a run begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from chatapp.engine.vocab import Vocab
from storage import paths
from storage.adapters import Adapter
from storage.ids import new_id
from trainer import adapter_file, gate, guards, lineage, needs
from trainer.base_model import BaseModel, load_base
from trainer.checkpoint import Checkpoint, fingerprint
from trainer.config import TrainConfig
from trainer.dataset import Dataset, Turn, best_and_worst
from trainer.errors import Cancelled
from trainer.expected import Ratios
from trainer.features import Callbacks, Work, focus, prepare, reference_path, see, some_words, trunk_path
from trainer.fit import Metrics, fit
from trainer.logprobs import TokenTurn
from trainer.lora import Lora, read_weights
from trainer.outcome import Clock, Outcome
from trainer.practice import Practice, SecondLook, ready
from trainer.task import Task
from trainer.team import Team
from trainer.trial import Trial
from trainer.words import Words


@dataclass(slots=True)
class Given:
    """What a run begins with."""

    dataset: Dataset  #: as a fit sees it, and as it is tested
    said: list[Turn]  #: those to train on, with all of their pairs
    judged: list[Turn]  #: all, with all of their pairs, at temperature 1
    neutral: list[TokenTurn]
    live: Adapter | None
    trial: Trial
    recalled: set[str] = field(default_factory=set)  #: public texts whose states were kept by earlier runs


@dataclass(slots=True)
class Lesson(Task):
    """A version of the model, from preferences."""

    strongest: ClassVar[float] = guards.MAX_SCALE  #: by what an adapter is scaled up at most

    ordinary: list[TokenTurn] = field(default_factory=list)
    start: dict[str, Tensor] | None = None  #: weights that every fit begins with; None: fresh ones
    words: Words | None = None  #: those that every fit sees

    def run(self) -> Outcome:
        store, home, calls = self.store, self.store.home, self.callbacks
        with Vocab.open(self.gguf) as vocab:
            given = self._read(vocab)
            dataset, trial = given.dataset, given.trial
            taught = replace(dataset, turns=[self._taught(t) for t in dataset.turns if self._teaches(t)])
            with self.clock.phase("model"):
                base = load_base(self.gguf, self.cache_dir, train_base=self.train_base)
            with self.clock.phase("practice"):
                told = partial(store.runs.tell_practising, self.run_id)
                more = not store.runs.checkpoints(self.run_id)  # a run that goes on has what it had
                fetch = partial(ready, self.gguf, self.cache_dir, self.model_hash, calls=calls, told=told, more=more)
                embeddings = base.model.get_input_embeddings().weight
                practice = Practice.begin(given.said, self.config, vocab, fetch, embeddings)
        whole = practice.turns(self.config.practised(len(taught.train)))
        beginning = lineage.begin(store, self.config, given.live, taught, whole, self.model_hash, self.layers)
        look = SecondLook.plan(practice, beginning.turns, trial.unseen, self.config)
        practised = whole[: self.config.practised(len(beginning.turns))]
        turns = [*beginning.turns, *practised]
        self.metrics |= {**practice.figures(), "practice.turns": len(practised)}
        self.team.share(([*turns, *look.practised(but=turns)], self.config, str(self.gguf)))
        self.metrics["memory.loading_peak_mb"] = needs.forget_peak() / needs.MB
        with self.clock.phase("features"):
            lora = self._meet(given, base)
            self._start(beginning)
            some = some_words(lora, self.config)
            cache = reference_path(home, self.model_hash, base)
            train = prepare(turns, lora, self.config, cache, calls, states_only=some)
            also = [*self.ordinary, *(t.tokens for t in look.practised(but=turns))]
            self.words = focus(train, lora, also, self.config) if some else None
            self.team.share(self.words.ids if self.words is not None else None)

        self.total = self.config.steps(len(train))
        last = self._train(train, lora, calls)
        self.metrics |= {f"train.{name}": value for name, value in last.items() if name != "step_seconds"}
        second = partial(self._fold_ratios, train, lora, trial=trial, look=look)
        return self._finish(base, lora, given, beginning, [w.tokens for w in train], second)

    def _read(self, vocab: Vocab) -> Given:
        """The judgments, and what they are tested against. Raises NotEnoughJudgments."""
        adapter_file.remove_stale(paths.adapters_dir(self.store.home))
        self.store.adapters.remove_orphans()
        live = self.store.adapters.live(self.model_hash)
        with self.clock.phase("features"):
            dataset = self._dataset(vocab)
            neutral = guards.plain_turns(vocab, "neutral.jsonl")
            self.ordinary = guards.plain_turns(vocab, "ordinary.jsonl")
            self._settle(dataset, vocab.n_tokens)
        said = dataset.train  # with all of their pairs
        # the test is of every pair, and at temperature 1 (docs/decisions.md, 2026-11-22)
        judged = [replace(t, temperature=1.0) for t in dataset.turns]
        ends = best_and_worst if self.config.best_and_worst else replace
        dataset.turns = [ends(t) if t.split == "train" else j for t, j in zip(dataset.turns, judged, strict=True)]
        trial = Trial(self.store, self.config, live, self.model_hash, self.callbacks)
        trial.choose(dataset.turns)
        return Given(dataset, said, judged, neutral, live, trial)

    def _meet(self, given: Given, base: BaseModel) -> Lora:
        """A fresh adapter, after earlier versions were met; with what is known of its lower layers' states."""
        self.metrics |= given.trial.meet(given.judged, base)
        lora = Lora.fresh(base.model, self.config, given.trial.trunk)
        given.recalled = guards.recall(lora.trunk, [*self.ordinary, *given.neutral], self._lower(given, base, lora))
        lora.trunk.recall(trunk_path(self.store.home, self.model_hash, base, lora.trunk.first))
        return lora

    def _lower(self, given: Given, base: BaseModel, lora: Lora) -> Path:
        """The file of the public texts' states."""
        public = [*self.ordinary, *given.neutral]
        return guards.states_path(self.cache_dir, self.model_hash, public, base, f"lower-{lora.trunk.first}")

    def _finish(
        self,
        base: BaseModel,
        lora: Lora,
        given: Given,
        beginning: lineage.Beginning,
        learned: Sequence[TokenTurn],
        second: Callable[[float], dict[str, Ratios]] | None,
    ) -> Outcome:
        """Everything after the fit: how strongly it acts, files, test, rows.

        learned: what the lower layers saw, to be kept for the next run. second: ratios of a second look, by the scale
        that the adapter was given; None: there is none.
        """
        calls, dataset, trial = self.callbacks, given.dataset, given.trial
        with self.clock.phase("gate"):
            states = guards.states_path(self.cache_dir, self.model_hash, given.neutral, base)
            text = guards.NeutralText(given.neutral, budget=self.config.micro_tokens, wait=calls.wait, cache=states)
            neutral, scale = guards.set_strength(lora, text, self.strongest)
            ratios = trial.ratios(trial.held_out, lora)
            public = [*self.ordinary, *given.neutral]
            guards.keep(lora.trunk, public, self._lower(given, base, lora), given.recalled)
        self.metrics |= {"adapter.scale": scale}

        with self.clock.phase("files"):
            adapter_id = new_id()
            folder = paths.adapter_dir(self.store.home, adapter_id)
            permuted = base.check.get("permuted") or adapter_file.permuted_projections(self.gguf, base.model)
            files = adapter_file.write_folder(folder, lora, architecture=self._architecture(), permuted=permuted)
            mine = trunk_path(self.store.home, self.model_hash, base, lora.trunk.first)
            self._keep_states(lora.trunk, mine, [*learned, *(t.tokens for t in dataset.turns)], dataset)
        ratios = self._tested(ratios, given, lora, folder)
        few = len(ratios) < gate.MIN_HELD_OUT
        pooled = few or (bool(trial.unseen) and gate.wants_second_look(trial.gain(ratios, certain=False)))
        pooled = pooled and second is not None
        if pooled and second is not None:
            with self.clock.phase("cross-validation"):
                ratios |= second(scale)
        self.team.share(None)
        with self.clock.phase("gate"):
            gain = trial.gain(ratios, certain=pooled and not few)
            evidence, figures = trial.evidence(
                gain,
                ratios,
                neutral,
                dataset.turns,
                pooled=pooled,
                gguf=self.gguf,
                folder=folder,
                cache_dir=self.cache_dir,
            )
        self.metrics |= figures
        return self._conclude(adapter_id, files, given.live, gate.decide(evidence), evidence, dataset, beginning)

    def _tested(self, ratios: dict[str, Ratios], given: Given, lora: Lora, folder: Path) -> dict[str, Ratios]:
        """What decides, of the held-out answers; folder: of the version's files."""
        return ratios

    def _teaches(self, turn: Turn) -> bool:
        """Whether there is something in it that a fit learns."""
        return True

    def _taught(self, turn: Turn) -> Turn:
        """What a fit sees of it."""
        return turn

    def _start(self, beginning: lineage.Beginning) -> None:
        """Take the weights to go on from, and note where the run begins."""
        if beginning.adapter is not None:
            self.start = read_weights(self.store.adapters.dir(beginning.adapter))
        self.metrics |= {
            "start.warm": float(beginning.adapter is not None),
            "start.new_turns": beginning.new,
            "start.replayed_turns": beginning.replayed,
        }

    def _train(self, train: Sequence[Work], lora: Lora, calls: Callbacks) -> Metrics:
        """The main fit, gone on with where an earlier worker of this run left it."""
        again = bool(self.store.runs.read_metrics(self.run_id, "resumed"))
        checkpoint = self._checkpoint("main", train)
        there = checkpoint.path.exists()
        with self.clock.phase("training"):
            last = self._fit(train, lora, calls, checkpoint)
        if again and checkpoint.resumed_at is not None:
            self.metrics |= {"resume.step": checkpoint.resumed_at}
            self.remarks.append(f"It went on from step {checkpoint.resumed_at}, after an interruption.")
        elif again and there:
            self.metrics |= {"resume.step": 0}
            self.remarks.append("It began anew: judgments or settings had changed since it was interrupted.")
        else:
            tokens = lineage.fit_tokens(self.config, [w.turn for w in train])
            self.metrics |= {lineage.SPEED: tokens / max(1e-9, self.clock.seconds["training"])}
        return last

    def _fit(
        self,
        works: Sequence[Work],
        lora: Lora,
        calls: Callbacks,
        checkpoint: Checkpoint,
        config: TrainConfig | None = None,
    ) -> Metrics:
        """fit(), together with the other processes. config: other settings than the run's."""
        config = config or self.config
        self.team.share(([w.turn.key for w in works], self.start, config))
        last = fit(
            lora,
            works,
            config,
            self.team,
            calls,
            self.ordinary,
            words=self.words,
            start=self.start,
            checkpoint=checkpoint,
        )
        self.before += config.steps(len(works))
        return last

    def _checkpoint(self, name: str, works: Sequence[Work]) -> Checkpoint:
        start = "" if self.start is None else "warm"
        of = fingerprint([w.turn for w in works], self.config, self.model_hash, start)
        return Checkpoint(paths.run_dir(self.store.home, self.run_id), name, of)

    def _fold_ratios(
        self, train: Sequence[Work], lora: Lora, scale: float, *, trial: Trial, look: SecondLook
    ) -> dict[str, Ratios]:
        """K-fold predictions: each turn's log-ratios under an adapter that was trained in the same way without it."""
        ratios: dict[str, Ratios] = {}
        known = {w.turn.key: w for w in train}
        more = look.practised(but=[w.turn for w in train])
        added = prepare(more, lora, self.config, None, trial.calls, states_only=self.words is not None)
        if self.words is not None:
            see(added, self.words)
        known |= {w.turn.key: w for w in added}
        rests = [[known[key] for key in fold.learned] for fold in look.folds]
        # as many steps for what it learns from as the version itself took, and no fit longer than it needs
        shares = [len(rest) / len(train) for rest in rests]
        shorter = [replace(self.config, min_steps=max(1, round(self.config.min_steps * share))) for share in shares]
        self.total += sum(config.steps(len(rest)) for config, rest in zip(shorter, rests, strict=True))
        looked = {"progress.second_look": self.before, "progress.step": self.before, "progress.total": self.total}
        self.store.runs.metrics(self.run_id, self.before, looked)
        for at, (fold, rest, config) in enumerate(zip(look.folds, rests, shorter, strict=True)):
            self._fit(rest, lora, trial.calls, self._checkpoint(f"fold-{at}", rest), config)
            lora.rescale(scale)
            ratios |= trial.ratios(fold.left_out, lora)
        return ratios

    def _conclude(
        self,
        adapter_id: str,
        files: dict[str, str],
        live: Adapter | None,
        verdict: gate.Verdict,
        evidence: gate.Evidence,
        dataset: Dataset,
        beginning: lineage.Beginning,
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
            "memory.peak_mb": needs.peak_memory() / needs.MB,
        }
        self.metrics = {k: v for k, v in self.metrics.items() if v == v}  # NaN is not JSON
        store.runs.metrics(self.run_id, self.total, {k: float(v) for k, v in self.metrics.items()})
        start = {"from": beginning.adapter.id if beginning.adapter else None, "why": beginning.why}
        report = {
            "evidence": asdict(evidence), "config": self.config.as_dict(), "metrics": self.metrics, "start": start
        }  # fmt: skip
        sentence = " ".join([verdict.sentence, *self.remarks])
        with store.write():
            # all of what counts now: a warm start's ancestors learned from nothing else, or it would be a refit
            store.runs.record_judgments(self.run_id, dataset.judgments)
            adapter = store.adapters.register(
                adapter_id,
                run_id=self.run_id,
                model_hash=self.model_hash,
                parent_id=live.id if live else None,
                files=files,
                state="candidate" if verdict.promote else "rejected",
                verdict=sentence,
                report=report,
                provisional=verdict.provisional and verdict.promote,
            )
        state = adapter.state
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
            unused=dataset.unused,
            seconds=self.clock.finished(),
        )

    def _architecture(self) -> str:
        from chatapp.engine.model_files import read_metadata

        return str(read_metadata(self.gguf)["general.architecture"])


def assist(cache_dir: Path, train_base: Path | None, team: Team, clock: Clock) -> Outcome:
    """Compute along with the main process: the same fits in the same order, nothing written."""
    begun: tuple[list[Turn], TrainConfig, str] | None = team.share(None)
    if begun is None:  # a kind of run in which one process does all
        return Outcome("", "done", seconds=clock.finished())
    turns, config, gguf = begun
    base = load_base(Path(gguf), cache_dir, train_base=train_base)
    lora = Lora.fresh(base.model, config)
    works = prepare(turns, lora, config, None, Callbacks(), states_only=some_words(lora, config))
    words: Words | None = None
    ids: Tensor | None = team.share(None)
    if ids is not None:
        words = Words(lora.model.get_output_embeddings(), ids)
        see([w for w in works if w.turn.split == "train"], words)
    asked: tuple[list[str], dict[str, Tensor] | None, TrainConfig] | None
    while (asked := team.share(None)) is not None:
        keys, start, config = asked
        by_key = {w.turn.key: w for w in works}
        fit(lora, [by_key[key] for key in keys], config, team, Callbacks(), words=words, start=start)
    return Outcome("", "done", seconds=clock.finished())
