"""TRL's unpaired preference format: prompt, completion and label, which is true where the answer is good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.formats import turn
from storage.formats.turn import Conversation, Turn


def parse(row: Any) -> list[Turn]:
    turn.fields(row, "prompt", "completion", "label")
    turn.only_text(row)
    prompt = turn.messages(row["prompt"], "prompt", role="user")
    completion = turn.one_answer(turn.messages(row["completion"], "completion"), "completion")
    good = turn.good(row["label"], "label")
    return [turn.thumb(prompt, completion, good, judgment=turn.about(row).get("judgment"))]


def write_unpaired(prompt: Conversation, completion: str, good: bool, about: Mapping[str, Any]) -> dict[str, Any]:
    row = {"prompt": prompt, "completion": [{"role": "assistant", "content": completion}], "label": good}
    return turn.signed(row, about)
