"""The frozen layers below the adapter: what they make of a turn never changes, so it is computed once and kept.

The adapter sits in the upper layers only. Every pass over a turn (reference, epochs, K-fold, gate) then starts from
the states that enter the first of them; with half of the layers adapted that is half of the forward pass, and the
backward pass ends there anyway. In memory for one process, and between runs in the home's personal cache.

They are kept by prompt and by response: a response sees its prompt and itself, so its states are the same whichever
others stand beside it, and the test of four answers and the fit on two of them share what they have in common.
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
        self.asked = first
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
        keys = [_keys(turn) for turn in turns]
        for key in {key for mine in keys for key in mine}:
            if key not in self._states and key.hex() in self._on_disk:
                self._put(key, self._disk.get_tensor(key.hex()))
        missing: list[tuple[TokenTurn, list[bytes]]] = []
        for turn, (prompt, *responses) in zip(turns, keys, strict=True):
            new = {key: r for key, r in zip(responses, turn.responses, strict=True) if key not in self._states}
            if prompt not in self._states and not new:
                new = {responses[0]: turn.responses[0]}
            if new:
                missing.append((TokenTurn(turn.prompt, list(new.values())), [prompt, *new]))
        found: dict[bytes, Tensor] = {}
        if missing:
            computed = self._compute([turn for turn, _ in missing])
            for (turn, mine), states in zip(missing, computed, strict=True):
                found |= zip(mine, states.split(_sizes(turn), 1), strict=True)
        whole = [found[key] if key in found else self._states[key] for mine in keys for key in mine]
        for key, part in found.items():
            size = part.numel() * part.element_size()
            if size <= self._left and key not in self._states:
                self._left -= size
                self._states[key] = part.clone()
        return replace(packed, states=torch.cat(whole, 1), first=self.first)

    def get(self, turn: TokenTurn) -> Tensor | None:  # (1, T, D)
        """The turn's states, if they are kept."""
        keys = _keys(turn)
        return torch.cat([self._states[key] for key in keys], 1) if all(key in self._states for key in keys) else None

    def put(self, turn: TokenTurn, states: Tensor) -> None:
        """Keep states that `get` gave, of the same model and layer."""
        for key, part in zip(_keys(turn), states.split(_sizes(turn), 1), strict=True):
            self._put(key, part)

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
        for key in dict.fromkeys(key for turn in turns for key in _keys(turn)):
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
        return states.split([t.tokens - len(t.responses) for t in turns], 1)

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


def _keys(turn: TokenTurn) -> list[bytes]:
    """Of the prompt, and of each response to it."""
    prompt = hashlib.blake2b(array("i", turn.prompt).tobytes(), digest_size=16)
    keys = [prompt.digest()]
    for response in turn.responses:
        digest = prompt.copy()
        digest.update(b"|" + array("i", response).tobytes())
        keys.append(digest.digest())
    return keys


def _sizes(turn: TokenTurn) -> list[int]:
    """Places in the row of the prompt and of each response, whose last token is not fed."""
    return [len(turn.prompt), *(len(response) - 1 for response in turn.responses)]


def adapted_from(model: Any, share: float) -> int:
    """The first of the upper layers that make up this share of all, at least one."""
    count = layer_count(model)
    return count - max(1, round(count * share))


def layer_count(model: Any) -> int:
    return int(model.config.num_hidden_layers)
