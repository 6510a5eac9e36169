"""The test of a new version: what it is tested on, against whom, and the evidence that the gate decides on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chatapp.engine.model_files import file_hash
from storage.adapters import Adapter
from storage.store import Store
from trainer import adapter_file, answers, gate, guards, lineage
from trainer.base_model import BaseModel
from trainer.config import TrainConfig
from trainer.dataset import Turn
from trainer.errors import NotEnoughJudgments, TrainerError
from trainer.features import Callbacks, Work, trunk_path
from trainer.logprobs import score
from trainer.lora import Lora

#: log pi - log base of the responses of each turn, by its key
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

    def live_logps(self, turns: Sequence[Turn], base: BaseModel) -> list[list[float]]:
        """The live version's log-probability of each response of each turn."""
        if self.live is None or not turns:
            return []
        folder = self.store.adapters.dir(self.live)
        try:
            lora = Lora.of(base.model, folder)
        except FileNotFoundError as error:
            raise TrainerError(
                f"the files of {self.live.name}, the version in use, are gone from {folder}; choose another with "
                "`hone adapters use`, or `hone adapters use base`"
            ) from error
        lora.trunk.recall(trunk_path(self.store.home, self.model_hash, base, lora.trunk.first))
        tokens = [t.tokens for t in turns]
        found = score(lora.model, tokens, budget=self.config.micro_tokens, before=self.calls.wait, packer=lora.pack)
        base.model = lora.remove()
        return found

    def meet(self, turns: Sequence[Turn], works: Sequence[Work], logps: Sequence[Sequence[float]]) -> dict[str, float]:
        """Note the live version's log-ratios on what the test is of; returns its prequential figures.

        turns: all, with all of their pairs. works, logps: of those of `unlearned`, the base's and the live version's.
        Prequential: on the judgments that no finished run has seen, before anything learns from them.
        """
        ratios = {
            w.turn.key: {
                tuple(response): mine - base
                for response, mine, base in zip(w.turn.responses, sums, w.reference, strict=False)  # a probe is last
            }
            for w, sums in zip(works, logps, strict=True)
        }

        def of(turn: Turn) -> list[float] | None:
            known = ratios.get(turn.key)
            return [known[tuple(r)] for r in turn.responses] if known is not None else None

        self.live_ratios = {t.key: of(t) or [0.0] * len(t.responses) for t in [*self.held_out, *self.unseen]}
        new = lineage.unseen_judgments(self.store, self.model_hash)
        # without a version in use the base is what is scored: it prefers nothing, by definition
        fresh = [
            (t, of(t) or [0.0] * len(t.responses))
            for t in turns
            if t.judgments & new and (self.live is None or t.key in ratios)
        ]
        right, longer, count = gate.pair_accuracy([t for t, _ in fresh], [values for _, values in fresh])
        if not count:
            return {}
        return {"prequential.accuracy": right, "prequential.longer_wins": longer, "prequential.pairs": count}

    def ratios(self, tested: Sequence[Work], lora: Lora) -> Ratios:
        """Those of each turn under what lora holds."""
        tokens = [w.turn.tokens for w in tested]
        found = score(lora.model, tokens, budget=self.config.micro_tokens, before=self.calls.wait, packer=lora.pack)
        return {
            w.turn.key: [a - b for a, b in zip(mine, w.reference, strict=False)]
            for w, mine in zip(tested, found, strict=True)
        }

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
