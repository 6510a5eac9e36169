"""Reads exchange files of any size in constant memory: JSON Lines or one JSON array, gzip by suffix.

A record longer than RECORD_BYTES, nested too deeply or with too many fields is refused by itself, before it is built;
the file goes on behind it. Nothing that a file says is a path, a name of a class or anything else that is acted upon.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from storage.errors import RecordError, StorageError
from storage.formats.turn import Turn

#: the longest record; a chat of a whole year is below 2 MB
RECORD_BYTES = 8 << 20
#: the most values in one record: what they take in memory is many times their text
RECORD_VALUES = 500_000
CHUNK = 1 << 16
#: the most blanks that are kept of those before the first record
BLANKS = 1 << 16
#: reasons kept word by word; the rest is only counted
REASONS = 1000


@dataclass(slots=True)
class Skipped:
    """What could not be read: the first REASONS with line and reason, and how many in all."""

    count: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, why: str) -> None:
        self.count += 1
        if len(self.reasons) < REASONS:
            self.reasons.append((line, why))


class Source:
    """One file: its records one by one, and how many of its bytes were read."""

    def __init__(self, path: Path, *, strict: bool = False, progress: Callable[[int], None] | None = None) -> None:
        self.path = path
        self.skipped = Skipped()
        self.read = 0  #: records found, good and bad
        self._strict = strict
        self._progress = progress

    def turns(self, parse: Callable[[Any], Iterable[Turn]]) -> Iterator[tuple[int, Turn]]:
        """(line, what it says), by a format's parse. Bad records are skipped, or with strict raise RecordError."""
        for line, row in self.rows():
            try:
                found = list(parse(row))
            except RecordError as error:
                self.skip(line, str(error), error)
                continue
            except RecursionError as error:
                self.skip(line, "it is nested too deeply", error)
                continue
            for turn in found:
                yield line, turn

    def rows(self) -> Iterator[tuple[int, Any]]:
        """(line, parsed JSON) of each record. In an array, the line on which the record begins."""
        with self.open() as file:
            for line, raw in _records(file, self._too_long):
                if not raw.strip():
                    continue
                self.read += 1
                try:
                    row = self._parse(raw)
                except ValueError as error:  # RecordError, UnicodeDecodeError and JSONDecodeError are all
                    self.skip(line, _why(error), error)
                except RecursionError as error:
                    self.skip(line, "it is nested too deeply", error)
                else:
                    yield line, row

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(line, bytes) of each line, blank ones too, for what is no JSON. Too long ones are skipped."""
        with self.open() as file:
            yield from _lines(file.read(CHUNK), file, self._too_long)

    def skip(self, line: int, why: str, cause: BaseException | None = None) -> None:
        if self._strict:
            raise RecordError(f"{self.path.name}, line {line}: {why}. Nothing was taken in (--strict)") from cause
        self.skipped.add(line, why)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The file's bytes, decompressed. Raises StorageError for what cannot be read."""
        try:
            with open(self.path, "rb") as raw:
                counted = cast(IO[bytes], _Counted(raw, self._progress) if self._progress else raw)
                if self.path.suffix == ".gz":
                    with gzip.GzipFile(fileobj=counted, mode="rb") as file:
                        yield cast(IO[bytes], file)
                else:
                    yield counted
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, StorageError):
                raise
            what = "ends in the middle" if isinstance(error, EOFError) else getattr(error, "strerror", None) or error
            raise StorageError(f"cannot read {self.path}: {what}") from error

    def _too_long(self, line: int) -> None:
        self.read += 1
        self.skip(line, f"the record is longer than {RECORD_BYTES >> 20} MB")

    def _parse(self, raw: bytes) -> Any:
        # each value but the first of a list or object has a comma before it, and each list or object a bracket
        if len(raw) > RECORD_VALUES and sum(raw.count(mark) for mark in (b",", b"[", b"{")) > RECORD_VALUES:
            raise RecordError(f"it holds more than {RECORD_VALUES} values")
        text = raw.decode("utf-8-sig")
        return json.loads(text, parse_constant=_no_constant)


