"""TRL's formats for fine-tuning: messages that end with the answer to learn, or prompt and completion.

Only the last answer is a demonstration; earlier ones of the same dialogue are part of its prompt. A plain `text` is
refused: it does not say who speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.errors import RecordError
from storage.formats import turn
from storage.formats.turn import Conversation, Turn


def parse(row: Any) -> list[Turn]:
    if isinstance(row, dict) and "text" in row and "messages" not in row and "completion" not in row:
        raise RecordError("a plain text does not say who speaks; use messages, or prompt and completion")
    if isinstance(row, dict) and row.get("completion") is not None:
        turn.fields(row, "prompt")
        prompt = turn.messages(row["prompt"], "prompt", role="user")
        answer = turn.one_answer(turn.messages(row["completion"], "completion"), "completion")
    else:
        turn.fields(row, "messages")
        prompt, answer = turn.last_answer(turn.messages(row["messages"], "messages"), "messages")
    turn.only_text(row)
    return [turn.demonstration(prompt, answer, judgment=turn.about(row).get("judgment"))]


def write_demonstration(prompt: Conversation, completion: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return turn.signed({"messages": [*prompt, {"role": "assistant", "content": completion}]}, about)
