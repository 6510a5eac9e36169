"""Reading and writing TRL's preference format."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from storage.errors import RecordError, StorageError
from storage.formats import trl_preference as trl
from storage.store import Store

GOOD = {
    "prompt": [{"role": "user", "content": "hi"}],
    "chosen": [{"role": "assistant", "content": "hello"}],
    "rejected": [{"role": "assistant", "content": "what"}],
}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_reads_conversations_strings_and_implicit_prompts(tmp_path: Path) -> None:
    user, bye = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "bye"}
    file = write(
        tmp_path / "f.jsonl",
        GOOD,
        {"prompt": "hi", "chosen": "hello", "rejected": "what"},
        {"chosen": [user, *GOOD["chosen"]], "rejected": [user, bye]},
    )
    records = list(trl.read(file))
    assert [(r.prompt, r.chosen) for r in records] == [([user], "hello")] * 3
    assert [r.rejected for r in records] == ["what", "what", "bye"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{broken", "not JSON"),
        ([], "expected an object"),
        ({"prompt": "hi", "chosen": "a"}, "'rejected' is missing"),
        ({"prompt": "", "chosen": "a", "rejected": "a"}, "same text"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "prompt is empty"),
        ({"prompt": [{"role": "assistant", "content": "x"}], "chosen": "a", "rejected": "b"}, "end with the user"),
        ({"prompt": [{"role": "robot", "content": "x"}], "chosen": "a", "rejected": "b"}, "'robot'"),
        ({"prompt": "hi", "chosen": 3, "rejected": "b"}, "chosen is int"),
        ({**GOOD, "margin": "wide"}, "margin is 'wide'"),
    ],
)
def test_a_bad_line_is_named_and_skipped_or_refused(tmp_path: Path, row: object, why: str) -> None:
    file = write(tmp_path / "f.jsonl", GOOD, row, {**GOOD, "prompt": "again"})
    skipped: list[tuple[int, str]] = []
    assert [r.line for r in trl.read(file, skipped=skipped)] == [1, 3]
    assert skipped[0][0] == 2
    assert why in skipped[0][1]
    with pytest.raises(RecordError, match="line 2"):
        list(trl.read(file, strict=True))


def test_a_file_that_is_no_text_or_no_gzip_says_so(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "f.jsonl.gz").write_bytes(b"not gzip")
    for name in ("f.jsonl", "f.jsonl.gz", "missing.jsonl"):
        with pytest.raises(StorageError, match=name):
            list(trl.read(tmp_path / name, skipped=[]))


def test_import_is_idempotent_and_marked(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl.gz"
    with gzip.open(file, "wt") as out:
        for i in range(450):  # more than two pieces
            out.write(json.dumps({**GOOD, "prompt": f"question {i}", "hone": {"margin": 0.5}}) + "\n")
    assert trl.import_file(store, file, "x").added == 450
    again = trl.import_file(store, file, "x")
    assert (again.added, again.already) == (0, 450)
    assert trl.import_file(store, file, "y").added == 0
    assert store.judgments.live() == []
    assert {(p.source, p.margin) for p in store.judgments.derived(["imports"]).pairs} == {("import:x", 0.5)}
    assert store.threads.list() == []  # imports do not crowd the user's own threads


def test_strict_refuses_the_whole_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RecordError):
        trl.import_file(store, write(tmp_path / "f.jsonl", GOOD, "{"), "x", strict=True)
    assert store.value("SELECT count(*) FROM messages") == 0


def test_what_is_exported_is_read_back(store: Store, tmp_path: Path) -> None:
    thread = store.threads.new(system_prompt="be kind")
    prompt = store.threads.add_message(thread.id, None, "user", "quote \u2028 and emoji \U0001f600?")
    ids = [store.threads.add_message(thread.id, prompt.id, "assistant", t).id for t in ("a\nb", "c", "d")]
    store.judgments.rank(prompt.id, [[ids[2]], [ids[0], ids[1]]])
    rows = list(trl.export(store))
    assert [row["chosen"] for row in rows] == [[{"role": "assistant", "content": "d"}]] * 2
    file = write(tmp_path / "f.jsonl", *rows)
    assert [r.prompt for r in trl.read(file)] == [store.threads.conversation(prompt.id)] * 2
    assert {r.rejected for r in trl.read(file)} == {"a\nb", "c"}
