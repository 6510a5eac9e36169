"""The formats that are read and written: what their rows say, what they cannot say, and that nothing changes on the
way out and in.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import RecordError
from storage.formats import alpaca, hh_rlhf, openai_preference, sharegpt, trl_preference, trl_sft, trl_unpaired
from storage.formats.canonical import dumps
from storage.formats.files import Source
from storage.formats.turn import Conversation, Turn, demonstration, pair, thumb

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

FORMATS = {
    "trl-preference": trl_preference,
    "trl-unpaired": trl_unpaired,
    "trl-sft": trl_sft,
    "openai-preference": openai_preference,
    "hh-rlhf": hh_rlhf,
    "sharegpt": sharegpt,
    "alpaca": alpaca,
}
#: these can say any conversation; the others want user and assistant in turn
ANY_ORDER = (trl_preference, trl_unpaired, trl_sft, openai_preference)
WITH_HONE = (trl_preference, trl_unpaired, trl_sft, sharegpt, alpaca)

SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": "Hi."}
HELLO = {"role": "assistant", "content": "Hello!"}
WHY = {"role": "user", "content": "Why is the sky blue?"}
LIGHT = {"role": "assistant", "content": "Blue light scatters more."}
NO_IDEA = {"role": "assistant", "content": "No idea."}
BETTER, WORSE = LIGHT["content"], NO_IDEA["content"]
CHAT = [HI, HELLO, WHY]

HUMAN = {"from": "human", "value": "Why is the sky blue?"}
GPT = {"from": "gpt", "value": BETTER}
GPT_WORSE = {"from": "gpt", "value": WORSE}
HH = "\n\nHuman: Hi.\n\nAssistant: Hello!\n\nHuman: Why is the sky blue?\n\nAssistant: "
QUESTION = {"instruction": "Why is the sky blue?", "input": ""}

A_PAIR = pair([WHY], BETTER, WORSE)
JOINED = {"role": "user", "content": "Why is\nit so?"}
AFTER_CHAT = pair(CHAT, BETTER, WORSE)
WITH_SYSTEM = pair([SYSTEM, WHY], BETTER, WORSE)

READ: list[tuple[str, dict[str, Any], Turn]] = [
    ("trl-preference", {"prompt": CHAT, "chosen": [LIGHT], "rejected": [NO_IDEA]}, AFTER_CHAT),
    ("trl-preference", {"prompt": WHY["content"], "chosen": BETTER, "rejected": WORSE}, A_PAIR),
    ("trl-preference", {"chosen": [*CHAT, LIGHT], "rejected": [*CHAT, NO_IDEA]}, AFTER_CHAT),
    ("trl-preference", {"prompt": WHY["content"], "chosen": [*CHAT, LIGHT], "rejected": [*CHAT, NO_IDEA]}, AFTER_CHAT),
    ("trl-preference", {"prompt": [WHY], "chosen": LIGHT, "rejected": NO_IDEA, "margin": None}, A_PAIR),
    (
        "trl-preference",
        {"prompt": [WHY], "chosen": [LIGHT], "rejected": [NO_IDEA], "margin": 0.25},
        pair([WHY], BETTER, WORSE, 0.25),
    ),
    (
        "trl-preference",
        {"prompt": [WHY], "chosen": [LIGHT], "rejected": [NO_IDEA], "margin": 7},
        pair([WHY], BETTER, WORSE, 1.0),
    ),
    (
        "trl-preference",
        {
            "prompt": [{"role": "developer", "content": "Be brief."}, WHY],
            "chosen": [{"role": "assistant", "content": [{"type": "text", "text": BETTER}]}],
            "rejected": [NO_IDEA],
        },
        WITH_SYSTEM,
    ),
    ("trl-unpaired", {"prompt": CHAT, "completion": [LIGHT], "label": True}, thumb(CHAT, BETTER, True)),
    ("trl-unpaired", {"prompt": WHY["content"], "completion": WORSE, "label": 0}, thumb([WHY], WORSE, False)),
    ("trl-sft", {"messages": [*CHAT, LIGHT]}, demonstration(CHAT, BETTER)),
    ("trl-sft", {"prompt": CHAT, "completion": [LIGHT]}, demonstration(CHAT, BETTER)),
    ("trl-sft", {"prompt": WHY["content"], "completion": BETTER}, demonstration([WHY], BETTER)),
    (
        "openai-preference",
        {
            "input": {"messages": CHAT, "tools": [], "parallel_tool_calls": True},
            "preferred_output": [LIGHT],
            "non_preferred_output": [NO_IDEA],
        },
        AFTER_CHAT,
    ),
    (
        "openai-preference",
        {"input": {"messages": [SYSTEM, WHY]}, "preferred_output": [LIGHT], "non_preferred_output": [NO_IDEA]},
        WITH_SYSTEM,
    ),
    ("hh-rlhf", {"chosen": HH + BETTER, "rejected": HH + WORSE}, AFTER_CHAT),
    ("hh-rlhf", {"chosen": HH[2:] + BETTER, "rejected": HH[2:] + WORSE}, AFTER_CHAT),
    (
        "hh-rlhf",
        {
            "chosen": f"Be brief.\n\nHuman: {WHY['content']}\n\nAssistant: {BETTER}",
            "rejected": f"Be brief.\n\nHuman: {WHY['content']}\n\nAssistant:{WORSE}",
        },
        WITH_SYSTEM,
    ),
    ("sharegpt", {"conversations": [HUMAN], "chosen": GPT, "rejected": GPT_WORSE}, A_PAIR),
    ("sharegpt", {"conversations": [HUMAN], "system": "Be brief.", "chosen": GPT, "rejected": GPT_WORSE}, WITH_SYSTEM),
    (
        "sharegpt",
        {"conversations": [{"from": "system", "value": "Be brief."}, HUMAN], "chosen": BETTER, "rejected": NO_IDEA},
        WITH_SYSTEM,
    ),
    ("sharegpt", {"conversations": [HUMAN, GPT_WORSE], "kto_tag": False}, thumb([WHY], WORSE, False)),
    ("sharegpt", {"messages": [*CHAT, LIGHT], "label": True}, thumb(CHAT, BETTER, True)),
    (
        "sharegpt",
        {"conversations": [HUMAN, {"from": "bing", "value": BETTER}], "chosen": None, "kto_tag": None},
        demonstration([WHY], BETTER),
    ),
    ("alpaca", {**QUESTION, "chosen": BETTER, "rejected": WORSE}, A_PAIR),
    ("alpaca", {**QUESTION, "output": BETTER, "system": "", "history": None}, demonstration([WHY], BETTER)),
    ("alpaca", {"instruction": "Why is", "input": "it so?", "output": "."}, demonstration([JOINED], ".")),
    (
        "alpaca",
        {**QUESTION, "system": "Be brief.", "history": [["Hi.", "Hello!"]], "output": WORSE, "kto_tag": False},
        thumb([SYSTEM, *CHAT], WORSE, False),
    ),
]

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


FRAGMENTS = (
    "\n\nHuman: ",
    "\n\nAssistant:",
    "\n\nHuman",
    "Human:",
    "\n",
    " ",
    "<|im_end|>",
    "\x1b[2J",
    "\u202e",
    "\r\n",
    "",
)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
texts = st.lists(words | st.sampled_from(FRAGMENTS), max_size=3).map("".join)
said = texts.filter(str.strip)
plain = words.filter(str.strip)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Any order of roles, anything in the messages but the last, which is the user's."""
    roles = draw(st.lists(st.sampled_from(["system", "user", "assistant"]), max_size=4))
    return [{"role": role, "content": draw(texts)} for role in roles] + [{"role": "user", "content": draw(said)}]


