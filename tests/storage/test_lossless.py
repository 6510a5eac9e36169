"""The lossless format: a home goes out and comes in as it was, joins another, and bad lines do no harm."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import exporting, importing
from storage.errors import StorageError
from storage.formats import hone, hone_import
from storage.store import Store
from tests.storage.exchanging import GOOD, chat, counts, many, take, write


def save(store: Store, path: Path, private: bool = False) -> bytes:
    with exporting.writing(path, force=True) as file:
        exporting.write_lines(file, hone.export(store, private))
    return path.read_bytes()


def full(store: Store, tmp_path: Path) -> None:
    chat(store)
    chat(store, private=True)
    store.threads.archive(store.threads.new("put away").id)
    store.threads.delete(store.threads.new("deleted").id)
    take(store, many(tmp_path / "x.jsonl", 30), "x")
    with store.write() as db:
        db.execute("UPDATE rules SET active = 0 WHERE id = 'rule-human'")
        db.execute("INSERT INTO rules(id, number, name, text, created_at) VALUES ('r9', 90, 'n', 't', '2026-01-01')")


@pytest.mark.parametrize(("name", "private"), [("a.jsonl", True), ("a.jsonl.gz", True), ("a.jsonl", False)])
def test_export_import_export_gives_the_same_bytes(store: Store, tmp_path: Path, name: str, private: bool) -> None:
    full(store, tmp_path)
    first = save(store, tmp_path / name, private)
    with Store.open(tmp_path / "other") as other:
        summary = hone_import.import_file(other, tmp_path / name, "moved")
        assert summary.skipped.count == 0
        assert save(other, tmp_path / f"b-{name}", private) == first
        assert other.judgments.derived(["imports"]) == store.judgments.derived(["imports"])
        assert [t.title for t in other.threads.list()] == [
            t.title for t in store.threads.list() if private or not t.private
        ]
        again = hone_import.import_file(other, tmp_path / name, "moved")
        assert (again.added, again.already) == (0, again.read)
        assert save(other, tmp_path / f"c-{name}", private) == first
    if not private:
        assert len([line for line in first.splitlines() if b'"private":1' in line]) == 0


def test_two_homes_come_together_and_come_apart_again(store: Store, tmp_path: Path) -> None:
    full(store, tmp_path)
    save(store, tmp_path / "a.jsonl", private=True)
    with Store.open(tmp_path / "other") as other:
        chat(other)
        take(other, many(tmp_path / "x.jsonl", 40), "x")  # the same import, by another file
        mine = save(other, tmp_path / "mine.jsonl", private=True)
        before = counts(other)
        hone_import.import_file(other, tmp_path / "a.jsonl", "moved")
        assert len(other.threads.list()) == 2 + len(store.threads.list()) - 1
        done = importing.undo(other, "moved")
        assert done.kept_threads == 0
        assert done.judgments > 0
        assert other.value("PRAGMA foreign_key_check") is None
        left = save(other, tmp_path / "left.jsonl", private=True)
        assert {k: v for k, v in counts(other).items() if k != "import_keys"} == {
            k: v for k, v in before.items() if k != "import_keys"
        }
        assert [line for line in mine.splitlines() if b'"type":"judgment"' in line] == [
            line for line in left.splitlines() if b'"type":"judgment"' in line
        ]


def test_undo_keeps_the_threads_in_which_the_user_went_on(store: Store, tmp_path: Path) -> None:
    prompt = chat(store)
    save(store, tmp_path / "a.jsonl")
    with Store.open(tmp_path / "other") as other:
        hone_import.import_file(other, tmp_path / "a.jsonl", "moved")
        answer = other.threads.children(prompt, "assistant")[0]
        other.threads.add_message(answer.thread_id, answer.id, "user", "and then?")
        done = importing.undo(other, "moved")
        assert (done.threads, done.kept_threads) == (0, 1)
        assert other.judgments.derived() == store.judgments.derived()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"type": "thread"}, "must have the fields"),
        ({"type": "robot"}, "expected an object whose type"),
        ([1], "expected an object whose type"),
        (
            {"type": "split", "key": "../../etc/passwd", "split": "train", "created_at": "2026-01-01"},
            "split.key is '../../etc/passwd'",
        ),
        ({"type": "split", "key": "k", "split": "test", "created_at": "2026-01-01"}, "split.split is 'test'"),
        ({"type": "split", "key": "k", "split": "train", "created_at": "soon"}, "a time in ISO 8601"),
        ({"type": "key", "key": "k", "import": "nobody", "forgotten": 0}, "not among the imports"),
    ],
)
def test_a_bad_line_of_the_lossless_format_is_named(store: Store, tmp_path: Path, line: object, why: str) -> None:
    file = write(tmp_path / "a.jsonl", hone.HEADER, line)
    summary = hone_import.import_file(store, file, "x")
    assert (summary.added, summary.skipped.count) == (0, 1)
    assert summary.skipped.reasons[0][0] == 2
    assert why in summary.skipped.reasons[0][1]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800") | st.just("\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_line_of_the_lossless_format_does_no_harm(store: Store, tmp_path: Path, data: st.DataObject) -> None:
    """Any field of any line may hold anything: it is refused or taken, and the home stays whole."""
    if not (tmp_path / "good.jsonl").exists():
        full(store, tmp_path)
        save(store, tmp_path / "good.jsonl", private=True)
    lines = (tmp_path / "good.jsonl").read_text().splitlines()
    kinds = {json.loads(line)["type"]: number for number, line in enumerate(lines[1:], 1)}
    number = data.draw(st.sampled_from(sorted(kinds.values())))
    row = json.loads(lines[number])
    target = row["generation"] if row.get("generation") and data.draw(st.booleans()) else row
    if row.get("items") and data.draw(st.booleans()):
        target = row["items"][0]
    name = data.draw(st.sampled_from(sorted(target)))
    if data.draw(st.booleans()):
        target[name] = data.draw(anything)
    else:
        del target[name]
    lines[number] = json.dumps(row)
    file = tmp_path / "bad.jsonl"
    file.write_text("\n".join(lines))
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder, Store.open(Path(folder) / "home") as other:
        summary = hone_import.import_file(other, file, "x")
        assert summary.added + summary.already + summary.skipped.count == summary.read
        assert other.value("PRAGMA foreign_key_check") is None
        assert list(hone.export(other, include_private=True))
        other.judgments.derived(["imports"])
        for thread in other.threads.list():
            other.threads.tree(thread.id)


def test_another_file_or_version_is_refused(store: Store, tmp_path: Path) -> None:
    for first, why in ((GOOD, "not in the format hone"), ({**hone.HEADER, "version": 9}, "Update Hone"), ("", "empty")):
        with pytest.raises(StorageError, match=why):
            hone_import.import_file(store, write(tmp_path / "a.jsonl", first), "x")
    assert importing.imports(store) == []
