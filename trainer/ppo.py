"""PPO on a reward: answers drawn by the policy, scored, and made likelier where they did better than expected.

The loop of Stiennon et al. 2020 (arXiv 2009.01325) with the details of Huang et al. 2024 (arXiv 2403.17031): the score
comes with the last token, each token pays for its drift from the base, advantages are whitened, policy and values are
clipped, values come from a head of their own. RLOO (Ahmadian et al. 2024, arXiv 2402.14740) is the same without values:
the others to its prompt are what an answer is compared with. A whole answer is one action there, and here too where all
of its score comes with the last token; where tokens earn shares, each is told what its answer earns from there on.

Of each prompt's answers only the best and the worst are learned from (Xu et al. 2025, arXiv 2504.13818: the subset of
the largest variance): a step costs as much as ever, and those between say little. What a score is measured by are the
others to the same prompt, with or without a critic. And where the reward owes something to each token, as one that is
linear in means over tokens does, a token earns its own share at once (Chan et al. 2024, arXiv 2402.00782): a score that
comes with the last token, told back by lambda = 0.95, says nothing to the first words of an answer of two hundred.

Most of such a share is what the word is, and that is known of every word, not of the drawn one alone. So what the
policy gains by it at each place is computed as the mean over all words, and learned from as such (expected policy
gradients: Ciosek and Whiteson 2018, arXiv 1706.05374; Petit et al. 2019, arXiv 1910.09093); the drawn word's luck, its
share above that mean, is taken out of all rewards, so that no word is credited with the luck of those after it. What is
left for the sampled advantages is what a word does to the rest of its answer. With `kl_aim` the penalty
for drifting from the base is such a mean too: at every place, over all words, E[u] - beta KL(policy || base), which is
best at a policy that is known (worth.py); beta is the one that puts it where it is wanted. A sampled penalty says only
whether the drawn word became likelier; this one costs each direction what it costs, so that a budget goes into words
that are worth it (docs/experiments.md, 2026-11-29). Ordinary texts are held by the same KL then. Where all answers are
learned from, and have the same length, the mean of the gradient is the same; the best and the worst are chosen with
their luck, so what words are worth is learned a second time from those (docs/decisions.md).

Answers are drawn by whoever is asked (ppo_lesson.py asks llama.cpp with the adapter of the moment); log-probabilities,
old and new, are torch's, so that what llama.cpp rounds is in both. The value head is linear in the states that enter
the adapted layers: they are frozen, so its inputs are computed once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import torch
from torch import Tensor

from trainer import rl
from trainer.checkpoint import Checkpoint, Progress, moments, restore
from trainer.config import PpoConfig
from trainer.features import Callbacks
from trainer.fit import learning_rate_share, mean_metrics, take_step
from trainer.logprobs import Head, Packed, TokenTurn, hidden_states, micro_batches, summed, token_logps
from trainer.lora import Lora
from trainer.rollouts import Critic, Rollout, ends, figures, flattened, padded
from trainer.words import Words
from trainer.worth import Output

Metrics = dict[str, float]
CAREFUL = 0.9  #: of the distance from the base that the budget allows


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ended before its last batch."""

    why: str  #: "kl", "spread" or "guard"
    sentence: str
    kept: float = 0.0  #: share of what was learned last


@dataclass(slots=True)
class Course:
    """What a run of PPO came to: a row of figures a batch, and why it stopped."""

    rows: list[Metrics] = field(default_factory=list)
    stop: Stop | None = None


