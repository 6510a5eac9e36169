r"""Alpaca's format as LLaMA-Factory reads it: instruction and input (joined by "\n"), system and history before them.

With chosen and rejected a row is a pair, with output and kto_tag an answer that is good or bad, with output alone a
demonstration. The whole message is written as instruction; input, system and history are always there, since a reader
that was told of a column wants to find it. `datasets` takes their types from the first 10 MB of a file: a history that
only appears later stops it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.errors import RecordError
from storage.formats import turn
from storage.formats.turn import Conversation, Turn


def parse(row: Any) -> list[Turn]:
    turn.fields(row, "instruction")
    turn.only_text(row)
    prompt = _prompt(row)
    judgment = turn.about(row).get("judgment")
    if row.get("chosen") is not None or row.get("rejected") is not None:
        turn.fields(row, "chosen", "rejected")
        chosen, rejected = (turn.text(row[side], side) for side in ("chosen", "rejected"))
        return [turn.pair(prompt, chosen, rejected, turn.margin(row), judgment=judgment)]
    turn.fields(row, "output")
    output = turn.text(row["output"], "output")
    if row.get("kto_tag") is not None:
        return [turn.thumb(prompt, output, turn.good(row["kto_tag"], "kto_tag"), judgment=judgment)]
    return [turn.demonstration(prompt, output, judgment=judgment)]


def write_pair(prompt: Conversation, chosen: str, rejected: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return turn.signed({**_written(prompt), "chosen": chosen, "rejected": rejected}, about)


def write_unpaired(prompt: Conversation, completion: str, good: bool, about: Mapping[str, Any]) -> dict[str, Any]:
    return turn.signed({**_written(prompt), "output": completion, "kto_tag": good}, about)


def write_demonstration(prompt: Conversation, completion: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return turn.signed({**_written(prompt), "output": completion}, about)


def _prompt(row: dict[str, Any]) -> Conversation:
    found = []
    if row.get("system"):
        found.append({"role": "system", "content": turn.text(row["system"], "system")})
    history = row.get("history")
    if history is not None and not isinstance(history, list):
        raise RecordError(f"history is {turn.shown(history)}; it must be a list of [question, answer]")
    for exchange in history or []:
        if not isinstance(exchange, list) or len(exchange) != 2:
            raise RecordError(f"history holds {turn.shown(exchange)}; each part must be [question, answer]")
        for role, said in zip(("user", "assistant"), exchange, strict=True):
            found.append({"role": role, "content": turn.text(said, "history")})
    parts = (turn.text(row[name], name) for name in ("instruction", "input") if row.get(name) is not None)
    return [*found, {"role": "user", "content": "\n".join(part for part in parts if part)}]


def _written(prompt: Conversation) -> dict[str, Any]:
    turn.alternating(prompt, "alpaca")
    system, said = "", [message["content"] for message in prompt]
    if prompt[0]["role"] == "system":
        system, said = said[0], said[1:]
        if not system:
            raise RecordError("the system prompt is empty; alpaca cannot say that")
    history = [list(both) for both in zip(said[:-1:2], said[1::2], strict=True)]
    return {"instruction": said[-1], "input": "", "system": system, "history": history}
