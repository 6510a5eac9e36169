"""A Llama-shaped layer with its LoRA, forward and backward written out: what training on a CPU spends its time in.

PEFT adds to each of a layer's seven linear maps two thin products, a scaling and a sum, and autograd as many again on
the way back. Here the thin factors ride in the big products: the input is lengthened by x A^T, the weight by B, so
that q, k and v are one product, gate and up another, and the gradient of x A^T falls out of the product that gives x's.
Attention runs per segment as in logprobs.py, its heads that share keys as one. fused.py puts the layers together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.logprobs import Block, Segment, causal_mask

#: the linear maps of a layer, in the groups that are one product here
GROUPS = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)


class Group:
    """Linear maps of one input as one product: (x, x A^T) (W, s B)^T + b."""

    def __init__(self, modules: Sequence[Any]) -> None:
        """modules: plain linear maps, or PEFT's around them; either may stand beside the other."""
        adapted = [m for m in modules if hasattr(m, "lora_A")]
        bases = [getattr(m, "base_layer", m) for m in modules]
        self.inputs = int(bases[0].in_features)
        self.outputs = [int(b.out_features) for b in bases]
        rows = self._rows(self.outputs)
        self.adapted = [rows[i] for i, m in enumerate(modules) if hasattr(m, "lora_A")]  #: their rows of the result
        self.ranks = [int(m.lora_A["default"].weight.shape[0]) for m in adapted]
        self.scales = [float(m.scaling["default"]) for m in adapted]
        self.factors = [p for m in adapted for p in (m.lora_A["default"].weight, m.lora_B["default"].weight)]
        like = bases[0].weight
        self.on = False  #: whether the factors are in `long` and `down`
        self.long = like.new_zeros(sum(self.outputs), self.inputs + sum(self.ranks))  # (O, I + R)
        self.down = like.new_zeros(sum(self.ranks), self.inputs)  # (R, I)
        with torch.no_grad():
            for base, mine in zip(bases, rows, strict=True):
                self.long[mine, : self.inputs] = base.weight
                base.weight.data = self.long[mine, : self.inputs]  # the same memory, not a second copy
        self.bias: Tensor | None = None
        if any(b.bias is not None for b in bases):
            self.bias = torch.cat(
                [b.bias.detach() if b.bias is not None else like.new_zeros(b.out_features) for b in bases]
            )

    @staticmethod
    def _rows(sizes: Sequence[int]) -> list[slice]:
        found, at = [], 0
        for size in sizes:
            found.append(slice(at, at + size))
            at += size
        return found

    @torch.no_grad()
    def refresh(self, on: bool) -> None:
        """Take the factors' values as they are now; off: the base alone."""
        self.on = on
        if not self.factors:
            return
        self.long[:, self.inputs :].zero_()
        if not on:
            return
        for i, (rows, columns) in enumerate(zip(self.adapted, self._rows(self.ranks), strict=True)):
            self.down[columns] = self.factors[2 * i]
            torch.mul(
                self.factors[2 * i + 1],
                self.scales[i],
                out=self.long[rows, self.inputs + columns.start : self.inputs + columns.stop],
            )

    def buffer(self, count: int) -> Tensor:  # (T, I + R)
        """Where the input is to be written, in the first I columns."""
        return self.long.new_empty(count, self.long.shape[1])

    def forward(self, long_x: Tensor, residual: Tensor | None = None) -> Tensor:  # (T, I + R), (T, O) -> (T, O)
        """Fills the last columns of long_x, and multiplies."""
        if self.factors:
            long_x[:, self.inputs :] = long_x[:, : self.inputs] @ self.down.t()
        if residual is not None and self.bias is None:
            return torch.addmm(residual, long_x, self.long.t())
        out = F.linear(long_x, self.long, self.bias)
        return out if residual is None else out.add_(residual)

    def backward(self, grad: Tensor, long_x: Tensor) -> tuple[Tensor, list[Tensor]]:  # (T, O), (T, I + R) -> (T, I)
        """The input's gradient, and those of each map's A and B."""
        if not self.factors:
            return grad @ self.long, []
        whole = grad @ self.long  # (T, I + R)
        low = whole[:, self.inputs :]
        back = torch.addmm(whole[:, : self.inputs], low, self.down)
        return back, self._of_factors(grad, low, long_x)

    def backward_factors(self, grad: Tensor, long_x: Tensor) -> list[Tensor]:
        """Only those of A and B: nothing below learns."""
        if not self.factors:
            return []
        return self._of_factors(grad, grad @ self.long[:, self.inputs :], long_x)

    def _of_factors(self, grad: Tensor, low: Tensor, long_x: Tensor) -> list[Tensor]:  # (T, O), (T, R), (T, I + R)
        down = low.t() @ long_x[:, : self.inputs]  # (R, I)
        up = grad.t() @ long_x[:, self.inputs :]  # (O, R), of which the blocks on the diagonal count
        found = []
        for i, (rows, columns) in enumerate(zip(self.adapted, self._rows(self.ranks), strict=True)):
            found += [down[columns], up[rows, columns] * self.scales[i]]
        return found


