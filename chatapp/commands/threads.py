"""`hone threads`: look at what was said, take one along as Markdown, keep one from being learned from.

JSON of `list`, an array: id, short, title, created_at, updated_at, messages, judgments (those in force), judged
(the turns that hold one), origin (chat, judge or import:NAME), private, archived, deleted.
`show`: the thread (as in the list, and system, its prompt), turns [{question {id, text, created_at}, answers [{id,
name, text}], follows (the name of the answer that it goes on from, or null), said [judgments in words], notes [{answer,
text}]}]; with --branches instead of turns: messages [{id, name, text, depth, on_path}]. A forgotten text is null.
`export`: thread, markdown, or file instead with -o. `private`: thread, private, learned (versions that did).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from chatapp import conversation
from chatapp.clean import clean, one_line
from chatapp.cli import UserError
from chatapp.commands.common import print_json, say
from chatapp.config import Settings
from chatapp.privacy import UNPROTECTED
from chatapp.times import when
from storage import exporting
from storage.importing import learned
from storage.lookup import find, short
from storage.store import Store
from storage.threads import COMPLETE, Thread
from storage.wording import counted


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store:
        if arguments.action == "list":
            return _list(store, arguments)
        thread = store.threads.get(find(store, arguments.id, ["thread"])[1])
        if arguments.action == "show":
            return _show(store, thread, arguments.branches, arguments.json)
        if arguments.action == "export":
            code = _export(store, thread, arguments)
            if thread.private:  # not where the document, or its JSON, goes
                print(f"hone: the thread is {UNPROTECTED}", file=sys.stderr)
            return code
        return _private(store, thread, not arguments.off, arguments.json)


def _list(store: Store, arguments: argparse.Namespace) -> int:
    if arguments.limit < 1:
        raise UserError(f"--limit is {arguments.limit}; it must be at least 1")
    threads = store.threads.list(
        archived=arguments.archived, deleted=arguments.deleted, limit=arguments.limit, all=arguments.all
    )
    if arguments.json:
        print_json([row(thread) for thread in threads])
        return 0
    for thread in threads:
        marks = _marks(thread)
        title = one_line(thread.title or "untitled", 50) + (f" ({', '.join(marks)})" if marks else "")
        about = f"{short(thread.id)}  {when(thread.updated_at)}"
        say(f"{about}  {thread.message_count:>4} messages {_judged(thread):<13} {title}")
    if not threads:
        which = "deleted " if arguments.deleted else "archived " if arguments.archived else ""
        say(f"no {which}threads" + ("" if which else " yet: `hone` opens the chat"))
    elif len(threads) == arguments.limit:
        print(f"there may be more: --limit {2 * arguments.limit}", file=sys.stderr)
    elsewhere = f"SELECT count(*) FROM threads t WHERE t.origin <> 'chat' AND t.deleted_at IS NULL AND {COMPLETE}"
    if not (arguments.all or arguments.archived or arguments.deleted) and (count := int(store.value(elsewhere))):
        print(f"{counted(count, 'thread')} from the shell or imports: --all lists them too", file=sys.stderr)
    return 0


def row(thread: Thread) -> dict[str, Any]:
    return {
        "id": thread.id,
        "short": short(thread.id),
        "title": thread.title,
        "origin": thread.origin,
        "created_at": thread.created_at,
        "updated_at": thread.updated_at,
        "messages": thread.message_count,
        "judgments": thread.judgment_count,
        "judged": thread.judged_count,
        "private": thread.private,
        "archived": thread.archived_at is not None,
        "deleted": thread.deleted_at is not None,
    }


def _judged(thread: Thread) -> str:
    return f"{thread.judged_count} judged" if thread.judged_count else ""


def _marks(thread: Thread) -> list[str]:
    states = (("private", thread.private), ("archived", thread.archived_at), ("deleted", thread.deleted_at))
    origin = {"chat": [], "judge": ["from the shell"]}.get(thread.origin, [thread.origin])
    return [*origin, *(name for name, true in states if true)]


# -- showing -----------------------------------------------------------------------------------------------------------


def _show(store: Store, thread: Thread, all: bool, as_json: bool) -> int:
    if all:
        lines = conversation.branches(store, thread)
        if as_json:
            messages = [
                {"id": line.id, "name": line.name, "text": line.text, "depth": line.depth, "on_path": line.on_path}
                for line in lines
            ]
            print_json({**row(thread), "system": thread.system_prompt, "messages": messages})
            return 0
        _head(thread)
        for line in lines:
            mark = "*" if line.on_path else " "
            text = "(forgotten)" if line.text is None else one_line(line.text, max(20, 70 - 2 * line.depth))
            say(f"{mark} {short(line.id)} {'  ' * line.depth}{line.name}: {text}")
        return 0
    found = conversation.read(store, thread)
    if as_json:
        print_json({**row(thread), "system": found.system, "turns": [_turn(turn) for turn in found.exchanges]})
        return 0
    _head(thread)
    if found.system:
        _print("System", found.system)
    for message in found.loose:
        _print("Answer", message.content)
    for turn in found.exchanges:
        _print("You", turn.question.content)
        for answer in turn.answers:
            if answer.name == turn.follows:
                _print(answer.name if len(turn.answers) > 1 else "Answer", answer.text)
        if turn.summary:
            say(f"  ({turn.summary})")
        for name, text in turn.notes:
            say(f"  (note on {name}: {one_line(text, 300)})")
    return 0


def _head(thread: Thread) -> None:
    marks = ", ".join([short(thread.id), when(thread.created_at), *_marks(thread)])
    say(f"{one_line(thread.title or 'untitled', 100)} ({marks})")


def _print(name: str, text: str | None) -> None:
    """A message behind the name of who said it; its further lines are indented, so that none can pass for a name."""
    body = "(forgotten)" if text is None else clean(text)
    say()
    say(f"{name}: " + "\n  ".join(body.split("\n")))


def _turn(turn: conversation.Exchange) -> dict[str, Any]:
    question = turn.question
    return {
        "question": {"id": question.id, "text": question.content, "created_at": question.created_at},
        "answers": [{"id": answer.id, "name": answer.name, "text": answer.text} for answer in turn.answers],
        "follows": turn.follows,
        "said": list(turn.said),
        "notes": [{"answer": name, "text": text} for name, text in turn.notes],
    }


# -- taking along, keeping back ----------------------------------------------------------------------------------------


def _export(store: Store, thread: Thread, arguments: argparse.Namespace) -> int:
    from chatapp.markdown import document

    text = document(conversation.read(store, thread))
    if arguments.output is None:
        if arguments.json:
            print_json({"thread": thread.id, "markdown": text})
        else:
            print(text, end="", flush=True)
        return 0
    path = Path(arguments.output).expanduser()
    with exporting.writing(path, arguments.force) as file:
        file.write(text)
    if arguments.json:
        print_json({"thread": thread.id, "file": str(path)})
    else:
        say(f"{one_line(thread.title or 'untitled', 50)} was written to {path}")
    return 0


def _private(store: Store, thread: Thread, private: bool, as_json: bool) -> int:
    store.threads.set_private(thread.id, private)
    versions = learned(
        store,
        "SELECT j.id FROM judgments j JOIN messages m ON m.id = j.prompt_message_id WHERE m.thread_id = ?",
        [thread.id],
    )
    if as_json:
        print_json({"thread": thread.id, "private": private, "learned": versions})
        return 0
    title = one_line(thread.title or "untitled", 50)
    if not private:
        say(f"{title} is learned from again, and part of hone export")
        return 0
    say(f"{title} is private: it is never learned from, and left out of hone export")
    if versions:
        say(f"{', '.join(versions)} learned from it before; the next `hone train` learns without it")
    return 0
