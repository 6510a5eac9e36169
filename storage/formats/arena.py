"""Battles of the Chatbot Arena (LMSYS, LMArena): two whole conversations, and which of them won.

A battle of several turns is read where only the last answers differ. Where the earlier ones do too, as they mostly do,
the whole conversations were judged, and no pair of answers says which of them won. The newer files have contents in
parts, and a turn judged after others has only itself in conversation_a and conversation_b: what the models were shown
before it is not certain, so it is refused.
"""

from __future__ import annotations

from typing import Any

from storage.errors import RecordError
from storage.formats import turn
from storage.formats.turn import Mark, Said, Turn

BOTH_BAD = ("tie (bothbad)", "both_bad", "bothbad")


def parse(row: Any) -> list[Turn]:
    turn.fields(row, "conversation_a", "conversation_b", "winner")
    sides = []
    for name in ("conversation_a", "conversation_b"):
        if not isinstance(row[name], list):
            raise RecordError(f"{name} is {turn.shown(row[name])}; it must be a list of messages")
        sides.append(turn.last_answer(turn.messages(row[name], name), name))
    (prompt, a), (other, b) = sides
    if prompt != other:
        raise RecordError(
            f"the conversations differ before their last answers (they have {len(prompt) + 1} and {len(other) + 1} "
            "messages): the whole of them was judged"
        )
    turns = sum(message["role"] == "user" for message in prompt)
    whole = row.get("full_conversation")
    if isinstance(whole, list) and len(whole) > turns:
        raise RecordError(
            f"it was judged after {len(whole) - turns} earlier turns, which the conversations do not hold"
        )
    winner = row["winner"]
    if winner == "model_a":
        return [turn.pair(prompt, a, b)]
    if winner == "model_b":
        return [turn.pair(prompt, b, a)]
    if winner == "tie":
        return [turn.pair(prompt, a, b, tie=True)]
    if winner in BOTH_BAD:
        answers = tuple(dict.fromkeys((turn.answer(a, "conversation_a"), turn.answer(b, "conversation_b"))))
        marks = tuple(Mark(index, value=-1) for index in range(len(answers)))
        return [Turn(turn.checked(prompt), answers, (Said("all_bad", marks),))]
    raise RecordError(f"winner is {turn.shown(winner)}; there are model_a, model_b, tie and {BOTH_BAD[0]!r}")
