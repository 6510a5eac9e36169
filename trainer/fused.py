"""Layers of a Llama-shaped model as layers.py writes them out, in place of transformers' and PEFT's code.

For models whose layers are Llama's or Qwen2's (biases or none), on a CPU. What is computed is checked against the
model's own layers on a few tokens, and where they differ there is none: such a model is merely slower.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainer.layers import GROUPS, Layer, Plan
from trainer.logprobs import Packed, TokenTurn, decoder, hidden_states, pack

#: shares of the largest state by which the two ways may differ: rounding, in either precision
MAX_DIFFERENCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2}


class _Through(torch.autograd.Function):
    """A layer in autograd's graph; the factors are inputs so that their gradients come out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, plan: Plan, *factors: Tensor) -> Tensor:
        result, ctx.kept = layer.forward(x, plan)
        ctx.layer, ctx.plan = layer, plan
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        for group in ctx.layer.groups:
            if not group.on:  # a pass of the base alone came between
                group.refresh(True)
        back, found = ctx.layer.backward(grad, ctx.kept, ctx.plan, ctx.needs_input_grad[0])
        ctx.kept = None
        return (back, None, None, *found)


class Fused:
    """Some layers on a CPU. Called with a packed row, it gives the states after the last of them, before any norm."""

    def __init__(self, model: Any, first: int, last: int | None = None) -> None:
        self.on = True  #: off: the base alone
        self.body = decoder(model)
        self.first = first
        self.layers = [Layer(module, self.body.config) for module in self.body.layers[first:last]]

    @classmethod
    def upper(cls, model: Any, first: int) -> Fused | None:
        """The layers from `first` on, with PEFT's adapter, whose B must not be zero, or the check would not see it.

        None where this is not what the model's own layers compute, or on another device, which has its own kernels.
        """
        if not _known(model, first, None):
            return None
        fused = cls(model, first)
        turn = TokenTurn([1, 2, 3, 4, 5], [[5, 6, 7, 8], [8, 9], [1]])
        plain = pack([turn, TokenTurn([3, 1, 2], [[2, 4]])])
        states = states_before(model, plain, first) if first else None
        with torch.no_grad():
            theirs = hidden_states(model, plain)
            ours = hidden_states(model, replace(plain, states=states, first=first, upper=fused))
        return fused if _near(ours, theirs) else None

    @classmethod
    def lower(cls, model: Any, last: int) -> Fused | None:
        """The layers before `last`, on which there is no adapter. None as above."""
        if not _known(model, 0, last):
            return None
        fused = cls(model, 0, last)
        plain = pack([TokenTurn([1, 2, 3, 4, 5], [[5, 6, 7, 8], [8, 9], [1]])])
        with torch.no_grad():
            return fused if _near(fused(plain), states_before(model, plain, last)[0]) else None

    def __call__(self, packed: Packed) -> Tensor:  # (T, D)
        x = self.body.embed_tokens(packed.input_ids) if packed.states is None else packed.states
        cos, sin = self.body.rotary_emb(x, position_ids=packed.position_ids)
        half = cos.shape[-1] // 2
        plan = Plan(packed.blocks, cos[0, :, None, :half], sin[0, :, None, :half])
        x = x[0]
        for layer in self.layers:
            for group in layer.groups:
                group.refresh(self.on)
            if torch.is_grad_enabled() and self.on:
                x = _Through.apply(x, layer, plan, *layer.factors)
            else:
                x, _ = layer.forward(x, plan)
        return x


@torch.no_grad()
def states_before(model: Any, packed: Packed, layer: int) -> Tensor:  # (1, T, D)
    """What enters a layer, by the model's own code; the rest of the forward pass is not computed."""
    caught: list[Tensor] = []

    def catch(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        caught.append(arguments[0] if arguments else named["hidden_states"])
        raise _Reached

    hook = decoder(model).layers[layer].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        hidden_states(model, packed)
    except _Reached:
        pass
    finally:
        hook.remove()
    return caught[0].detach().clone()


class _Reached(Exception):
    """The states are here; the rest of the forward pass is not wanted."""


def _near(ours: Tensor, theirs: Tensor) -> bool:
    difference, size = (ours.float() - theirs.float()).abs().max(), theirs.float().abs().max()
    return bool(difference <= MAX_DIFFERENCE[theirs.dtype] * size)


def _known(model: Any, first: int, last: int | None) -> bool:
    """Whether these layers consist of what is written out here, and of nothing else that computes."""
    parameter = next(model.parameters())
    layers = decoder(model).layers[first:last]
    return (
        parameter.device.type == "cpu"
        and parameter.dtype in MAX_DIFFERENCE
        and all(_known_layer(each) for each in layers)
    )


def _known_layer(layer: Any) -> bool:
    wanted = {name for names in GROUPS for name in names}
    parts = dict(layer.named_modules())
    if not wanted <= set(parts):
        return False
    attention, mlp = parts["self_attn"], parts["mlp"]
    return (
        all(isinstance(getattr(parts[name], "base_layer", parts[name]), torch.nn.Linear) for name in wanted)
        and set(dict(layer.named_children())) == {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
        and set(dict(attention.named_children())) == {"q_proj", "k_proj", "v_proj", "o_proj"}
        and isinstance(getattr(attention, "scaling", None), float)
        and getattr(attention, "sliding_window", None) is None
        and type(getattr(mlp, "act_fn", None)).__name__ in ("SiLUActivation", "SiLU")
    )