def size(path: Path) -> int:
    """Bytes on the disk, for a progress bar; 0 where it cannot be said."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _why(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.pos + 1}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: byte {error.object[error.start]:#04x} at {error.start + 1}"
    return str(error) if isinstance(error, RecordError) else f"not JSON: {error}"


def _no_constant(name: str) -> NoReturn:
    raise RecordError(f"{name} is no JSON number")


class _Counted:
    """A file that reports each read's size."""

    def __init__(self, file: IO[bytes], report: Callable[[int], None]) -> None:
        self._file, self._report = file, report

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self._report(len(data))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _records(file: IO[bytes], too_long: Callable[[int], None]) -> Iterator[tuple[int, bytes]]:
    """(line, bytes) of each record of a JSON Lines file or of one array."""
    head, line = b"", 1
    while len(head) < len(BOM_UTF8) and (more := file.read(CHUNK)):
        head += more
    head = head.removeprefix(BOM_UTF8)
    while not (begin := head.lstrip()):
        # blank lines before the first record are counted, not kept; its own blanks are, so that columns are right
        line += head.count(b"\n")
        head = head[head.rfind(b"\n") + 1 :][-BLANKS:]
        more = file.read(CHUNK)
        if not more:
            return
        head += more
    if begin.startswith(b"["):
        yield from _elements(head, file, too_long, line)
    else:
        yield from _lines(head, file, too_long, line)


def _lines(
    head: bytes, file: IO[bytes], too_long: Callable[[int], None], number: int = 1
) -> Iterator[tuple[int, bytes]]:
    kept: list[bytes] = []
    length, chunk = 0, head
    while chunk:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            length += end - start
            if length > RECORD_BYTES:
                too_long(number)
            else:
                yield number, b"".join(kept) + chunk[start:end]
            kept, length, number, start = [], 0, number + 1, end + 1
        length += len(chunk) - start
        if length <= RECORD_BYTES:
            kept.append(chunk[start:])
        else:
            kept = []
        chunk = file.read(CHUNK)
    if length > RECORD_BYTES:
        too_long(number)
    elif length:
        yield number, b"".join(kept)


#: outside a string: what begins one, opens, closes or divides
_MARKS = re.compile(rb'["\[\]{},]')


def _find(chunk: bytes, mark: bytes, at: int) -> int:
    found = chunk.find(mark, at)
    return found if found >= 0 else len(chunk)


def _elements(head: bytes, file: IO[bytes], too_long: Callable[[int], None], line: int) -> Iterator[tuple[int, bytes]]:
    """The elements of one top-level array, cut out by counting brackets outside strings; each is parsed by itself."""
    depth, in_string, escaped = 0, False, False
    kept: list[bytes] = []
    length, began, started = 0, 1, False
    chunk = head

    def keep(piece: bytes) -> None:
        nonlocal length, began, started
        if not started:
            blank = len(piece) - len(piece.lstrip())
            if blank == len(piece):
                return
            started, began = True, line + piece.count(b"\n", 0, blank)
        length += len(piece)
        if length <= RECORD_BYTES:
            kept.append(piece)
        else:
            kept.clear()

    def done() -> Iterator[tuple[int, bytes]]:
        nonlocal length, started
        if length > RECORD_BYTES:
            too_long(began)
        elif started:
            yield began, b"".join(kept)
        kept.clear()
        length, started = 0, False

    while chunk:
        at = begin = 0
        quote = slash = -1  #: the next ones, looked for when they are passed
        if escaped:
            at, escaped = 1, False
        while True:
            if in_string:
                quote = quote if quote >= at else _find(chunk, b'"', at)
                slash = slash if slash >= at else _find(chunk, b"\\", at)
                if slash < quote:
                    at, escaped = slash + 2, slash + 1 == len(chunk)
                elif quote < len(chunk):
                    at, in_string = quote + 1, False
                else:
                    break
                continue
            found = _MARKS.search(chunk, at)
            if found is None:
                break
            at, mark = found.end(), found.group()
            if mark == b'"':
                in_string = True
            elif mark in b"[{":
                depth += 1
                if depth == 1:
                    line += chunk.count(b"\n", begin, at)
                    begin = at
            elif mark in b"]}":
                depth -= 1
                if depth == 0:
                    if mark == b"}":
                        raise StorageError("the array is broken: it has a '}' too many")
                    keep(chunk[begin : at - 1])
                    yield from done()
                    rest = chunk[at:].strip()
                    while not rest and (chunk := file.read(CHUNK)):
                        rest = chunk.strip()
                    if rest:
                        raise StorageError(f"there is more behind the end of the array: {rest[:20]!r}")
                    return
            elif depth == 1:
                keep(chunk[begin : at - 1])
                yield from done()
                line += chunk.count(b"\n", begin, at)
                begin = at
        keep(chunk[begin:])
        line += chunk.count(b"\n", begin)
        chunk = file.read(CHUNK)
    yield from done()
    raise StorageError("the array has no end: the file was cut short")
