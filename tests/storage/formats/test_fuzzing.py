"""Records, files and tables made at random: each is read or refused, and nothing else happens."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage.errors import RecordError, StorageError
from storage.formats import READ_ONLY, files, labelled, module
from storage.formats.turn import Turn
from storage.judgments import KINDS
from tests.storage.formats.cutting import rows, written
from tests.storage.formats.read_only import FIELDS, RANKED, battle, feedback, message, older, record, tree

# the parses: random records, and good ones with something changed

_TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", " ", "\0", "\x1b[31m", "\ud800", "user", "assistant", "a1", "response-1", "1", "submitted"]),
)
_NUMBERS = st.one_of(st.integers(-2, 11), st.sampled_from([10**30, -(10**30), 0.5, 1e300]))
_SCALARS = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS)
_WORDS = """prompt text role replies rank conversation_a conversation_b winner content data meta snapshot fields chat
responses instruction response response-1 rating value user_id status values history messages"""
_NAMES = st.one_of(_TEXTS, st.sampled_from(_WORDS.split()))
JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=5), max_leaves=20
)
GOOD: dict[str, list[Any]] = {
    "oasst": [tree(message("A", rank=1, deleted=False), message("B", "assistant", 0, message("C", "prompter", 0)))],
    "arena": [battle("model_a"), battle("both_bad", full_conversation=[{}]), battle("tie", "A", "B")],
    "open-webui": [feedback(), feedback(-1, comment="No."), feedback("1", siblings=None)],
    "argilla": [
        record(preference=RANKED, response="Better."),
        older({"preference": RANKED, "rating-response-1": 3, "rationale": "So."}),
        record(
            {"chat": [{"role": "user", "content": "Hi."}], "response": "Hello!"}, quality=4, corrected_response="Hi."
        ),
        {**FIELDS, "rating_1": [{"user_id": "u", "value": 4, "status": "submitted"}], "metadata": "{}"},
        {**FIELDS, "preference.responses": [["response-1", "response-2"]], "preference.responses.users": ["u"]},
    ],
}


def check(turn: Turn) -> None:
    """A turn as `storage.importing` needs it."""
    assert turn.prompt
    assert turn.prompt[-1]["role"] == "user"
    assert turn.prompt[-1]["content"].strip()
    assert turn.answers
    assert len(set(turn.answers)) == len(turn.answers)
    for text in (*turn.answers, *(said["content"] for said in turn.prompt)):
        assert text.encode() is not None
    assert all(text.strip() for text in turn.answers)
    assert turn.said
    for said in turn.said:
        assert said.kind in KINDS
        assert said.marks
        assert len({mark.answer for mark in said.marks}) == len(said.marks)
        for mark in said.marks:
            assert 0 <= mark.answer < len(turn.answers)
            assert mark.rank is None or 0 <= mark.rank < len(turn.answers)
            assert mark.score is None or 1 <= mark.score <= 7
            assert mark.value in (None, 1, -1)
    assert len(turn.key) == 32


def harmless(error: StorageError) -> str:
    """The error's text, which a terminal can print whatever the file says."""
    assert str(error).isprintable()
    assert len(str(error)) < 500
    return str(error)


def tried(name: str, row: Any) -> None:
    try:
        turns = module(name).parse(row)
    except RecordError as error:
        harmless(error)
    else:
        assert turns
        for turn in turns:
            check(turn)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def changed(row: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    row = copy.deepcopy(row)
    part = row
    for key in path[:-1]:
        part = part[key]
    if value is KeyError:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return row


def test_there_is_a_parse_for_each() -> None:
    for name in READ_ONLY:
        assert callable(module(name).parse)


@pytest.mark.parametrize("name", READ_ONLY)
def test_the_good_rows_are_good(name: str) -> None:
    for row in GOOD[name]:
        for turn in module(name).parse(row):
            check(turn)


@pytest.mark.parametrize("name", READ_ONLY)
@given(row=JSON)
@settings(max_examples=150, deadline=None)
def test_random_records(name: str, row: Any) -> None:
    tried(name, row)


@pytest.mark.parametrize("name", READ_ONLY)
@given(data=st.data())
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_good_records_with_something_changed(name: str, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(GOOD[name]))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(row))))
        row = changed(row, path, data.draw(st.one_of(JSON, st.just(KeyError) if path else JSON)))
    before = copy.deepcopy(row)
    tried(name, row)
    assert row == before