class Norm:
    """RMSNorm (Zhang and Sennrich 2019, eq. 4), in fp32 inside."""

    def __init__(self, module: Any) -> None:
        self.weight: Tensor = module.weight.detach()
        self.epsilon = float(getattr(module, "variance_epsilon", getattr(module, "eps", 0.0)))

    def forward(self, x: Tensor, out: Tensor) -> Tensor:  # (T, D), (T, D) -> (T, 1)
        """Writes out; returns 1 / root mean square of each row, fp32."""
        wide = x.float()
        inverse = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        torch.mul((wide * inverse).to(x.dtype), self.weight, out=out)
        return inverse

    def backward(self, grad: Tensor, x: Tensor, inverse: Tensor) -> Tensor:  # (T, D) each -> (T, D)
        direct = (grad * self.weight).float()
        unit = x.float() * inverse
        along = torch.linalg.vecdot(direct, unit)[:, None].div_(x.shape[1])
        return direct.addcmul_(unit, along, value=-1).mul_(inverse).to(x.dtype)


@dataclass(slots=True)
class Plan:
    """What all layers share for one row: where the segments lie, and the rotation of each place."""

    blocks: Sequence[Block]
    cos: Tensor  # (T, 1, D / 2)
    sin: Tensor


@dataclass(slots=True)
class Kept:
    """What the backward pass needs of the forward pass."""

    x: Tensor  # (T, D)
    inverse1: Tensor  # (T, 1) of the first norm
    long1: Tensor  # (T, D + 3 r)
    turned: Tensor  # (T, H + H_kv, d) rotated queries and keys
    values: Tensor  # (T, H_kv, d)
    shares: list[Tensor]  #: attention of each segment (H_kv, G q, k)
    long2: Tensor  # (T, H d + r)
    middle: Tensor  # (T, D) after attention
    inverse2: Tensor
    long3: Tensor  # (T, D + 2 r)
    halves: Tensor  # (T, 2 I) gate and up
    opened: Tensor  # (T, I) silu of the gate
    long4: Tensor  # (T, I + r)


