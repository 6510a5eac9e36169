"""The formats that are read and written, by hand: what their rows say, and what they cannot say."""

from __future__ import annotations

from typing import Any

import pytest

from storage.errors import RecordError
from storage.formats import alpaca, hh_rlhf, openai_preference, sharegpt
from storage.formats.turn import Conversation, Turn
from tests.storage.formats.two_way import (
    BETTER,
    CHAT,
    FORMATS,
    GPT,
    HELLO,
    HH,
    HI,
    HUMAN,
    LIGHT,
    NO_IDEA,
    READ,
    SYSTEM,
    WHY,
    WORSE,
)

REFUSED: list[tuple[str, Any, str]] = [
    ("trl-preference", [], "expected an object with chosen, rejected, found a list"),
    ("trl-preference", {"prompt": "hi", "chosen": "a"}, "'rejected' is missing; there are 'prompt', 'chosen'"),
    ("trl-preference", {"prompt": "hi", "chosen": "a", "rejected": "a"}, "same text"),
    ("trl-preference", {"prompt": [], "chosen": "a", "rejected": "b"}, "the prompt is empty"),
    ("trl-preference", {"prompt": [HELLO], "chosen": "a", "rejected": "b"}, "must end with the user's"),
    ("trl-preference", {"prompt": "hi", "chosen": 3, "rejected": "b"}, "chosen is a number"),
    ("trl-preference", {"prompt": "hi", "chosen": " ", "rejected": "b"}, "chosen is empty"),
    (
        "trl-preference",
        {"prompt": "hi", "chosen": "\ud800", "rejected": "b"},
        "half of a surrogate pair at character 0",
    ),
    ("trl-preference", {"chosen": "a", "rejected": "b"}, "use hh-rlhf"),
    ("trl-preference", {"chosen": [HI, LIGHT], "rejected": [WHY, LIGHT]}, "part at message 1"),
    ("trl-preference", {"chosen": [HI, HI], "rejected": [HI, LIGHT]}, "chosen ends with a message of the user"),
    ("trl-preference", {"prompt": "Bye.", "chosen": [HI, LIGHT], "rejected": [HI, NO_IDEA]}, "do not hold the prompt"),
    ("trl-preference", {"prompt": "hi", "chosen": "a", "rejected": "b", "margin": "wide"}, "margin is 'wide'"),
    ("trl-preference", {"prompt": "hi", "chosen": "a", "rejected": "b", "margin": 10**400}, "margin is 1000000"),
    ("trl-preference", {"prompt": "hi", "chosen": "a", "rejected": "b", "margin": -1}, "rejected answer would be"),
    ("trl-preference", {"prompt": "hi", "chosen": "a", "rejected": "b", "images": ["x.png"]}, "the row has images"),
    (
        "trl-preference",
        {"prompt": [WHY, {"role": "assistant", "tool_calls": [{}]}, HI], "chosen": "a", "rejected": "b"},
        "prompt holds a call of a tool",
    ),
    ("trl-unpaired", {"prompt": "hi", "completion": "a", "label": "yes"}, "label is 'yes'; it must be true"),
    ("trl-unpaired", {"prompt": "hi", "completion": "a", "label": 2}, "label is 2"),
    ("trl-unpaired", {"prompt": "hi", "completion": [HI, LIGHT], "label": 1}, r"one message .* found \[user, assis"),
    ("trl-sft", {"text": "once upon a time"}, "does not say who speaks"),
    ("trl-sft", {"messages": [LIGHT]}, "the prompt is empty"),
    ("trl-sft", {"messages": CHAT}, "messages ends with a message of the user; it must end with an answer"),
    ("trl-sft", {"messages": [{"role": "tool", "content": "4"}, LIGHT]}, "the role 'tool'"),
    ("openai-preference", {"input": [], "preferred_output": [], "non_preferred_output": []}, "an object with messages"),
    (
        "openai-preference",
        {"input": {"messages": [HI], "tools": [{}]}, "preferred_output": "a", "non_preferred_output": "b"},
        "the row has tools",
    ),
    (
        "openai-preference",
        {"input": {"messages": [HI]}, "preferred_output": [LIGHT, LIGHT], "non_preferred_output": [NO_IDEA]},
        "preferred_output must be one message",
    ),
    ("hh-rlhf", {"chosen": "hi", "rejected": "ho"}, "chosen has no turn"),
    ("hh-rlhf", {"chosen": HH, "rejected": HH + "x"}, "chosen is empty"),
    ("hh-rlhf", {"chosen": HH + "a\n\nHuman: b", "rejected": HH + "x"}, "chosen ends with a message of the user"),
    ("hh-rlhf", {"chosen": HH + "a", "rejected": HH + "b\n\nAssistant: c"}, r"part at message 4 \(of 4 and 5\)"),
    ("sharegpt", {"chat": []}, "'conversations' is missing"),
    ("sharegpt", {"conversations": [HUMAN]}, "must end with an answer"),
    ("sharegpt", {"conversations": [HUMAN], "chosen": GPT}, "'rejected' is missing"),
    ("sharegpt", {"conversations": [{"from": "function_call", "value": "{}"}]}, "a call of a tool"),
    ("sharegpt", {"conversations": [{"from": "me", "value": "hi"}]}, "a message from 'me'; use human, gpt or system"),
    ("sharegpt", {"conversations": [{"from": "gpt"}]}, "needs from and value"),
    ("sharegpt", {"conversations": [HUMAN, GPT], "tools": "[{}]"}, "the row has tools"),
    ("alpaca", {"instruction": "hi"}, "'output' is missing"),
    ("alpaca", {"instruction": "", "input": "", "output": "a"}, "last message is empty"),
    ("alpaca", {"instruction": "hi", "output": "a", "history": [["one"]]}, r"history holds \['one'\]"),
    ("alpaca", {"instruction": "hi", "output": "a", "history": "none"}, "history is 'none'"),
]


