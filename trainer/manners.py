"""Makes this process give way to the chat."""

from __future__ import annotations

import os
from pathlib import Path


def step_aside() -> None:
    """Take the CPU only when nobody else wants it.

    nice 19 alone is not enough on Linux with autogroups (the default of desktop kernels): it counts only among the
    processes of one session, and sessions share the CPU evenly, so the chat's engine got half. The group's own
    niceness is set too, if the session is ours: started by the chat or a command, the trainer leads one.
    """
    os.nice(19)
    if os.getsid(0) == os.getpid():
        try:
            Path("/proc/self/autogroup").write_text("19")
        except OSError:
            pass  # another system, or a kernel without autogroups
