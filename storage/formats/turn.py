"""What a line of an exchange file says, whatever its format: answers to a prompt, and what was judged of them.

Every format's `parse` makes these; `storage.importing` stores them. The constructors check what comes from outside and
raise RecordError with the field, the value and, where it helps, the way out.
"""

from __future__ import annotations

import hashlib
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.errors import RecordError
from storage.formats.canonical import dumps

Conversation = list[dict[str, str]]

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class Mark:
    """One answer's part in what was said: `storage.preferences.Item`, by the answer's place in the turn."""

    answer: int
    rank: int | None = None
    score: int | None = None
    value: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """One judgment: its kind (`storage.judgments.KINDS`), marks and payload."""

    kind: str
    marks: tuple[Mark, ...]
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """One prompt with its answers and what was said of them."""

    prompt: Conversation
    answers: tuple[str, ...]
    said: tuple[Said, ...]
    #: the judgment's id in the Hone that exported it: that home does not take its own data in again
    judgment: str | None = None
    #: the prompt is one that many share by chance: this turn is a question of its own all the same
    apart: bool = False

    @property
    def key(self) -> str:
        """What makes two records the same one, in any file: 128 bits of SHA-256, hex."""
        said = [[s.kind, [[m.answer, m.rank, m.score, m.value] for m in s.marks], dict(s.payload)] for s in self.said]
        return hashlib.sha256(dumps([self.prompt, self.answers, said]).encode()).hexdigest()[:32]


def pair(
    prompt: Conversation, chosen: str, rejected: str, margin: Any = 0.0, *, tie: bool = False, judgment: Any = None
) -> Turn:
    """chosen is the better answer (tie: neither is). margin: how much better, 0 where nobody said."""
    if chosen == rejected:
        raise RecordError("chosen and rejected are the same text")
    margin = number(margin, "margin")
    marks = (Mark(0, rank=0), Mark(1, rank=0 if tie else 1))
    said = Said("ranking", marks, {"margin": margin} if margin else {})
    return Turn(checked(prompt), (answer(chosen, "chosen"), answer(rejected, "rejected")), (said,), _id(judgment))


def ranking(prompt: Conversation, answers: Sequence[str], ranks: Sequence[int]) -> Turn:
    """ranks: the lowest is best, equal ranks are ties; one for each answer. Equal texts count once, at their best."""
    best: dict[str, int] = {}
    for text, rank in sorted(zip(answers, ranks, strict=True), key=lambda both: both[1]):
        best.setdefault(answer(text, "an answer"), rank)
    if len(best) < 2:
        raise RecordError("fewer than two different answers are ranked")
    places = {rank: place for place, rank in enumerate(sorted(set(best.values())))}
    marks = tuple(Mark(index, rank=places[rank]) for index, rank in enumerate(best.values()))
    return Turn(checked(prompt), tuple(best), (Said("ranking", marks),))


def thumb(prompt: Conversation, completion: str, good: bool, *, judgment: Any = None) -> Turn:
    """One answer, good or bad by itself."""
    said = Said("thumb", (Mark(0, value=1 if good else -1),))
    return Turn(checked(prompt), (answer(completion, "completion"),), (said,), _id(judgment))


def demonstration(prompt: Conversation, completion: str, *, judgment: Any = None) -> Turn:
    """One answer as it should be: stored as a correction of nothing."""
    said = Said("correction", (Mark(0, rank=0),))
    return Turn(checked(prompt), (answer(completion, "completion"),), (said,), _id(judgment))


def checked(prompt: Conversation) -> Conversation:
    """The prompt, if it ends with a message of the user that is not empty."""
    if not prompt:
        raise RecordError("the prompt is empty")
    if prompt[-1]["role"] != "user":
        raise RecordError(f"the prompt ends with a message of the {prompt[-1]['role']}; it must end with the user's")
    if not prompt[-1]["content"].strip():
        raise RecordError("the user's last message is empty")
    return prompt


def answer(value: Any, name: str) -> str:
    """An answer's text: it may be anything but empty."""
    found = text(value, name)
    if not found.strip():
        raise RecordError(f"{name} is empty")
    return found


def text(value: Any, name: str) -> str:
    """A text that can be stored. Content parts ([{"type": "text", "text": ...}]) are joined."""
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        for part in value:
            if not isinstance(part.get("text"), str):
                raise RecordError(f"{name} holds a part of the type {shown(part.get('type'))}; only text can be read")
        value = "".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise RecordError(f"{name} is {_kind(value)}; it must be a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RecordError(
            f"{name} holds half of a surrogate pair at character {error.start}: a character was cut in two"
        ) from error
    return value