def train(
    lora: Lora,
    critic: Critic | None,
    draw: Callable[[int], Sequence[TokenTurn]],
    assess: Callable[[Sequence[TokenTurn]], Sequence[Rollout]],
    config: PpoConfig,
    calls: Callbacks,
    ordinary: Sequence[TokenTurn] = (),
    *,
    most_spread: float = math.inf,
    broken: Callable[[Sequence[Metrics]], Stop | None] = lambda _: None,
    checkpoint: Checkpoint | None = None,
) -> Course:
    """Make what `assess` scores high likelier. lora holds the policy, and the result.

    draw: a batch's prompts with the answers of the policy that lora holds then; its number counts from 0, and
    config.batches is that of the last look. assess: the
    same with their scores, and of the parts "spread", how far the reward's heads part. ordinary: texts of which each
    step sees a few, as in a preference run (PPO-ptx). most_spread: mean spread beyond which the reward is not to be
    trusted any more. broken: what is wrong with a batch's answers, if anything is, by the `figures` of all batches so
    far, and how much of what was learned last is all right. checkpoint: where the run is kept after each batch, and
    what it goes on from where there is one.
    Where a batch shows that the policy left the budget of KL, so much of what was learned from the batch before is
    taken back that it keeps to it (the backtracking of Schulman et al. 2015, arXiv 1502.05477, appendix C, without
    another look); where its answers are broken, or it left the reward's ground, as much as mends that; and it ends.
    Raises Cancelled, and TrainerError where the loss is no number.
    """
    optimiser = torch.optim.AdamW(
        [
            {"params": lora.parameters(), "lr": config.learning_rate},
            *([{"params": critic.parameters(), "lr": config.critic_rate}] if critic is not None else []),
        ],
        eps=1e-5,  # Huang et al. 2024, detail of Adam
        weight_decay=config.weight_decay,
    )
    penalty = rl.AdaptiveKL(config.kl_coefficient, config.kl_target, config.kl_horizon)
    course, begun, before, held = Course(), 0, lora.state(), False
    if checkpoint is not None and (left := checkpoint.load()) is not None:
        before, begun = _go_on(left, lora, critic, optimiser), left.step
        *course.rows, last = left.history
        penalty.coefficient, held = last["kl_coefficient"], True
    for batch in range(begun, config.batches + 1):  # what the last one did is looked at too, on fewer answers
        drawn = list(assess(draw(batch)))
        if lora.untouched:  # it has not drifted, and need not be looked at for that
            chosen = [ends(rollout, config.learned) for rollout in drawn]
            output = look(lora, critic, chosen, config, calls, ordinary)
        else:
            output = look(lora, critic, drawn, config, calls, ordinary)
            chosen = [ends(rollout, config.learned) for rollout in drawn]
        exact = config.kl_aim > 0 < config.kl_coefficient and any(bool(rollout.worth.any()) for rollout in drawn)
        if exact and not held:
            penalty.coefficient, held = output.beta(chosen, config.kl_aim), True
        row = figures(drawn, penalty.coefficient)
        course.rows.append(row)
        calls.progress(batch + 1, config.batches + 1, row)
        stops = [broken(course.rows)]
        if row.get("spread", 0.0) > most_spread:
            said = f"the reward's heads part by {row['spread']:.2f} on what it writes now (at most {most_spread:.2f})"
            known = [earlier["spread"] for earlier in course.rows[-2:-1]]
            kept = CAREFUL * share_within(known[0], row["spread"], -math.inf, most_spread) if known else 0.0
            stops.append(Stop("spread", said, kept))
        if row["kl"] > config.kl_budget:
            said = f"it drifted {row['kl']:.3f} nats a token from the base (at most {config.kl_budget:g})"
            known = [earlier["kl"] for earlier in course.rows[-2:-1]]
            stops.append(Stop("kl", said, within(known[0] if known else 0.0, row["kl"], config.kl_budget)))
        course.stop = min((stop for stop in stops if stop is not None), key=lambda stop: stop.kept, default=None)
        if course.stop is not None:
            lora.load_state(between(before, lora.state(), course.stop.kept))
        if course.stop is not None or batch == config.batches:
            return course
        before = lora.state()
        advise(chosen, config, penalty.coefficient, exact=exact)
        row |= learn(lora, critic, chosen, output, optimiser, ordinary, batch, config, calls)
        if not exact:
            penalty.update(row["kl"] * row["length"], sum(len(r.lengths) for r in drawn))
        if checkpoint is not None:
            coefficient = {"kl_coefficient": penalty.coefficient}
            weights = _named(lora.state(), before, critic)
            checkpoint.save(Progress(batch + 1, weights, moments(optimiser), [*course.rows, coefficient]))
    return course


