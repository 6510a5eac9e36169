"""Files that mean ill, or were damaged on the way: what a file says may be refused, but nothing else may happen."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.errors import RecordError, StorageError
from storage.formats import files
from storage.formats.files import RECORD_BYTES, RECORD_VALUES, Source
from tests.storage.formats.cutting import rows, written


@pytest.mark.parametrize(
    ("content", "expected", "why"),
    [
        (b"", [], ""),
        (b"\n \n\t", [], ""),
        (b"\xef\xbb\xbf", [], ""),
        (b"\xef\xbb\xbf\n\n{}", [(3, {})], ""),
        (b"\n" * 200_000 + b"1\n2", [(200_001, 1), (200_002, 2)], ""),
        (b"1\r\n\r\n2\r\n", [(1, 1), (3, 2)], ""),
        (b"[]", [], ""),
        (b"[ ]\n\n", [], ""),
        (b"[1,\n2]" + b" \n" * 100_000, [(1, 1), (2, 2)], ""),
        (b'["]", "\\"]", "\\\\"]', [(1, "]"), (1, '"]'), (1, "\\")], ""),
        (b"1\n{\n2", [(1, 1), (3, 2)], "not JSON"),
        (b'1\n{"a": NaN}\n2', [(1, 1), (3, 2)], "NaN is no JSON number"),
        (b"1\n-Infinity\n2", [(1, 1), (3, 2)], "-Infinity is no JSON number"),
        (b"1\n" + b"9" * 5000 + b"\n2", [(1, 1), (3, 2)], "not JSON"),
        (b"1\n\xff\n2", [(1, 1), (3, 2)], "not UTF-8: byte 0xff at 1"),
        (b"1\n\0\n2", [(1, 1), (3, 2)], "not JSON"),
        (b"1\n" + b"[" * 100_000 + b"\n2", [(1, 1), (3, 2)], "nested too deeply"),
        (b"1\n" + b'{"a":' * 100_000 + b"\n2", [(1, 1), (3, 2)], "nested too deeply"),
        (b"[1," + b"[" * 5000 + b"]" * 5000 + b",2]", [(1, 1), (1, 2)], "nested too deeply"),
        (b"[1, 2 3, 4]", [(1, 1), (1, 4)], "not JSON"),
        (b"1\n" + b'"%s"' % (b"a" * RECORD_BYTES) + b"\n2", [(1, 1), (3, 2)], "longer than 8 MB"),
        (b'[1,"%s",2]' % (b"a" * RECORD_BYTES), [(1, 1), (1, 2)], "longer than 8 MB"),
        (b'1\n{"a":[%s0]}\n2' % (b"0," * RECORD_VALUES), [(1, 1), (3, 2)], "more than 500000 values"),
        (b'1\n{"a":[%s0]}\n2' % (b"0," * 10_000_000), [(1, 1), (3, 2)], "longer than 8 MB"),
        (b"1\n[%s0]\n2" % (b"[],{}," * 130_000), [(1, 1), (3, 2)], "more than 500000 values"),
    ],
)
def test_what_is_wrong_with_one_record_is_said_and_the_others_are_read(
    tmp_path: Path, content: bytes, expected: Any, why: str
) -> None:
    found, skipped = rows(written(tmp_path, content))
    assert found == expected
    assert [why in reason for _, reason in skipped] == ([True] if why else [])
    if why:
        with pytest.raises(RecordError, match="Nothing was taken in"):
            rows(tmp_path / "a.jsonl", strict=True)


@pytest.mark.parametrize(
    ("content", "name", "found", "why"),
    [
        (b"[1, 2, 3", "a.json", 3, "the array has no end"),
        (b'[1, "2, 3', "a.json", 1, "the array has no end"),
        (b"[1, 2}\n", "a.json", 1, "it has a '}' too many"),
        (b"[1, 2] [3]", "a.json", 2, "there is more behind the end of the array: b'[3]'"),
        (b"[1]" + b" " * 200_000 + b"2", "a.json", 1, "there is more behind the end of the array"),
        (gzip.compress(b"1\n" * 100_000, mtime=0)[:-30], "a.jsonl.gz", None, "ends in the middle"),
        (gzip.compress(b"1\n", mtime=0)[:-8] + b"\0" * 8, "a.jsonl.gz", None, "CRC check failed"),
        (gzip.compress(b"1\n", mtime=0) + b"rubbish", "a.jsonl.gz", None, "Not a gzipped file"),
        (b'{"a": 1}\n', "a.jsonl.gz", 0, "Not a gzipped file"),
        (b"", "a.jsonl.gz", None, ""),
        (gzip.compress(b"1\n", mtime=0), "a.jsonl", 0, ""),
    ],
)
def test_a_file_that_is_damaged_as_a_whole(
    tmp_path: Path, content: bytes, name: str, found: int | None, why: str
) -> None:
    source = Source(written(tmp_path, content, name))
    count, said = 0, ""
    try:
        for _ in source.rows():
            count += 1
    except StorageError as error:
        said = str(error)
    assert why in said
    assert bool(why) == bool(said)
    assert found is None or count == found


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.jsonl", tmp_path / "gone" / "a.jsonl.gz"):
        with pytest.raises(StorageError, match="cannot read"):
            list(Source(path).rows())
        assert files.size(tmp_path / "gone") == 0


@pytest.mark.parametrize("name", ["-rf.jsonl", "a\nb.jsonl", "%s{0}.jsonl", "..jsonl", "\x1b[31m.jsonl", "~", "$HOME;"])
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, b'{"id": "../../escaped", "file": "/etc/passwd"}\n1\nx\n', name)
    found, skipped = rows(path)
    assert (len(found), len(skipped)) == (2, 1)
    assert [child.name for child in tmp_path.iterdir()] == [name]
    assert not (tmp_path.parent.parent / "escaped").exists()


# what a file may take

MEASURED = """
import resource, sys, time
from pathlib import Path
from storage.formats.files import Source
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
source = Source(Path(sys.argv[1]))
rows = list(source.rows())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(rows, source.skipped.count, source.skipped.reasons[0][1], (peak - before) // 1024, time.process_time(), sep="|")
"""


def zeros(path: Path) -> None:
    """A line of 1 GB, of which nothing is on the disk, and one behind it."""
    with open(path, "wb") as file:
        file.truncate(1 << 30)
        file.seek(0, 2)
        file.write(b"\n1")


def text_in_an_array(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(b'["')
        file.truncate(1 << 30)
        file.seek(0, 2)
        file.write(b'",1]')


def bomb(path: Path) -> None:
    """256 MB in 256 kB, in members of gzip one behind the other."""
    path.write_bytes(gzip.compress(bytes(32 << 20), 9) * 8 + gzip.compress(b"\n1", mtime=0))


@pytest.mark.parametrize(("make", "name"), [(zeros, "a.jsonl"), (text_in_an_array, "a.json"), (bomb, "a.jsonl.gz")])
def test_a_huge_record_takes_neither_memory_nor_time(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    path = tmp_path / name
    make(path)
    run = subprocess.run([sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    found, count, why, megabytes, seconds = run.stdout.strip().split("|")
    assert (count, why) == ("1", "the record is longer than 8 MB")
    assert found in ("[(2, 1)]", "[(1, 1)]")
    assert int(megabytes) < 40
    assert float(seconds) < 5
    path.unlink()
