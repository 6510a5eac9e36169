"""How a run learns. Stored with the run, so that a version can say how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from trainer.errors import BadSetting
from trainer.setting_types import described, fits, kinds

PairLoss = Literal["sigmoid", "ipo"]
Start = Literal["auto", "refit", "warm"]
PAIR_LOSSES: tuple[PairLoss, ...] = ("sigmoid", "ipo")
STARTS: tuple[Start, ...] = ("auto", "refit", "warm")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Checked when made; the error names the field and the value. docs/experiments.md says why these values."""

    rank: int = 16  #: of the LoRA; fixed for one base model, so that versions can be compared and continued
    alpha: float = 16.0  #: LoRA scale is alpha / rank
    layer_share: float = 0.27  #: of the layers, from the top, that the LoRA changes; the rest is computed once
    modules: tuple[str, ...] = ("o_proj", "up_proj", "v_proj")  #: linear maps of a layer that it changes; none: all
    learning_rate: float = 2.5e-3  #: of AdamW, at its peak
    epochs: int = 2  #: passes over the training turns
    min_steps: int = 20  #: optimiser steps; fewer turns than that are gone over more often
    turns_per_step: int = 2  #: turns (prompts with all their answers) an optimiser step
    warmup: float = 0.1  #: share of the steps over which the rate rises; it falls linearly to 0 after
    weight_decay: float = 0.0  #: of AdamW
    max_grad_norm: float = 1.0  #: gradients are scaled down to this norm
    seed: int = 0  #: of the adapter's first values and the order of turns
    loss: PairLoss = "sigmoid"  #: "sigmoid" (DPO) or "ipo"
    temperature: float | None = None  #: of the log-probabilities; None: that at which a turn's answers were drawn
    beta: float = 0.1  #: strength of the pull to the base, of DPO and KTO
    label_smoothing: float = 0.0  #: share of preferences taken for mistakes (cDPO), below 0.5
    length_normalised: bool = False  #: log-ratios per token
    dpop: float = 0.0  #: lambda of DPO-positive: penalty on a chosen answer that became less likely
    margin_scale: float = 0.0  #: reward gap asked for between ratings 1 and 7
    nll_weight: float = 0.2  #: of demonstrations (corrections), per token, beside the pairs' loss
    kto_weight: float = 1.0  #: of unpaired judgments, beside the pairs' loss
    ordinary_weight: float = 0.5  #: of the NLL of ordinary text, per token, beside each step's loss
    ordinary_texts: int = 2  #: ordinary texts a step
    words: int = 8192  #: likely words that a step on a CPU computes logits of; 0: the whole vocabulary
    best_and_worst: bool = True  #: learn from the best against the worst answer of a ranking, not from every pair
    practice_share: float = 0.5  #: of the turns of a fit, those that nobody judged (practice.py); 0: none
    micro_tokens: int = 1024  #: tokens computed at one time
    start: Start = "auto"  #: "refit" from the base, "warm" from the version in use, "auto": refit while it is quick
    refit_seconds: float = 300.0  #: of training: "auto" goes on from the version in use where a refit would take longer
    replay_share: float = 0.5  #: of the turns of a warm start that are old ones
    max_included: int = 2000  #: prompts of others that a run takes at most, drawn at random for ever
    max_prompt: int = 1024  #: tokens; a longer prompt loses its oldest turns
    max_response: int = 1024  #: tokens; a longer answer is cut
    include: tuple[str, ...] = ()  #: judgments of others too: "imports", "import:NAME", "ai"
    include_weight: float | None = None  #: of others' judgments; None: in sum at most as much as the user's own

    def __post_init__(self) -> None:
        for name, kind in kinds(type(self)).items():  # before the ranges: those compare numbers
            if not fits(getattr(self, name), kind):
                raise BadSetting(f"{name} is {getattr(self, name)!r:.80}; it must be {self.wanted(name)}")
        for name, ok, wanted in self._ranges():
            if not ok:
                raise BadSetting(f"{name} is {getattr(self, name)!r}; it must be {wanted}")

    @classmethod
    def wanted(cls, name: str) -> str:
        """What a setting must be, in words: its type, and the first of its ranges."""
        ranges = {name: wanted for name, _, wanted in reversed(cls()._ranges())}
        return described(kinds(cls)[name], ranges.get(name))

    def _ranges(self) -> list[tuple[str, bool, str]]:
        """(field, whether it is in it, the range in words); the types are checked by then."""
        return [
            ("rank", 1 <= self.rank <= 512, "between 1 and 512"),
            ("alpha", self.alpha > 0, "above 0"),
            ("layer_share", 0 < self.layer_share <= 1, "above 0 and at most 1"),
            ("learning_rate", 0 < self.learning_rate <= 0.1, "above 0 and at most 0.1"),
            ("epochs", 1 <= self.epochs <= 100, "between 1 and 100"),
            ("min_steps", 1 <= self.min_steps <= 10_000, "between 1 and 10000"),
            ("turns_per_step", self.turns_per_step >= 1, "at least 1"),
            ("warmup", 0 <= self.warmup < 1, "at least 0 and below 1"),
            ("weight_decay", 0 <= self.weight_decay < 1, "at least 0 and below 1"),
            ("max_grad_norm", self.max_grad_norm > 0, "above 0"),
            ("seed", 0 <= self.seed < 2**63, "at least 0"),
            ("loss", self.loss in PAIR_LOSSES, f"one of {', '.join(PAIR_LOSSES)}"),
            (
                "loss",
                self.loss != "ipo" or not (self.label_smoothing or self.dpop or self.margin_scale),
                "'sigmoid' where label_smoothing, dpop or margin_scale is set",
            ),
            ("temperature", self.temperature is None or 0.1 <= self.temperature <= 10, "between 0.1 and 10"),
            ("beta", 0 < self.beta <= 10, "above 0 and at most 10"),
            ("label_smoothing", 0 <= self.label_smoothing < 0.5, "at least 0 and below 0.5"),
            ("dpop", self.dpop >= 0, "at least 0"),
            ("margin_scale", self.margin_scale >= 0, "at least 0"),
            ("nll_weight", self.nll_weight >= 0, "at least 0"),
            ("kto_weight", self.kto_weight >= 0, "at least 0"),
            ("ordinary_weight", self.ordinary_weight >= 0, "at least 0"),
            ("ordinary_texts", self.ordinary_texts >= 1, "at least 1"),
            ("words", self.words >= 0, "at least 0"),
            ("practice_share", 0 <= self.practice_share < 1, "at least 0 and below 1"),
            ("micro_tokens", self.micro_tokens >= 64, "at least 64"),
            ("start", self.start in STARTS, f"one of {', '.join(STARTS)}"),
            ("refit_seconds", self.refit_seconds >= 0, "at least 0"),
            ("replay_share", 0 <= self.replay_share < 1, "at least 0 and below 1"),
            ("max_included", self.max_included >= 1, "at least 1"),
            ("max_prompt", self.max_prompt >= 16, "at least 16"),
            ("max_response", self.max_response >= 1, "at least 1"),
            ("include_weight", self.include_weight is None or self.include_weight > 0, "above 0"),
        ]

    def practised(self, turns: int) -> int:
        """Turns to practise on beside so many judged ones."""
        return round(turns * self.practice_share / (1 - self.practice_share))

    def passes(self, turns: int) -> float:
        """How often a fit goes over this many turns; the last time perhaps not over all of them."""
        return self.steps(turns) / math.ceil(turns / self.turns_per_step)

    def steps(self, turns: int) -> int:
        """Optimiser steps of a fit on this many turns."""
        return max(math.ceil(turns / self.turns_per_step) * self.epochs, self.min_steps)

    @classmethod
    def settings(cls) -> set[str]:
        """Names of what may be chosen."""
        return {f.name for f in fields(cls)}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> TrainConfig:
        """From a run's stored config. BadSetting for a name that is no field."""
        known = cls.settings()
        if unknown := sorted(set(values) - known):
            raise BadSetting(f"{unknown[0]!r} is no setting of such a run; there are {', '.join(sorted(known))}")
        given = dict(values)
        for name in ("include", "modules"):
            if isinstance(value := given.get(name), str):
                given[name] = (value,)
            elif isinstance(value, list):
                given[name] = tuple(value)
        for name, kind in kinds(cls).items():
            if kind is bool and type(given.get(name)) is int and given[name] in (0, 1):
                given[name] = bool(given[name])
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "include": list(self.include), "modules": list(self.modules)}


