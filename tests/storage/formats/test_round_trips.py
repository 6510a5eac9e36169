"""What is written is read back as it was, random rows are read or refused, and real files are read."""

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
from storage.formats import alpaca, hh_rlhf, openai_preference, sharegpt, trl_preference
from storage.formats.canonical import dumps
from storage.formats.files import Source
from storage.formats.turn import Conversation, demonstration, pair, thumb
from tests.storage.formats.two_way import ANY_ORDER, FORMATS, READ, WITH_HONE

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

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
