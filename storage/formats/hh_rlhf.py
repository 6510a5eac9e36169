r"""Anthropic's HH-RLHF: chosen and rejected, each a whole dialogue in one text.

A turn begins with "\n\nHuman: " or "\n\nAssistant: ". What stands before the first one is read and written as the
system prompt. The format has two fields and no more, so ids and margins are not written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from storage.errors import RecordError
from storage.formats import turn
from storage.formats.turn import Conversation, Turn

MARKS = {"user": "Human", "assistant": "Assistant"}
#: at the very beginning also without the empty line, which some copies of the data have lost
_MARK = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")
_INSIDE = re.compile(r"\n\n(Human|Assistant):")


def parse(row: Any) -> list[Turn]:
    turn.fields(row, "chosen", "rejected")
    prompt, better, worse = turn.fork(_dialogue(row["chosen"], "chosen"), _dialogue(row["rejected"], "rejected"))
    return [turn.pair(prompt, better, worse)]


def write_pair(prompt: Conversation, chosen: str, rejected: str, about: Mapping[str, Any]) -> dict[str, Any]:
    head = "".join(_written(place, message) for place, message in enumerate(prompt))
    better, worse = ({"role": "assistant", "content": text} for text in (chosen, rejected))
    return {"chosen": head + _written(len(prompt), better), "rejected": head + _written(len(prompt), worse)}


def _dialogue(value: Any, name: str) -> Conversation:
    text = turn.text(value, name)
    marks = list(_MARK.finditer(text))
    if not marks:
        raise RecordError(f'{name} has no turn: each begins with an empty line and "Human:" or "Assistant:"')
    system = text[: marks[0].start()]
    found = [{"role": "system", "content": system}] if system.strip() else []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        role = "user" if mark[1] == "Human" else "assistant"
        found.append({"role": role, "content": text[mark.end() : end]})
    return found


def _written(place: int, message: Mapping[str, str]) -> str:
    role, content = message["role"], message["content"]
    if role == "system":
        if place > 0:
            raise RecordError(f"message {place + 1} is the system's; in hh-rlhf only the first one can be")
        if not content.strip():
            raise RecordError("the system prompt is empty; hh-rlhf cannot say that")
    if inside := (_MARK if role == "system" else _INSIDE).search(content):
        raise RecordError(f"a message holds {inside[0]!r}, which begins a new turn in hh-rlhf")
    return content if role == "system" else f"\n\n{MARKS[role]}: {content}"