@dataclass(frozen=True, slots=True)
class RewardConfig(TrainConfig):
    """How a reward model learns."""

    layer_share: float = 0.27  #: of the layers, from the top: what enters them is what the reward is read from
    heads: int = 4  #: models on bootstrap samples of the prompts; a reward is their mean less their spread

    def _ranges(self) -> list[tuple[str, bool, str]]:
        return [*TrainConfig._ranges(self), ("heads", 2 <= self.heads <= 64, "between 2 and 64")]

    @classmethod
    def settings(cls) -> set[str]:
        """Of a fit of the model's own weights it has none."""
        taken = {"include", "include_weight", "max_included", "max_prompt", "max_response"}
        return taken | {"heads", "layer_share", "margin_scale", "micro_tokens", "seed"}


@dataclass(frozen=True, slots=True)
class SftConfig(TrainConfig):
    """How demonstrations are learned: by their likelihood alone, from the base."""

    nll_weight: float = 1.0
    practice_share: float = 0.0
    start: Start = "refit"

    @classmethod
    def settings(cls) -> set[str]:
        """Of preferences it has none."""
        pairs = {"loss", "beta", "label_smoothing", "length_normalised", "dpop", "margin_scale", "kto_weight"}
        return TrainConfig.settings() - pairs - {"best_and_worst", "practice_share"}


