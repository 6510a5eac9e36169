"""The test of a new version: what it is tested on, against whom, and the evidence that the gate decides on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chatapp.engine.model_files import file_hash
from storage.adapters import Adapter
from storage.store import Store
from trainer import adapter_file, answers, expected, gate, guards, lineage
from trainer.base_model import BaseModel
from trainer.config import TrainConfig
from trainer.dataset import Turn
from trainer.errors import Cancelled, NotEnoughJudgments, TrainerError
from trainer.features import Callbacks, trunk_path
from trainer.lora import Lora, read_weights

#: log pi - log base of the responses of each turn, beyond what is expected of any; by its key
Ratios = dict[str, list[float]]


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
    live_ratios: Ratios = field(default_factory=dict)  #: of both, under the live version
    known: expected.Known = field(default_factory=dict)  #: of what was looked at

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
        """See what earlier versions make of the answers: who drew them, and how the live version likes them.

        turns: all, with all of their pairs. Returns the prequential figures: on the judgments that no finished run has
        seen, before anything learns from them.
        """
        unlearned = self.unlearned(turns)
        self._look_as_drawn([*self.held_out, *self.unseen, *unlearned], base)
        found: dict[str, expected.Ratios] = {}
        if self.live is not None and unlearned:
            try:
                lora = self._put_on(self.live, base)
            except FileNotFoundError as error:
                raise TrainerError(
                    f"the files of {self.live_name}, the version in use, are gone from "
                    f"{self.store.adapters.dir(self.live)}; choose another with `hone adapters use`, or "
                    "`hone adapters use base`"
                ) from error
            found = dict(zip([t.key for t in unlearned], self._ratios(unlearned, lora), strict=True))
            base.model = lora.remove()
        place = {t.key: {tuple(r): at for at, r in enumerate(t.responses)} for t in unlearned}

        def of(turn: Turn, values: str) -> list[float]:
            known = found.get(turn.key)
            if known is None:  # without a version in use the base is what is scored: it prefers nothing, by definition
                return [0.0] * len(turn.responses)
            return [getattr(known, values)[place[turn.key][tuple(r)]] for r in turn.responses]

        self.live_ratios = {t.key: of(t, "beyond") for t in [*self.held_out, *self.unseen]}
        new = lineage.unseen_judgments(self.store, self.model_hash)
        fresh = [t for t in turns if t.judgments & new and (self.live is None or t.key in found)]
        right, longer, count = gate.pair_accuracy(fresh, [of(t, "plain") for t in fresh])
        if not count:
            return {}
        return {"prequential.accuracy": right, "prequential.longer_wins": longer, "prequential.pairs": count}

    def _look_as_drawn(self, turns: Sequence[Turn], base: BaseModel) -> None:
        """At the answers that earlier versions drew, with their distributions, where their files are still there."""
        for id in sorted({id for t in turns for id in t.drawers.values()}):
            adapter = self.store.adapters.find(id)
            if (
                adapter is None
                or adapter.model_hash != self.model_hash
                or not _readable(self.store.adapters.dir(adapter))
            ):
                continue
            lora = self._put_on(adapter, base)
            self._look([t for t in turns if id in t.drawers.values()], lora, id)
            base.model = lora.remove()

    def _put_on(self, adapter: Adapter, base: BaseModel) -> Lora:
        """FileNotFoundError where its files are gone."""
        lora = Lora.of(base.model, self.store.adapters.dir(adapter))
        lora.trunk.recall(trunk_path(self.store.home, self.model_hash, base, lora.trunk.first))
        return lora

    def _look(self, turns: Sequence[Turn], lora: Lora, drawer: str | None = None) -> None:
        expected.look(lora, turns, self.known, budget=self.config.micro_tokens, before=self._before, drawer=drawer)

    def _ratios(self, turns: Sequence[Turn], lora: Lora) -> list[expected.Ratios]:
        self._look(turns, lora)
        return expected.ratios(lora, turns, self.known, budget=self.config.micro_tokens, before=self._before)

    def _before(self) -> None:
        self.calls.wait()
        if self.calls.cancelled():
            raise Cancelled("the run was cancelled during the test")

    def ratios(self, tested: Sequence[Turn], lora: Lora) -> Ratios:
        """Those of each turn under what lora holds."""
        return {t.key: found.beyond for t, found in zip(tested, self._ratios(tested, lora), strict=True)}

    def losses(self, new: Ratios) -> tuple[list[float], list[float]]:
        """The log-losses of the new and of the live version on the turns of `new`."""
        turns = [t for t in [*self.held_out, *self.unseen] if t.key in new]
        beta = self.config.beta * gate.CAUTION
        mine, live = ([ratios[t.key] for t in turns] for ratios in (new, self.live_ratios))
        return gate.losses(turns, mine, beta), gate.losses(turns, live, beta)

    def gain(self, new: Ratios, *, certain: bool) -> gate.Bound:
        """Of the new version over the live one, over the turns of `new`."""
        return gate.bootstrap(*self.losses(new), seed=self.config.seed, certain=certain)

    def evidence(
        self,
        gain: gate.Bound,
        new: Ratios,
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


def _readable(folder: Path) -> bool:
    from safetensors import SafetensorError

    try:
        read_weights(folder)
    except (OSError, SafetensorError):
        return False
    return (folder / "adapter_config.json").exists()
