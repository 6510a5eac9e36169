"""`hone export` and `hone import` from the shell: every format, labels, files that are not what they should be."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from storage.formats import BOTH, READ_ONLY
from tests.commands.shell import TURN, Shell, lines

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PAIR = {"prompt": "why?", "chosen": "one", "rejected": "two"}


def judged(hone: Shell, tmp_path: Path) -> None:
    file = lines(
        tmp_path / "judged.jsonl",
        {**TURN, "ranking": [[1], [0, 2]]},
        {**TURN, "prompt": "and?", "thumbs": [1, None, -1]},
        {**TURN, "prompt": "so?", "correction": {"of": 0, "text": "better"}},
    )
    hone("judge", "--file", file)


@pytest.mark.parametrize("format", BOTH)
def test_every_format_goes_out_and_comes_in(hone: Shell, tmp_path: Path, format: str) -> None:
    judged(hone, tmp_path)
    out = tmp_path / "out.jsonl.gz"
    written = hone.json("export", format, "-o", out)
    assert written["rows"] > 0
    assert written["left_out"] == 0
    assert len(gzip.decompress(out.read_bytes()).splitlines()) == written["rows"]
    assert out.stat().st_mode & 0o077 == 0
    first = out.read_bytes()
    assert "already: --force replaces it" in hone("export", format, "-o", out, code=1)
    hone("export", format, "-o", out, "--force")
    assert out.read_bytes() == first
    elsewhere = ("--home", tmp_path / "elsewhere")
    read = hone.json("import", format, out, *elsewhere)
    assert (read["added"], read["skipped_count"]) == (written["rows"], 0)
    assert hone.json("import", format, out, *elsewhere)["already"] == written["rows"]


def test_the_whole_home_moves_by_the_lossless_format(hone: Shell, tmp_path: Path) -> None:
    judged(hone, tmp_path)
    first, second = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"
    hone("export", "hone", "-o", first, "--include-private")
    hone("import", "hone", first, "--home", tmp_path / "elsewhere")
    hone("export", "hone", "-o", second, "--include-private", "--home", tmp_path / "elsewhere")
    assert first.read_bytes() == second.read_bytes()
    assert "only in the format hone" in hone("export", "trl-sft", "--include-private", code=1)
    assert "belong to the other formats" in hone("export", "hone", "--rows", "pairs", code=1)


def test_an_import_is_listed_and_taken_back(hone: Shell, tmp_path: Path) -> None:
    file = lines(tmp_path / "reviews.jsonl", PAIR)
    assert "import:reviews" in hone("import", "trl-preference", file)
    assert "reviews" in hone("import", "--list")
    assert hone.json("import", "--list")[0]["state"] == "complete"
    assert "1 judgment in 1 thread" in hone("import", "--undo", "reviews")
    assert hone.json("import", "--list")[0] | {"state": "undone", "records": 0} == hone.json("import", "--list")[0]
    assert hone("export", "trl-preference", "--include", "imports") == ""
    assert "there is no import 'nobody'" in hone("import", "--undo", "nobody", code=1)
    assert hone.json("import", "trl-preference", file)["added"] == 1


def test_labels_become_preferences(hone: Shell, tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    file.write_text('text,sentiment\n"Loved it, truly",positive\nAwful,negative\nGreat,positive\nMeh,neutral\n')
    asked = ("import", "labelled", file, "--text", "text", "--label", "sentiment")
    said = hone.json(*asked, "--prefer", "positive")
    assert (said["added"], said["kinds"]) == (2, {"ranking": 2})
    rows = [json.loads(row) for row in hone("export", "trl-preference", "--include", "imports").splitlines()]
    assert {(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows} == {
        ("Loved it, truly", "Awful"),
        ("Great", "Meh"),
    }
    assert {r["hone"]["weight"] for r in rows} == {1.0}  # each pair is a question of its own
    assert "needs --prefer" in hone(*asked, code=1)
    assert "positive" in hone(*asked, "--prefer", "joyful", code=1)
    assert "sentiment" in hone("import", "labelled", file, "--text", "t", "--label", "l", "--prefer", "x", code=1)


def test_files_that_are_not_what_they_should_be(hone: Shell, tmp_path: Path) -> None:
    assert "no file" in hone("import", "alpaca", tmp_path / "none", code=1)
    assert "name a format and a file" in hone("import", code=1)
    (tmp_path / "x.jsonl.gz").write_bytes(b"no gzip")
    assert "cannot read" in hone("import", "alpaca", tmp_path / "x.jsonl.gz", code=1)
    (tmp_path / "cut.json").write_text('[{"instruction": "i", "chosen": "a", "rejected": "b"}, {"instr')
    assert "cut short" in hone("import", "alpaca", tmp_path / "cut.json", code=1)
    assert hone("export", "trl-preference", "--include", "imports") == ""
    assert "cannot write" in hone("export", "alpaca", "-o", tmp_path / "no" / "f", code=1)
    assert "has no unpaired" in hone("export", "hh-rlhf", "--rows", "unpaired", code=1)


@pytest.mark.parametrize(
    ("format", "file", "added"),
    [
        ("hh-rlhf", "hh-harmless-test.jsonl.gz", 2303),
        ("oasst", "oasst-en-100-trees.jsonl", None),
        ("sharegpt", "llamafactory-dpo-en-demo.json", 295),
        ("sharegpt", "llamafactory-kto-en-demo.json", 300),
    ],
)
def test_real_files(hone: Shell, format: str, file: str, added: int | None) -> None:
    if not (DATA / file).exists():
        pytest.skip(f"{file} is not beside the project")
    said = hone.json("import", format, DATA / file)
    assert said["added"] == added or (added is None and said["added"] > 100)
    assert said["added"] + said["already"] > 0.95 * said["read"] or format == "oasst"
    assert hone.json("import", format, DATA / file)["added"] == 0


def test_what_a_terminal_would_obey_never_reaches_it(tmp_path: Path) -> None:
    """`hone export` to a terminal, and the reasons that quote a hostile file."""
    evil = "\x1b]0;owned\x07\x9b31m\u202e"
    file = lines(tmp_path / "f.jsonl", {**PAIR, "prompt": f"hi {evil}"}, {**PAIR, "prompt": [{"role": evil}]}, evil)
    home = ["--home", str(tmp_path / "home")]
    for asked in (["import", "trl-preference", str(file)], ["export", "trl-preference", "--include", "imports"]):
        ours, theirs = pty.openpty()
        process = subprocess.Popen([sys.executable, "-m", "chatapp.cli", *asked, *home], stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 65536):
                seen += piece
        except OSError:  # the other end was closed
            pass
        assert process.wait() == 0
        text = seen.decode().replace("\r\n", "\n")
        assert text
        assert not [c for c in text if c != "\n" and (c < " " or "\x7f" <= c <= "\x9f" or c == "\u202e")]


@pytest.mark.parametrize("format", [*BOTH, *READ_ONLY, "hone"])
def test_random_bytes_are_refused_without_a_traceback(hone: Shell, tmp_path: Path, format: str) -> None:
    file = tmp_path / "noise.jsonl"
    file.write_bytes(bytes(range(256)) * 40 + b"\n{}\n[]\nnull\n" + b'{"a":' * 2000)
    hone("import", format, file, code=1)
    assert "Traceback" not in hone.err
    assert "unexpected" not in hone.err
