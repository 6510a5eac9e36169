"""The test of a new version: what it is tested on, against whom, and the evidence that the gate decides on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from chatapp.engine.model_files import file_hash
from storage.adapters import Adapter
from storage.store import Store
from trainer import adapter_file, answers, expected, gate, guards, lineage
from trainer.base_model import BaseModel
from trainer.config import TrainConfig
from trainer.dataset import Turn
from trainer.errors import Cancelled, NotEnoughJudgments, TrainerError
from trainer.expected import Ratios
from trainer.features import Callbacks, trunk_path
from trainer.logprobs import TokenTurn, score
from trainer.lora import Lora
from trainer.trunk import Trunk


@dataclass(slots=True)
class Trial:
    """Of one run, against the version that is live now (None: the base)."""

    store: Store
    config: TrainConfig
    live: Adapter | None
    model_hash: str
    calls: Callbacks
    held_out: list[Turn] = field(default_factory=list)
    unseen: list[Turn] = field(default_factory=list)  #: of the others, those that the live version has not learned from
    live_ratios: dict[str, Ratios] = field(default_factory=dict)  #: of both, under the live version, by key
    drew: expected.Drew = field(default_factory=dict)  #: of the answers in both that earlier versions drew
    trunk: Trunk | None = None  #: the frozen layers below the last version that was met
    likeness: bool = False  #: ratios are of what versions write (likeness.py), not of the answers themselves

    @property
    def live_name(self) -> str:
        return self.live.name if self.live else "the base"

    def choose(self, turns: Sequence[Turn]) -> None:
        """Sort out what the live version can be tested on: on what it learned from it would look better than it is.

        Raises NotEnoughJudgments.
        """
        judged = [t for t in turns if t.pairs or t.singles]
        trained = lineage.trained_on(self.store, self.live) if self.live else set()
        self.held_out = [t for t in judged if t.split == "held_out"]
        self.unseen = [t for t in judged if t.split == "train" and not t.judgments & trained]
        there = len(self.held_out) + len(self.unseen)
        if len(self.held_out) < gate.MIN_HELD_OUT and there < gate.MIN_HELD_OUT:
            raise NotEnoughJudgments(
                f"the test needs at least {gate.MIN_HELD_OUT} prompts that {self.live_name} has not learned from; "
                f"there are {there}: judge a few more answers"
            )

    def unlearned(self, turns: Sequence[Turn]) -> list[Turn]:
        """Those that the live version can be scored on: the held-out ones, and what it has not learned from."""
        if self.live is None:
            return []
        trained = lineage.trained_on(self.store, self.live)
        return [t for t in turns if t.split == "held_out" or not (t.judgments & trained)]

    def meet(self, turns: Sequence[Turn], base: BaseModel) -> dict[str, float]:
        """See what earlier versions make of the answers: what they might have said, and how the live one likes them.

        turns: all, with all of their pairs. Returns the prequential figures: on the judgments that no finished run has
        seen, before anything learns from them.
        """
        tested = [*self.held_out, *self.unseen]
        drew = {id for t in tested for id in t.drawers.values()}
        for drawer in self.store.adapters.list(self.model_hash):
            if drawer.id in drew and drawer != self.live:
                try:
                    with self._under(drawer, base) as lora:
                        expected.look(lora, drawer.id, tested, self.drew, **self._batches())
                except Cancelled:
                    raise
                except (FileNotFoundError, TrainerError):
                    continue  # the base's distribution stands in
        new = lineage.unseen_judgments(self.store, self.model_hash)
        fresh = [t for t in (self.unlearned(turns) if self.live else turns) if t.judgments & new]
        # without a version in use the base is what is scored: it prefers nothing, by definition
        self.live_ratios = {t.key: Ratios.of_base(len(t.responses)) for t in tested}
        values = [[0.0] * len(t.responses) for t in fresh]
        if self.live is not None and (tested or fresh):
            values = self._meet_live(self.live, tested, fresh, base)
        right, longer, count = gate.pair_accuracy(fresh, values)
        if not count:
            return {}
        return {"prequential.accuracy": right, "prequential.longer_wins": longer, "prequential.pairs": count}

    def _meet_live(
        self, live: Adapter, tested: Sequence[Turn], fresh: Sequence[Turn], base: BaseModel
    ) -> list[list[float]]:
        """Its ratios of what is tested; returns log pi - log base of each answer of fresh turns."""
        try:
            with self._under(live, base) as lora:
                found = expected.ratios(lora, tested, self.drew, drawer=live.id, **self._batches())
                self.live_ratios = dict(zip([t.key for t in tested], found, strict=True))
                plain = {
                    (t.key, tuple(response)): value
                    for t, of in zip(tested, found, strict=True)
                    for response, value in zip(t.responses, of.plain, strict=True)
                }
                left = {t.key: [r for r in t.responses if (t.key, tuple(r)) not in plain] for t in fresh}
                others = [TokenTurn(t.prompt, left[t.key]) for t in fresh if left[t.key]]
                mine = score(lora.model, others, **self._batches(), packer=lora.pack)
                with lora.disabled():
                    theirs = score(lora.model, others, **self._batches(), packer=lora.pack)
        except FileNotFoundError as error:
            raise TrainerError(
                f"the files of {live.name}, the version in use, are gone from {self.store.adapters.dir(live)}; choose "
                "another with `hone adapters use`, or `hone adapters use base`"
            ) from error
        keys = [(t.key, tuple(r)) for t in fresh for r in left[t.key]]
        ratios = [a - b for new, old in zip(mine, theirs, strict=True) for a, b in zip(new, old, strict=True)]
        plain |= zip(keys, ratios, strict=True)
        return [[plain[t.key, tuple(r)] for r in t.responses] for t in fresh]

    @contextmanager
    def _under(self, adapter: Adapter, base: BaseModel) -> Iterator[Lora]:
        """An earlier version, put on the base. What the layers below it make of a turn serves all of them."""
        lora = Lora.of(base.model, self.store.adapters.dir(adapter), self.trunk)
        self.trunk = lora.trunk
        try:
            lora.trunk.recall(trunk_path(self.store.home, self.model_hash, base, lora.trunk.first))
            yield lora
        finally:
            base.model = lora.remove()

    def _batches(self) -> dict[str, Any]:
        return {"budget": self.config.micro_tokens, "before": self.calls.before_batch}

    def ratios(self, tested: Sequence[Turn], lora: Lora) -> dict[str, Ratios]:
        """Those of each turn under what lora holds, by its key."""
        found = expected.ratios(lora, tested, self.drew, **self._batches())
        return dict(zip([t.key for t in tested], found, strict=True))

    def by_likeness(self, ratios: dict[str, Ratios]) -> dict[str, Ratios]:
        """Test those of likeness.py from now on: they are measured from the live version, which has none."""
        self.likeness = True
        self.live_ratios = {key: Ratios.of_base(len(of.plain)) for key, of in ratios.items()}
        return ratios

    def losses(self, new: dict[str, Ratios]) -> tuple[list[float], list[float]]:
        """The log-losses of the new and of the live version on the turns of `new`."""
        turns, mine, live = self._side_by_side(new)
        beta = 1.0 if self.likeness else self.config.beta * gate.CAUTION
        return gate.losses(turns, mine, beta), gate.losses(turns, live, beta)

    def accuracies(self, new: dict[str, Ratios]) -> dict[str, float]:
        """How often the new and the live version agree with the judgments of the turns of `new`, a mean over these.

        Where likeness is tested there is no figure of the live version: it is what the likeness is measured from.
        """
        turns, mine, live = self._side_by_side(new)
        found = {"gate.accuracy": mean(gate.accuracies(turns, mine))}
        return found if self.likeness else {**found, "gate.live_accuracy": mean(gate.accuracies(turns, live))}

    def _side_by_side(self, new: dict[str, Ratios]) -> tuple[list[Turn], list[Ratios], list[Ratios]]:
        turns = [t for t in [*self.held_out, *self.unseen] if t.key in new]
        return turns, [new[t.key] for t in turns], [self.live_ratios[t.key] for t in turns]

    def gain(self, new: dict[str, Ratios], *, certain: bool) -> gate.Bound:
        """Of the new version over the live one, over the turns of `new`."""
        return gate.bootstrap(*self.losses(new), seed=self.config.seed, certain=certain)

    def evidence(
        self,
        gain: gate.Bound,
        new: dict[str, Ratios],
        neutral: guards.Neutral,
        turns: Sequence[Turn],
        *,
        pooled: bool,
        gguf: Path,
        folder: Path,
        cache_dir: Path,
    ) -> tuple[gate.Evidence, dict[str, float]]:
        """Everything that the gate looks at, with answers of the served model; and the run's metrics of it."""
        seen = answers.seen_answers(turns)
        order = sorted(turns, key=lambda t: (t.split != "held_out", t.key))[: answers.PROMPTS]
        sampled = answers.sample(
            gguf,
            folder / adapter_file.GGUF_NAME,
            [t.messages for t in order],
            limit=seen.limit,
            # where what was judged is not the base's, the base is asked the same
            with_base=seen.base.count < answers.PROMPTS * answers.EACH,
            cache=cache_dir,
            model_hash=file_hash(gguf, cache_dir),
            calls=self.calls,
        )
        base = sampled.base or seen.base
        new_losses, live_losses = self.losses(new)
        figures = {
            **self.accuracies(new),
            "neutral.base_nll": neutral.base_nll,
            "neutral.new_nll": neutral.new_nll,
            "neutral.rise": neutral.rise,
            "neutral.kl": neutral.kl,
            "answers.length": sampled.new.length,
            "answers.limit": seen.limit,
            "answers.repetition": sampled.new.repetition,
            "answers.base_length": base.length,
            "answers.chosen_length": seen.chosen_length,
            "refusals.share": sampled.new_refusals.share,
            "refusals.base_share": sampled.base_refusals.share,
        }
        found = gate.Evidence(
            gain=gain,
            new_loss=sum(new_losses) / len(new_losses),
            live_loss=sum(live_losses) / len(live_losses),
            live_name=self.live_name,
            pooled=pooled,
            likeness=self.likeness,
            neutral_rise=neutral.rise,
            kl=neutral.kl,
            answers=sampled.new,
            chosen_length=seen.chosen_length,
            base_length=base.length,
            base_repetition=base.repetition,
            refusals=sampled.new_refusals.share,
            base_refusals=sampled.base_refusals.share,
        )
        return found, figures
