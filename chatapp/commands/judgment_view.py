"""`hone judgments show`: one judgment, in lines for the shell. `chatapp.looking` gathers what they say."""

from __future__ import annotations

import textwrap

from chatapp.clean import clean, one_line
from chatapp.commands.common import print_json, say
from chatapp.looking import View, look, sections, view
from chatapp.times import when
from storage.lookup import short
from storage.preferences import Judgment
from storage.store import Store

LINES, WIDTH = 3, 76


def show(store: Store, judgment: Judgment, as_json: bool) -> int:
    if as_json:
        print_json(look(store, judgment))
    else:
        say("\n".join(in_words(view(store, judgment))))
    return 0


def in_words(view: View) -> list[str]:
    """The page as lines."""
    page = view.page
    lines = [
        f"{page['kind']} {page['short']}, {when(page['created_at'])}, from {page['source']}",
        f"in {short(page['thread']['id'])} {one_line(page['thread']['title'] or 'untitled', 60)}",
        f"says: {page['said']}",
    ]
    if page["kind"] == "note":
        lines += _text("", str(page["payload"].get("text", "")))
    if page["supersedes"]:
        lines.append(f"it stands in the place of {short(page['supersedes'])}")
    lines += ["", "the question", *_text("", page["prompt"]["text"]), "", "the answers"]
    for answer in page["answers"]:
        name = answer["name"] + ("" if answer["judged"] else " (not judged)")
        lines += _text(name, answer["text"])
    for heading, below in sections(view):
        lines += ["", heading, *(f"  {line}" for line in below)]
    return lines


def _text(name: str, text: str | None) -> list[str]:
    """The first lines of a text, indented behind a name."""
    indent = "  " + " " * (len(name) + 2 if name else 0)
    if text is None:
        return [f"  {name}  (forgotten)" if name else "  (forgotten)"]
    wrapped: list[str] = []
    for line in clean(text[: LINES * WIDTH * 2]).split("\n"):
        wrapped += textwrap.wrap(line, max(30, WIDTH - len(indent))) or [""]
    shown = wrapped[:LINES]
    if len(wrapped) > LINES or len(text) > LINES * WIDTH * 2:
        shown[-1] += " …"
    lines = [indent + line for line in shown]
    lines[0] = (f"  {name}  " if name else "  ") + shown[0]
    return lines
