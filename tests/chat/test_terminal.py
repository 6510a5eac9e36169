"""The real app on a real terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path


def test_it_ends_with_its_terminal(tmp_path: Path) -> None:
    """Also where no signal says so: the app is in a session of its own, as a child of `make` in a window is."""
    master, slave = pty.openpty()
    environment = {**os.environ, "HONE_HOME": str(tmp_path), "HONE_MODEL": str(tmp_path / "none.gguf"), "TERM": "xterm"}
    chat = subprocess.Popen(
        [sys.executable, "-m", "chatapp.app"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    try:
        seen = b""
        while b"Ctrl+J" not in seen:
            seen += os.read(master, 4096)
        os.close(master)
        assert chat.wait(timeout=30) is not None
    finally:
        chat.kill()
        chat.wait()
