"""`hone forget`: text goes for good. `storage.erasing` says what goes with what.

JSON, without a word of the text: messages, judgments, threads (how many went), copies (ids of messages with exactly
the same text, which are still there), kept [{kind, id, why}], versions [{id, name, live, judgments}] (they learned from
it), live (names of those in use), run and run_ended (the training run that was ended), backups, deleted (files),
unreached [{path, made_at, why}], damaged (files).
"""

from __future__ import annotations

import argparse
import sys

from chatapp.clean import one_line
from chatapp.cli import UserError
from chatapp.commands.common import print_json, say
from chatapp.config import Settings
from storage import forgetting
from storage.forgetting import Forgotten, Named, Preview, Version
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


def question(seen: Preview, copies: bool) -> list[str]:
    """What would go and what would stay."""
    lines = [_named(named) for named in seen.named]
    lines.append(f"In all {counts(seen)}, in the database, its caches and {_many(seen.backups, 'backup')}.")
    if seen.copies:
        others = f"{_many(len(seen.copies), 'other message')} with exactly the same text"
        lines.append(f"{others}: with what is below." if copies else f"{others} would stay: --copies takes them too.")
    lines += [f"What stays: {kept.why} ({short(kept.id)})." for kept in seen.kept]
    if seen.versions:
        lines.append(f"{_names(seen.versions)} learned from it, and may remember it afterwards.")
    lines.append("Not reached: what you exported, and what a disk or its snapshots still hold of overwritten files.")
    return lines


def _named(named: Named) -> str:
    more = {"message": ", and all below it", "thread": ", with all that is in it", "judgment": ""}[named.kind]
    text = f"“{one_line(named.text, 50)}” " if named.text else ""
    return f"{named.kind.capitalize()} {text}({short(named.id)}){more}"


def counts(seen: Preview | Forgotten) -> str:
    """ "9 messages and 5 judgments"."""
    return f"{_many(seen.messages, 'message')} and {_many(seen.judgments, 'judgment')}"


def report(done: Forgotten) -> list[str]:
    """What was done, and what is left to do by hand."""
    files = done.files
    lines = [f"Forgotten: {counts(done)}, in the database, its caches and {_many(len(files.backups), 'backup')}."]
    if done.copies:
        ids = " ".join(short(id) for id in done.copies[:5]) + (" ..." if len(done.copies) > 5 else "")
        lines.append(
            f"Exactly the same text still stands in {_many(len(done.copies), 'other message')}: `hone forget {ids}`"
        )
    lines += [f"{kept.why.capitalize()}: `hone forget {short(kept.id)}`" for kept in done.kept]
    lines += remembering(done)
    if files.run is not None:
        if files.run_ended:
            lines.append(f"Training run {files.run} was learning from it and was ended: `hone train` begins another.")
        else:
            lines.append(
                f"Training run {files.run} was learning from it, was told to end, and has not yet: its files are "
                "cleaned when the chat starts next, or by the same command."
            )
    lines += [f"The backup {path} could not be cleaned and was deleted." for path in files.deleted]
    for copy in files.unreached:
        lines.append(
            f"The backup at {copy.path}, written on {copy.made_at}, could not be reached and still holds the text: "
            f"{copy.why}"
        )
    for path in files.damaged:
        lines.append(f"{path} is the damaged database of an earlier day and may hold the text: delete it by hand.")
    return lines


def remembering(done: Forgotten) -> list[str]:
    """Of the versions that may still know it."""
    rest = [version for version in done.versions if not version.live]
    lines = []
    if done.live:
        still = "is in use and may still remember" if len(done.live) == 1 else "are in use and may still remember"
        lines.append(
            f"{_names(done.live)} {still}: `hone train` makes a version that does not, `hone adapters rollback` "
            "goes back to the one before."
        )
    if rest:
        lines.append(f"{_names(rest)} may remember too: `hone adapters remove {rest[0].name}` deletes its files.")
    return lines


def _names(versions: list[Version]) -> str:
    return ", ".join(version.name for version in versions)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
