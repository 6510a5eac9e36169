"""TRL's preference format: prompt, chosen, rejected as lists of {role, content}.

Texts are read too, and rows whose chosen and rejected carry the whole dialogue, with a prompt beside it or without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.errors import RecordError
from storage.formats import turn
from storage.formats.turn import Conversation, Turn


def parse(row: Any) -> list[Turn]:
    turn.fields(row, "chosen", "rejected")
    turn.only_text(row)
    chosen, rejected = turn.messages(row["chosen"], "chosen"), turn.messages(row["rejected"], "rejected")
    given = None if row.get("prompt") is None else turn.messages(row["prompt"], "prompt", role="user")
    if len(chosen) > 1 and len(rejected) > 1:
        prompt, better, worse = turn.fork(chosen, rejected)
        if given and prompt[-len(given) :] != given:
            raise RecordError("chosen and rejected are dialogues that do not hold the prompt")
    elif given is None:
        raise RecordError(
            "the field 'prompt' is missing, and chosen and rejected are single answers; for dialogues in one text "
            'with "Human:" and "Assistant:" use hh-rlhf'
        )
    else:
        prompt, better, worse = given, turn.one_answer(chosen, "chosen"), turn.one_answer(rejected, "rejected")
    return [turn.pair(prompt, better, worse, turn.margin(row), judgment=turn.about(row).get("judgment"))]


def write_pair(prompt: Conversation, chosen: str, rejected: str, about: Mapping[str, Any]) -> dict[str, Any]:
    row = {
        "prompt": prompt,
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }
    return turn.signed(row, about)
