"""`hone judgments`: look at what was judged, say it better, take it back.

JSON of `list`, an array: id, short, created_at, kind, source, said (in words), thread, title, in_force, reasons (why it
teaches nothing; empty where it does), text (of a note). `show`: see `chatapp.looking`. `edit`:
judgment (the new id), replaces, said. `retract`: judgment, retracted (false: it was taken back before), counts_again
(an id or null), learned (versions that learned from it).
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from chatapp import restating
from chatapp.clean import one_line
from chatapp.cli import UserError
from chatapp.commands.common import print_json, say
from chatapp.commands.judgment_view import show
from chatapp.config import Settings
from chatapp.times import day, when
from storage import history
from storage.importing import learned
from storage.judgments import OVERALL
from storage.lookup import find, short
from storage.preferences import Judgment
from storage.store import Store


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store:
        if arguments.action == "list":
            return _list(store, arguments)
        judgment = store.judgments.get(find(store, arguments.id, ["judgment"])[1])
        if arguments.action == "show":
            return show(store, judgment, arguments.json)
        if arguments.action == "edit":
            return _edit(store, judgment, arguments)
        return _retract(store, judgment, arguments.json)


def said(store: Store, judgment: Judgment) -> str:
    """What a judgment says, by the names that `show` gives the answers."""
    return store.judgments.describe(judgment, history.names(store, judgment).all)


def _list(store: Store, arguments: argparse.Namespace) -> int:
    if arguments.limit < 1:
        raise UserError(f"--limit is {arguments.limit}; it must be at least 1")
    thread = find(store, arguments.thread, ["thread"])[1] if arguments.thread else None
    found = history.latest(
        store, arguments.limit, kind=arguments.kind, source=arguments.source, thread_id=thread, all=arguments.all
    )
    rows: list[dict[str, Any]] = [
        {
            "id": judgment.id,
            "short": short(judgment.id),
            "created_at": judgment.created_at,
            "kind": judgment.kind,
            "source": judgment.source,
            "said": said(store, judgment),
            "thread": state.thread_id,
            "title": state.title,
            "in_force": state.in_force,
            "reasons": state.reasons,
            "text": judgment.payload.get("text") if judgment.kind == "note" else None,
        }
        for judgment, state in found
    ]
    if arguments.json:
        print_json(rows)
        return 0
    questions = store.threads.contents(judgment.prompt_id for judgment, _ in found)
    for row, (judgment, state) in zip(rows, found, strict=True):
        words = row["said"] + (f": {one_line(row['text'], 40)}" if row["text"] else "")
        # the question and not the thread: a thread has many, and its title is the first of them
        place = one_line(questions.get(judgment.prompt_id) or "(forgotten)", 50)
        if row["source"] != "chat":
            place += f" · {row['source']}"
        why = f" [{'; '.join(state.why(day))}]" if row["reasons"] else ""
        about = f"{row['short']}  {when(row['created_at'])}"
        say(f"{about}  {row['kind']:<10}  {one_line(words, 100)}  ({one_line(place, 70)}){why}")
    if not rows and not store.value("SELECT EXISTS (SELECT 1 FROM judgments)"):
        say("nothing is judged yet: `hone` opens the chat, `hone judge` takes judgments from a file")
    elif not rows:
        say("no judgment fits" + ("; --all shows those taken back or replaced too" if not arguments.all else ""))
    elif len(rows) == arguments.limit:
        print(f"there may be more: --limit {2 * arguments.limit}", file=sys.stderr)
    return 0


def _retract(store: Store, judgment: Judgment, as_json: bool) -> int:
    words, taken = said(store, judgment), judgment.retracted_at is None
    by = store.judgments.replaced_by(judgment.id)
    if taken and by is not None:
        raise UserError(f"judgment {short(judgment.id)} was replaced by {short(by)}: take that one back first")
    again = history.retract(store, judgment) if taken else None
    versions = learned(store, "?", [judgment.id])
    if as_json:
        print_json(
            {
                "judgment": judgment.id,
                "retracted": taken,
                "counts_again": again.id if again else None,
                "learned": versions,
            }
        )
        return 0
    if not taken:
        say(f"judgment {short(judgment.id)} was taken back before")
        return 0
    say(f"taken back: {words}")
    if again is not None:
        say(f"what it had replaced counts again: {said(store, again)} ({short(again.id)})")
    if versions:
        say(f"{', '.join(versions)} learned from it; the next `hone train` learns without it")
    return 0


# -- editing -----------------------------------------------------------------------------------------------------------


def _edit(store: Store, old: Judgment, arguments: argparse.Namespace) -> int:
    new = restating.record(store, old, _restated(store, old, arguments))
    words = said(store, new)
    if arguments.json:
        print_json({"judgment": new.id, "replaces": old.id, "said": words})
    else:
        say(f"{words} ({short(new.id)}), in the place of {said(store, old)} ({short(old.id)})")
        if new.source != old.source:
            say(f"it is your own word now: the one that it replaces came from {old.source}")
    return 0


def _restated(store: Store, old: Judgment, arguments: argparse.Namespace) -> restating.Statement:
    """What the flags say. Raises UserError, InvalidJudgment."""
    names = history.names(store, old)
    if arguments.ranking is not None or arguments.pick is not None or arguments.all_bad:
        _needs(old, OVERALL)
        if arguments.ranking is not None:
            return restating.ranking(old, names, arguments.ranking)
        return restating.all_bad(old) if arguments.pick is None else restating.pick(old, names, arguments.pick)
    if arguments.thumb is not None:
        _needs(old, ("thumb",))
        return restating.valued(old, 1 if arguments.thumb == "up" else -1)
    if arguments.scores is not None:
        _needs(old, ("rating",))
        return restating.scores(old, names, arguments.scores)
    if arguments.violated is not None:
        _needs(old, ("flag",))
        return restating.valued(old, int(arguments.violated == "yes"))
    _needs(old, ("correction", "note"))
    return restating.worded(old, _text(arguments.text))


_FLAGS = {
    "ranking": "--ranking, --pick or --all-bad",
    "pick": "--ranking, --pick or --all-bad",
    "all_bad": "--ranking, --pick or --all-bad",
    "thumb": "--thumb",
    "rating": "--scores",
    "correction": "--text",
    "note": "--text",
    "flag": "--violated",
}


def _needs(old: Judgment, kinds: tuple[str, ...]) -> None:
    if old.kind not in kinds:
        way = f"edit it with {_FLAGS[old.kind]}" if old.kind in _FLAGS else "take it back, and judge again"
        raise UserError(f"judgment {short(old.id)} is a {old.kind}: {way}")


def _text(given: str) -> str:
    text = sys.stdin.read() if given == "-" else given
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the text is not UTF-8: character {error.start + 1} cannot be read") from error
    return text.rstrip("\n") if given == "-" else text
