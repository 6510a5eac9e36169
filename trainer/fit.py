"""The training loop: DPO on pairs + NLL on corrections + KTO on unpaired, one weighted sum; the reference is the base.

The step reads top to bottom in `fit`. What it leaves out: choosing data (dataset.py), judging the result (gate.py),
files and rows (worker.py).
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import torch
from torch import Tensor

from trainer import losses
from trainer.checkpoint import Checkpoint, Progress, moments, restore
from trainer.config import TrainConfig
from trainer.errors import Cancelled, TrainerError
from trainer.features import Callbacks, Work
from trainer.logprobs import TokenTurn, micro_batches, response_logps, token_logps
from trainer.lora import Lora
from trainer.team import Team
from trainer.words import Words

Metrics = dict[str, float]


def turn_loss(
    work: Work,
    logps: Tensor,  # (R,) of work.tokens.responses
    config: TrainConfig,
    *,
    among_words: bool = False,
) -> tuple[Tensor, Metrics]:
    """The weighted sum of a turn's losses: the same total weight counts the same, whatever the turn's kind.

    among_words: logps are among the words of the run, and so has to be the reference.
    """
    turn = work.turn
    reference = torch.tensor(work.among if among_words else work.reference, device=logps.device)
    lengths = torch.tensor([len(r) for r in work.tokens.responses], device=logps.device, dtype=torch.float32)
    total = logps.new_zeros(())
    metrics: Metrics = {}

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=logps.device, dtype=torch.float32)

    if turn.pairs:
        w, lose = [p.chosen for p in turn.pairs], [p.rejected for p in turn.pairs]
        loss, metrics = losses.dpo(
            logps[w],
            logps[lose],
            reference[w],
            reference[lose],
            beta=config.beta,
            kind=config.loss,
            label_smoothing=config.label_smoothing,
            margin=column([p.margin for p in turn.pairs]),
            margin_scale=config.margin_scale,
            lengths=(lengths[w], lengths[lose]) if config.length_normalised else None,
            dpop=config.dpop,
        )
        total = total + (loss * column([p.weight for p in turn.pairs])).sum()
    if turn.demos and config.nll_weight:
        d = [x.response for x in turn.demos]
        loss = losses.nll(logps[d], lengths[d])
        total = total + config.nll_weight * (loss * column([x.weight for x in turn.demos])).sum()
        metrics["nll"] = float(loss.detach().mean())
    if turn.singles and config.kto_weight:
        s = [x.response for x in turn.singles]
        baseline = (logps[-1] - reference[-1]).detach() if work.probe is not None else logps.new_zeros(())
        good = torch.tensor([x.good for x in turn.singles], device=logps.device)
        loss, kto_metrics = losses.kto(logps[s], reference[s], good, baseline, beta=config.beta)
        total = total + config.kto_weight * (loss * column([x.weight for x in turn.singles])).sum()
        metrics |= kto_metrics
    metrics["loss"] = float(total.detach())
    return total, metrics


def fit(
    lora: Lora,
    work: Sequence[Work],
    config: TrainConfig,
    team: Team,
    calls: Callbacks,
    ordinary: Sequence[TokenTurn] = (),
    *,
    words: Words | None = None,
    start: Mapping[str, Tensor] | None = None,
    checkpoint: Checkpoint | None = None,
) -> Metrics:
    """Train an adapter on work; lora holds the result. Returns the last pass's mean metrics.

    ordinary: texts of which each step sees a few, so that it does not become worse at them: the pretraining term of
    InstructGPT's PPO-ptx (Ouyang et al. 2022, section 3.5). Judgments alone say nothing about them. The first
    process computes it for all.
    words: those that log-probabilities are taken among, as features.focus chose them; None: the whole vocabulary.
    start: the weights to go on from, as Lora.state gives them; None: fresh ones. checkpoint: where the fit is kept, and
    gone on from if it was begun before.
    Raises Cancelled between micro-batches, TrainerError when the loss is no longer a number.
    """
    if not work:
        raise TrainerError("there is nothing to train on")
    lora.reset(config.seed)
    if start is not None:
        lora.load_state(dict(start))
    draw = random.Random(config.seed)
    steps = config.steps(len(work))
    weight_a_step = sum(w.turn.weight for w in work) * config.passes(len(work)) / steps
    optimiser = torch.optim.AdamW(lora.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    # drawn apart: only the first process has texts, and all must draw the same order of turns
    mixed = random.Random(config.seed).sample(list(ordinary), len(ordinary))
    texts = cycle(mixed) if config.ordinary_weight and team.rank == 0 else None
    done, history = _go_on(lora, optimiser, team.share(checkpoint.load() if checkpoint else None))
    step = 0
    while step < steps:
        order = list(work)
        draw.shuffle(order)
        for at in range(0, len(order), config.turns_per_step):
            if step == steps:
                break
            if at == 0 and step >= done:
                history.clear()
            if step < done:  # before the checkpoint: only what was drawn counts
                step += 1
                if ordinary and texts is not None:
                    deque(islice(texts, config.ordinary_texts), 0)
                continue
            started = time.perf_counter()
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * learning_rate_share(step, steps, config.warmup)
            batch = order[at : at + config.turns_per_step][team.rank :: team.size]
            seen: list[Metrics] = []
            for members in micro_batches([w.tokens.tokens for w in batch], config.micro_tokens):
                calls.wait()
                if team.size == 1 and calls.cancelled():
                    raise Cancelled("the run was cancelled")
                packed = lora.pack([batch[i].tokens for i in members])
                logps = response_logps(lora.model, packed, words)  # (R,)
                loss = logps.new_zeros(())
                counts = [len(batch[i].tokens.responses) for i in members]
                for i, mine in zip(members, logps.split(counts), strict=True):
                    part, metrics = turn_loss(batch[i], mine, config, among_words=words is not None)
                    loss = loss + part
                    seen.append(metrics)
                (loss / weight_a_step).backward()
                lora.collect_gradients()
            if ordinary and texts is not None:
                calls.wait()
                packed = lora.pack(list(islice(texts, config.ordinary_texts)))
                nll = -token_logps(lora.model, packed, words).mean()
                (config.ordinary_weight * nll).backward()
                lora.collect_gradients()
                seen.append({"ordinary_nll": float(nll.detach())})
            if team.size > 1 and team.any(calls.cancelled()):
                raise Cancelled("the run was cancelled")
            team.add_gradients(lora.parameters())
            norm = take_step(lora, optimiser, config, f"at step {step + 1}")
            step += 1
            line = mean_metrics(seen) | {"grad_norm": norm, "step_seconds": time.perf_counter() - started}
            history.append(line)
            calls.progress(step, steps, line)
            if checkpoint is not None and team.is_main and (checkpoint.due or step == steps):
                checkpoint.save(Progress(step, lora.state(), moments(optimiser) if step < steps else {}, history))
    return mean_metrics(history)


def take_step(lora: Lora, optimiser: torch.optim.Optimizer, config: TrainConfig, where: str) -> float:
    """Clip the gradients that were collected, step, and put the weights into the model. Returns their norm before.

    Raises TrainerError where it is no number; where: says at which step.
    """
    norm = float(torch.nn.utils.clip_grad_norm_(lora.parameters(), config.max_grad_norm))
    if not math.isfinite(norm):
        raise TrainerError(
            f"the gradient is no longer a number {where}: lower the learning rate (it is {config.learning_rate:g}) and "
            "train again"
        )
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    lora.publish()
    return norm


def _go_on(lora: Lora, optimiser: torch.optim.Optimizer, saved: Progress | None) -> tuple[int, list[Metrics]]:
    """Put a fit back to where it was saved; returns its steps and their metrics."""
    if saved is None:
        return 0, []
    lora.load_state(saved.weights)
    if saved.optimiser:
        restore(optimiser, saved.optimiser)
    return saved.step, list(saved.history)


def learning_rate_share(step: int, steps: int, warmup: float) -> float:
    """Up over the warm-up, then linearly down to nearly 0."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (steps - step) / max(1, steps - rise))


def mean_metrics(rows: Sequence[Mapping[str, float]]) -> Metrics:
    """The mean of each name over the rows that have it."""
    names = sorted({name for row in rows for name in row})
    found = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