def learn(
    lora: Lora,
    critic: Critic | None,
    chosen: Sequence[Rollout],
    output: Output,
    optimiser: torch.optim.Optimizer,
    ordinary: Sequence[TokenTurn],
    batch: int,
    config: PpoConfig,
    calls: Callbacks,
) -> Metrics:
    """The steps of one batch, whose order its number says."""
    shuffled = random.Random(f"{config.seed}:{batch}")
    texts = cycle(shuffled.sample(list(ordinary), len(ordinary))) if ordinary else None
    peak, step = config.learning_rate * (1 - batch / config.batches), 0
    steps = config.ppo_epochs * math.ceil(len(chosen) / config.turns_per_step)
    learned: list[Metrics] = []
    for _ in range(config.ppo_epochs):
        order = shuffled.sample(chosen, len(chosen))
        for at in range(0, len(order), config.turns_per_step):
            calls.before_batch()
            optimiser.param_groups[0]["lr"] = peak * learning_rate_share(step, steps, config.warmup)
            step += 1
            group = order[at : at + config.turns_per_step]
            count = sum(size(rollout, config) for rollout in group)
            for members in micro_batches([rollout.turn.tokens for rollout in group], config.micro_tokens):
                mine = [group[i] for i in members]
                loss, metrics = step_loss(lora, critic, mine, output, config)
                (loss * (sum(size(rollout, config) for rollout in mine) / count)).backward()
                lora.collect_gradients()
                learned.append(metrics)
            if texts is not None:
                some = list(islice(texts, config.ordinary_texts))
                (config.ordinary_weight * ordinary_loss(lora, some, output, chosen[0].hold)).backward()
            lora.collect_gradients()
            learned.append({"grad_norm": take_step(lora, optimiser, config, f"in batch {batch + 1}")})
    return mean_metrics(learned)


def ordinary_loss(lora: Lora, texts: Sequence[TokenTurn], output: Output, hold: float) -> Tensor:
    """What ordinary texts cost a token: how far the policy lies from the base there, at `hold` a nat; without that how
    unlikely they are (PPO-ptx, Ouyang et al. 2022)."""
    packed = lora.pack(texts)
    if not hold:
        return -token_logps(lora.model, packed, output.scores).mean()
    states = hidden_states(lora.model, packed)
    with torch.no_grad(), lora.disabled():
        base = hidden_states(lora.model, packed)
    nothing = states.new_zeros(1, len(output.embeddings))
    owner = torch.zeros_like(packed.labels)
    return -output.scores.means(states, packed.labels, nothing, owner, base, hold)[1].mean()


def _named(now: Mapping[str, Tensor], before: Mapping[str, Tensor], critic: Critic | None) -> dict[str, Tensor]:
    """Everything of a run that is learned, with names."""
    states = {"now": now, "before": before, "critic": critic.state() if critic is not None else {}}
    return {f"{of}.{name}": tensor for of, state in states.items() for name, tensor in state.items()}


