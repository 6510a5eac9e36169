"""`hone` and `hone chat`: the full-screen chat, or the plain one."""

from __future__ import annotations

import argparse
import sys

from chatapp.cli import UserError
from chatapp.config import Settings


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    if arguments.plain:
        from chatapp.plain import run_plain

        return int(run_plain(settings, sys.stdin, sys.stdout))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("the chat needs a terminal; `hone chat --plain` works with pipes, `hone ask` in scripts")
    from chatapp.app import run_chat

    return int(run_chat(settings))
