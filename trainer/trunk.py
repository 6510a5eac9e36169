"""The frozen layers below the adapter: what they make of a turn never changes, so it is computed once and kept.

The adapter sits in the upper layers only. Every pass over a turn (reference, epochs, K-fold, gate) then starts from
the states that enter the first of them; with half of the layers adapted that is half of the forward pass, and the
backward pass ends there anyway. In memory for one process, and between runs in the home's personal cache.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer import tensor_file
from trainer.fused import Fused, states_before
from trainer.logprobs import Packed, TokenTurn, hidden_states, pack

#: bytes of states kept; beyond that they are computed again each time
KEEP_BYTES = 1 << 30
#: bytes of them on disk: about 200 000 tokens of the default model
DISK_BYTES = 256 << 20


class Trunk:
    """Packs turns for a model whose first `first` layers no adapter changes. first = 0: nothing to spare."""

    def __init__(self, model: Any, first: int, *, keep_bytes: int = KEEP_BYTES) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.first = first if 0 < first < layer_count(model) else 0
        self._left = keep_bytes
        self._states: dict[bytes, Tensor] = {}
        self._disk: Any = None
        self._on_disk: set[str] = set()
        self.lower: Fused | None = None
        if self.first and not self._splits():
            self.first = 0
        if self.first:
            self.lower = Fused.lower(model, self.first)

    def pack(self, turns: Sequence[TokenTurn]) -> Packed:
        """logprobs.pack, with the states that enter the adapted layers."""
        packed = pack(turns, self.device)
        if not self.first:
            return packed
        keys = [_key(turn) for turn in turns]
        for key in keys:
            if key not in self._states and key.hex() in self._on_disk:
                self._put(key, self._disk.get_tensor(key.hex()))
        new = {key: turn for key, turn in zip(keys, turns, strict=True) if key not in self._states}
        found = dict(zip(new, self._compute(list(new.values())), strict=True)) if new else {}
        states = torch.cat([found[key] if key in found else self._states[key] for key in keys], 1)
        for key, part in found.items():
            size = part.numel() * part.element_size()
            if size <= self._left:
                self._left -= size
                self._states[key] = part
        return replace(packed, states=states, first=self.first)

    def get(self, turn: TokenTurn) -> Tensor | None:  # (1, T, D)
        """The turn's states, if they are kept."""
        return self._states.get(_key(turn))

    def put(self, turn: TokenTurn, states: Tensor) -> None:
        """Keep states that `get` gave, of the same model and layer."""
        self._put(_key(turn), states)

    def _put(self, key: bytes, states: Tensor) -> None:
        self._left -= states.numel() * states.element_size()
        self._states[key] = states.to(self.device)

    def recall(self, path: Path) -> None:
        """Take from a file that `keep` wrote what is needed of it, when it is. A broken one counts as none."""
        from safetensors import SafetensorError, safe_open

        if not self.first or not path.exists():
            return
        try:
            self._disk = safe_open(str(path), framework="pt")
            self._on_disk = set(self._disk.keys())
        except (OSError, SafetensorError):
            path.unlink(missing_ok=True)

    def keep(self, path: Path, turns: Sequence[TokenTurn]) -> None:
        """Write the states of these turns, and of no others, for the next run; the first that DISK_BYTES hold.

        They tell much of the text: the file belongs where forgetting erases it. One that cannot be written is no
        error: the next run is only slower.
        """
        left, kept = DISK_BYTES, dict[str, Tensor]()
        for key in dict.fromkeys(map(_key, turns)):
            states = self._states.get(key)
            if states is None and key.hex() in self._on_disk:
                states = self._disk.get_tensor(key.hex())
            size = 0 if states is None else states.numel() * states.element_size()
            if states is not None and size <= left:
                left -= size
                kept[key.hex()] = states
        if self.first and kept and kept.keys() != self._on_disk:
            with suppress(OSError):
                tensor_file.write(path, kept)
                for other in path.parent.glob("lower-*"):  # of another model or share of layers, or half written
                    if other != path:
                        other.unlink()

    @torch.no_grad()
    def _compute(self, turns: Sequence[TokenTurn]) -> Sequence[Tensor]:  # (1, T, D) of each
        packed = pack(turns, self.device)
        states = states_before(self.model, packed, self.first) if self.lower is None else self.lower(packed)[None]
        return [part.clone() for part in states.split([t.tokens - len(t.responses) for t in turns], 1)]

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


def _key(turn: TokenTurn) -> bytes:
    """Of the token ids."""
    digest = hashlib.blake2b(digest_size=16)
    for ids in (turn.prompt, *turn.responses):
        digest.update(array("i", [len(ids), *ids]).tobytes())
    return digest.digest()


def layer_count(model: Any) -> int:
    return int(model.config.num_hidden_layers)
