"""What rollouts are worth: each answer's total reward with its parts, and what its tokens and any word have in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainer.config import PpoConfig
from trainer.features import Callbacks
from trainer.logprobs import TokenTurn
from trainer.lora import Lora
from trainer.pooled import HELD, Pooler
from trainer.rollouts import Rollout
from trainer.total import Reward, Weights

NONE = torch.zeros(0)


def assess(
    turns: Sequence[TokenTurn],
    lora: Lora,
    pooler: Pooler,
    reward: Reward,
    rules: Mapping[str, Tensor],
    config: PpoConfig,
    calls: Callbacks,
) -> list[Rollout]:
    """Each answer's reward and its parts. What the lower layers make of them is kept for the steps.

    rules: id -> mean embedding of its text, of those that are asked about.
    """
    weights = Weights(config.rules_weight, config.length_weight)
    # the reward is of what the base makes of an answer, also where no layer lies below the adapter
    with lora.disabled():
        how: dict[str, Any] = {"budget": config.micro_tokens, "before": calls.before_batch}
        seen = pooler.see(turns, **how)
        wanted = config.dense or config.expected
        told = earned(turns, pooler, reward, rules, weights, **how) if wanted else [(NONE, NONE)] * len(turns)
    found = []
    for turn, features, (shares, worth) in zip(turns, seen, told, strict=True):
        lengths = torch.tensor([len(r) for r in turn.responses])
        parts = reward.parts(features, lengths, rules, weights)
        rows = {"preference": parts.preference, "spread": parts.spread, "length_part": parts.length}
        if rules:
            rows |= {"rules": parts.rules, "violation": parts.violation.mean(1)}
        logged = {name: row.float() for name, row in rows.items()}
        found.append(
            Rollout(
                turn,
                parts.total.float(),
                logged,
                shares if config.dense else NONE,
                worth if config.expected else NONE,
            )
        )
    return found


def earned(
    turns: Sequence[TokenTurn],
    pooler: Pooler,
    reward: Reward,
    rules: Mapping[str, Tensor],
    weights: Weights,
    **how: Any,
) -> list[tuple[Tensor, Tensor]]:  # (M,), (K, D) of each turn
    """Each token's share of the preferences and of the rules that count; spread and length are nobody's. And, of each
    answer, what a word's embedding is worth there: of a token's share, that which is due to what word it is.

    Preferences are linear in means over tokens, and so are the log odds of breaking a rule: what an answer's rule part
    is above that of a mean answer is dealt out as the log odds are.
    """
    lengths = [torch.tensor([len(r) for r in turn.responses]) for turn in turns]
    held = [n + HELD for n in lengths]
    wide = pooler.width
    found = [(torch.zeros(int(n.sum())), torch.zeros(len(n), wide)) for n in lengths]
    if reward.preference is not None:
        slope = reward.preference.slope
        preferred = pooler.shares(turns, slope, reward.preference.centre, **how)
        word = slope[:wide].float()
        found = [(a + b, w + word / n[:, None]) for (a, w), b, n in zip(found, preferred, held, strict=True)]
    counting = [rule for rule in reward.standing if rule.counts and rule.id in rules]
    for rule in counting if reward.rules is not None else ():
        assert reward.rules is not None
        slope, level = reward.rules.line(rules[rule.id])
        unit = weights.rules / len(counting) / rule.unit
        for at, odds in enumerate(pooler.shares(turns, slope, reward.rules.centre, **how)):
            parts = odds.split(lengths[at].tolist())
            nats = torch.tensor([unit * kept_for(float(part.sum()), level) for part in parts])
            shares, worth = found[at]
            shares = shares + torch.cat([nat * part for nat, part in zip(nats, parts, strict=True)])
            found[at] = shares, worth + nats[:, None] * slope[:wide].float() / held[at][:, None]
    return found


def kept_for(odds: float, level: float) -> float:
    """How much likelier a rule is kept, a nat of log odds: over `odds` above `level`, where a mean answer is."""
    low, high = (torch.sigmoid(torch.tensor([-level, -level - odds], dtype=torch.float64))).tolist()
    return (high - low) / odds if abs(odds) > 1e-6 else -low * (1 - low)
