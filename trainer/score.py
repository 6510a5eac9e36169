"""What the reward model says of answers: `hone score`, and the child process that best-of-N asks.

Answers are scored by what the base makes of them, so a score is the same whichever version wrote the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chatapp.engine.base import Message
from chatapp.engine.model_files import file_hash
from chatapp.engine.vocab import Vocab
from storage.rules import Rule
from storage.store import Store
from trainer.base_model import load_base
from trainer.config import TrainConfig
from trainer.dataset import fit_prompt
from trainer.errors import TrainerError
from trainer.logprobs import TokenTurn
from trainer.pooled import Pooler
from trainer.reward_task import current
from trainer.total import Reward, Weights
from trainer.trunk import Trunk, adapted_from


@dataclass(frozen=True, slots=True)
class Scorer:
    """Of one home and model; `open_scorer` makes one."""

    reward: Reward
    weights: Weights
    vocab: Vocab
    pooler: Pooler
    rules: list[Rule]  #: that are active or were flagged
    texts: dict[str, Tensor]  # (D,) of each rule, by its id

    def tokens(self, answer: str | Sequence[int], finished: bool = True) -> list[int]:
        """A text is taken as a whole answer that ended or, if not finished, was cut; token ids as they are."""
        if isinstance(answer, str):
            ids = self.vocab.response_ids(answer) if finished else self.vocab.tokenize(answer)
        else:
            ids = [int(token) for token in answer]
        if not ids or (isinstance(answer, str) and not answer.strip()):
            raise TrainerError("there is no answer to score: the text is empty")
        return ids[: int(self.reward.about.get("max_response", TrainConfig().max_response))]

    def score(
        self, messages: Sequence[Message], answers: Sequence[str | Sequence[int]], finished: bool = True
    ) -> list[dict[str, Any]]:
        """Each answer's parts and total, in the order of answers. Raises TrainerError."""
        limit = int(self.reward.about.get("max_prompt", TrainConfig().max_prompt))
        prompt = fit_prompt(self.vocab, messages, limit)
        if prompt is None:
            raise TrainerError(
                f"the prompt is over {limit} tokens long, the most that the reward model was trained with: it cannot "
                "be scored"
            )
        ids = [self.tokens(answer, finished) for answer in answers]
        lengths = torch.tensor([len(each) for each in ids])
        # one answer at a time: sixteen long ones at once would take gigabytes
        features = torch.cat(self.pooler.see([TokenTurn(prompt, [each]) for each in ids], budget=1024))
        active = {rule.id for rule in self.rules if rule.active}
        parts = self.reward.parts(features, lengths, self.texts, self.weights, active)
        standing = {rule.id: rule for rule in self.reward.standing}
        heads = self.reward.preference.opinions(features).tolist() if self.reward.preference else None
        found = []
        for i, each in enumerate(ids):
            rules = []
            for k, rule in enumerate(self.rules if parts.violation.shape[1] else ()):
                known = standing.get(rule.id)
                rules.append(
                    {
                        "rule": rule.number,
                        "name": rule.name,
                        "violation": float(parts.violation[i, k]),
                        "flags": known.flags if known else 0,
                        "counts": bool(known and known.counts and rule.active),
                    }
                )
            found.append(
                {
                    "total": float(parts.total[i]),
                    "preference": float(parts.preference[i]) if self.reward.preference else None,
                    "spread": float(parts.spread[i]) if self.reward.preference else None,
                    "heads": heads[i] if heads else None,
                    "rules_part": float(parts.rules[i]),
                    "rules": rules,
                    "length": len(each),
                    "length_part": float(parts.length[i]),
                    "weights": {"rules": self.weights.rules, "length": self.weights.length},
                }
            )
        return found


@contextmanager
def open_scorer(store: Store, gguf: Path, cache_dir: Path, weights: Weights) -> Iterator[Scorer]:
    """Raises NoRewardModel before anything is loaded, and what loading the model raises."""
    reward = current(store, file_hash(gguf, cache_dir))
    with Vocab.open(gguf) as vocab:
        base = load_base(gguf, cache_dir)
        share = float(reward.about.get("layer_share", TrainConfig().layer_share))
        pooler = Pooler.of(Trunk(base.model, adapted_from(base.model, share), keep_bytes=0), vocab)
        flagged = {rule.id for rule in reward.standing}
        rules = [rule for rule in store.rules.list(active_only=False) if rule.active or rule.id in flagged]
        texts = {rule.id: pooler.text(vocab.tokenize(rule.text)) for rule in rules}
        yield Scorer(reward, weights, vocab, pooler, rules, texts)


def serve(scorer: Scorer, lines: Iterable[str]) -> Iterator[str]:
    """A line of JSON for each: {"messages", "answers"} gives {"scores"}, or {"error"}. answers: texts or token ids."""
    for line in lines:
        if not line.strip():
            continue
        try:
            asked = json.loads(line)
            yield json.dumps({"scores": scorer.score(asked["messages"], asked["answers"])})
        except (TrainerError, ValueError, KeyError, TypeError) as error:
            yield json.dumps({"error": f"{error}"})


def sentence(found: dict[str, Any]) -> str:
    """One score for a person."""
    lines = [f"total {found['total']:+.2f}"]
    if found["preference"] is not None:
        lines.append(f"  preference {found['preference']:+.2f} (the heads differ by {found['spread']:.2f})")
    weight = found["weights"]
    if any(rule["counts"] for rule in found["rules"]):
        lines.append(f"  rules {found['rules_part']:+.2f}, times {weight['rules']:g}")
    for rule in found["rules"]:
        if rule["flags"]:
            tail = "" if rule["counts"] else " (does not count)"
            lines.append(f"    breaks {rule['rule']} ({rule['name']}): {rule['violation']:.0%}{tail}")
    taken = weight["length"]  # off, as the total has it
    how = f", {'less' if taken > 0 else 'plus'} {abs(taken):g} times that" if taken else " (does not count)"
    lines.append(f"  length {found['length']} tokens: {found['length_part']:+.2f}{how}")
    return "\n".join(lines)
