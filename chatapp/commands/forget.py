"""`hone forget`: text goes for good. `storage.erasing` says what goes with what.

JSON, without a word of the text: messages, judgments, threads (how many went), copies (ids of messages with exactly
the same text, which are still there), kept [{kind, id, why}], versions [{id, name, live, judgments}] (they learned from
it), live (names of those in use), run and run_ended (the training run that was ended), backups, deleted (files),
unreached [{path, made_at, why}], damaged (files), reward_models (numbers of the runs whose models went).
"""

from __future__ import annotations

import argparse
import sys

from chatapp.cli import UserError
from chatapp.commands.common import print_json, say
from chatapp.config import Settings
from chatapp.forgetting import counts, question, report
from storage import forgetting
from storage.forgetting import Preview
from storage.lookup import short
from storage.store import Store


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store:
        seen = forgetting.preview(store, arguments.ids, arguments.copies)
        if not arguments.yes:
            _ask(seen, arguments)
        progress = _progress if sys.stderr.isatty() and not arguments.json else None
        done = forgetting.forget(store, [named.id for named in seen.named], arguments.copies, progress)
    if arguments.json:
        print_json(done.as_json())
    else:
        for line in report(done):
            say(line)
    return 0


def _ask(seen: Preview, arguments: argparse.Namespace) -> None:
    """Raises UserError unless a person says yes."""
    if arguments.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            f"forgetting {', '.join(short(named.id) for named in seen.named)} cannot be taken back "
            f"({counts(seen)}): add -y if that is meant"
        )
    for line in question(seen, arguments.copies):
        say(line)
    try:
        answer = input("Forget it for good? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UserError("nothing was forgotten")


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
