"""`hone backup` and `hone restore`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chatapp.cli import UserError
from chatapp.commands.common import print_json, say
from chatapp.config import Settings
from chatapp.times import when
from storage import backups, restoring
from storage.backups import Backup, Contents
from storage.store import Store
from storage.wording import counted


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    if arguments.list:
        if arguments.to:
            raise UserError("--list shows the backups and --to writes one: give one of them")
        return _list(settings, arguments)
    with Store.open(settings.home) as store:
        path = backups.make_at(store, Path(arguments.to)) if arguments.to else backups.make(settings.home).path
    contents = backups.inspect(path)
    if arguments.json:
        print_json({"file": str(path), "bytes": path.stat().st_size, **_counts(contents)})
    else:
        say(f"{path}: {_said(contents)}, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    found = backups.list(settings.home)
    if arguments.json:
        print_json([_row(backup) for backup in found])
    elif not found:
        say("There is no backup yet. `hone backup` makes one; the chat makes one every week.")
    else:
        for backup in found:
            say(f"{backup.name:<48} {when(backup.made_at.isoformat())}  {backup.bytes / 1e6:8.1f} MB")
    return 0


def _row(backup: Backup) -> dict[str, object]:
    return {
        "name": backup.name,
        "file": str(backup.path),
        "made_at": backup.made_at.isoformat(),
        "reason": backup.reason,
        "bytes": backup.bytes,
    }


def restore(settings: Settings, arguments: argparse.Namespace) -> int:
    source = restoring.choose(settings.home, arguments.file)
    contents = backups.inspect(source)
    if not arguments.yes:
        _ask(source, contents)
    done = restoring.restore(settings.home, source)
    if arguments.json:
        print_json(
            {
                "file": str(source),
                **_counts(contents),
                "kept": str(done.kept) if done.kept else None,
                "damaged": done.damaged,
                "forgotten": done.forgotten,
                "retired": list(done.retired),
            }
        )
        return 0
    say(f"Restored {source}: {_said(contents)}.")
    if done.kept:
        say(f"What was there before is kept: {done.kept}")
    if done.damaged:
        say("It was damaged, so what was forgotten after the backup was made could not be looked up: check with")
        say("`hone search`, and forget it again.")
    if done.forgotten:
        say(f"{done.forgotten} messages and judgments that were forgotten since are forgotten here too.")
    for name in done.retired:
        say(f"{name} was in use and its files are gone: the base answers until the next lesson.")
    return 0


def _ask(source: Path, contents: Contents) -> None:
    """Raises UserError unless a person says yes."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(f"restoring puts {source} in the place of the database: say `hone restore -y` if that is meant")
    say(f"{source}: {_said(contents)}.")
    say("It takes the place of the database. What is there now is kept beside it.")
    try:
        answer = input("Restore it? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UserError("nothing was changed")


def _counts(contents: Contents) -> dict[str, object]:
    return {
        "threads": contents.threads,
        "messages": contents.messages,
        "judgments": contents.judgments,
        "latest": contents.latest,
    }


def _said(contents: Contents) -> str:
    latest = f", the last of {when(contents.latest)}" if contents.latest else ""
    others = f" ({contents.others} from the shell or imports)" if contents.others else ""
    threads, messages = counted(contents.threads, "thread"), counted(contents.messages, "message")
    return f"{threads}{others}, {messages}{latest}, {counted(contents.judgments, 'judgment')}"