def messages(value: Any, name: str, role: str = "assistant") -> Conversation:
    """A text (of `role`), or a list of {role, content}, as a conversation."""
    if isinstance(value, str):
        return [{"role": role, "content": text(value, name)}]
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        raise RecordError(f"{name} is {_kind(value)}; it must be a text or a list of messages")
    found = []
    for message in value:
        if isinstance(message, Mapping) and (message.get("tool_calls") or message.get("function_call")):
            raise RecordError(f"{name} holds a call of a tool; only conversations of texts can be read")
        if not isinstance(message, Mapping) or "content" not in message:
            raise RecordError(f"{name} holds {shown(message)}; each message needs a role and a text content")
        named = message.get("role")
        if not isinstance(named, str) or named not in ROLES:
            raise RecordError(f"{name} has the role {shown(named)}; use system, user or assistant")
        found.append({"role": ROLES[named], "content": text(message["content"], name)})
    return found


def one_answer(conversation: Conversation, name: str) -> str:
    """The text of the one message of the assistant that a conversation consists of."""
    if len(conversation) != 1 or conversation[0]["role"] != "assistant":
        roles = ", ".join(message["role"] for message in conversation[:4])
        raise RecordError(f"{name} must be one message of the assistant, found [{roles}]")
    return conversation[0]["content"]


def last_answer(dialogue: Conversation, name: str) -> tuple[Conversation, str]:
    """What stands before the assistant's message that a dialogue ends with, and that message's text."""
    if not dialogue:
        raise RecordError(f"{name} is empty")
    if dialogue[-1]["role"] != "assistant":
        raise RecordError(f"{name} ends with a message of the {dialogue[-1]['role']}; it must end with an answer")
    return dialogue[:-1], dialogue[-1]["content"]


def fork(chosen: Conversation, rejected: Conversation) -> tuple[Conversation, str, str]:
    """The prompt that two whole dialogues share, and the answers that they end with."""
    prompt, better = last_answer(chosen, "chosen")
    other, worse = last_answer(rejected, "rejected")
    if prompt != other:
        same = 0
        while same < min(len(prompt), len(other)) and prompt[same] == other[same]:
            same += 1
        raise RecordError(
            f"chosen and rejected part at message {same + 1} (of {len(chosen)} and {len(rejected)}); "
            "only their last answers may differ"
        )
    return prompt, better, worse


def alternating(prompt: Conversation, name: str) -> None:
    """Refuse to write a prompt whose user and assistant do not take turns, for a format whose readers leave it out."""
    first = 1 if prompt and prompt[0]["role"] == "system" else 0
    for place, message in enumerate(prompt[first:]):
        if message["role"] != ("user", "assistant")[place % 2]:
            at, role = first + place + 1, message["role"]
            raise RecordError(f"message {at} is the {role}'s; in {name} user and assistant must take turns")
    if not prompt[first:] or prompt[-1]["role"] != "user":
        raise RecordError(f"the prompt does not end with the user's message, as {name} needs it")


def margin(row: Mapping[str, Any]) -> float:
    """How much better chosen is, by a row's `hone` object or `margin`. Above 1, on a scale of its own, counts as 1."""
    value = about(row).get("margin", row.get("margin"))
    found = 0.0 if value is None else number(value, "margin")
    if found < 0:
        raise RecordError(f"margin is {shown(value)}: the rejected answer would be the better one")
    return min(found, 1.0)


def only_text(row: Mapping[str, Any]) -> None:
    """Refuse a row whose answers were given with tools or to pictures: without them they answer something else."""
    for name in ("tools", "image", "images", "videos", "audios"):
        if row.get(name) and row[name] != "[]":
            raise RecordError(f"the row has {name}; only conversations of texts can be read")


def fields(row: Any, *names: str) -> dict[str, Any]:
    """row, if it is an object that has these fields."""
    if not isinstance(row, dict):
        raise RecordError(f"expected an object with {', '.join(names)}, found {_kind(row)}")
    for name in names:
        if name not in row:
            there = ", ".join(f"{key!r:.40}" for key in list(row)[:12]) or "none"
            raise RecordError(f"the field {name!r} is missing; there are {there}")
    return row


def number(value: Any, name: str) -> float:
    """A finite number."""
    try:
        if not isinstance(value, bool | str) and math.isfinite(value):
            return float(value)
    except (TypeError, OverflowError):
        pass
    raise RecordError(f"{name} is {shown(value)}; it must be a number")


def good(value: Any, name: str) -> bool:
    """True or false, also said as 1 or 0."""
    if not isinstance(value, int) or value not in (0, 1):
        raise RecordError(f"{name} is {shown(value)}; it must be true (a good answer) or false (a bad one)")
    return bool(value)


def about(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `hone` object of a row that a Hone wrote, or {}."""
    own = row.get("hone")
    return own if isinstance(own, Mapping) else {}


def signed(row: dict[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """The row, with its `hone` object if that says anything."""
    return {**row, "hone": dict(about)} if about else row


def shown(value: Any) -> str:
    """A value as an error may show it: short, whatever its size or depth."""
    try:
        text = reprlib.repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and value.isascii() and len(value) <= 64 else None


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    words = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return words.get(type(value), type(value).__name__)
