"""The model as the chat serves it, for tests and measurements: an engine in a child process of its own.

Not in this process: torch's OpenMP threads sleep at barriers here (see trainer/__init__), and llama.cpp's would too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from chatapp.engine.base import EngineConfig
from chatapp.engine.process import EngineProcess
from trainer import PASSIVE


@contextmanager
def served(config: EngineConfig) -> Iterator[EngineProcess]:
    """A loaded engine with the environment that the chat's has; ended on the way out."""
    set_aside = {name: os.environ.pop(name) for name in PASSIVE if name in os.environ}
    engine = EngineProcess(config)
    try:
        try:
            _ = engine.info  # starts the child and waits for it
        finally:
            os.environ.update(set_aside)
        yield engine
    finally:
        engine.close()
