"""PPO and RLOO on the tiny model: what is computed before a step, by hand and by loops; and that rewards rise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.conftest import shake, tiny_model
from trainer import rl
from trainer.checkpoint import Checkpoint
from trainer.config import PpoConfig
from trainer.errors import BadSetting, Cancelled
from trainer.features import Callbacks
from trainer.logprobs import Head, TokenTurn, summed, token_logps, use_shared_prefix
from trainer.lora import Lora
from trainer.ppo import Course, Stop, advise, look, step_loss, train, within
from trainer.rollouts import Critic, Rollout, ends, figures, flattened, padded

CONFIG = PpoConfig(rank=4, micro_tokens=256, words=0, ordinary_weight=0.5, batches=6, turns_per_step=4)
TEMPERATURE = 0.8


def lora(*, shaken: bool = False) -> Lora:
    model = tiny_model()
    use_shared_prefix(model)
    found = Lora(model, rank=4, alpha=4, seed=0, layers=[1])
    if shaken:
        shake(found)
    return found


def rollouts(seed: int = 0) -> list[Rollout]:
    draw = random.Random(seed)
    found = []
    for _ in range(3):
        responses = [[draw.randint(3, 250) for _ in range(draw.randint(1, 6))] for _ in range(2)]
        turn = TokenTurn([draw.randint(3, 250) for _ in range(4)], responses, TEMPERATURE)
        found.append(Rollout(turn, torch.tensor([draw.random(), draw.random()])))
    return found


def plain(policy: Lora, turn: TokenTurn, response: Sequence[int]) -> Tensor:  # (T,)
    """Log-probability of each token, by a pass of the prompt and the answer alone."""
    ids = torch.tensor([[*turn.prompt, *response]])
    with torch.no_grad():
        logits = policy.model(input_ids=ids, use_cache=False).logits[0] / turn.temperature
    logps = torch.log_softmax(logits[len(turn.prompt) - 1 : -1], -1)
    return logps.gather(1, torch.tensor(response)[:, None])[:, 0]


def test_rows_of_answers_and_back() -> None:
    flat = torch.arange(6.0)
    rows = padded(flat, [2, 1, 3])
    assert rows.tolist() == [[0, 1, 0], [2, 0, 0], [3, 4, 5]]
    assert torch.equal(flattened(rows, [2, 1, 3]), flat)


def test_old_and_reference_are_those_of_plain_passes() -> None:
    policy, batch = lora(shaken=True), rollouts()
    critic = Critic(64, policy.device)
    assert isinstance(look(policy, critic, batch, CONFIG, Callbacks()).scores, Head)  # the whole vocabulary
    for rollout in batch:
        turn = rollout.turn
        wanted = torch.cat([plain(policy, turn, r) for r in turn.responses])
        torch.testing.assert_close(rollout.old, wanted, atol=1e-4, rtol=1e-4)
        with policy.disabled():
            base = torch.cat([plain(policy, turn, r) for r in turn.responses])
        torch.testing.assert_close(rollout.reference, base, atol=1e-4, rtol=1e-4)
        assert not rollout.values.any()
        assert rollout.states.shape == (turn.predicted, 64)


def test_advantages_are_those_of_one_answer_at_a_time() -> None:
    policy, batch = lora(shaken=True), rollouts()
    config = replace(CONFIG, whiten=False)
    critic = Critic(64, policy.device)
    with torch.no_grad():
        critic.weight.normal_()
    look(policy, critic, batch, config, Callbacks())
    advise(batch, config, 0.1)
    for rollout in batch:
        at = 0
        for answer, length in enumerate(rollout.lengths):
            part = slice(at, at + length)
            one = [x[part][None] for x in (rollout.old, rollout.reference, rollout.values)]
            mask = torch.ones(1, length)
            relative = rl.rloo(rollout.scores[None])[0]
            rewards = rl.token_rewards(relative[answer : answer + 1], one[0], one[1], mask, 0.1)
            advantages, returns = rl.gae(rewards, one[2], mask, decay=CONFIG.gae_decay)
            torch.testing.assert_close(rollout.advantages[part], advantages[0])
            torch.testing.assert_close(rollout.returns[part], returns[0])
            at += length
    advise(batch, CONFIG, 0.1)
    assert float(torch.cat([r.advantages for r in batch]).mean()) == pytest.approx(0, abs=1e-5)


def test_shares_of_a_reward_leave_its_sum_and_take_out_what_came_before() -> None:
    """Two answers of two tokens with the scores 3 and 1, of which the tokens earned (1, 1.5) and (0.5, 0). Each is
    measured by the other, so 2 and -2; that is taken off evenly: (1 - 1/2, 1.5 - 1/2) leave 1 of 2 for the last, and
    (0.5 - 3/2, 0 - 3/2) leave 0.5 of -2. Without values and penalty the advantages are what is still to come."""
    turn = TokenTurn([3, 4], [[5, 6], [7, 8]], TEMPERATURE)
    flat = torch.zeros(4)
    rollout = Rollout(
        turn, torch.tensor([3.0, 1.0]), {}, torch.tensor([1, 1.5, 0.5, 0]), old=flat, reference=flat, values=flat
    )
    plain = replace(CONFIG, whiten=False, gae_decay=1.0)
    advise([rollout], plain, 0.1)
    assert rollout.advantages.tolist() == pytest.approx([2, 1.5, -2, -1])
    advise([rollout], replace(plain, algorithm="rloo"), 0.1)
    assert rollout.advantages.tolist() == pytest.approx([2, 1.5, -2, -1])
    for config in (plain, replace(plain, algorithm="rloo")):
        advise([rollout], replace(config, dense=False), 0.1)
        assert rollout.advantages.tolist() == pytest.approx([2, 2, -2, -2])


def test_rloo_by_hand() -> None:
    """Of two answers each is compared with the other, after both have paid for their drift."""
    policy, batch = lora(shaken=True), rollouts()
    look(policy, None, batch, CONFIG, Callbacks())
    advise(batch, replace(CONFIG, algorithm="rloo"), 0.1)
    for rollout in batch:
        drift = [float(d.sum()) for d in (rollout.old - rollout.reference).split(rollout.lengths)]
        totals = [float(s) - 0.1 * d for s, d in zip(rollout.scores, drift, strict=True)]
        wanted = [totals[0] - totals[1], totals[1] - totals[0]]
        of_tokens = [a for a, length in zip(wanted, rollout.lengths, strict=True) for _ in range(length)]
        assert rollout.advantages.tolist() == pytest.approx(of_tokens, abs=1e-5)
    advise(batch, replace(CONFIG, algorithm="rloo", ratio="answer"), 0.1)
    assert batch[-1].advantages.tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(("algorithm", "ratio"), [("ppo", "token"), ("rloo", "token"), ("rloo", "answer")])
def test_the_first_step_goes_where_the_advantages_point(algorithm: str, ratio: str) -> None:
    """At the policy that drew the answers each ratio is 1: the slope of the loss is that of -A log pi."""
    config: Any = replace(CONFIG, algorithm=algorithm, ratio=ratio)
    policy, batch = lora(shaken=True), rollouts()
    output = look(policy, None, batch, config, Callbacks())
    advise(batch, config, 0.1)
    loss, metrics = step_loss(policy, None, batch, output, config)
    loss.backward()
    policy.collect_gradients()
    mine = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    for parameter in policy.parameters():
        parameter.grad = None
    assert metrics["clipped"] == 0
    packed = policy.pack([r.turn for r in batch])
    logps = token_logps(policy.model, packed)
    advantages = torch.cat([r.advantages for r in batch])
    if ratio == "answer":
        logps = summed(logps, packed.owner, len(packed.lengths))
    (-(advantages * logps).mean()).backward()
    policy.collect_gradients()
    theirs = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)


class World:
    """Prompts, answers drawn from whatever the policy is, and a reward: the share of low bytes."""

    def __init__(self, policy: Lora, seed: int = 0, worth: Tensor | None = None) -> None:
        self.policy, self.generator = policy, torch.Generator().manual_seed(seed)
        self.worth = torch.zeros(0) if worth is None else worth.repeat(4, 1)
        self.prompts = [[10 + i, 20 + i, 30 + i] for i in range(8)]

    @torch.no_grad()
    def draw(self, batch: int) -> list[TokenTurn]:
        found = []
        for prompt in self.prompts:
            ids = torch.tensor([prompt] * 4)
            for _ in range(5):
                logits = self.policy.model(input_ids=ids, use_cache=False).logits[:, -1] / TEMPERATURE
                token = torch.multinomial(torch.softmax(logits, -1), 1, generator=self.generator)
                ids = torch.cat([ids, token], 1)
            found.append(TokenTurn(prompt, ids[:, 3:].tolist(), TEMPERATURE))
        return found

    def assess(self, turns: Sequence[TokenTurn]) -> list[Rollout]:
        scores = [torch.tensor([sum(t < 130 for t in r) / len(r) for r in turn.responses]) for turn in turns]
        told = {"spread": torch.ones(4)}
        return [Rollout(t, s, told, worth=self.worth) for t, s in zip(turns, scores, strict=True)]


def test_only_the_ends_of_a_prompts_answers_are_learned_from() -> None:
    """Of five answers of 1, 2, 3, 4, 5 tokens with the rewards 3, 1, 5, 2, 4: the worst and the best two, in order."""
    turn = TokenTurn([3, 4], [[10 * n + i for i in range(n)] for n in range(1, 6)], TEMPERATURE)
    flat = torch.arange(15.0)
    whole = Rollout(
        turn,
        torch.tensor([3.0, 1, 5, 2, 4]),
        {"spread": torch.arange(5.0)},
        shares=2 * flat,
        worth=torch.arange(5.0)[:, None],
        chance=flat + 50,
        old=flat,
        reference=-flat,
        values=flat + 100,
        states=flat[:, None],
    )
    found = ends(whole, 3)
    assert found.turn.responses == [turn.responses[i] for i in (1, 2, 4)]
    assert found.scores.tolist() == [1, 5, 4]
    assert found.parts["spread"].tolist() == [1, 2, 4]
    kept = [1, 2, 3, 4, 5, 10, 11, 12, 13, 14]
    assert found.old.tolist() == kept == found.states[:, 0].tolist()
    assert found.reference.tolist() == [-t for t in kept]
    assert found.shares.tolist() == [2 * t for t in kept]
    assert found.chance.tolist() == [t + 50 for t in kept]
    assert found.worth[:, 0].tolist() == [1, 2, 4]
    assert found.values.tolist() == [t + 100 for t in kept]
    assert ends(whole, 5) is whole
    unseen = ends(Rollout(turn, whole.scores), 2)
    assert unseen.turn.responses == [turn.responses[1], turn.responses[2]]
    assert len(unseen.old) == len(unseen.worth) == 0


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_rewards_rise(algorithm: str) -> None:
    policy = lora()
    world = World(policy)
    config: Any = replace(
        CONFIG, algorithm=algorithm, batches=40, learned=4, learning_rate=6e-2, kl_budget=10.0, kl_coefficient=0.0
    )
    critic = Critic(64, policy.device) if algorithm == "ppo" else None
    told: list[int] = []
    calls = Callbacks(progress=lambda batch, of, row: told.append(batch))
    course = train(policy, critic, world.draw, world.assess, config, calls)
    first, last = (sum(row["reward"] for row in rows) / 2 for rows in (course.rows[:2], course.rows[-2:]))
    assert last > first + 0.15
    assert course.stop is None
    assert told == list(range(1, 42)), "the last look is one more"
    assert course.rows[-1]["kl"] > course.rows[0]["kl"] == pytest.approx(0, abs=1e-5)


def test_it_ends_where_the_budget_of_kl_does_and_takes_the_step_back() -> None:
    policy = lora()
    world = World(policy)
    config = replace(CONFIG, batches=20, learning_rate=3e-2, kl_budget=0.02, kl_coefficient=0.0)
    course = train(policy, None, world.draw, world.assess, replace(config, algorithm="rloo"), Callbacks())
    assert course.stop is not None
    assert course.stop.why == "kl"
    assert len(course.rows) < 20
    assert 0.5 < course.stop.kept < 0.9, "as much as keeps to the budget"
    batch = world.assess(world.draw(0))
    look(policy, None, batch, config, Callbacks())
    assert figures(batch, 0.0)["kl"] < course.rows[-1]["kl"]


def test_a_step_is_shortened_to_the_budget() -> None:
    """On a ray from the base KL is the square of the distance: from 0.2 and 0.4 (KL 0.04 and 0.16) to 0.9 of 0.3, the
    distance that a budget of 0.09 allows, it is 0.07 of 0.2."""
    assert within(0.04, 0.16, 0.09) == pytest.approx(0.35)
    assert within(0.0, 0.36, 0.09) == pytest.approx(0.45)
    assert within(0.09, 0.1, 0.09) == 0, "the step before was at the budget already"


def test_it_ends_where_the_reward_is_not_to_be_trusted() -> None:
    policy = lora()
    world = World(policy)
    course = train(policy, None, world.draw, world.assess, CONFIG, Callbacks(), most_spread=0.5)
    assert course.stop is not None
    assert course.stop.why == "spread"
    assert "the reward's heads part by 1.00 on what it writes now (at most 0.50)" in course.stop.sentence
    assert not any(value.any() for name, value in policy.state().items() if "lora_B" in name)


def test_it_steps_back_to_where_the_reward_is_to_be_trusted() -> None:
    """The heads part by 0.2, then by 0.6: half of the way leads to 0.4, and a tenth of that is kept off."""
    policy = lora()
    world = World(policy)
    spreads = iter([0.2, 0.6])

    def assess(turns: Sequence[TokenTurn]) -> list[Rollout]:
        spread = torch.full((4,), next(spreads))
        return [replace(rollout, parts={"spread": spread}) for rollout in world.assess(turns)]

    states: list[dict[str, torch.Tensor]] = []
    calls = Callbacks(progress=lambda *_: states.append(policy.state()))
    course = train(policy, None, world.draw, assess, CONFIG, calls, most_spread=0.4)
    assert course.stop is not None
    assert course.stop.kept == pytest.approx(0.9 * 0.5)
    for name, value in policy.state().items():
        torch.testing.assert_close(value, states[0][name] + course.stop.kept * (states[1][name] - states[0][name]))


@pytest.mark.parametrize("kept", [0.0, 0.25])
def test_it_ends_where_its_answers_are_broken_and_takes_the_step_back(kept: float) -> None:
    policy = lora()
    world = World(policy)
    asked: list[int] = []

    def broken(rows: Sequence[dict[str, float]]) -> Stop | None:
        asked.append(len(rows))
        return Stop("guard", "it says nothing", kept) if len(asked) == 3 else None

    states: list[dict[str, torch.Tensor]] = []
    calls = Callbacks(progress=lambda *_: states.append(policy.state()))
    course = train(policy, None, world.draw, world.assess, CONFIG, calls, broken=broken)
    assert course.stop is not None
    assert (course.stop.why, course.stop.sentence, course.stop.kept) == ("guard", "it says nothing", kept)
    assert asked == [1, 2, 3], "each batch"
    for name, value in policy.state().items():  # what the first batch taught stays, of the second's as much as is kept
        torch.testing.assert_close(value, states[1][name] + kept * (states[2][name] - states[1][name]))


def test_of_two_reasons_to_end_the_one_that_keeps_less_counts() -> None:
    """A budget of KL that all but nothing keeps to, beside answers of which nine tenths of the step are all right."""
    policy = lora()
    world = World(policy)
    seen: list[int] = []

    def broken(rows: Sequence[dict[str, float]]) -> Stop | None:
        seen.append(len(rows))
        return Stop("guard", "a little too long", 0.9) if len(seen) > 1 else None

    config = replace(CONFIG, learning_rate=3e-2, kl_budget=1e-4, kl_coefficient=0.0)
    course = train(policy, None, world.draw, world.assess, config, Callbacks(), broken=broken)
    assert course.stop is not None
    assert course.stop.why == "kl"
    assert course.stop.kept < 0.9


def test_it_can_be_cancelled() -> None:
    policy = lora()
    world = World(policy)
    with pytest.raises(Cancelled):
        train(policy, None, world.draw, world.assess, CONFIG, Callbacks(cancelled=lambda: True))


def test_settings_are_checked() -> None:
    with pytest.raises(BadSetting, match=r"clip is 1\.5; it must be between 0 and 1"):
        PpoConfig.read({"clip": 1.5})
    with pytest.raises(BadSetting, match="algorithm is 'grpo'; it must be 'ppo' or 'rloo'"):
        PpoConfig.read({"algorithm": "grpo"})


WORTH = torch.randn(1, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_a_run_that_was_cut_off_comes_to_the_same(tmp_path: Path, algorithm: str, stops: bool) -> None:
    """After its second batch: the third begins with the weights, moments, values and penalty of then, and where it
    shows that too much was learned from the second, the run steps back to what was before that."""
    config: Any = replace(CONFIG, algorithm=algorithm, batches=4, learning_rate=1e-2, kl_horizon=50.0, kl_budget=10.0)
    if algorithm == "rloo":
        config = replace(config, kl_aim=0.05)

    def run(checkpoint: Checkpoint | None, until: int = 9) -> tuple[Course, Lora]:
        policy = lora()

        def draw(batch: int) -> list[TokenTurn]:
            if batch == until:
                raise Cancelled("killed")
            return World(policy, batch).draw(batch)

        def broken(rows: Sequence[dict[str, float]]) -> Stop | None:
            return Stop("guard", "it says nothing", 0.25) if stops and len(rows) == 3 else None

        critic = Critic(64, policy.device) if algorithm == "ppo" else None
        ordinary = [TokenTurn([7], [[60 + i, 70, 80]]) for i in range(5)]
        assess = World(policy, worth=WORTH).assess
        calls = Callbacks()
        course = train(policy, critic, draw, assess, config, calls, ordinary, broken=broken, checkpoint=checkpoint)
        return course, policy

    whole, wanted = run(None)
    with pytest.raises(Cancelled):
        run(Checkpoint(tmp_path, "ppo", "this run"), until=2)
    again = Checkpoint(tmp_path, "ppo", "this run")
    course, found = run(again)
    assert again.resumed_at == 2
    assert len(course.rows) == len(whole.rows) == (3 if stops else 5)
    for row, other in zip(course.rows, whole.rows, strict=True):
        assert row == pytest.approx(other, rel=1e-4, abs=1e-4, nan_ok=True)
    for name, value in found.state().items():
        torch.testing.assert_close(value, wanted.state()[name], atol=1e-5, rtol=1e-3)
    other = Checkpoint(tmp_path, "ppo", "another run")
    run(other)
    assert other.resumed_at is None, "what is of another run is not gone on with"


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_a_step_in_parts_is_the_step_as_a_whole(algorithm: str) -> None:
    """Whatever fits into memory at one time: the same weights."""
    found = []
    for tokens in (64, 4096):
        policy = lora()
        world = World(policy, worth=WORTH)
        config: Any = replace(CONFIG, algorithm=algorithm, micro_tokens=tokens, batches=1, turns_per_step=8)
        train(policy, None, world.draw, world.assess, config, Callbacks())
        found.append(torch.cat([value.flatten() for value in policy.state().values()]))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-3)
