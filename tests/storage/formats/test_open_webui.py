"""The ratings of Open WebUI: thumbs, and the answers beside the one that was rated."""

from __future__ import annotations

from typing import Any

import pytest

from storage.formats import open_webui
from storage.formats.turn import Mark, Said, Turn
from tests.storage.formats.read_only import GOOD_QUESTION, HELLO, HI, LIGHT, THREE, WHY, feedback, refused


def chat_of(row: dict[str, Any]) -> dict[str, Any]:
    return row["snapshot"]["chat"]["chat"]


def messages_of(row: dict[str, Any]) -> dict[str, Any]:
    return chat_of(row)["history"]["messages"]


PICK = Said("pick", (Mark(0, rank=0), Mark(1, rank=1), Mark(2, rank=1)))
UP, DOWN = Said("thumb", (Mark(0, value=1),)), Said("thumb", (Mark(0, value=-1),))


def test_a_thumb_up_is_a_pick_among_the_siblings() -> None:
    for rating in (1, "1"):
        assert open_webui.parse(feedback(rating)) == [Turn([HI, HELLO, WHY], THREE, (PICK, UP))]


def test_a_thumb_down_sets_each_sibling_above_and_none_above_another() -> None:
    above = tuple(Said("ranking", (Mark(other, rank=0), Mark(0, rank=1))) for other in (1, 2))
    assert open_webui.parse(feedback(-1)) == [Turn([HI, HELLO, WHY], THREE, (*above, DOWN))]


def test_an_answer_without_siblings_is_a_thumb_and_a_comment_a_note() -> None:
    (turn,) = open_webui.parse(feedback(siblings=None, comment="Well said."))
    assert turn == Turn([HI, HELLO, WHY], (LIGHT,), (UP, Said("note", (Mark(0),), {"text": "Well said."})))


def test_siblings_that_cannot_be_compared_are_left_out() -> None:
    for change in (
        {"annotation": {"rating": 1}},
        {"error": {"content": "out of memory"}},
        {"done": False},
        {"content": ""},
        {"content": LIGHT},
        {"content": ["?"]},
        {"model": "gamma"},
        {"files": [{"type": "image"}]},
        {"content": '<details type="tool_calls" done="true">\n</details>\n4'},
        {"role": "user"},
    ):
        row = feedback()
        messages_of(row)["a2"] |= change
        assert open_webui.parse(row)[0].answers == (LIGHT, GOOD_QUESTION), change
    row = feedback()
    messages_of(row)["a2"]["annotation"] = {"rating": -1}
    assert open_webui.parse(row)[0].answers == THREE


def test_thoughts_are_no_part_of_an_answer() -> None:
    row = feedback(siblings=None)
    thought = '<details type="reasoning" done="true" duration="3">\n<summary>Thought</summary>\n> hm\n</details>\n'
    messages_of(row)["a1"]["content"] = f"{thought}Blue light\n{thought} scatters more."
    assert open_webui.parse(row)[0].answers == ("Blue light\n\n scatters more.",)
    messages_of(row)["a1"]["content"] = thought
    assert "the rated answer is empty" in refused(open_webui.parse, row)
    unclosed = '<details type="reasoning" done="false">'
    messages_of(row)["a1"]["content"] = unclosed
    assert open_webui.parse(row)[0].answers == (unclosed,)


def test_a_system_prompt_and_merged_answers_are_part_of_the_conversation() -> None:
    row = feedback()
    chat_of(row)["params"] = {"system": "Be brief.", "temperature": 0.2}
    messages_of(row)["a0"]["merged"] = {"status": True, "content": "Hello, all of us!"}
    merged = {"role": "assistant", "content": "Hello, all of us!"}
    assert open_webui.parse(row)[0].prompt == [{"role": "system", "content": "Be brief."}, HI, merged, WHY]


def change(path: str, value: Any) -> dict[str, Any]:
    row = feedback()
    *folders, name = path.split("/")
    part: Any = row
    for folder in folders:
        part = part[folder]
    if value is KeyError:
        del part[name]
    else:
        part[name] = value
    return row


HISTORY = "snapshot/chat/chat/history"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (feedback(0), "data.rating is 0; it must be 1 (good) or -1 (bad)"),
        (feedback(True), "data.rating is True"),
        (feedback(None), "data.rating is None"),
        ({"id": "c1", "title": "Sky", "chat": {}}, "the field 'data' is missing"),
        (change("snapshot", None), "snapshot is None; it must be an object"),
        (change("snapshot/chat", None), "snapshot.chat is None"),
        (change("meta/message_id", "gone"), "the rated answer ('gone') is not in the chat"),
        (change("meta/message_id", ["a1"]), "the rated answer (['a1']) is not in the chat"),
        (change("meta/message_id", "u2"), "the rated message is of the role 'user'"),
        (change(f"{HISTORY}/messages/u1", KeyError), "a message before the rated answer ('u1') is not in the chat"),
        (change(f"{HISTORY}/messages/u1/parentId", "a1"), "go round in a circle"),
        (change(f"{HISTORY}/messages/u1/parentId", "u1"), "go round in a circle"),
        (change(f"{HISTORY}/messages/a1/parentId", "a1"), "go round in a circle"),
        (change(f"{HISTORY}/messages/a1/parentId", None), "was answered (None) is not in the chat"),
        (change(f"{HISTORY}/messages/u2/content", ""), "the prompt ends with a message of the assistant"),
        (change(f"{HISTORY}/messages/u2/files", [{"type": "file"}]), "has files"),
        (change(f"{HISTORY}/messages/u1/role", "tool"), "the role 'tool'"),
        (change(f"{HISTORY}/messages/a1/content", None), "the rated answer is null"),
        (change(f"{HISTORY}/messages", []), "history.messages is []"),
    ],
)
def test_feedback_that_cannot_be_used(row: Any, why: str) -> None:
    assert why in refused(open_webui.parse, row)
