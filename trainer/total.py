"""The total reward of an answer: what the preferences say, what the rules say, and its length; and the file of it.

R = R_pref + w * mean(R_rule) - beta * length, after Sparrow (Glaese et al. 2022, arXiv 2209.14375, section 3.4). Each
part is in standard deviations of the answers that it was learned from, with the mean 0 there. R_rule is of the
probability that a rule is kept, and only rules count that the flags taught something of: the others' probabilities are
told, and are guesses.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer import tensor_file
from trainer.errors import TrainerError
from trainer.reward import RewardModel
from trainer.rule_model import RuleModel

VERSION = 2


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the parts beside the preferences."""

    rules: float = 1.0
    length: float = 0.0  #: beta


@dataclass(frozen=True, slots=True)
class RuleStanding:
    """A rule that something was flagged for."""

    id: str
    auc: float  #: on flags of prompts that were left out; NaN: only one side was flagged
    flags: int
    violated: int
    counts: bool  #: whether it is part of the total
    zero: float = 0.0  #: mean probability of being kept, over the answers that were learned from
    unit: float = 1.0  #: and its standard deviation


@dataclass(frozen=True, slots=True)
class Parts:
    """Of R answers, each part apart."""

    preference: Tensor  # (R,) 0 where nothing was preferred
    spread: Tensor  # (R,) of the heads
    violation: Tensor  # (R, K) probability of breaking each rule that was asked about
    rules: Tensor  # (R,) mean over the rules that count
    length: Tensor  # (R,)
    total: Tensor  # (R,)


@dataclass(frozen=True, slots=True)
class Reward:
    """What one run learned. At least one of preference and rules is there."""

    model_hash: str
    preference: RewardModel | None
    rules: RuleModel | None
    standing: Sequence[RuleStanding] = ()
    tokens: tuple[float, float] = (0.0, 1.0)  #: mean length of the answers that were learned from, and its deviation
    about: Mapping[str, Any] = field(default_factory=dict)  #: figures of the run's test

    def parts(
        self,
        features: Tensor,  # (R, F)
        lengths: Tensor,  # (R,) tokens
        rules: Mapping[str, Tensor],  # id -> (D,) mean embedding of its text
        weights: Weights | None = None,
        active: Collection[str] | None = None,
    ) -> Parts:
        """rules: those to be told of; of them count those that the flags taught, if they are active (None: all are)."""
        weights = weights or Weights()
        count = len(features)
        nothing = torch.zeros(count, dtype=torch.float64)
        preference = self.preference.rewards(features) if self.preference else nothing
        spread = self.preference.spread(features) if self.preference else nothing
        standing = {rule.id: rule for rule in self.standing if rule.counts and (active is None or rule.id in active)}
        violation, kept = [], []
        for id, text in rules.items() if self.rules else ():
            broken = torch.sigmoid(self.rules.logits(features, text)) if self.rules else nothing
            violation.append(broken)
            if id in standing:
                kept.append((1 - broken - standing[id].zero) / standing[id].unit)
        mean = torch.stack(kept).mean(0) if kept else nothing
        length = (lengths.double() - self.tokens[0]) / self.tokens[1]
        return Parts(
            preference,
            spread,
            torch.stack(violation, 1) if violation else torch.zeros(count, 0, dtype=torch.float64),
            mean,
            length,
            preference + weights.rules * mean - weights.length * length,
        )

    def save(self, path: Path) -> None:
        """One safetensors file, without a word of what was judged."""
        tensors: dict[str, Tensor] = {}
        about: dict[str, Any] = {"version": VERSION, "model_hash": self.model_hash, "tokens": list(self.tokens)}
        if self.preference:
            tensors |= {f"preference/{name}": value for name, value in self.preference.tensors().items()}
            about["preference"] = {"ridge": self.preference.ridge}
        if self.rules:
            tensors |= {f"rules/{name}": value for name, value in self.rules.tensors().items()}
            about["rules"] = {"ridge": self.rules.ridge, "rules": self.rules.rules}
            names = RuleStanding.__slots__
            about["standing"] = [{name: getattr(rule, name) for name in names} for rule in self.standing]
        about["about"] = dict(self.about)
        tensor_file.write(path, tensors, {"reward": json.dumps(about)})

    @classmethod
    def read(cls, path: Path, model_hash: str | None = None) -> Reward:
        """Raises FileNotFoundError, and TrainerError where it is broken or of another model."""
        from safetensors import SafetensorError, safe_open

        if not path.exists():
            raise FileNotFoundError(path)
        try:
            with safe_open(str(path), "pt") as file:
                about: dict[str, Any] = json.loads(file.metadata()["reward"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dictionary
            if about["version"] != VERSION:
                raise TrainerError(f"the reward model in {path} was written by another Hone: train it again")
            parts = {
                part: {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{part}/")}
                for part in ("preference", "rules")
            }
            found = cls(
                str(about["model_hash"]),
                RewardModel.of(parts["preference"], about["preference"]) if parts["preference"] else None,
                RuleModel.of(parts["rules"], about["rules"]) if parts["rules"] else None,
                [RuleStanding(**row) for row in about.get("standing", ())],
                (float(about["tokens"][0]), float(about["tokens"][1])),
                about["about"],
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrainerError(f"the reward model in {path} cannot be read ({error}): train it again") from error
        if model_hash is not None and found.model_hash != model_hash:
            raise TrainerError(f"the reward model in {path} is of another model: train one for this model")
        return found