@st.composite
def chats(draw: st.DrawFn) -> Conversation:
    """What every format can say: perhaps a system prompt, then user and assistant in turn."""
    count = draw(st.integers(0, 2)) * 2 + 1
    chat = [{"role": ("user", "assistant")[place % 2], "content": draw(plain)} for place in range(count)]
    return [{"role": "system", "content": draw(plain)}, *chat] if draw(st.booleans()) else chat


def written(module: ModuleType, prompt: Conversation, answers: tuple[str, str], good: bool, about: Any) -> list[Any]:
    """(row, the turn that it must give) of every kind that the format has."""
    own = about if module in WITH_HONE else {}
    chosen, rejected = answers
    id = own.get("judgment")
    rows = []
    if hasattr(module, "write_pair"):
        turn = pair(prompt, chosen, rejected, own.get("margin", 0.0), judgment=id)
        rows.append((module.write_pair(prompt, chosen, rejected, about), turn))
    if hasattr(module, "write_unpaired"):
        rows.append((module.write_unpaired(prompt, chosen, good, about), thumb(prompt, chosen, good, judgment=id)))
    if hasattr(module, "write_demonstration"):
        rows.append((module.write_demonstration(prompt, chosen, about), demonstration(prompt, chosen, judgment=id)))
    return rows


two = st.tuples(said, said).filter(lambda both: both[0] != both[1])
two_plain = st.tuples(plain, plain).filter(lambda both: both[0] != both[1])
abouts = st.just({}) | st.fixed_dictionaries(
    {
        "judgment": st.text("0123456789abcdef", min_size=1, max_size=32),
        "margin": st.floats(0, 1),
        "weight": st.just(0.5),
    }
)


