"""Labelled tables: what becomes a ranking, a pair or a thumb, what is refused, and what it takes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage.errors import RecordError, StorageError
from storage.formats.labelled import GROUP, INSTRUCTION, LabelledTurns, turns
from storage.formats.turn import Turn
from storage.importing import take_in
from storage.store import Store

ASK = [{"role": "user", "content": INSTRUCTION}]
Line = tuple[int, Turn]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the temporary files go. Nothing may be left in it."""
    made = tmp_path / "spool"
    yield made
    assert not made.exists() or not list(made.iterdir())


@contextmanager
def measured() -> Iterator[list[int]]:
    """The most memory that Python objects took, in bytes, when it is over."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield found
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def table(path: Path, rows: list[Any], columns: tuple[str, ...] = ("text", "label"), **dialect: Any) -> Path:
    out = io.StringIO()
    csv.writer(out, **dialect).writerows([columns, *rows])
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    return path


def read(path: Path, folder: Path, **options: Any) -> tuple[LabelledTurns, list[Line]]:
    found = turns(path, **{"text": "text", "label": "label", "prefer": ["good"], **options}, folder=folder)
    return found, list(found)


def said(turn: Turn) -> tuple[Any, ...]:
    """A turn in short: the answers with their rank (pair, ranking) or value (thumb)."""
    (one,) = turn.said
    return (one.kind, *((turn.answers[m.answer], m.rank if m.value is None else m.value) for m in one.marks))


ROWS = [("Fine.", "good"), ("Awful.", "bad"), ("Nice.", "good"), ("So so.", "mixed"), ("Lovely.", "good")]
MATCHED = [
    ("ranking", ("Fine.", 0), ("Awful.", 1)),
    ("ranking", ("Nice.", 0), ("So so.", 1)),
    ("thumb", ("Lovely.", 1)),
]


def test_texts_without_a_prompt_are_matched_in_the_order_of_the_file(tmp_path: Path, folder: Path) -> None:
    source, found = read(table(tmp_path / "a.csv", ROWS), folder)
    assert [said(turn) for _, turn in found] == MATCHED
    assert [line for line, _ in found] == [2, 4, 6]
    assert all(turn.prompt == ASK and turn.apart for _, turn in found)
    assert (source.read, source.skipped.count) == (5, 0)
    _, found = read(tmp_path / "a.csv", folder, instruction="Write a review.", prefer=["bad", "mixed"])
    assert [said(turn) for _, turn in found] == [
        ("ranking", ("Awful.", 0), ("Fine.", 1)),
        ("ranking", ("So so.", 0), ("Nice.", 1)),
        ("thumb", ("Lovely.", -1)),
    ]
    assert found[0][1].prompt == [{"role": "user", "content": "Write a review."}]


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        ("a.csv", {}),
        ("a.csv", {"lineterminator": "\n"}),
        ("a.csv", {"delimiter": ";"}),
        ("a.txt", {"delimiter": "|"}),
        ("a.csv", {"delimiter": "\t"}),
        ("a.tsv", {"delimiter": "\t", "quoting": csv.QUOTE_ALL}),
        ("a.csv", {"quoting": csv.QUOTE_ALL}),
    ],
)
def test_the_header_tells_the_dialect(tmp_path: Path, folder: Path, name: str, dialect: dict[str, Any]) -> None:
    rows = [(text, label, '1, 2; "3" | 4') for text, label in ROWS]
    source, found = read(table(tmp_path / name, rows, ("text", "label", "a, b; c"), **dialect), folder)
    assert [said(turn) for _, turn in found] == MATCHED
    assert source.skipped.count == 0


def test_records_in_json(tmp_path: Path, folder: Path) -> None:
    rows = [{"id": n, "text": text, "label": label} for n, (text, label) in enumerate(ROWS)]
    lines, array, packed = tmp_path / "a.jsonl", tmp_path / "a.json", tmp_path / "b.jsonl.gz"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    array.write_text(json.dumps(rows, indent=1))
    packed.write_bytes(gzip.compress(lines.read_bytes()))
    for path in (lines, array, packed):
        source, found = read(path, folder)
        assert [said(turn) for _, turn in found] == MATCHED
        assert source.read == 5
    numbers = [{"text": text, "label": label} for text, label in (("A", 1), ("B", 0), ("C", True), ("D", 1.0))]
    lines.write_text("".join(json.dumps(row) + "\n" for row in numbers))
    _, found = read(lines, folder, prefer=["1"])
    assert [said(turn) for _, turn in found] == [
        ("ranking", ("A", 0), ("B", 1)),
        ("ranking", ("D", 0), ("C", 1)),
    ]


def test_a_column_of_prompts_makes_rankings_and_thumbs(tmp_path: Path, folder: Path) -> None:
    rows = [
        ("P1", "A", "5"),
        ("P2", "B", "5"),
        ("P1", "C", "1"),
        ("P1", "D", "4"),
        ("P1", "E", "2"),
        ("P3", "F", "1"),
        ("P2", "G", "5"),
        ("P4", "H", "4"),
    ]
    path = table(tmp_path / "a.csv", rows, ("ask", "text", "stars"))
    source, found = read(path, folder, label="stars", prompt="ask", prefer=["5", "4"])
    assert [(turn.prompt[0]["content"], *said(turn)) for _, turn in found] == [
        ("P1", "ranking", ("A", 0), ("D", 1), ("C", 2), ("E", 2)),
        ("P2", "thumb", ("B", 1), ("G", 1)),
        ("P3", "thumb", ("F", -1)),
    ]
    assert not any(turn.apart for _, turn in found)
    assert source.skipped.reasons == [
        (9, "it is neither of the best label nor of the others, and has nothing beside it")
    ]


def test_where_every_label_is_preferred_the_last_one_is_not(tmp_path: Path, folder: Path) -> None:
    path = table(tmp_path / "a.csv", [("A", "1"), ("B", "3"), ("C", "2"), ("D", "1"), ("E", "1")])
    _, found = read(path, folder, prefer=["3", "2", "1"])
    assert [said(turn) for _, turn in found] == [
        ("ranking", ("B", 0), ("A", 1)),
        ("ranking", ("C", 0), ("D", 1)),
        ("thumb", ("E", -1)),
    ]
    _, found = read(table(path, [("A", "1"), ("B", "1")]), folder, prefer=["1"])
    assert [said(turn) for _, turn in found] == [("thumb", ("A", 1)), ("thumb", ("B", 1))]


def test_a_prompt_with_too_many_rows_is_matched_too(tmp_path: Path, folder: Path) -> None:
    rows = [("P", f"text {n}", "good" if n % 3 else "bad") for n in range(GROUP + 1)]
    _, found = read(table(tmp_path / "a.csv", rows, ("ask", "text", "label")), folder, prompt="ask")
    assert Counter(turn.said[0].kind for _, turn in found) == {"ranking": 11, "thumb": 11}
    assert all(turn.apart for _, turn in found)
    _, found = read(table(tmp_path / "a.csv", rows[:-1], ("ask", "text", "label")), folder, prompt="ask")
    assert [len(turn.answers) for _, turn in found] == [GROUP]


def test_the_same_text_with_two_labels_is_dropped_and_twice_the_same_counts_once(tmp_path: Path, folder: Path) -> None:
    rows = [("A", "good"), ("B", "bad"), ("A", "bad"), ("B", "bad"), ("C", "good"), ("B", "poor")]
    path = table(tmp_path / "a.csv", rows)
    source, found = read(path, folder)
    assert [said(turn) for _, turn in found] == [("ranking", ("C", 0), ("B", 1))]
    assert source.skipped.reasons == [
        (4, "the same text has another label on line 2"),
        (2, "the same text has another label further down"),
    ]
    with pytest.raises(RecordError, match=r"a\.csv, line 4: the same text has another label on line 2\. Nothing"):
        read(path, folder, strict=True)
    path = table(tmp_path / "b.csv", [("P", "A", "good"), ("Q", "A", "bad")], ("ask", "text", "label"))
    assert len(read(path, folder, prompt="ask")[1]) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"text,label\nA,good\nB,bad,worse\n", "it has 3 cells, the header has 2"),
        (b"text,label\nA,good\nB\n", "it has 1 cells, the header has 2"),
        (b"text,label\nA,good\n ,bad\n", "'text' is empty"),
        (b"text,label\nA,good\nB, \n", "the label ('label') is empty"),
        (b"text,label\nA,good\n\xff,bad\n", "not UTF-8: byte 0xff at 1"),
        (b'text,label\nA,good\n"B"b,bad\n', "not CSV: ',' expected after '\"'"),
        (b'text,label\nA,good\n"B,bad\nC,bad\n', "not CSV: unexpected end of data"),
        (b"text\tlabel\nA\tgood\nB\tbad\tworse\n", "it has 3 cells, the header has 2"),
        (b'{"text": "A", "label": "good"}\n{"text": "B"}\n', "the column 'label' is missing"),
        (b'{"text": "A", "label": "good"}\n{"text": "B", "label": null}\n', "the label ('label') is null"),
        (b'{"text": "A", "label": "good"}\n{"text": ["B"], "label": "bad"}\n', "'text' is a list; it must be a text"),
        (b'{"text": "A", "label": "good"}\n[1]\n', "it is no object"),
        (b'{"text": "A", "label": "good"}\n{"text": "\\ud800", "label": "bad"}\n', "half of a surrogate pair"),
        (b'{"text": "A", "label": "good"}\nnot json\n', "not JSON"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path: Path, folder: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    source, found = read(path, folder)
    assert [said(turn) for _, turn in found] == [("thumb", ("A", 1))]
    ((line, reason),) = source.skipped.reasons
    assert why in reason
    assert (line, source.read) == ((2, 2) if content[:1] == b"{" else (3, 2))
    with pytest.raises(RecordError, match=rf"a\.txt, line {line}: "):
        read(path, folder, strict=True)


def test_it_goes_on_behind_a_bad_row(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,label\n"A"a,good\nB,good\n\xff,bad\n\nC,bad\nD,bad,worse\n"E\ne",good\nF,bad\n')
    source, found = read(path, folder)
    assert [said(turn) for _, turn in found] == [
        ("ranking", ("B", 0), ("C", 1)),
        ("ranking", ("E\ne", 0), ("F", 1)),
    ]
    assert [line for line, _ in source.skipped.reasons] == [2, 4, 7]
    assert [line for line, _ in found] == [3, 8]
    path = tmp_path / "a.tsv"
    path.write_bytes(b"text\tlabel\nA\tgood\n\xff\tbad\nB\tbad\n")
    assert [said(turn) for _, turn in read(path, folder)[1]] == [("ranking", ("A", 0), ("B", 1))]


def test_texts_are_kept_as_they_are(tmp_path: Path, folder: Path) -> None:
    texts = [
        '"quoted"',
        'say "hi"',
        "a\r\nb\n\nc",
        " spaces ",
        "nul \0 and \x1b[31mred",
        "Grüße 🙂",
        "a,b;c\td|e",
        "=1+1",
    ]
    rows = [(text, "good") for text in texts]
    found = read(table(tmp_path / "a.csv", rows), folder)[1]
    assert [turn.answers[0] for _, turn in found] == texts
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for one in (path, packed):
        assert [turn.answers[0] for _, turn in read(one, folder)[1]] == texts
    lines = [text for text in texts if not {"\t", "\n", "\r"} & set(text)]
    plain = tmp_path / "a.tsv"
    plain.write_text("text\tlabel\n" + "".join(f"{text}\tgood\n" for text in lines[1:]), encoding="utf-8", newline="")
    assert [turn.answers[0] for _, turn in read(plain, folder)[1]] == lines[1:]
    table(plain, [(text, "good") for text in lines], delimiter="\t", quoting=csv.QUOTE_ALL)
    assert [turn.answers[0] for _, turn in read(plain, folder)[1]] == lines


@pytest.mark.parametrize(
    ("content", "options", "why"),
    [
        (b"text,label\nA,good\n", {"text": "review"}, "has no column 'review'; there are 'text', 'label'"),
        (b"text;label\nA;good\n", {"label": "stars"}, "has no column 'stars'; there are 'text', 'label'"),
        (b"text,label\nA,good\n", {"prompt": "ask"}, "has no column 'ask'; there are 'text', 'label'"),
        (b'{"text": "A", "label": "good"}', {"prompt": "ask"}, "has no column 'ask'; there are 'text', 'label'"),
        (b"", {}, "has no column 'text'; there are none"),
        (b'"text,label\nA,good\n', {}, "has no column 'text'; there are none"),
        (b"\n\ntext,label\n", {}, "has no column 'text'; there are none"),
        (
            b"text,label\nA,bad\nB,bad\nC,Good\n",
            {},
            "no row of a.txt has the label 'good'; the most frequent are 'bad' (2), 'Good' (1)",
        ),
        ("text,label\nA,good\n".encode("utf-16"), {}, "not UTF-8: byte 0xff at 1"),
        (b"text,label\nA,good\n", {"prefer": []}, "name at least one"),
        (b"text,label\nA,good\n", {"prefer": ["good", "good "]}, "each once"),
        (b"text,label\nA,good\n", {"instruction": " "}, "the instruction is empty"),
    ],
)
def test_what_cannot_be_read_at_all(
    tmp_path: Path, folder: Path, content: bytes, options: dict[str, Any], why: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(StorageError) as error:
        read(path, folder, **options)
    assert why in str(error.value)


def test_a_damaged_or_missing_file(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "a.csv.gz"
    with pytest.raises(StorageError, match="No such file"):
        read(path, folder)
    path.write_bytes(gzip.compress(b"text,label\n" + b"A,good\n" * 10_000)[:-20])
    with pytest.raises(StorageError, match="cannot read"):
        read(path, folder)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StorageError, match="cannot write to"):
        read(table(tmp_path / "a.csv", ROWS), file)


def test_no_file_is_left_where_reading_is_broken_off(tmp_path: Path, folder: Path) -> None:
    found = iter(turns(table(tmp_path / "a.csv", ROWS), text="text", label="label", prefer=["good"], folder=folder))
    next(found)
    assert list(folder.iterdir()) == []  # it has no name any more while it is in use
    found.close()  # type: ignore[attr-defined]


def test_a_quotation_mark_that_is_never_closed_takes_no_more_than_a_record(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "a.csv"
    long = "A long text without any quotation mark. " * 100
    path.write_bytes(b'text,label\n"A,good\n' + f"{long},bad\n".encode() * 10_000 + b"B,good\n")  # 40 MB
    limit = csv.field_size_limit()
    with measured() as peak:
        source, found = read(path, folder)
    assert peak[0] < 100 << 20  # the csv module keeps a record of 8 MB in 32, and twice while it grows
    assert "is a quotation mark never closed?" in source.skipped.reasons[0][1]
    assert [said(turn) for _, turn in found] == [("ranking", ("B", 0), (long, 1))]
    assert csv.field_size_limit() == limit


def test_memory_does_not_grow_with_the_file_and_every_text_is_used_once(tmp_path: Path, folder: Path) -> None:
    """Against a slow count in lists."""
    chance = random.Random(3)
    rows = [(f"{n} " + "x" * 1000, chance.choice(["good", "good", "bad"])) for n in range(20_000)]
    path = table(tmp_path / "a.csv", rows)
    kinds: Counter[str] = Counter()
    digest: list[tuple[int, ...]] = []
    with measured() as peak:
        for _, turn in turns(path, text="text", label="label", prefer=["good"], folder=folder):
            kinds[turn.said[0].kind] += 1
            digest.append(tuple(int(text.split()[0]) for text in turn.answers))
    better, worse = ([n for n, (_, label) in enumerate(rows) if label == name] for name in ("good", "bad"))
    pairs = list(zip(better, worse, strict=False))
    left = better[len(pairs) :] + worse[len(pairs) :]
    assert digest == [*pairs, *((n,) for n in left)]
    assert kinds == {"ranking": len(pairs), "thumb": len(left)}
    assert peak[0] < 5 << 20  # the file has 20 MB


def test_an_import_is_repeated_without_adding_anything(tmp_path: Path, folder: Path, store: Store) -> None:
    path = table(tmp_path / "a.csv", ROWS)
    options: dict[str, Any] = {"text": "text", "label": "label", "prefer": ["good"], "folder": folder}
    first = take_in(store, turns(path, **options), "labelled", path.name, "sentiment")
    assert (first.read, first.added, first.kinds) == (5, 3, {"ranking": 2, "thumb": 1})
    again = take_in(store, turns(path, **options), "labelled", path.name, "sentiment")
    assert (again.added, again.already) == (0, 3)
    derived = store.judgments.derived(["import:sentiment"])
    assert (len(derived.pairs), len(derived.unpaired)) == (2, 1)
    assert {pair.weight for pair in derived.pairs} == {1.0}
