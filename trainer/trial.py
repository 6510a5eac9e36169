"""The test of a new version: what it is tested on, against whom, and the evidence that the gate decides on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
from trainer.lora import Lora


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
                    self._under(drawer, base, [])
                except Cancelled:
                    raise
                except (FileNotFoundError, TrainerError):
                    continue  # the base's distribution stands in
        unlearned = self.unlearned(turns)
        found = dict(zip([t.key for t in unlearned], self._live(unlearned, base), strict=True))
        place = {t.key: {tuple(r): at for at, r in enumerate(t.responses)} for t in unlearned}

        def of(turn: Turn) -> Ratios:
            known = found.get(turn.key)
            if known is None:  # without a version in use the base is what is scored: it prefers nothing, by definition
                return Ratios.of_base(len(turn.responses))
            at = [place[turn.key][tuple(r)] for r in turn.responses]
            return Ratios([known.plain[i] for i in at], [known.expected[i] for i in at])

        self.live_ratios = {t.key: of(t) for t in tested}
        new = lineage.unseen_judgments(self.store, self.model_hash)
        fresh = [t for t in turns if t.judgments & new and (self.live is None or t.key in found)]
        right, longer, count = gate.pair_accuracy(fresh, [of(t).plain for t in fresh])
        if not count:
            return {}
        return {"prequential.accuracy": right, "prequential.longer_wins": longer, "prequential.pairs": count}

    def _live(self, turns: Sequence[Turn], base: BaseModel) -> list[Ratios]:
        if self.live is None or not turns:
            return []
        try:
            return self._under(self.live, base, turns)
        except FileNotFoundError as error:
            raise TrainerError(
                f"the files of {self.live_name}, the version in use, are gone from "
                f"{self.store.adapters.dir(self.live)}; choose another with `hone adapters use`, or "
                "`hone adapters use base`"
            ) from error

    def _under(self, adapter: Adapter, base: BaseModel, turns: Sequence[Turn]) -> list[Ratios]:
        """What an earlier version makes of turns; before that, of the tested answers that it drew."""
        lora = Lora.of(base.model, self.store.adapters.dir(adapter))
        try:
            lora.trunk.recall(trunk_path(self.store.home, self.model_hash, base, lora.trunk.first))
            expected.look(lora, adapter.id, [*self.held_out, *self.unseen], self.drew, **self._batches())
            return expected.ratios(lora, turns, self.drew, **self._batches())
        finally:
            base.model = lora.remove()

    def _batches(self) -> dict[str, Any]:
        return {"budget": self.config.micro_tokens, "before": self.calls.before_batch}

    def ratios(self, tested: Sequence[Turn], lora: Lora) -> dict[str, Ratios]:
        """Those of each turn under what lora holds, by its key."""
        found = expected.ratios(lora, tested, self.drew, **self._batches())
        return dict(zip([t.key for t in tested], found, strict=True))

    def losses(self, new: dict[str, Ratios]) -> tuple[list[float], list[float]]:
        """The log-losses of the new and of the live version on the turns of `new`."""
        turns = [t for t in [*self.held_out, *self.unseen] if t.key in new]
        beta = self.config.beta * gate.CAUTION
        mine, live = ([ratios[t.key] for t in turns] for ratios in (new, self.live_ratios))
        return gate.losses(turns, mine, beta), gate.losses(turns, live, beta)

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
