"""Open Assistant's message trees, whole: a turn wherever people ranked at least two replies of the assistant.

Deleted messages are left out with all that hangs below them, and so are those without a text. Replies without a rank
are no part of the ranking. What was ranked among the prompters is not read: it is no answer of a model. Neither are
the flat files with a message a line, which do not say who answered what without the other lines.
"""

from __future__ import annotations

from typing import Any

from storage.errors import RecordError
from storage.formats import turn
from storage.formats.turn import Conversation, Turn

SPEAKERS = {"prompter": "user", "assistant": "assistant"}


def parse(row: Any) -> list[Turn]:
    turn.fields(row, "prompt")
    found: list[Turn] = []
    places = 0  #: where the assistant answered
    below: list[tuple[Any, Conversation]] = [(row["prompt"], [])]
    while below:
        message, before = below.pop()
        said, text = _said(message)
        if message.get("deleted") or not text.strip():
            continue
        replies = _replies(message)
        if not replies:
            continue
        path = [*before, {"role": said, "content": text}]
        below += [(reply, path) for reply in reversed(replies)]
        if said == "user":
            places += 1
            best = _ranked(replies)
            if len(best) > 1:
                found.append(turn.ranking(path, list(best), list(best.values())))
    if not found:
        raise RecordError(f"nowhere in it are two ranked replies of the assistant (of {places} answered messages)")
    return found


def _said(message: Any) -> tuple[str, str]:
    """Whose message it is, and its text."""
    turn.fields(message, "role", "text")
    role = message["role"]
    if not isinstance(role, str) or role not in SPEAKERS:
        raise RecordError(f"the tree has the role {turn.shown(role)}; there are prompter and assistant")
    return SPEAKERS[role], turn.text(message["text"], "text")


def _replies(message: dict[str, Any]) -> list[Any]:
    replies = message.get("replies")
    if replies is not None and not isinstance(replies, list):
        raise RecordError(f"replies is {turn.shown(replies)}; it must be a list")
    return replies or []


def _ranked(replies: list[Any]) -> dict[str, int]:
    """The ranks by text; two replies that say the same count once, at their better rank."""
    best: dict[str, int] = {}
    for reply in replies:
        said, text = _said(reply)
        rank = reply.get("rank")
        if said != "assistant" or rank is None or reply.get("deleted") or not text.strip():
            continue
        if isinstance(rank, bool) or not isinstance(rank, int):
            raise RecordError(f"rank is {turn.shown(rank)}; it must be a whole number, 0 for the best")
        best[text] = min(rank, best.get(text, rank))
    return best
