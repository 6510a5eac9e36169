"""`hone search`: messages by their words.

JSON, an array: message, thread, role, created_at, title (of the thread), snippet (the text around the words, which
stand in [brackets]), private, archived, origin (chat, judge or import:NAME).
"""

from __future__ import annotations

import argparse
import sys

from chatapp.clean import one_line
from chatapp.commands.common import print_json, say
from chatapp.config import Settings
from chatapp.times import when
from storage.lookup import short
from storage.search import Hit, search
from storage.store import Store


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store:
        hits = search(store, arguments.words, arguments.limit)
    if arguments.json:
        print_json(
            [
                {
                    "message": hit.message_id,
                    "thread": hit.thread_id,
                    "role": hit.role,
                    "created_at": hit.created_at,
                    "title": hit.title,
                    "snippet": hit.snippet,
                    "private": hit.private,
                    "archived": hit.archived,
                    "origin": hit.origin,
                }
                for hit in hits
            ]
        )
        return 0
    for hit in hits:
        say(f"{short(hit.message_id)}  {when(hit.created_at)}  {hit.role:<9}  in {short(hit.thread_id)} {_title(hit)}")
        say(f"  {one_line(hit.snippet, 300)}")
    if not hits:
        say("no message has these words; the last one may be a beginning, from three letters on")
    elif len(hits) == arguments.limit:
        print(f"there may be more: --limit {2 * arguments.limit}", file=sys.stderr)
    return 0


def _title(hit: Hit) -> str:
    marks = [word for word, true in (("private", hit.private), ("archived", hit.archived)) if true]
    if hit.origin != "chat":
        marks.append(hit.origin)
    return one_line(hit.title or "untitled", 30) + (f" ({one_line(', '.join(marks), 40)})" if marks else "")
