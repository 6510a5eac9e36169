"""One llama.cpp context: the KV cache and what is in it, decoding, and being stopped.

The cache is one pool of cells for all sequences (`kv_unified`), so candidates share their prompt's cells. Everything
here takes token ids; what they mean is the vocabulary's business.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatapp.engine import native
from chatapp.engine.base import MAX_CANDIDATES, EngineError, ModelFileError

if TYPE_CHECKING:
    import numpy as np

BATCH = 512  #: tokens of a prompt evaluated at once; stop() is heeded in between even where a GPU ignores the callback
OUTPUTS = 64  #: positions whose logits are read at once when all are wanted: 64 rows of 49k floats are 12 MB
_NO_SLOT, _ABORTED = 1, 2


class Stopped(Exception):
    """stop() ended a decode; the cache is consistent."""


class Context:
    """cached[s] is what the cells of sequence s hold, token for token."""

    def __init__(self, model: Any, size: int, threads: int, streams: int = 0) -> None:
        """streams: so many sequences with cells of their own, size // streams each; 0: one pool for all."""
        self._lib = lib = native.library()
        self.size = size
        self.cached: list[list[int]] = [[] for _ in range(streams or MAX_CANDIDATES)]
        # llama.cpp asks its abort callback a thousand times a decode. A Python one would take the GIL each time, so
        # libc's strlen is the callback and this buffer its argument: empty means go on, one character means stop.
        self._flag = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
        self._abort = lib.ggml_abort_callback(strlen)
        params = lib.llama_context_default_params()
        params.n_ctx = size
        params.n_batch = params.n_ubatch = BATCH
        params.n_seq_max = len(self.cached)
        params.n_outputs_max = OUTPUTS
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = not streams
        params.abort_callback = self._abort
        params.abort_callback_data = ctypes.cast(self._flag, ctypes.c_void_p)
        _check_memory(lib, model, size)
        native.take_errors()
        self.pointer = lib.llama_init_from_model(model, params)
        if not self.pointer:
            raise EngineError(
                f"llama.cpp cannot make a context of {size} tokens: {native.take_errors() or 'not enough memory'}. "
                "Use a smaller context size or a smaller model."
            )
        self._memory = lib.llama_get_memory(self.pointer)
        if not self._memory:
            lib.llama_free(self.pointer)
            raise ModelFileError("This model makes embeddings and cannot chat. Choose an instruction-tuned one.")
        self._vocab_size: int = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        self._batch = lib.llama_batch_init(BATCH, 0, 1)

    def free(self) -> None:
        self._lib.llama_batch_free(self._batch)
        self._lib.llama_free(self.pointer)

    def stop(self) -> None:
        """End the running decode; from any thread."""
        self._flag[0] = b"x"

    def go(self) -> None:
        """Forget an earlier stop()."""
        self._flag[0] = b"\0"

    @property
    def stopped(self) -> bool:
        return self._flag[0] != b"\0"

    def clear(self) -> None:
        """Forget all cached tokens."""
        self._lib.llama_memory_clear(self._memory, False)
        self.cached = [[] for _ in self.cached]

    def reuse(self, tokens: Sequence[int]) -> int:
        """Leave in the cache only the longest known prefix of tokens, as sequence 0; its length.

        The last token is never part of it: its logits are wanted.
        """
        lengths = [_common(known, tokens) for known in self.cached]
        best = max(range(len(lengths)), key=lambda s: lengths[s])
        length = min(lengths[best], len(tokens) - 1)
        if length <= 0:
            self.clear()
            return 0
        for other in range(len(self.cached)):
            if other != best:
                self._lib.llama_memory_seq_rm(self._memory, other, -1, -1)
        if best:
            self._lib.llama_memory_seq_cp(self._memory, best, 0, -1, -1)
            self._lib.llama_memory_seq_rm(self._memory, best, -1, -1)
        if not self._lib.llama_memory_seq_rm(self._memory, 0, length, -1):
            self.clear()  # a recurrent model's state cannot be cut back
            return 0
        self.cached = [list(tokens[:length])] + [[] for _ in self.cached[1:]]
        return length

    def share(self, count: int) -> None:
        """Sequences 1..count-1 get the cells of sequence 0."""
        for other in range(1, count):
            self._lib.llama_memory_seq_cp(self._memory, 0, other, -1, -1)
            self.cached[other] = list(self.cached[0])

    def begin(self, sequence: int, tokens: Sequence[int]) -> None:
        """Make a sequence hold just these tokens. What another holds of them is copied, not computed again."""
        lengths = [_common(known, tokens) for known in self.cached]
        best = max(range(len(lengths)), key=lambda s: (lengths[s], s == sequence))
        length = lengths[best]
        if length and best != sequence:
            self._lib.llama_memory_seq_cp(self._memory, best, sequence, -1, -1)
        if not self._lib.llama_memory_seq_rm(self._memory, sequence, length, -1):
            self._lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)  # a recurrent model's cannot be cut back
            length = 0
        self.cached[sequence] = list(tokens[:length])
        for start in range(length, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            self._decode(part, [sequence] * len(part), range(0))

    def prompt(self, tokens: Sequence[int]) -> None:
        """Append tokens to sequence 0; the logits of the last one can be sampled at index -1."""
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            self._decode(part, [0] * len(part), range(len(part) - 1, len(part)))

    def step(self, sequences: Sequence[int], tokens: Sequence[int]) -> None:
        """Append one token to each sequence; row i of the logits belongs to sequences[i]."""
        self._decode(tokens, sequences, range(len(tokens)))

    def rows(self, tokens: Sequence[int], first: int) -> Iterator[np.ndarray]:
        """Append tokens to sequence 0 and give the logits after tokens[first:], in blocks (rows, vocabulary).

        A block is valid until the next one is asked for.
        """
        import numpy  # late: the process that only talks to an engine does not need it

        for start in range(0, first, BATCH):
            part = tokens[start : min(start + BATCH, first)]
            self._decode(part, [0] * len(part), range(0))
        for start in range(first, len(tokens), OUTPUTS):
            part = tokens[start : start + OUTPUTS]
            self._decode(part, [0] * len(part), range(len(part)))
            pointer = self._lib.llama_get_logits(self.pointer)
            yield numpy.ctypeslib.as_array(pointer, shape=(len(part), self._vocab_size))

    def _decode(self, tokens: Sequence[int], sequences: Sequence[int], outputs: range) -> None:
        if self.stopped:
            raise Stopped
        batch, lengths = self._batch, [len(known) for known in self.cached]
        batch.n_tokens = len(tokens)
        for i, (token, sequence) in enumerate(zip(tokens, sequences, strict=True)):
            batch.token[i] = token
            batch.pos[i] = lengths[sequence]
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = i in outputs
            lengths[sequence] += 1
        result = self._lib.llama_decode(self.pointer, batch)
        if result == 0:
            for token, sequence in zip(tokens, sequences, strict=True):
                self.cached[sequence].append(token)
            return
        if result == _ABORTED:
            for sequence in set(sequences):
                self._lib.llama_memory_seq_rm(self._memory, sequence, len(self.cached[sequence]), -1)
            raise Stopped
        self.clear()
        reason = native.take_errors() or ("no room in the cache" if result == _NO_SLOT else "no reason given")
        raise EngineError(f"llama.cpp could not evaluate {len(tokens)} tokens (code {result}): {reason}. Try again.")


def default_threads() -> int:
    """The physical cores that this process may use, within its container's share."""
    try:
        usable = sorted(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return max(1, os.cpu_count() or 1)
    cores = set()
    for cpu in usable:
        try:
            siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(cpu)
        cores.add(siblings)
    count = len(cores)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return max(1, count)


def _check_memory(lib: Any, model: Any, size: int) -> None:
    """Refuse a cache beyond the free memory: Linux would grant it, and kill the process when it is filled."""
    heads = max(1, lib.llama_model_n_head(model))
    width = lib.llama_model_n_embd(model) // heads * max(1, lib.llama_model_n_head_kv(model))
    needed = 2 * 2 * size * width * lib.llama_model_n_layer(model)  # K and V, two bytes each
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return
    if needed > free and not lib.llama_supports_gpu_offload():
        raise EngineError(
            f"A context of {size} tokens needs about {needed / 2**30:.1f} GiB for this model, and "
            f"{free / 2**30:.1f} GiB of memory are free. Use a smaller context size."
        )


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens a and b begin with in common."""
    length = min(len(a), len(b))
    if list(a[:length]) == list(b[:length]):
        return length
    return next(i for i in range(length) if a[i] != b[i])


def log_probs(block: np.ndarray, tokens: Sequence[int]) -> list[float]:
    """log softmax of each row at its token, in float64."""
    import numpy

    rows = block.astype(numpy.float64)
    highest = rows.max(axis=1, keepdims=True)
    norm = numpy.log(numpy.exp(rows - highest).sum(axis=1)) + highest[:, 0]
    return [float(value) for value in rows[numpy.arange(len(tokens)), list(tokens)] - norm]
