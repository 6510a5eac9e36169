"""The frozen layers below the adapter: what they make of a turn never changes, so it is computed once and kept.

The adapter sits in the upper layers only. Every pass over a turn (reference, epochs, K-fold, gate) then starts from
the states that enter the first of them; with half of the layers adapted that is half of the forward pass, and the
backward pass ends there anyway. In memory for one process, never on disk.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trainer.logprobs import Packed, TokenTurn, decoder, hidden_states, pack

#: bytes of states kept; beyond that they are computed again each time
KEEP_BYTES = 1 << 30


class Trunk:
    """Packs turns for a model whose first `first` layers no adapter changes. first = 0: nothing to spare."""

    def __init__(self, model: Any, first: int, *, keep_bytes: int = KEEP_BYTES) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.first = first if 0 < first < layer_count(model) else 0
        self._left = keep_bytes
        self._states: dict[bytes, Tensor] = {}
        if self.first and not self._splits():
            self.first = 0

    def pack(self, turns: Sequence[TokenTurn]) -> Packed:
        """logprobs.pack, with the states that enter the adapted layers."""
        packed = pack(turns, self.device)
        if not self.first:
            return packed
        return replace(packed, states=torch.cat([self._of(t) for t in turns], 1), first=self.first)

    def _of(self, turn: TokenTurn) -> Tensor:  # (1, T, D)
        key = hashlib.blake2b(digest_size=16)
        for ids in (turn.prompt, *turn.responses):
            key.update(array("i", [len(ids), *ids]).tobytes())
        found = self._states.get(key.digest())
        if found is None:
            found = self._compute(pack([turn], self.device))
            size = found.numel() * found.element_size()
            if size <= self._left:
                self._left -= size
                self._states[key.digest()] = found
        return found

    @torch.no_grad()
    def _compute(self, packed: Packed) -> Tensor:
        caught: list[Tensor] = []

        def catch(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            caught.append(arguments[0] if arguments else named["hidden_states"])
            raise _Reached

        hook = decoder(self.model).layers[self.first].register_forward_pre_hook(catch, with_kwargs=True)
        try:
            hidden_states(self.model, packed)
        except _Reached:
            pass
        finally:
            hook.remove()
        return caught[0].detach().clone()

    @torch.no_grad()
    def _splits(self) -> bool:
        """Whether the two parts give what the whole gives: some models do more between embedding and layers."""
        turn = TokenTurn([1, 2, 3, 4], [[5, 6, 7], [8, 9]])
        whole = hidden_states(self.model, pack([turn], self.device)).float()
        try:
            parted = hidden_states(self.model, self.pack([turn])).float()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return False
        self._states.clear()
        return bool((whole - parted).abs().max() <= 1e-3 * whole.abs().max())


class _Reached(Exception):
    """The states are here; the rest of the forward pass is not wanted."""


def layer_count(model: Any) -> int:
    return int(model.config.num_hidden_layers)
