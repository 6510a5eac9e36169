"""Labelled texts as preferences: a table (CSV, TSV) or JSON records with a text and a label each, as of sentiment.

With a column of prompts, the rows of one prompt are one turn: a ranking in groups by the label's place among those
preferred (all others last), or thumbs where they are all of one group. Without, or where a prompt has more rows than
can be ranked, preferred texts and others are matched one to one in the order of the file, a pair each, and what is left
over becomes thumbs; each is a question of its own. A thumb is up for the best label and down for those that are not
preferred; the labels between say nothing by themselves. Where every label of the file is among those preferred, the
last of them is the one that is not.

A table is read as UTF-8. TSV has a row a line; CSV (divided by comma, semicolon, tab or bar) may quote line breaks.
"""

from __future__ import annotations

import csv
import hashlib
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from storage.errors import RecordError, StorageError, translate
from storage.formats import turn
from storage.formats.files import RECORD_BYTES, Skipped, Source
from storage.formats.turn import Mark, Said, Turn

INSTRUCTION = "Write a short text."
#: the most answers that are ranked together: a ranking of n says n² / 2 things
GROUP = 32
#: labels that are counted, to name the frequent ones
_LABELS = 10_000
_DELIMITERS = (",", ";", "\t", "|")
_SCHEMA = """
CREATE TABLE prompts(id INTEGER PRIMARY KEY, key BLOB UNIQUE, text TEXT);
CREATE TABLE rows(
  id INTEGER PRIMARY KEY, prompt INTEGER, key BLOB, text TEXT, place INTEGER, line INTEGER, doubtful INTEGER DEFAULT 0,
  UNIQUE(prompt, key));
CREATE INDEX by_prompt ON rows(prompt);
"""
_Row = tuple[int, str, int]  # line, text, place


def turns(
    path: Path,
    *,
    text: str,
    label: str,
    prefer: Sequence[str],
    prompt: str | None = None,
    instruction: str = INSTRUCTION,
    strict: bool = False,
    progress: Callable[[int], None] | None = None,
    folder: Path,
) -> LabelledTurns:
    """The turns of a file. text, label and prompt are columns, prefer the labels preferred, the best first.

    folder takes a temporary file about as large as the texts. Reading raises StorageError for what cannot be read at
    all and, with strict, RecordError for the first bad row, before the first turn.
    """
    columns = {"text": text, "label": label, **({} if prompt is None else {"prompt": prompt})}
    return LabelledTurns(path, columns, list(prefer), instruction, strict=strict, progress=progress, folder=folder)