def rotate(x: Tensor, plan: Plan, out: Tensor, *, back: bool = False) -> None:  # (T, H, d) both
    """Rotary position embedding (Su et al. 2021, eq. 34), halves as Llama pairs them; back: the inverse."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    sign = -1.0 if back else 1.0
    torch.mul(first, plan.cos, out=out[..., :half]).addcmul_(second, plan.sin, value=-sign)
    torch.mul(second, plan.cos, out=out[..., half:]).addcmul_(first, plan.sin, value=sign)


class Layer:
    """One layer, adapted or as it is."""

    def __init__(self, module: Any, config: Any) -> None:
        self.heads = int(config.num_attention_heads)
        self.kv_heads = int(config.num_key_value_heads)
        self.size = int(module.self_attn.head_dim)
        self.scale = float(module.self_attn.scaling)
        self.norm1, self.norm2 = Norm(module.input_layernorm), Norm(module.post_attention_layernorm)
        self.qkv, self.out, self.gate_up, self.down = (
            Group([module.get_submodule(name) for name in names]) for names in GROUPS
        )
        self.groups = (self.qkv, self.out, self.gate_up, self.down)
        self.factors = [p for group in self.groups for p in group.factors]

    def _by_key(self, x: Tensor) -> Tensor:  # (q, H, d) -> (H_kv, G q, d)
        """Heads that share keys, below each other."""
        parts = x.view(x.shape[0], self.kv_heads, -1, self.size).permute(1, 2, 0, 3)
        return parts.reshape(self.kv_heads, -1, self.size)

    def _by_place(self, x: Tensor, out: Tensor) -> None:  # (H_kv, G q, d) -> (q, H d)
        """The way back."""
        parts = x.view(self.kv_heads, -1, out.shape[0], self.size).permute(2, 0, 1, 3)
        out.view(out.shape[0], self.kv_heads, -1, self.size).copy_(parts)

    def forward(self, x: Tensor, plan: Plan) -> tuple[Tensor, Kept]:  # (T, D) -> (T, D)
        count, width = x.shape
        long1 = self.qkv.buffer(count)
        inverse1 = self.norm1.forward(x, long1[:, :width])
        mixed = self.qkv.forward(long1).view(count, -1, self.size)
        turning = mixed[:, : self.heads + self.kv_heads]
        turned, values = torch.empty_like(turning), mixed[:, self.heads + self.kv_heads :]
        rotate(turning, plan, turned)
        long2 = self.out.buffer(count)
        shares = self._attend(turned, values, plan, long2[:, : self.out.inputs])
        middle = self.out.forward(long2, x)
        long3 = self.gate_up.buffer(count)
        inverse2 = self.norm2.forward(middle, long3[:, :width])
        halves = self.gate_up.forward(long3)
        gate, up = halves.chunk(2, 1)
        opened = F.silu(gate)
        long4 = self.down.buffer(count)
        torch.mul(opened, up, out=long4[:, : self.down.inputs])
        result = self.down.forward(long4, middle)
        return result, Kept(
            x, inverse1, long1, turned, values, shares, long2, middle, inverse2, long3, halves, opened, long4
        )

    def backward(self, grad: Tensor, kept: Kept, plan: Plan, wants_input: bool) -> tuple[Tensor | None, list[Tensor]]:
        """From the result's gradient: x's, if wanted, and those of `factors`."""
        grad = grad.contiguous()
        inner, of_down = self.down.backward(grad, kept.long4)
        gate, up = kept.halves.chunk(2, 1)
        both = torch.empty_like(kept.halves)
        width = up.shape[1]
        torch.mul(inner, kept.opened, out=both[:, width:])
        both[:, :width] = torch.ops.aten.silu_backward(inner.mul_(up), gate)
        normed, of_gate_up = self.gate_up.backward(both, kept.long3)
        grad = grad + self.norm2.backward(normed, kept.middle, kept.inverse2)
        mixed, of_out = self.out.backward(grad, kept.long2)
        apart = self._attend_back(mixed, kept, plan)
        if not wants_input:
            return None, [*self.qkv.backward_factors(apart, kept.long1), *of_out, *of_gate_up, *of_down]
        normed, of_qkv = self.qkv.backward(apart, kept.long1)
        back = grad.add_(self.norm1.backward(normed, kept.x, kept.inverse1))
        return back, [*of_qkv, *of_out, *of_gate_up, *of_down]

    def _attend(self, turned: Tensor, values: Tensor, plan: Plan, out: Tensor) -> list[Tensor]:
        """Softmax attention, each segment to its prompt and itself, into out (T, H d). Returns each one's shares."""
        groups = self.heads // self.kv_heads
        query = turned[:, : self.heads]
        key, value = turned[:, self.heads :].transpose(0, 1), values.transpose(0, 1)  # (H_kv, T, d)
        found: list[Tensor] = []
        for s, prompt in _attending(plan):
            k, v = _seen(key, s, prompt), _seen(value, s, prompt)
            q = self._by_key(query[s])
            mask = causal_mask(s.stop - s.start, k.shape[1], None, q.dtype, q.device).repeat(groups, 1)  # (G q, k)
            scores = torch.baddbmm(mask.expand(self.kv_heads, -1, -1), q, k.transpose(1, 2), alpha=self.scale)
            shares = torch.softmax(scores, -1)
            found.append(shares)
            self._by_place(torch.bmm(shares, v), out[s])
        return found

    def _attend_back(self, grad: Tensor, kept: Kept, plan: Plan) -> Tensor:  # (T, H d) -> (T, (H + 2 H_kv) d)
        count = len(grad)
        whole = grad.new_empty(count, self.heads + 2 * self.kv_heads, self.size)
        turned = torch.empty_like(kept.turned)  # gradients of the rotated queries and keys
        query = kept.turned[:, : self.heads]
        key, value = kept.turned[:, self.heads :].transpose(0, 1), kept.values.transpose(0, 1)
        of_key = turned[:, self.heads :].transpose(0, 1)
        of_value = whole[:, self.heads + self.kv_heads :].transpose(0, 1)
        for (s, prompt), shares in zip(_attending(plan), kept.shares, strict=True):
            k, v = _seen(key, s, prompt), _seen(value, s, prompt)
            q, length = self._by_key(query[s]), s.stop - s.start
            slope = self._by_key(grad[s].view(length, self.heads, self.size))
            dv = torch.bmm(shares.transpose(1, 2), slope)
            ds = torch.ops.aten._softmax_backward_data(
                torch.bmm(slope, v.transpose(1, 2)), shares, -1, shares.dtype
            ).mul_(self.scale)
            self._by_place(torch.bmm(ds, k), turned[s, : self.heads].view(length, self.heads * self.size))
            dk = torch.bmm(ds.transpose(1, 2), q)
            if prompt is not None:
                of_key[:, prompt] += dk[:, :-length]
                of_value[:, prompt] += dv[:, :-length]
            of_key[:, s], of_value[:, s] = dk[:, -length:], dv[:, -length:]
        rotate(turned, plan, whole[:, : self.heads + self.kv_heads], back=True)
        return whole.view(count, -1)


def _attending(plan: Plan) -> Iterator[tuple[slice, slice | None]]:
    """Each segment's place, and its prompt's; None for a prompt, which comes before its responses."""
    for block in plan.blocks:
        prompt = _slice(block.prompt)
        yield prompt, None
        for segment in block.responses:
            if segment.length:
                yield _slice(segment), prompt


def _seen(x: Tensor, own: slice, prompt: slice | None) -> Tensor:  # (H_kv, T, d) -> (H_kv, k, d)
    """What a segment attends to."""
    return x[:, own] if prompt is None else torch.cat([x[:, prompt], x[:, own]], 1)


def _slice(segment: Segment) -> slice:
    return slice(segment.start, segment.start + segment.length)