Algorithm = Literal["ppo", "rloo"]
Ratio = Literal["token", "answer"]


@dataclass(frozen=True, slots=True)
class PpoConfig(TrainConfig):
    """How a policy learns from a reward."""

    algorithm: Algorithm = "ppo"  #: "rloo": without a critic, each answer against the others to its prompt
    batches: int = 2  #: of answers, each drawn by the policy that learned from those before
    batch_prompts: int = 16  #: prompts of a batch
    answers: int = 4  #: to each prompt of a batch
    learned: int = 2  #: of those answers, learned from: the best and the worst, as many of each
    answer_tokens: int = 192  #: tokens of an answer, at most
    first_prompts: int = 48  #: prompts of the first batch, whose answers are there already
    ppo_epochs: int = 2  #: how often a batch is learned from
    learning_rate: float = 1.3e-3
    practice_share: float = 0.0  #: what it answers is its practice
    critic_rate: float = 1e-2  #: of the value head
    clip: float = 0.9  #: of the ratio of new to old probability: few large batches are led by the budget of KL instead
    ratio: Ratio = "token"  #: "answer": of a whole answer, as in RLOO's own paper; only for rloo
    value_clip: float = 0.2  #: how far a value may move from what it was when the batch was drawn
    value_weight: float = 0.5  #: of the values' loss beside the policy's
    gae_decay: float = 0.97  #: lambda: what an answer earns thirty tokens later still counts for a word by 0.4
    discount: float = 1.0  #: gamma, a token
    whiten: bool = True  #: advantages are whitened: of mean 0 and deviation 1
    dense: bool = True  #: tokens earn what the reward, linear in them, owes to each; else all comes with the last one
    expected: bool = True  #: of such a share that of the word itself is learned from by its mean over all words
    kl_coefficient: float = 0.05  #: at first, of the KL penalty, in rewards a nat; 0: there is none
    # the KL penalty is a mean over all words then, and so strong that what is best by their worth lies there
    kl_aim: float = 0.0  #: nats a token from the base, where the penalty leads; 0: it is sampled, led by kl_target
    kl_target: float = 6.0  #: nats an answer that the coefficient is led to
    kl_horizon: float = 1000.0  #: answers in which it is led there
    kl_budget: float = 0.1  #: nats a token beyond which the run ends
    spread_budget: float = 1.5  #: of the reward's heads, by that on judged answers that they had not seen
    rules_weight: float = 1.0  #: of the rules beside the preferences
    length_weight: float = 0.0  #: taken off for each standard deviation that an answer is longer

    @classmethod
    def settings(cls) -> set[str]:
        """Of preferences it has none."""
        fit = {"epochs", "min_steps", "temperature", "start", "refit_seconds", "replay_share"}
        pairs = {"loss", "label_smoothing", "length_normalised", "dpop", "margin_scale", "nll_weight", "kto_weight"}
        return {f.name for f in fields(cls)} - fit - pairs - {"best_and_worst", "practice_share"}

    def _ranges(self) -> list[tuple[str, bool, str]]:
        return [
            *TrainConfig._ranges(self),
            ("algorithm", self.algorithm in ("ppo", "rloo"), "'ppo' or 'rloo'"),
            ("batches", 1 <= self.batches <= 1000, "between 1 and 1000"),
            ("batch_prompts", 1 <= self.batch_prompts <= 1024, "between 1 and 1024"),
            ("answers", 2 <= self.answers <= 16, "between 2 and 16"),
            ("learned", self.learned >= 2, "at least 2"),
            ("ratio", self.ratio in ("token", "answer"), "'token' or 'answer'"),
            ("ratio", self.ratio == "token" or self.algorithm == "rloo", "'token' where algorithm is not rloo"),
            ("answer_tokens", 8 <= self.answer_tokens <= 4096, "between 8 and 4096"),
            ("first_prompts", 0 <= self.first_prompts <= 1024, "between 0 and 1024"),
            ("spread_budget", self.spread_budget > 0, "above 0"),
            ("rules_weight", 0 <= self.rules_weight <= 100, "from 0 to 100"),
            ("length_weight", -100 <= self.length_weight <= 100, "from -100 to 100"),
            ("ppo_epochs", 1 <= self.ppo_epochs <= 20, "between 1 and 20"),
            ("critic_rate", 0 < self.critic_rate <= 1, "above 0 and at most 1"),
            ("clip", 0 < self.clip < 1, "between 0 and 1"),
            ("value_clip", self.value_clip > 0, "above 0"),
            ("value_weight", self.value_weight >= 0, "at least 0"),
            ("gae_decay", 0 <= self.gae_decay <= 1, "from 0 to 1"),
            ("discount", 0 < self.discount <= 1, "above 0 and at most 1"),
            ("kl_aim", self.kl_aim >= 0, "at least 0"),
            (
                "kl_aim",
                not self.kl_aim or self.expected,
                "0 where expected is off: what words are worth is not asked then",
            ),
            ("kl_aim", not self.kl_aim or self.ratio == "token", "0 where ratio is 'answer'"),
            ("kl_aim", not self.kl_aim or self.kl_coefficient > 0, "0 where kl_coefficient is 0: there is no penalty"),
            ("kl_coefficient", self.kl_coefficient >= 0, "at least 0"),
            ("kl_target", self.kl_target > 0, "above 0"),
            ("kl_horizon", self.kl_horizon >= 1, "at least 1"),
            ("kl_budget", self.kl_budget > 0, "above 0"),
        ]


#: by the method of a run
CONFIGS: dict[str, type[TrainConfig]] = {
    "dpo": TrainConfig, "sft": SftConfig, "reward": RewardConfig, "ppo": PpoConfig, "rlhf": PpoConfig,
}  # fmt: skip
