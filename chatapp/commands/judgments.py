"""`hone judgments`: look at what was judged, say it better, take it back.

JSON of `list`, an array: id, short, created_at, kind, source, said (in words), thread, title, in_force, reasons (why it
teaches nothing; empty where it does), text (of a note). `show`: see `chatapp.commands.judgment_view`. `edit`:
judgment (the new id), replaces, said. `retract`: judgment, retracted (false: it was taken back before), counts_again
(an id or null), learned (versions that learned from it).
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from chatapp.clean import one_line
from chatapp.cli import UserError
from chatapp.commands.common import print_json, say
from chatapp.commands.judgment_view import show
from chatapp.config import Settings
from storage import history
from storage.importing import learned
from storage.lookup import find, short
from storage.preferences import Item, Judgment
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
    for row in rows:
        words = row["said"] + (f": {one_line(row['text'], 40)}" if row["text"] else "")
        place = one_line(row["title"] or "untitled", 30)
        if row["source"] != "chat":
            place += f" · {row['source']}"
        why = f" [{'; '.join(row['reasons'])}]" if row["reasons"] else ""
        when = row["created_at"][:16].replace("T", " ")
        say(f"{row['short']}  {when}  {row['kind']:<10}  {one_line(words, 100)}  ({one_line(place, 70)}){why}")
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
    kind, items, payload, text = _restated(store, old, arguments)
    new = history.restate(store, old, kind, items, payload=payload, text=text)
    words = said(store, new)
    if arguments.json:
        print_json({"judgment": new.id, "replaces": old.id, "said": words})
    else:
        say(f"{words} ({short(new.id)}), in the place of {said(store, old)} ({short(old.id)})")
        if new.source != old.source:
            say(f"it is your own word now: the one that it replaces came from {old.source}")
    return 0


def _restated(
    store: Store, old: Judgment, arguments: argparse.Namespace
) -> tuple[str, list[Item], dict[str, Any], str | None]:
    """Kind, items, payload and the text of a correction, as the flags say them. Raises UserError, InvalidJudgment."""
    names, payload = history.names(store, old), dict(old.payload)
    if arguments.ranking is not None or arguments.pick is not None or arguments.all_bad:
        _needs(old, history.OVERALL)
        judged = [item.message_id for item in old.items]
        if arguments.ranking is not None:
            return "ranking", parse_ranking(arguments.ranking, names, judged), {}, None
        if arguments.pick is not None:
            best = names.find(arguments.pick)
            others = [id for id in judged if id != best]
            if not others:
                raise UserError(f"a pick of {arguments.pick} says nothing: there is no other answer to be better than")
            return "pick", [Item(best, rank=0), *(Item(id, rank=1) for id in others)], {}, None
        return "all_bad", [Item(id, value=-1) for id in judged], {}, None
    if arguments.thumb is not None:
        _needs(old, ("thumb",))
        value = 1 if arguments.thumb == "up" else -1
        return "thumb", [Item(item.message_id, value=value) for item in old.items], payload, None
    if arguments.scores is not None:
        _needs(old, ("rating",))
        return "rating", parse_scores(arguments.scores, names), payload, None
    if arguments.violated is not None:
        _needs(old, ("flag",))
        value = int(arguments.violated == "yes")
        return "flag", [Item(item.message_id, value=value) for item in old.items], payload, None
    _needs(old, ("correction", "note"))
    text = _text(arguments.text)
    if old.kind == "note":
        return "note", list(old.items), {**payload, "text": text.strip()}, None
    return "correction", list(old.items), payload, text


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


def parse_ranking(text: str, names: history.Names, judged: list[str]) -> list[Item]:
    """ "B > A = C" as items. All answers that were judged must be named, so that none is forgotten by mistake."""
    items: list[Item] = []
    seen: set[str] = set()
    for rank, group in enumerate(text.split(">")):
        for name in group.split("="):
            if not name.strip():
                raise UserError(f"{text!r} is no ranking: write the best first, as in 'B > A = C'")
            id = names.find(name)
            if id in seen:
                raise UserError(f"{text!r} names {names.here[id]} twice")
            seen.add(id)
            items.append(Item(id, rank=rank))
    missing = [names.here[id] for id in judged if id not in seen]
    if missing:
        raise UserError(f"{text!r} leaves out {', '.join(missing)}; name each of {', '.join(names.here.values())} once")
    return items


def parse_scores(text: str, names: history.Names) -> list[Item]:
    """ "A=6 B=2" as items."""
    items: dict[str, Item] = {}
    parts = re.split(r"[\s,]+", re.sub(r"\s*=\s*", "=", text.strip()))
    for part in parts:
        name, equals, score = part.rpartition("=")
        if not equals or score not in tuple("1234567"):
            raise UserError(f"{part!r} is no score; write a name, = and 1 to 7, as in 'A=6 B=2'")
        id = names.find(name)
        if id in items:
            raise UserError(f"{text!r} gives {names.here[id]} two scores")
        items[id] = Item(id, score=int(score))
    return list(items.values())


def _text(given: str) -> str:
    text = sys.stdin.read() if given == "-" else given
    if not text.strip():
        raise UserError("the text is empty: write what it should say")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the text is not UTF-8: character {error.start + 1} cannot be read") from error
    return text.rstrip("\n") if given == "-" else text
