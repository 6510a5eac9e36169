"""Imports and exports through the store: marked, idempotent, invisible until complete, taken back."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path

import pytest

from storage import exporting, importing, search
from storage.errors import NotFound, RecordError, StorageError
from storage.formats import BOTH, module, pairs
from storage.formats.canonical import dumps
from storage.formats.files import Skipped
from storage.formats.turn import Turn
from storage.store import Store
from tests.storage.exchanging import GOOD, chat, counts, many, take, write


def export(store: Store, format: str, kind: str, include: tuple[str, ...] = ()) -> list[dict]:
    return list(exporting.rows(store, exporting.Export(format, kind), include))


# imports


def test_an_import_is_idempotent_and_marked_and_teaches_when_asked(store: Store, tmp_path: Path) -> None:
    file = many(tmp_path / "f.jsonl.gz", 450)  # more than two pieces
    assert take(store, file, "x").added == 450
    before = counts(store)
    again = take(store, file, "x")
    assert (again.added, again.already) == (0, 450)
    assert take(store, file, "y").added == 0
    assert counts(store) == before
    assert store.judgments.live() == []
    assert {(p.source, p.margin) for p in store.judgments.derived(["imports"]).pairs} == {("import:x", 0.5)}
    assert store.threads.list() == []  # imports do not crowd the user's own threads


def test_a_beginning_that_dialogues_share_is_stored_once(store: Store, tmp_path: Path) -> None:
    start = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{**GOOD, "prompt": [*start, {"role": "user", "content": text}]} for text in ("b", "c")]
    take(store, write(tmp_path / "f.jsonl", *rows), "x")
    assert counts(store) | {"threads": 1, "messages": 2 + 2 + 4} == counts(store)
    last = str(store.value("SELECT id FROM messages WHERE content = 'c'"))
    assert store.threads.conversation(last) == rows[1]["prompt"]


def test_strict_refuses_the_whole_file_and_otherwise_bad_lines_are_named(store: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "f.jsonl", GOOD, "{", {"prompt": "p", "chosen": "a"})
    with pytest.raises(RecordError, match=r"f\.jsonl, line 2"):
        take(store, file, "x", strict=True)
    assert counts(store) == dict.fromkeys(counts(store), 0)
    assert importing.imports(store) == []
    summary = take(store, file, "x")
    assert (summary.read, summary.added, summary.skipped.count) == (3, 1, 2)
    assert [line for line, _ in summary.skipped.reasons] == [2, 3]


def test_an_import_counts_for_nothing_until_it_is_complete(store: Store, tmp_path: Path) -> None:
    class Dies:
        """A file whose disk goes away after 500 records."""

        def __init__(self, path: Path) -> None:
            self._turns = importing.FormatTurns(path, "trl-preference")
            self.skipped = Skipped()
            self.read = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            for count, both in enumerate(self._turns):
                if count == 500:
                    raise StorageError("gone")
                yield both

    file = many(tmp_path / "f.jsonl", 900)
    with pytest.raises(StorageError):
        importing.take_in(store, Dies(file), "trl-preference", file.name, "x")
    assert counts(store)["judgments"] == 400
    assert store.judgments.live(["imports"]) == []
    assert search.threads(store, "question") == []
    summary = take(store, file, "x")
    assert (summary.added, summary.already) == (500, 400)
    assert len(store.judgments.live(["import:x"])) == 900


def test_more_under_a_complete_name_hides_it_until_complete_again(store: Store, tmp_path: Path) -> None:
    take(store, many(tmp_path / "a.jsonl", 10), "x")
    take(store, many(tmp_path / "b.jsonl", 10, first=5), "x")
    assert len(store.judgments.live(["import:x"])) == 15
    assert importing.imports(store)[0]["records"] == 15


def test_what_this_home_exported_does_not_come_back_as_an_import(store: Store, tmp_path: Path) -> None:
    chat(store)
    rows = export(store, "trl-preference", "pairs")
    summary = take(store, write(tmp_path / "mine.jsonl", *rows), "mine")
    assert (summary.added, summary.already) == (0, len(rows))


def test_undo_takes_an_import_back_and_it_can_come_again(store: Store, tmp_path: Path) -> None:
    chat(store)
    before = counts(store)
    file = many(tmp_path / "f.jsonl", 450)
    take(store, file, "x")
    done = importing.undo(store, "x")
    assert (done.judgments, done.threads, done.kept_threads, done.adapters) == (450, 450, 0, [])
    assert counts(store) == before
    assert store.value("PRAGMA foreign_key_check") is None
    assert take(store, file, "x").added == 450
    with pytest.raises(NotFound, match="hone import --list"):
        importing.undo(store, "z")


def test_undo_keeps_the_history_of_runs_and_names_what_learned(store: Store, tmp_path: Path) -> None:
    file = many(tmp_path / "f.jsonl", 3)
    take(store, file, "x")
    run = store.runs.queue("dpo", {}, "m")
    store.runs.record_judgments(run.id, [(j.id, "train") for j in store.judgments.live(["imports"])])
    store.adapters.register("a1", model_hash="m", files={}, run_id=run.id)
    assert importing.undo(store, "import:x").adapters == ["v1"]
    assert store.judgments.live(["imports"]) == []
    assert store.value("SELECT count(*) FROM run_judgments") == 3
    assert store.value("SELECT count(*) FROM messages WHERE content IS NOT NULL") == 0
    assert take(store, file, "x").added == 3


def test_the_chat_writes_while_an_import_runs(store: Store, tmp_path: Path) -> None:
    file = many(tmp_path / "f.jsonl", 3000)
    done = threading.Event()

    def other() -> None:
        with Store.open(store.home) as mine:
            take(mine, file, "x")
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    written = 0
    while not done.is_set():
        store.threads.new(f"mine {written}")
        written += 1
    thread.join()
    assert len(store.threads.list()) == written
    assert len(store.judgments.live(["imports"])) == 3000


def test_turn_keys_tell_records_apart() -> None:
    def one(**changes: object) -> Turn:
        return module("trl-preference").parse({**GOOD, **changes})[0]

    assert one().key == one(extra=1).key
    different = [one(), one(prompt="x"), one(chosen="x"), one(rejected="x"), one(margin=0.5)]
    assert len({turn.key for turn in different}) == 5


# exports


def test_every_format_says_what_was_judged_and_reads_it_back(store: Store, tmp_path: Path) -> None:
    prompt = chat(store)
    derived = store.judgments.derived()
    texts = store.threads.contents(id for p in derived.pairs for id in (p.chosen_id, p.rejected_id))
    wanted = {(texts[p.chosen_id], texts[p.rejected_id]) for p in derived.pairs}
    assert len(wanted) == len(derived.pairs) >= 4
    conversation = store.threads.conversation(prompt)
    for format in BOTH:
        for kind, function in exporting.ROWS.items():
            if not hasattr(module(format), function):
                continue
            rows = export(store, format, kind)
            assert len(rows) == len(getattr(derived, kind)) > 0
            turns = [turn for row in rows for turn in module(format).parse(json.loads(dumps(row)))]
            assert all(turn.prompt == conversation for turn in turns)
            if kind == "pairs":
                assert {both[:2] for turn in turns for both in pairs.pairs(turn)} == wanted


def test_private_deleted_and_forgotten_never_leave(store: Store) -> None:
    chat(store, private=True)
    for kind in exporting.ROWS:
        format = {"pairs": "trl-preference", "unpaired": "trl-unpaired", "demonstrations": "trl-sft"}[kind]
        assert export(store, format, kind) == []
    prompt = chat(store)
    assert export(store, "trl-sft", "demonstrations")
    store.threads.delete(store.threads.message(prompt).thread_id)
    assert export(store, "trl-sft", "demonstrations") == []


def test_what_a_format_cannot_say_is_left_out_and_counted(store: Store) -> None:
    thread = store.threads.new()
    prompt = store.threads.add_message(thread.id, None, "user", "say \n\nHuman: hi")
    ids = [store.threads.add_message(thread.id, prompt.id, "assistant", t).id for t in "ab"]
    judgment = store.judgments.pick(prompt.id, ids[0], ids)
    asked = exporting.Export("hh-rlhf", "pairs")
    assert list(exporting.rows(store, asked)) == []
    assert (asked.written, asked.left_out, asked.reasons[0][0]) == (0, 1, judgment.id)
    with pytest.raises(StorageError, match="has no unpaired; it has pairs"):
        exporting.choose("hh-rlhf", "unpaired")


def test_a_text_over_itself_is_no_row(store: Store) -> None:
    thread = store.threads.new()
    prompt = store.threads.add_message(thread.id, None, "user", "q")
    a, b = (store.threads.add_message(thread.id, prompt.id, "assistant", "same") for _ in range(2))
    store.judgments.pick(prompt.id, a.id, [a.id, b.id])
    asked = exporting.Export("trl-preference", "pairs")
    assert list(exporting.rows(store, asked)) == []
    assert asked.left_out == 1
    assert "the same text" in asked.reasons[0][1]


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")

    def fail() -> None:
        with exporting.writing(path, force=True) as file:
            file.write("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]
    assert path.read_text() == "old"
    with pytest.raises(StorageError, match="cannot write"), exporting.writing(tmp_path / "no" / "f"):
        pass
    with pytest.raises(StorageError, match="it is a folder"), exporting.writing(tmp_path):
        pass


def test_an_export_replaces_a_file_only_when_told_to_and_follows_a_link(tmp_path: Path) -> None:
    path, link, new = tmp_path / "out.jsonl", tmp_path / "link", tmp_path / "to"
    path.write_text("old")
    link.symlink_to(path)
    for there in (path, link):
        with pytest.raises(StorageError, match="already: --force replaces it"), exporting.writing(there):
            pass
        assert path.read_text() == "old"
    with exporting.writing(link, force=True) as file:
        file.write("new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    path.unlink()
    with exporting.writing(link) as file:  # to nothing yet
        file.write("newer")
    assert link.is_symlink()
    assert path.read_text() == "newer"

    def late() -> None:
        with exporting.writing(new) as file:
            file.write("mine")
            new.write_text("of another, who came meanwhile")

    with pytest.raises(StorageError, match="already"):
        late()
    assert new.read_text() == "of another, who came meanwhile"
    assert {p.name for p in tmp_path.iterdir()} == {"out.jsonl", "link", "to"}


def test_an_export_goes_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gz"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with exporting.writing(pipe) as file:
        file.write("line\n")
    reader.join(timeout=10)
    assert gzip.decompress(read[0]) == b"line\n"
    assert pipe.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe.gz"]
