"""What the output layer says of places in a text: log-probabilities of words, what a word drawn there is worth, and how
far that lies from what another model would draw.

Logits exist a chunk at a time; their gradient is taken while the chunk is there, so nothing of vocabulary size is kept
for the backward pass (the trick of Liger's fused cross-entropy).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 256  #: tokens whose logits exist at one time: 25 MB of bf16 at a vocabulary of 49k
ROWS = 32  #: of those, softmaxed at one time in fp32: what stays in the CPU's cache (6 ms against 71 for all 256)


class _ChosenLogProb(torch.autograd.Function):
    """log softmax(h W^T + b)[label] for each row of h, and the mean that softmax gives to its row of values (none
    without values), less `hold` times the KL to the softmax of its row of anchors; all but h is frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        values: Tensor | None,
        owner: Tensor | None,
        anchor: Tensor | None,
        hold: float,
    ) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[0]
        out = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        means = torch.empty(0 if values is None else len(labels), dtype=torch.float32, device=hidden.device)
        slopes = torch.empty_like(hidden) if wanted else None
        pulls = torch.empty_like(hidden) if wanted and values is not None else None
        for at in range(0, len(labels), CHUNK):
            rows = slice(at, at + CHUNK)
            logits = F.linear(hidden[rows], weight, bias)  # (C, V)
            others = F.linear(anchor[rows], weight, bias) if anchor is not None else None
            pulled = torch.empty_like(logits) if pulls is not None else None
            for first in range(0, len(logits), ROWS):
                here, place = slice(first, first + ROWS), slice(at + first, at + min(first + ROWS, len(logits)))
                part = logits[here]
                logps = torch.log_softmax(part.float(), -1)
                out[place] = logps.gather(1, labels[place][:, None])[:, 0]
                if not wanted and values is None:
                    continue
                drift = logps - torch.log_softmax(others[here].float(), -1) if others is not None else None
                probabilities = logps.exp_()
                if values is not None and owner is not None:
                    worth = values[owner[place]]  # (rows, V)
                    if drift is not None:  # d/dp of p (u - hold log(p / q)), a constant left out that moves nothing
                        worth = worth.sub(drift, alpha=hold)
                    means[place] = (probabilities * worth).sum(1)
                    if pulled is not None:
                        pulled[here] = probabilities * (worth - means[place][:, None])
                part.copy_(probabilities)  # the logits make room for them
            if slopes is not None:
                slopes[rows] = weight[labels[rows]] - logits @ weight  # d log p(y) / dh = W_y - sum_v p_v W_v
            if pulls is not None and pulled is not None:
                pulls[rows] = pulled @ weight  # d sum_v p_v u_v / dh = sum_v p_v (u_v - mean) W_v
        ctx.save_for_backward(slopes, pulls)
        return out, means

    @staticmethod
    def backward(ctx: Any, grad: Tensor, of_means: Tensor) -> tuple[Tensor | None, ...]:
        slopes, pulls = ctx.saved_tensors
        found = slopes * grad[:, None].to(slopes.dtype) if slopes is not None else None
        if found is not None and pulls is not None:
            found = found + pulls * of_means[:, None].to(pulls.dtype)
        return found, None, None, None, None, None, None, None


def chosen_logps(
    states: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor
) -> Tensor:  # (M, D), (V, D), (V,), (M,) -> (M,)
    """log softmax(states W^T + b)[label] of each row; differentiable in states alone."""
    return chosen_and_means(states, weight, bias, labels)[0]


def chosen_and_means(
    states: Tensor,  # (M, D)
    weight: Tensor,  # (V, D)
    bias: Tensor | None,  # (V,)
    labels: Tensor,  # (M,)
    values: Tensor | None = None,  # (R, V) what each word is worth, fp32
    owner: Tensor | None = None,  # (M,) the row of values that is of a place
    anchor: Tensor | None = None,  # (M, D) states of another model at the same places
    hold: float = 0.0,
) -> tuple[Tensor, Tensor]:  # (M,), (M,)
    """The same, and what a word drawn there is worth on average: sum_v p_v values[owner, v] - hold KL(p || q), where
    p = softmax(states W^T + b) and q = softmax(anchor W^T + b), KL in nats; without an anchor the values alone."""
    found: tuple[Tensor, Tensor] = _ChosenLogProb.apply(
        states, weight, bias, labels, values, owner, anchor if hold else None, hold
    )
    return found
