"""The format of OpenAI's preference fine-tuning: input.messages, preferred_output, non_preferred_output.

There is no place for margins and ids: the service takes no other fields. Rows with tools are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.errors import RecordError
from storage.formats import turn
from storage.formats.turn import Conversation, Turn


def parse(row: Any) -> list[Turn]:
    turn.fields(row, "input", "preferred_output", "non_preferred_output")
    given = row["input"]
    if not isinstance(given, dict) or "messages" not in given:
        raise RecordError(f"input is {turn.shown(given)}; it must be an object with messages")
    turn.only_text(given)
    prompt = turn.messages(given["messages"], "input.messages", role="user")
    chosen, rejected = (
        turn.one_answer(turn.messages(row[name], name), name) for name in ("preferred_output", "non_preferred_output")
    )
    return [turn.pair(prompt, chosen, rejected)]


def write_pair(prompt: Conversation, chosen: str, rejected: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "input": {"messages": prompt, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": chosen}],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
    }