def _go_on(left: Progress, lora: Lora, critic: Critic | None, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Put everything back, and give what the policy was before its last lesson."""
    states: dict[str, dict[str, Tensor]] = {"now": {}, "before": {}, "critic": {}}
    for key, tensor in left.weights.items():
        of, _, name = key.partition(".")
        states[of][name] = tensor
    lora.load_state(states["now"])
    if critic is not None:
        critic.load_state(states["critic"])
    restore(optimiser, left.optimiser)
    return states["before"]


def within(before: float, now: float, budget: float) -> float:
    """The share of a step from a KL of `before` to one of `now` that ends a little below the budget, where both lie on
    one ray from the base: KL grows with the square of the distance there. Where they do not, it ends lower still."""
    begun, ended = max(before, 0.0) ** 0.5, now**0.5
    return min(1.0, max(0.0, (CAREFUL * budget**0.5 - begun) / (ended - begun))) if ended > begun else 0.0


def share_within(before: float, now: float, low: float, high: float) -> float:
    """The share of the way from one figure to another that lies between the limits."""
    if low <= now <= high:
        return 1.0
    limit = low if now < low else high
    return (limit - before) / (now - before) if low <= before <= high else 0.0


def between(before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """A share of the way from one state of an adapter to another."""
    return {name: before[name] + share * (value - before[name]) for name, value in after.items()}


def size(rollout: Rollout, config: PpoConfig) -> int:
    """What a loss is a mean over: tokens, or whole answers."""
    return len(rollout.lengths) if config.ratio == "answer" else sum(rollout.lengths)


def look(
    lora: Lora,
    critic: Critic | None,
    rollouts: Sequence[Rollout],
    config: PpoConfig,
    calls: Callbacks,
    ordinary: Sequence[TokenTurn] = (),
) -> Output:
    """What policy, base and critic make of answers that were just drawn. Returns the words that count for them.

    On a CPU log-probabilities are among the words that the base finds likely here, as in a preference run; those of
    the ordinary texts, which are learned beside them, are there too.
    """
    head = lora.model.get_output_embeddings()
    untouched = lora.untouched
    turns = [rollout.turn for rollout in rollouts]
    mine: list[Tensor] = []
    theirs: list[Tensor] = []
    inputs: list[Tensor] = []
    with torch.no_grad():
        for group in micro_batches([turn.tokens for turn in turns], config.micro_tokens):
            calls.before_batch()
            members = [turns[i] for i in group]
            packed = lora.pack(members)
            sizes = [turn.predicted for turn in members]
            mine += [part.clone() for part in hidden_states(lora.model, packed).split(sizes)]
            if untouched:
                theirs += mine[-len(members) :]
            else:
                with lora.disabled():
                    theirs += [part.clone() for part in hidden_states(lora.model, packed).split(sizes)]
            inputs += [part.clone() for part in _inputs(packed, theirs[-len(members) :]).split(sizes)]
        embeddings: Tensor = lora.model.get_input_embeddings().weight.detach()
        output = Output(Head.of(lora.model), embeddings)
        if lora.device.type == "cpu" and 0 < config.words < len(head.weight):
            said = {token for turn in [*turns, *ordinary] for response in turn.responses for token in response}
            wanted = torch.tensor(sorted(said))
            words = Words.likely(head, theirs, wanted, config.words)
            output = Output(words, embeddings[words.ids])
        if critic is not None and not critic.ready:
            critic.look(torch.cat(inputs))
        for rollout, policy, base, states in zip(rollouts, mine, theirs, inputs, strict=True):
            rollout.base = base if config.kl_aim else rollout.base
            labels = torch.tensor([t for r in rollout.turn.responses for t in r], device=lora.device)
            if len(rollout.worth):
                places = torch.arange(len(rollout.lengths), device=lora.device)
                owner = places.repeat_interleave(torch.tensor(rollout.lengths, device=lora.device))
                worth = output.values(rollout.worth)
                rollout.old, means = output.scores.means(policy, labels, worth, owner)
                share = (embeddings[labels].float() * rollout.worth.to(lora.device)[owner]).sum(1)
                rollout.chance = share - means
            else:
                rollout.old = output.scores.logps(policy, labels)
            rollout.reference = output.scores.logps(base, labels)
            rollout.states = states
            rollout.values = critic(states) if critic is not None else torch.zeros_like(rollout.old)
    return output


def advise(rollouts: Sequence[Rollout], config: PpoConfig, coefficient: float, *, exact: bool = False) -> None:
    """Advantages and returns of all tokens of a batch. With a critic, and where tokens earn shares, an answer earns its
    score less the mean of the others to its prompt, so that nobody need learn how hard a prompt is. Else all tokens of
    an answer of RLOO, or the answer as one, have its own advantage. What is told of a word by the mean over all words
    is in neither; nor is the penalty where that is told so (exact)."""
    lengths = [n for rollout in rollouts for n in rollout.lengths]
    old, reference, values = (
        padded(torch.cat([getattr(r, name) for r in rollouts]), lengths) for name in ("old", "reference", "values")
    )
    mask = padded(torch.ones(sum(lengths), device=old.device), lengths)
    chance = torch.zeros_like(mask)
    if all(len(r.chance) for r in rollouts):
        chance = padded(torch.cat([r.chance for r in rollouts]).to(old), lengths)
    counts = [len(rollout.lengths) for rollout in rollouts]
    absolute = torch.cat([r.scores for r in rollouts]).to(old) - chance.sum(1)
    onward = config.dense and config.ratio == "token" and all(len(r.shares) for r in rollouts)
    relative = config.algorithm == "ppo" or onward  # RLOO of whole answers compares what is left after the penalty
    scores = torch.cat([rl.rloo(some[None])[0] for some in absolute.split(counts)]) if relative else absolute
    shares: Tensor | None = None
    if onward:
        shares = padded(torch.cat([r.shares for r in rollouts]).to(old), lengths) - chance
        shares = (shares + ((scores - absolute) / mask.sum(1))[:, None]) * mask  # the others' mean, token by token
    rewards = rl.token_rewards(scores, old, reference, mask, 0.0 if exact else coefficient, shares)
    if config.algorithm == "rloo" and not onward:
        for rollout, total in zip(rollouts, rewards.sum(1).split(counts), strict=True):
            rollout.advantages, rollout.pull = rl.rloo(total[None])[0], rollout.worth
            rollout.hold = coefficient if exact else 0.0
            if config.ratio == "token":
                rollout.advantages = rollout.advantages.repeat_interleave(torch.tensor(rollout.lengths).to(mask.device))
        return
    found, returns = rl.gae(rewards, values, mask, discount=config.discount, decay=config.gae_decay)
    # in the unit of what the drawn words have in all, with their luck
    unit = rl.deviation(found + chance, mask) if config.whiten else found.new_ones(())
    advantages = rl.whiten(found, mask, unit=unit) if config.whiten else found
    at = 0
    for rollout, count in zip(rollouts, counts, strict=True):
        rollout.advantages = flattened(advantages[at : at + count], rollout.lengths)
        rollout.returns = flattened(returns[at : at + count], rollout.lengths)
        rollout.pull = rollout.worth / unit.to(rollout.worth)
        rollout.hold = coefficient / float(unit) if exact else 0.0
        at += count


def step_loss(
    lora: Lora, critic: Critic | None, rollouts: Sequence[Rollout], output: Output, config: PpoConfig
) -> tuple[Tensor, Metrics]:
    """The mean loss over the tokens of some rollouts (or over their answers), with the values' beside it."""
    packed = lora.pack([rollout.turn for rollout in rollouts])
    places, pulls = hidden_states(lora.model, packed), [rollout.pull for rollout in rollouts]
    if all(len(pull) for pull in pulls):
        worth = output.values(torch.cat(pulls))
        hold = rollouts[0].hold
        base = torch.cat([rollout.base for rollout in rollouts]) if hold else None
        logps, means = output.scores.means(places, packed.labels, worth, packed.owner, base, hold)
    else:
        logps = output.scores.logps(places, packed.labels)
        means = torch.zeros_like(logps)
    old = torch.cat([rollout.old for rollout in rollouts])
    advantages = torch.cat([rollout.advantages for rollout in rollouts])
    if config.ratio == "answer":
        answers = len(packed.lengths)
        each, metrics = rl.policy_loss(
            summed(logps, packed.owner, answers), summed(old, packed.owner, answers), advantages, clip=config.clip
        )
        return (each - summed(means, packed.owner, answers)).mean(), metrics
    each, metrics = rl.policy_loss(logps, old, advantages, clip=config.clip)
    loss = (each - means).mean()
    if critic is not None:
        states = torch.cat([rollout.states for rollout in rollouts])
        expected = torch.cat([rollout.values for rollout in rollouts])
        returns = torch.cat([rollout.returns for rollout in rollouts])
        value, told = rl.value_loss(critic(states), expected, returns, clip=config.value_clip)
        loss = loss + config.value_weight * value.mean()
        metrics |= told | {"value_loss": float(value.detach().mean())}
    return loss, metrics


def _inputs(packed: Packed, last: Sequence[Tensor]) -> Tensor:  # (M, D)
    """What the critic sees of each token to be drawn: the frozen states that enter the adapted layers; where a model
    cannot be parted, the base's last ones."""
    if packed.states is None:
        return torch.cat(list(last)).float()
    return packed.states[0].index_select(0, packed.predictor).float()
