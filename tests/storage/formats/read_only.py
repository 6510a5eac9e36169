"""Rows of the formats that are only read, in the shapes that their programs write."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from storage.errors import RecordError
from storage.formats.turn import Mark, Said

HI = {"role": "user", "content": "Hi."}
HELLO = {"role": "assistant", "content": "Hello!"}
WHY = {"role": "user", "content": "Why is the sky blue?"}
LIGHT, NO_IDEA, GOOD_QUESTION = "Blue light scatters more.", "No idea.", "Good question!"
THREE = (LIGHT, NO_IDEA, GOOD_QUESTION)


def ranks(*values: int) -> Said:
    return Said("ranking", tuple(Mark(index, rank=rank) for index, rank in enumerate(values)))


def refused(parse: Any, row: Any) -> str:
    with pytest.raises(RecordError) as error:
        parse(row)
    return str(error.value)


# Open Assistant


def message(text: str, role: str = "assistant", rank: int | None = None, *replies: Any, **more: Any) -> dict[str, Any]:
    return {
        "message_id": text,
        "text": text,
        "role": role,
        "lang": "en",
        "rank": rank,
        "replies": list(replies),
        **more,
    }


def tree(*replies: Any) -> dict[str, Any]:
    prompt = message(WHY["content"], "prompter", None, *replies, deleted=False)
    return {"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": prompt}


# the Chatbot Arena


def battle(winner: str, a: str = LIGHT, b: str = NO_IDEA, before: Any = (), **more: Any) -> dict[str, Any]:
    return {
        "question_id": "q",
        "model_a": "alpha",
        "model_b": "beta",
        "winner": winner,
        "judge": "arena_user_1",
        "conversation_a": copy.deepcopy([*before, WHY, {"role": "assistant", "content": a}]),
        "conversation_b": copy.deepcopy([*before, WHY, {"role": "assistant", "content": b}]),
        "turn": 1,
        "anony": True,
        "language": "English",
        **more,
    }


# Open WebUI


def feedback(rating: Any = 1, siblings: Any = ("beta", "beta"), **data: Any) -> dict[str, Any]:
    """The rating of the answer `a1` of a chat of three answers to the second message."""
    messages = {
        "u1": {"id": "u1", "parentId": None, "childrenIds": ["a0"], "role": "user", "content": "Hi."},
        "a0": {"id": "a0", "parentId": "u1", "childrenIds": ["u2"], "role": "assistant", "content": "Hello!"},
        "u2": {
            "id": "u2",
            "parentId": "a0",
            "childrenIds": ["a1", "a2", "a3"],
            "role": "user",
            "content": WHY["content"],
        },
        "a1": answered("a1", LIGHT, "alpha", annotation={"rating": rating}),
        "a2": answered("a2", NO_IDEA, "beta"),
        "a3": answered("a3", GOOD_QUESTION, "arena-model", selectedModelId="beta", arena=True),
    }
    history = {"messages": messages, "currentId": "a1"}
    chat = {"id": "", "title": "Sky", "models": ["alpha", "beta"], "params": {}, "history": history, "messages": []}
    return {
        "id": "f1",
        "user_id": "someone",
        "version": 0,
        "type": "rating",
        "data": {
            "rating": rating,
            "model_id": "alpha",
            "sibling_model_ids": list(siblings) if siblings is not None else None,
            "reason": "accurate_information",
            "comment": "",
            "tags": ["science"],
            "details": {"rating": 9},
            **data,
        },
        "meta": {"arena": False, "model_id": "alpha", "message_id": "a1", "message_index": 4, "chat_id": "c1"},
        "snapshot": {"chat": {"id": "c1", "user_id": "someone", "title": "Sky", "chat": chat, "archived": False}},
        "created_at": 1,
        "updated_at": 2,
    }


def answered(id: str, content: str, model: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "parentId": "u2",
        "childrenIds": [],
        "role": "assistant",
        "content": content,
        "model": model,
        "done": True,
        **more,
    }


# Argilla

FIELDS = {"prompt": WHY["content"], "response-1": LIGHT, "response-2": NO_IDEA}


def record(fields: dict[str, Any] | None = None, **questions: Any) -> dict[str, Any]:
    """A record of Argilla 2's records.to_json, one annotator."""
    return {
        "id": "r1",
        "fields": FIELDS if fields is None else fields,
        "metadata": {},
        "suggestions": {},
        "responses": {name.replace("__", "-"): [{"value": value, "user_id": "u"}] for name, value in questions.items()},
        "vectors": {},
        "_server_id": "s",
    }


def older(values: dict[str, Any], fields: dict[str, Any] | None = None, status: str = "submitted") -> dict[str, Any]:
    """A record of a FeedbackDataset of Argilla 1, one annotator."""
    values = {name: {"value": value} for name, value in values.items()}
    response = {"user_id": None, "values": values, "status": status}
    return {"fields": FIELDS if fields is None else fields, "responses": [response], "suggestions": []}


RANKED = [{"value": "response-2", "rank": 2}, {"value": "response-1", "rank": 1}]