@pytest.mark.parametrize("name", READ_ONLY)
def test_each_part_of_a_good_record_replaced(name: str) -> None:
    deep = json.loads("[" * 900 + "]" * 900)
    wide = dict.fromkeys((f"\x1b\ud800{n}" for n in range(1000)), 0)
    values = (None, True, -1, 10**30, 1e300, "", "\0\x1b[2J", "\ud800", "user", "a1", [], {}, [[]], [{}], deep, wide)
    for row in GOOD[name]:
        for path in list(places(row)):
            for value in (*values, KeyError):
                if path or value is not KeyError:
                    tried(name, changed(row, path, value))


# how records are cut out of a file


@contextmanager
def chunks(size: int) -> Iterator[None]:
    with mock.patch.object(files, "CHUNK", size):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.integers(),
        st.text(st.sampled_from('ab"\\[]{},:\n\r\t \0é🙂\u2028\ufeff'), max_size=12),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('"\\[,', max_size=3), inner, max_size=3),
    max_leaves=8,
)
_BLANKS = st.text(" \t\r\n", max_size=4)


@given(
    values=st.lists(_VALUES, max_size=6),
    size=st.integers(1, 40),
    indent=st.sampled_from([None, 0, 2]),
    ascii=st.booleans(),
    blanks=st.lists(_BLANKS, min_size=16, max_size=16),
    mark=st.booleans(),
    packed=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_an_array_in_chunks_of_any_size(
    folder: Path,
    values: list[Any],
    size: int,
    indent: int | None,
    ascii: bool,
    blanks: list[str],
    mark: bool,
    packed: bool,
) -> None:
    """Its elements are what json.loads finds, and their lines those on which they begin."""
    text, expected = blanks[0] + "[", []
    for place, value in enumerate(values):
        text += blanks[2 * place + 1]
        expected.append((text.count("\n") + 1, value))
        text += json.dumps(value, indent=indent, ensure_ascii=ascii) + blanks[2 * place + 2]
        text += "," if place < len(values) - 1 else ""
    text += "]" + blanks[-1]
    assert json.loads(text) == values
    content = (b"\xef\xbb\xbf" if mark else b"") + text.encode()
    path = written(folder, gzip.compress(content, 1) if packed else content, "a.json.gz" if packed else "a.json")
    with chunks(size):
        found, skipped = rows(path)
    assert not skipped
    assert found == expected


@given(
    values=st.lists(_VALUES.filter(lambda value: not isinstance(value, list)), max_size=6),
    size=st.integers(1, 40),
    blanks=st.lists(_BLANKS, min_size=8, max_size=8),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    last=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_lines_in_chunks_of_any_size(
    folder: Path, values: list[Any], size: int, blanks: list[str], end: str, mark: bool, last: bool
) -> None:
    text, expected = blanks[0], []
    for place, value in enumerate(values):
        expected.append((text.count("\n") + 1, value))
        text += json.dumps(value, ensure_ascii=False)
        text += end + blanks[place + 1] if last or place < len(values) - 1 else ""
    path = written(folder, (b"\xef\xbb\xbf" if mark else b"") + text.encode())
    with chunks(size):
        found, skipped = rows(path)
    assert not skipped
    assert found == expected


@given(
    content=st.binary(max_size=60) | st.text('[]{}",:\\ \n01a', max_size=60).map(str.encode), size=st.integers(1, 20)
)
@example(content=b"   \x00", size=1)  # found: the column of an error depended on the chunks
@settings(max_examples=500, deadline=None)
def test_random_bytes(folder: Path, content: bytes, size: int) -> None:
    """Whatever the size of the chunks, the same comes of them: an array's elements, or no more than a StorageError."""

    def outcome(size: int) -> Any:
        with chunks(size):
            try:
                return rows(path)
            except StorageError as error:
                return harmless(error).partition(": b'")[0]

    path = written(folder, content)
    assert outcome(size) == outcome(1 << 16)
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if isinstance(value, list):
        assert [element for _, element in rows(path)[0]] == value
    path = written(folder, content, "a.jsonl.gz")
    outcome(size)


@given(
    content=st.binary(max_size=80)
    | st.text('",;\t\n\r\0ab😀\\', max_size=80).map(lambda s: f"text,label\n{s}".encode()),
    name=st.sampled_from(["a.csv", "a.tsv", "a.txt", "a.csv.gz"]),
    size=st.integers(1, 20),
)
@settings(max_examples=300, deadline=None)
def test_random_tables(folder: Path, content: bytes, name: str, size: int) -> None:
    path = written(folder, content, name)
    found = labelled.turns(path, text="text", label="label", prefer=["a"], folder=folder / "spool")
    with chunks(size):
        try:
            for _, turn in found:
                check(turn)
        except StorageError as error:
            harmless(error)
    assert list((folder / "spool").iterdir()) == []
