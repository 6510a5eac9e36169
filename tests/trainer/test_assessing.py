"""What each token of a rollout has in its reward, against what the whole answers are worth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.trainer.conftest import tiny_model
from tests.trainer.test_pooled import END, TURNS
from trainer import reward, rule_model
from trainer.assessing import earned, kept_for
from trainer.dataset import PairRef
from trainer.logprobs import TokenTurn, use_shared_prefix
from trainer.pooled import LENGTHS, Pooler, apart
from trainer.total import Reward, RuleStanding, Weights
from trainer.trunk import Trunk

TEXTS = {"lists": torch.eye(64)[0], "polite": torch.eye(64)[1]}


@pytest.fixture
def pooler() -> Pooler:
    model = tiny_model()
    use_shared_prefix(model)
    return Pooler(Trunk(model, 1), {END})


def made(pooler: Pooler, *, preferences: bool = True, counts: bool = True) -> Reward:
    drawn = torch.Generator().manual_seed(0)
    rankings = [
        reward.Judged(str(i), torch.randn(3, pooler.size, generator=drawn), [PairRef(0, 2, 1.0)]) for i in range(12)
    ]
    flags = [
        rule_model.Flag(str(i), rule, torch.randn(pooler.size, generator=drawn), bool(i % 3))
        for i in range(24)
        for rule in TEXTS
    ]
    standing = [
        RuleStanding("lists", 0.9, 24, 16, counts, 0.4, 0.2),
        RuleStanding("polite", 0.9, 24, 16, True, 0.3, 0.1),
    ]
    return Reward("abc", reward.learn(rankings) if preferences else None, rule_model.learn(flags, TEXTS), standing)


def test_tokens_have_what_preferences_and_rules_give_an_answer_beyond_a_mean_one(pooler: Pooler) -> None:
    """Lengths and the heads' spread belong to no token; of two rules that count each has a half of the weight."""
    total = made(pooler)
    assert total.preference is not None
    assert total.rules is not None
    found = earned(TURNS, pooler, total, TEXTS, Weights(rules=2.0, length=0.5), budget=64)
    for turn, rows, (mine, _) in zip(TURNS, pooler.see(TURNS, budget=64), found, strict=True):
        sums = torch.stack([part.sum() for part in mine.split([len(r) for r in turn.responses])]).double()
        slope = total.preference.slope.clone()
        slope[-LENGTHS:] = 0
        wanted = apart(rows, total.preference.centre) @ slope
        for rule in total.standing:
            text, centre = TEXTS[rule.id], total.rules.centre
            of_length = (rows.double() - centre)[:, -LENGTHS:] @ total.rules.line(text)[0][-LENGTHS:]
            kept = 1 - torch.sigmoid(total.rules.logits(rows, text) - of_length)
            mean = 1 - torch.sigmoid(total.rules.logits(centre[None], text))
            wanted += 2.0 / 2 * (kept - mean) / rule.unit
        torch.testing.assert_close(sums, wanted, atol=2e-3, rtol=1e-3)


def test_a_rule_that_does_not_count_or_is_not_asked_about_has_no_share(pooler: Pooler) -> None:
    alone = earned(TURNS, pooler, made(pooler, counts=False), TEXTS, Weights(), budget=64)
    same = earned(TURNS, pooler, made(pooler), {"polite": TEXTS["polite"]}, Weights(), budget=64)
    for one, other in zip(alone, same, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            torch.testing.assert_close(mine, theirs)
    nothing = earned(TURNS, pooler, made(pooler, preferences=False), {}, Weights(), budget=64)
    assert [part.tolist() for part, _ in nothing] == [[0.0] * 8, [0.0] * 2]
    assert not any(worth.any() for _, worth in nothing)


def test_another_word_in_the_place_of_one_changes_the_answer_by_what_it_is_worth(pooler: Pooler) -> None:
    """The last word of an answer, which no state has read: its embedding, and nothing else, is changed."""
    total = made(pooler)
    assert total.preference is not None
    turn = TURNS[0]
    at = max(range(len(turn.responses)), key=lambda i: len(turn.responses[i]))
    other = [*turn.responses[at][:-1], 99]
    assert END not in (other[-1], turn.responses[at][-1])
    turns = [TokenTurn(turn.prompt, [turn.responses[at]]), TokenTurn(turn.prompt, [other])]
    before, after = (float(total.preference.each(x).mean()) for x in pooler.see(turns, budget=64))
    ((_, worth),) = earned(turns[:1], pooler, replace(total, standing=[]), {}, Weights(), budget=64)
    embeddings = pooler.trunk.model.get_input_embeddings().weight.detach()
    change = float((embeddings[99] - embeddings[turn.responses[at][-1]]) @ worth[0])
    assert after - before == pytest.approx(change, abs=1e-4)


def test_what_a_nat_is_worth_by_hand() -> None:
    """From even odds (kept with 0.5) up by log 3 (kept with 0.25): -0.25 / log 3. At even odds the slope is -1/4."""
    assert kept_for(1.0986123, 0.0) == pytest.approx(-0.25 / 1.0986123)
    assert kept_for(0.0, 0.0) == -0.25
    assert kept_for(1e-5, 1.0) == pytest.approx(kept_for(0.0, 1.0), rel=1e-4)