class LabelledTurns:
    """A labelled file: its turns, with the line of a row each, and what was skipped."""

    def __init__(
        self,
        path: Path,
        columns: dict[str, str],
        prefer: list[str],
        instruction: str,
        *,
        strict: bool,
        progress: Callable[[int], None] | None,
        folder: Path,
    ) -> None:
        self._places = {label.strip(): place for place, label in enumerate(prefer)}
        if not prefer or len(self._places) != len(prefer):
            raise StorageError(f"the preferred labels are {prefer}; name at least one, and each once")
        self._source = Source(path, strict=strict, progress=progress)
        self.skipped: Skipped = self._source.skipped
        self._columns, self._folder = columns, folder
        self._prompt = [{"role": "user", "content": turn.answer(instruction, "the instruction")}]
        self._labels: Counter[str] = Counter()

    @property
    def read(self) -> int:
        return self._source.read

    def __iter__(self) -> Iterator[tuple[int, Turn]]:
        with _spool(self._folder) as db:
            self._fill(db)
            self._check_labels()
            self._skip_doubtful(db)
            yield from self._turns(db)

    # in: each text once, in the order of the file

    def _fill(self, db: sqlite3.Connection) -> None:
        prompts: dict[bytes, int] = {}
        for line, row in self._rows():
            try:
                said, label, prompt = (self._cell(row, name) for name in ("text", "label", "prompt"))
            except RecordError as error:
                self._source.skip(line, str(error), error)
                continue
            if len(self._labels) < _LABELS or label in self._labels or label in self._places:
                self._labels[label] += 1
            place = self._places.get(label, len(self._places))
            of = self._prompt_id(db, prompt, prompts)
            key = _digest(said)
            same = db.execute("SELECT id, place, line FROM rows WHERE prompt = ? AND key = ?", (of, key)).fetchone()
            if same is None:
                insert = "INSERT INTO rows(prompt, key, text, place, line) VALUES (?, ?, ?, ?, ?)"
                db.execute(insert, (of, key, said, place, line))
            elif same[1] != place:
                db.execute("UPDATE rows SET doubtful = 1 WHERE id = ?", (same[0],))
                self._source.skip(line, f"the same text has another label on line {same[2]}")

    def _prompt_id(self, db: sqlite3.Connection, prompt: str, known: dict[bytes, int]) -> int:
        key = _digest(prompt)
        if key not in known:
            if len(known) > 1000:  # what is looked up is mostly near
                known.clear()
            db.execute("INSERT OR IGNORE INTO prompts(key, text) VALUES (?, ?)", (key, prompt))
            known[key] = db.execute("SELECT id FROM prompts WHERE key = ?", (key,)).fetchone()[0]
        return known[key]

    def _cell(self, row: dict[str, Any], name: str) -> str:
        """The text, the label or the prompt of a row."""
        if name not in self._columns:
            return self._prompt[0]["content"]
        column = self._columns[name]
        if column not in row:
            raise RecordError(f"the column {column!r:.40} is missing")
        value = row[column]
        if name == "label":
            if isinstance(value, bool):
                value = str(value).lower()
            elif isinstance(value, int | float):
                value = str(int(value) if isinstance(value, float) and value.is_integer() else value)
            return turn.answer(value, f"the label ({column!r:.40})").strip()
        return turn.answer(value, f"{column!r:.40}")

    def _check_labels(self) -> None:
        missing = [label for label in self._places if label not in self._labels]
        if missing and self.read > self.skipped.count:
            there = ", ".join(f"{label!r:.40} ({count})" for label, count in self._labels.most_common(8))
            raise StorageError(
                f"no row of {self._source.path.name} has the label {missing[0]!r:.40}; the most frequent are {there}"
            )

    def _skip_doubtful(self, db: sqlite3.Connection) -> None:
        for (line,) in db.execute("SELECT line FROM rows WHERE doubtful ORDER BY id"):
            self._source.skip(line, "the same text has another label further down")
        db.execute("DELETE FROM rows WHERE doubtful")

    # out

    def _turns(self, db: sqlite3.Connection) -> Iterator[tuple[int, Turn]]:
        others = db.execute("SELECT 1 FROM rows WHERE place = ? LIMIT 1", (len(self._places),)).fetchone()
        worst = len(self._places) if others or len(self._places) == 1 else len(self._places) - 1
        for of, text in db.execute("SELECT id, text FROM prompts ORDER BY id"):
            prompt = [{"role": "user", "content": text}]
            some: list[_Row] = db.execute(
                "SELECT line, text, place FROM rows WHERE prompt = ? ORDER BY id LIMIT ?", (of, GROUP + 1)
            ).fetchall()
            if "prompt" not in self._columns or len(some) > GROUP:
                yield from self._matched(db, of, prompt, worst)
            elif len({place for _, _, place in some}) > 1:
                yield some[0][0], turn.ranking(prompt, [row[1] for row in some], [row[2] for row in some])
            elif some:
                yield from self._thumbs(prompt, some, worst)

    def _matched(
        self, db: sqlite3.Connection, of: int, prompt: turn.Conversation, worst: int
    ) -> Iterator[tuple[int, Turn]]:
        select = "SELECT line, text, place FROM rows WHERE prompt = ? AND place {} ? ORDER BY id"
        preferred, others = (db.execute(select.format(sign), (of, worst)) for sign in ("<", ">="))
        better: _Row | None
        other: _Row | None
        for better, other in zip_longest(preferred, others):
            if better and other:
                found = [(better[0], turn.pair(prompt, better[1], other[1]))]
            else:
                found = list(self._thumbs(prompt, [row for row in (better, other) if row], worst))
            for line, one in found:
                yield line, replace(one, apart=True)

    def _thumbs(self, prompt: turn.Conversation, rows: Sequence[_Row], worst: int) -> Iterator[tuple[int, Turn]]:
        """Rows of one group, good or bad by themselves."""
        line, _, place = rows[0]
        if 0 < place < worst:
            for line, _, _ in rows:
                self._source.skip(line, "it is neither of the best label nor of the others, and has nothing beside it")
            return
        marks = tuple(Mark(index, value=1 if place == 0 else -1) for index in range(len(rows)))
        yield line, Turn(prompt, tuple(text for _, text, _ in rows), (Said("thumb", marks),))

    # the rows of the file

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._source.open() as file:
            head = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
        if not _is_table(self._source.path) and head[:1] in (b"{", b"["):
            yield from self._records()
        else:
            yield from self._table()

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        checked = False
        for line, row in self._source.rows():
            if not isinstance(row, dict):
                self._source.skip(line, "it is no object")
                continue
            if not checked:
                self._check_columns(list(row))
                checked = True
            yield line, row

    def _table(self) -> Iterator[tuple[int, dict[str, Any]]]:
        feed = _Feed(self._source)
        limit = csv.field_size_limit(2 * RECORD_BYTES)  # the feed's own limit comes first
        try:
            head = next(feed, "")
            columns, reader = self._header(head, feed)
            while True:
                feed.begin()
                try:
                    cells = next(reader)
                    if len(cells) != len(columns) and cells:
                        raise RecordError(f"it has {len(cells)} cells, the header has {len(columns)}")
                except StopIteration:
                    return
                except (RecordError, csv.Error) as error:
                    self._source.read += 1
                    self._source.skip(
                        feed.line, f"not CSV: {error}" if isinstance(error, csv.Error) else str(error), error
                    )
                    continue
                if cells:
                    self._source.read += 1
                    yield feed.line, dict(zip(columns, cells, strict=True))
        finally:
            csv.field_size_limit(limit)

    def _header(self, head: str, feed: _Feed) -> tuple[list[str], Iterator[list[str]]]:
        """The columns, and a reader of the rows below: divided by what gives the columns that were named."""
        tabs_first = ".tsv" in self._source.path.suffixes or ".tab" in self._source.path.suffixes
        for delimiter in sorted(_DELIMITERS, key=lambda one: one != "\t") if tabs_first else _DELIMITERS:
            columns = _names(head, delimiter)
            if set(self._columns.values()) <= set(columns):
                break
        else:
            delimiter = max(_DELIMITERS, key=head.count)
            columns = _names(head, delimiter)
        self._check_columns(columns)
        return columns, _reader(feed, delimiter)

    def _check_columns(self, there: Sequence[str]) -> None:
        for column in self._columns.values():
            if column not in there:
                names = ", ".join(f"{name!r:.40}" for name in there[:30]) or "none"
                raise StorageError(f"{self._source.path.name} has no column {column!r:.40}; there are {names}")


