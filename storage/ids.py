"""UUIDv7 ids and UTC times: both sort as text in the order in which they were made."""

from __future__ import annotations

import os
import threading
import time
import uuid
from datetime import UTC, datetime

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7), monotonic within this process: 48 bits of ms, then 12 of a finer clock."""
    global _last
    with _lock:
        # ms in the upper bits, 1/4096 ms in the 12 bits of rand_a (method 3 of section 6.2)
        stamp = max((time.time_ns() << 12) // 1_000_000, _last + 1)
        _last = stamp
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | random
    return str(uuid.UUID(int=value))


def now() -> str:
    """UTC, ISO 8601, with microseconds, so that the order of rows is the order of their times."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