@pytest.mark.parametrize("name", FORMATS)
@given(prompt=conversations(), answers=two, good=st.booleans(), about=abouts)
@settings(max_examples=80, deadline=None)
def test_what_is_written_is_read_back_as_it_was_or_refused(
    name: str, prompt: Conversation, answers: tuple[str, str], good: bool, about: dict[str, Any]
) -> None:
    module = FORMATS[name]
    try:
        rows = written(module, prompt, answers, good, about)
    except RecordError:
        assert module not in ANY_ORDER
        return
    for row, turn in rows:
        assert module.parse(json.loads(dumps(row))) == [turn]


@pytest.mark.parametrize("name", FORMATS)
@given(prompt=chats(), answers=two_plain, good=st.booleans(), about=abouts)
@settings(max_examples=50, deadline=None)
def test_an_ordinary_chat_can_be_said_in_every_format(
    name: str, prompt: Conversation, answers: tuple[str, str], good: bool, about: dict[str, Any]
) -> None:
    module = FORMATS[name]
    for row, turn in written(module, prompt, answers, good, about):
        assert module.parse(json.loads(dumps(row))) == [turn]


KEYS = sorted(
    {key for _, row, _ in READ for key in row} | {"role", "content", "from", "value", "messages", "text", "hone"}
)
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63, float("inf"), -0.0])
anything = st.recursive(
    st.none()
    | st.booleans()
    | numbers
    | st.text(max_size=8)
    | st.sampled_from(["user", "assistant", "human", "gpt", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each value inside a row."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


def put(row: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a row with another value in one place; `...` takes it out."""
    if not path:
        return value
    row = copy.deepcopy(row)
    *way, last = path
    inner = row
    for key in way:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return row


@st.composite
def mutants(draw: st.DrawFn) -> Any:
    """A good row with one to three values replaced or taken out."""
    row = draw(st.sampled_from([row for _, row, _ in READ]))
    for _ in range(draw(st.integers(1, 3))):
        row = put(row, draw(st.sampled_from(places(row))), draw(anything))
        if row and isinstance(row, dict) and draw(st.booleans()):
            row = put(row, (draw(st.sampled_from(list(row))),), ...)
    return row


def read_or_refuse(row: Any) -> None:
    """Each parse gives turns that can be stored, or raises RecordError with a text that can be shown."""
    for module in FORMATS.values():
        found, why = [], "read"
        try:
            found = module.parse(row)
        except RecordError as error:
            why = str(error)
        assert why.isprintable()
        assert 0 < len(why) < 800
        for turn in found:
            assert len(turn.key) == 32
            assert turn.prompt[-1]["role"] == "user"
            assert all(answer.strip() for answer in turn.answers)


@given(row=anything | mutants())
@settings(max_examples=400, deadline=None)
def test_whatever_a_row_holds_it_is_read_or_refused(row: Any) -> None:
    read_or_refuse(row)


def test_a_row_nested_as_deep_as_it_goes_is_read_or_refused() -> None:
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    for _, row, _ in READ:
        for place in places(row):
            read_or_refuse(put(row, place, {"content": deep, "value": deep, "text": deep} if place else deep))
            read_or_refuse(put(row, place, deep))


def real(name: str) -> Source:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not on this machine")
    return Source(DATA / name)


def test_reads_2303_of_the_2312_real_hh_pairs() -> None:
    source = real("hh-harmless-test.jsonl.gz")
    turns = [turn for _, turn in source.turns(hh_rlhf.parse)]
    assert (source.read, len(turns), source.skipped.count) == (2312, 2303, 9)
    reasons = Counter(why.split(" (")[0].rstrip("0123456789 ") for _, why in source.skipped.reasons)
    assert reasons == {"chosen is empty": 4, "chosen and rejected part at message": 5}
    for turn in turns:
        assert hh_rlhf.parse(hh_rlhf.write_pair(turn.prompt, *turn.answers, {})) == [turn]


@pytest.mark.parametrize(
    ("name", "kind"), [("llamafactory-dpo-en-demo.json", "ranking"), ("llamafactory-kto-en-demo.json", "thumb")]
)
def test_reads_all_of_the_real_sharegpt_demos(name: str, kind: str) -> None:
    source = real(name)
    turns = [turn for _, turn in source.turns(sharegpt.parse)]
    assert (source.read, len(turns), source.skipped.count) == (300, 300, 0)
    for turn in turns:
        assert [said.kind for said in turn.said] == [kind]
        if kind == "ranking":
            for module in (sharegpt, alpaca, trl_preference, openai_preference):
                assert module.parse(module.write_pair(turn.prompt, *turn.answers, {})) == [turn]
