"""`hone` and `hone chat`: the full-screen chat, or the plain one."""

from __future__ import annotations

import argparse
import sys
from io import TextIOWrapper

from chatapp.cli import UserError
from chatapp.config import Settings


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    if not arguments.plain and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("the chat needs a terminal; `hone chat --plain` works with pipes, `hone ask` in scripts")
    thread = _thread(settings, arguments)
    if arguments.plain:
        from chatapp.plain import run_plain

        # no byte that comes, and no sign that the terminal has not, ends the chat
        if isinstance(sys.stdin, TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        return int(run_plain(settings, sys.stdin, sys.stdout, thread=thread))
    from chatapp.tidying import postpone

    postpone()
    if not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")  # nobody reads them on this screen, and to print one Python imports
    from chatapp.app import run_chat

    return int(run_chat(settings, thread))


def _thread(settings: Settings, arguments: argparse.Namespace) -> str | None:
    """The thread that was asked for; None: the one of the last session. A wrong id is told before the screen opens."""
    if arguments.resume is None and not arguments.newest:
        return None  # the first paint waits for no database
    from chatapp.clean import one_line
    from storage.lookup import THREAD, find, short
    from storage.store import Store

    with Store.open(settings.home) as store:
        if arguments.resume is None:
            return next((thread.id for thread in store.threads.list(limit=1)), None)
        thread = store.threads.get(find(store, arguments.resume, [THREAD])[1])
    called = f"{short(thread.id)} ({one_line(thread.title or 'untitled', 40)})"
    if thread.deleted_at is not None:
        raise UserError(f"the thread {called} was deleted; `hone threads list` shows those there are")
    if thread.origin != "chat":
        raise UserError(
            f"the thread {called} is from {thread.origin}, not from the chat; `hone threads list` shows those there are"
        )
    return thread.id
