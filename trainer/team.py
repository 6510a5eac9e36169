"""The processes of one run: one by itself, or several under `accelerate launch`.

Each takes its share of every step's turns; gradients are summed. Only the main one touches the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def state() -> Any:
    """accelerate's view of this process: its device, and the processes beside it."""
    from accelerate import PartialState

    # several processes on a CPU are only seen by PartialState when it is told that there is nothing else
    cpu = not torch.cuda.is_available() and not torch.backends.mps.is_available()
    # the others wait while the main one samples answers; one that died is noticed without the timeout
    return PartialState(cpu=cpu, timeout=timedelta(days=1))


class Team:
    def __init__(self) -> None:
        self._state = state()
        self._released = False

    @property
    def size(self) -> int:
        return 1 if self._released else int(self._state.num_processes)

    def release(self) -> None:
        """Let the others end: what follows is done by the main process alone. Once; again it does nothing."""
        self.share(None)
        self._released = True

    @property
    def rank(self) -> int:
        return int(self._state.process_index)

    @property
    def is_main(self) -> bool:
        return bool(self._state.is_main_process)

    def share(self, value: T) -> T:
        """The main process's value, in all of them."""
        if self.size == 1:
            return value
        from accelerate.utils import broadcast_object_list

        box = [value]
        broadcast_object_list(box)
        return box[0]

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process."""
        if self.size == 1:
            return flag
        total = torch.tensor(float(flag), device=self._state.device)
        torch.distributed.all_reduce(total)
        return bool(total > 0)

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Sum each parameter's gradient over the processes, in place."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)