@pytest.mark.parametrize(("name", "row", "says"), READ)
def test_a_row_says_what_its_format_means(name: str, row: dict[str, Any], says: Turn) -> None:
    assert FORMATS[name].parse(row) == [says]


@pytest.mark.parametrize(("name", "row", "why"), REFUSED)
def test_a_row_that_cannot_be_used_is_refused_with_the_reason(name: str, row: Any, why: str) -> None:
    with pytest.raises(RecordError, match=why):
        FORMATS[name].parse(row)


def test_rows_are_written_as_their_readers_expect_them() -> None:
    prompt = [SYSTEM, *CHAT]
    assert openai_preference.write_pair([WHY], "a", "b", {"judgment": "j"}) == {
        "input": {"messages": [WHY], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [{"role": "assistant", "content": "a"}],
        "non_preferred_output": [{"role": "assistant", "content": "b"}],
    }
    assert hh_rlhf.write_pair(CHAT, BETTER, WORSE, {"judgment": "j"}) == {"chosen": HH + BETTER, "rejected": HH + WORSE}
    assert sharegpt.write_unpaired([SYSTEM, WHY], BETTER, True, {}) == {
        "conversations": [{"from": "system", "value": "Be brief."}, HUMAN, GPT],
        "kto_tag": True,
    }
    assert alpaca.write_demonstration(prompt, BETTER, {"judgment": "j"}) == {
        "instruction": "Why is the sky blue?",
        "input": "",
        "system": "Be brief.",
        "history": [["Hi.", "Hello!"]],
        "output": BETTER,
        "hone": {"judgment": "j"},
    }


@pytest.mark.parametrize(
    ("name", "prompt", "why"),
    [
        ("hh-rlhf", [{"role": "user", "content": "a\n\nHuman: b"}], "begins a new turn in hh-rlhf"),
        ("hh-rlhf", [{"role": "system", "content": "Human: b"}, HI], "begins a new turn in hh-rlhf"),
        ("hh-rlhf", [{"role": "system", "content": ""}, HI], "the system prompt is empty"),
        ("hh-rlhf", [HI, SYSTEM, HI], "message 2 is the system's"),
        ("sharegpt", [HI, WHY], "message 2 is the user's; in sharegpt user and assistant must take turns"),
        ("sharegpt", [SYSTEM, HELLO, HI], "message 2 is the assistant's"),
        ("sharegpt", [SYSTEM], "does not end with the user's"),
        ("alpaca", [], "does not end with the user's"),
        ("alpaca", [HI, HELLO], "does not end with the user's"),
        ("alpaca", [{"role": "system", "content": ""}, HI], "the system prompt is empty; alpaca cannot say that"),
    ],
)
def test_what_a_format_cannot_say_is_not_written(name: str, prompt: Conversation, why: str) -> None:
    with pytest.raises(RecordError, match=why):
        FORMATS[name].write_pair(prompt, "yes", "no", {})
