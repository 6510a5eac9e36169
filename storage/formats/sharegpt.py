"""ShareGPT's format as LLaMA-Factory and others read it: conversations of {from, value}.

With chosen and rejected a row is a pair, with kto_tag (or label) an answer that is good or bad, with neither a
demonstration. Rows in OpenAI's words (messages of {role, content}) are read too. The system prompt is written as the
first message, which needs no further setting there; a `system` column is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.errors import RecordError
from storage.formats import turn
from storage.formats.turn import Conversation, Turn

SPEAKERS = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "model", "bot", "bing", "bard", "claude"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
#: how it is written
NAMES = {"system": "system", "user": "human", "assistant": "gpt"}
_TOOLS = ("function_call", "function", "observation", "tool", "tool_call", "tool_response")


def parse(row: Any) -> list[Turn]:
    name = (
        "messages" if isinstance(row, dict) and "messages" in row and not row.get("conversations") else "conversations"
    )
    turn.fields(row, name)
    turn.only_text(row)
    dialogue = _messages(row[name], name)
    system = row.get("system")
    if system and not (dialogue and dialogue[0]["role"] == "system"):
        dialogue.insert(0, {"role": "system", "content": turn.text(system, "system")})
    judgment = turn.about(row).get("judgment")
    if row.get("chosen") is not None or row.get("rejected") is not None:
        turn.fields(row, "chosen", "rejected")
        chosen, rejected = (turn.one_answer(_messages(row[side], side), side) for side in ("chosen", "rejected"))
        return [turn.pair(dialogue, chosen, rejected, turn.margin(row), judgment=judgment)]
    prompt, answer = turn.last_answer(dialogue, name)
    for tag in ("kto_tag", "label"):
        if row.get(tag) is not None:
            return [turn.thumb(prompt, answer, turn.good(row[tag], tag), judgment=judgment)]
    return [turn.demonstration(prompt, answer, judgment=judgment)]


def write_pair(prompt: Conversation, chosen: str, rejected: str, about: Mapping[str, Any]) -> dict[str, Any]:
    row = {"conversations": _written(prompt), "chosen": _said("assistant", chosen)}
    return turn.signed({**row, "rejected": _said("assistant", rejected)}, about)


def write_unpaired(prompt: Conversation, completion: str, good: bool, about: Mapping[str, Any]) -> dict[str, Any]:
    row = {"conversations": [*_written(prompt), _said("assistant", completion)], "kto_tag": good}
    return turn.signed(row, about)


def write_demonstration(prompt: Conversation, completion: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return turn.signed({"conversations": [*_written(prompt), _said("assistant", completion)]}, about)


def _messages(value: Any, name: str) -> Conversation:
    """{from, value} or {role, content}, one or a list; a text is the assistant's."""
    if not isinstance(value, list):
        return turn.messages([_message(value, name)] if isinstance(value, dict) else value, name)
    return turn.messages([_message(message, name) for message in value], name)


def _message(message: Any, name: str) -> Any:
    if not isinstance(message, dict) or "from" not in message:
        return message  # {role, content}, or nothing that can be read: turn.messages says why
    speaker = message["from"]
    if speaker in _TOOLS:
        raise RecordError(f"{name} holds a call of a tool (from {speaker!r}); only conversations of texts can be read")
    role = SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None
    if role is None:
        raise RecordError(f"{name} has a message from {turn.shown(speaker)}; use human, gpt or system")
    if "value" not in message:
        raise RecordError(f"{name} holds {turn.shown(message)}; each message needs from and value")
    return {"role": role, "content": message["value"]}


def _said(role: str, text: str) -> dict[str, str]:
    return {"from": NAMES[role], "value": text}


def _written(prompt: Conversation) -> list[dict[str, str]]:
    """The prompt, if its messages alternate: readers of this format leave out every other conversation."""
    turn.alternating(prompt, "sharegpt")
    return [_said(message["role"], message["content"]) for message in prompt]