def _is_table(path: Path) -> bool:
    return any(suffix in (".csv", ".tsv", ".tab") for suffix in path.suffixes)


class _Feed:
    """A file's lines as text, for the csv module; it knows where a record begins and how long it has become."""

    def __init__(self, source: Source) -> None:
        self._lines = source.lines()
        self._begun = False
        self._length = 0
        self.line = 1

    def begin(self) -> None:
        self._begun, self._length = False, 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        number, raw = next(self._lines)
        if not self._begun:
            self._begun, self.line = True, number
        self._length += len(raw)
        if self._length > RECORD_BYTES:
            raise RecordError(f"the record is longer than {RECORD_BYTES >> 20} MB; is a quotation mark never closed?")
        try:
            return raw.decode("utf-8-sig" if number == 1 else "utf-8") + "\n"
        except UnicodeDecodeError as error:
            raise RecordError(f"not UTF-8: byte {raw[error.start]:#04x} at {error.start + 1}") from error


def _reader(lines: Iterator[str], delimiter: str) -> Iterator[list[str]]:
    return _Tabs(lines) if delimiter == "\t" else csv.reader(lines, delimiter=delimiter, strict=True)


def _names(head: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(_reader(iter([head]), delimiter), [])]
    except csv.Error:
        return []


class _Tabs:
    """csv.reader for TSV: a row a line, whatever quotation marks a text has. It goes on behind a line that failed."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def __iter__(self) -> _Tabs:
        return self

    def __next__(self) -> list[str]:
        line = next(self._lines).rstrip("\r\n")
        return [_unquoted(cell) for cell in line.split("\t")] if line.strip() else []


def _unquoted(cell: str) -> str:
    """A cell as a spreadsheet writes it, without its quotation marks; a text that has some of its own keeps them."""
    inner = cell[1:-1]
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


@contextmanager
def _spool(folder: Path) -> Iterator[sqlite3.Connection]:
    """A database without a name: whatever happens, its file is gone when this process lets go of it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="labelled-", suffix=".db", dir=folder)
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror or error}") from error
    os.close(handle)
    path = Path(name)
    try:
        db = sqlite3.connect(path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            db.execute("PRAGMA cache_size = -32000")
            db.executescript(_SCHEMA)
            path.unlink()
            db.execute("BEGIN")
            yield db
        finally:
            db.close()
    except sqlite3.Error as error:
        raise translate(error, path) from error
    finally:
        path.unlink(missing_ok=True)
