"""Open WebUI's export of feedback: an array with a rating of one answer each, and the chat as it was then.

A thumb is always taken in. Where the answer had siblings, they are compared as Open WebUI's own leaderboard does it:
up, it won against each of them, down, it lost against each (nothing is said of the siblings among themselves). Siblings
that had got the same thumb by then are left out, and so are those whose model the rating does not name.

The rating from 1 to 10 is not read: the thumb decides which half of it can be chosen, so it would count the same
judgment twice, and its ten steps do not fit into seven. Reasons and tags are not read; a comment becomes a note.
"""

from __future__ import annotations

from typing import Any

from storage.errors import RecordError
from storage.formats import turn
from storage.formats.turn import Conversation, Mark, Said, Turn

#: what a model thought, which is folded away in the chat and not sent back to a model
_THOUGHT = ('<details type="reasoning"', '<details type="code_interpreter"')
_TOOLS = '<details type="tool_calls"'
_END = "</details>"


def parse(row: Any) -> list[Turn]:
    turn.fields(row, "data", "meta", "snapshot")
    data = _object(row["data"], "data")
    good = _rating(data.get("rating"))
    chat = _object(_object(row["snapshot"], "snapshot").get("chat"), "snapshot.chat")
    chat = _object(chat.get("chat"), "snapshot.chat.chat")
    messages = _object(_object(chat.get("history"), "history").get("messages"), "history.messages")
    id = _object(row["meta"], "meta").get("message_id")
    rated = _message(messages, id, "the rated answer")
    if rated.get("role") != "assistant":
        raise RecordError(f"the rated message is of the role {turn.shown(rated.get('role'))}, not the assistant's")
    prompt = [*_system(chat), *_path(messages, rated)]
    answers = [turn.answer(_text(rated, "the rated answer"), "the rated answer")]
    answers += (text for text in _siblings(messages, rated, data, good) if text != answers[0])
    answers = list(dict.fromkeys(answers))
    others = range(1, len(answers))
    said: list[Said] = []
    if good and others:
        said.append(Said("pick", (Mark(0, rank=0), *(Mark(other, rank=1) for other in others))))
    elif others:  # one by one, since a ranking would also say that the siblings are equally good
        said += (Said("ranking", (Mark(other, rank=0), Mark(0, rank=1))) for other in others)
    said.append(Said("thumb", (Mark(0, value=1 if good else -1),)))
    comment = data.get("comment")
    if comment is not None and turn.text(comment, "data.comment").strip():
        said.append(Said("note", (Mark(0),), {"text": comment}))
    return [Turn(turn.checked(prompt), tuple(answers), tuple(said))]


def _rating(value: Any) -> bool:
    if not isinstance(value, bool):
        if value in (1, "1"):
            return True
        if value in (-1, "-1"):
            return False
    raise RecordError(f"data.rating is {turn.shown(value)}; it must be 1 (good) or -1 (bad)")


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecordError(f"{name} is {turn.shown(value)}; it must be an object")
    return value


def _message(messages: dict[str, Any], id: Any, name: str) -> dict[str, Any]:
    found = messages.get(id) if isinstance(id, str) else None
    if not isinstance(found, dict):
        raise RecordError(f"{name} ({turn.shown(id)}) is not in the chat that came with the rating")
    return found


def _system(chat: dict[str, Any]) -> Conversation:
    """The chat's own system prompt. That of the user's settings or of the model is not in the export."""
    parameters = chat.get("params")
    system = parameters.get("system") if isinstance(parameters, dict) else None
    return [{"role": "system", "content": turn.text(system, "params.system")}] if system else []


def _path(messages: dict[str, Any], rated: dict[str, Any]) -> Conversation:
    """What stands before an answer, from the first message on. Messages without a text were not sent to the model."""
    found: Conversation = []
    seen: set[str] = set()
    id = rated.get("parentId")
    while id is not None:
        message = _message(messages, id, "a message before the rated answer")
        if id in seen:
            raise RecordError("the messages of the chat go round in a circle")
        seen.add(id)
        role = message.get("role")
        if not isinstance(role, str) or role not in turn.ROLES:
            raise RecordError(f"the chat has the role {turn.shown(role)}; there are user and assistant")
        text = _text(message, "a message of the chat")
        if text.strip():
            found.append({"role": turn.ROLES[role], "content": text})
        id = message.get("parentId")
    found.reverse()
    return found


def _text(message: dict[str, Any], name: str) -> str:
    """A message as the model saw it: of several answers that were merged the merged one, without thoughts."""
    if message.get("files"):
        raise RecordError(f"{name} has files; only conversations of texts can be read")
    merged = message.get("merged")
    shown = merged if isinstance(merged, dict) and "content" in merged else message
    text = turn.text(shown.get("content"), name)
    if _TOOLS in text:
        raise RecordError(f"{name} holds a call of a tool; only conversations of texts can be read")
    return _without_thoughts(text) if message.get("role") == "assistant" else text


def _without_thoughts(text: str) -> str:
    """The text without its folded blocks, which do not hold one another."""
    for opening in _THOUGHT:
        kept, at = [], 0
        while (start := text.find(opening, at)) >= 0 and (end := text.find(_END, start)) >= 0:
            kept.append(text[at:start])
            at = end + len(_END)
        if kept:
            text = "".join([*kept, text[at:]]).strip()
    return text


def _siblings(messages: dict[str, Any], rated: dict[str, Any], data: dict[str, Any], good: bool) -> list[str]:
    """The other answers to the same message that the rating compares with."""
    models = data.get("sibling_model_ids")
    children = _message(messages, rated.get("parentId"), "what was answered").get("childrenIds")
    if not isinstance(models, list) or not isinstance(children, list):
        return []
    found = []
    for child in children:
        sibling = messages.get(child) if isinstance(child, str) else None
        if not isinstance(sibling, dict) or sibling is rated or sibling.get("role") != "assistant":
            continue
        if sibling.get("error") or sibling.get("done") is False:
            continue
        model = sibling.get("selectedModelId") or sibling.get("model")
        annotation = sibling.get("annotation")
        same = isinstance(annotation, dict) and annotation.get("rating") in ((1, "1") if good else (-1, "-1"))
        if model not in models or same:
            continue
        try:
            found.append(turn.answer(_text(sibling, "a sibling"), "a sibling"))
        except RecordError:  # it is empty, or not of text alone
            continue
    return found
