"""Imports and exports through the store: marked, idempotent, invisible until complete, taken back, lossless."""

from __future__ import annotations

import gzip
import json
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import exporting, importing
from storage.errors import NotFound, RecordError, StorageError
from storage.formats import BOTH, hone, hone_import, module, pairs
from storage.formats.canonical import dumps
from storage.formats.files import Skipped
from storage.formats.turn import Turn
from storage.store import Store
from storage.threads import NewAnswer

GOOD = {
    "prompt": [{"role": "user", "content": "hi"}],
    "chosen": [{"role": "assistant", "content": "hello"}],
    "rejected": [{"role": "assistant", "content": "what"}],
}


def write(path: Path, *rows: object) -> Path:
    lines = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def many(path: Path, count: int, first: int = 0) -> Path:
    return write(path, *({**GOOD, "prompt": f"question {i}", "margin": 0.5} for i in range(first, first + count)))


def take(store: Store, path: Path, name: str, format: str = "trl-preference", **how: object) -> importing.Summary:
    return importing.import_file(store, path, format, name, **how)  # type: ignore[arg-type]


def export(store: Store, format: str, kind: str, include: tuple[str, ...] = ()) -> list[dict]:
    return list(exporting.rows(store, exporting.Export(format, kind), include))


def counts(store: Store) -> dict[str, int]:
    tables = ("threads", "messages", "judgments", "judgment_items", "import_keys")
    return {table: int(store.value(f"SELECT count(*) FROM {table}")) for table in tables}


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
    assert store.threads.list(query="question") == []
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


# exports


def chat(store: Store, private: bool = False) -> str:
    """A thread with every kind of judgment; returns its prompt's id."""
    store.add_model("m" * 64, "tiny", "llama", "t", "/somewhere")
    thread = store.threads.new("a title", system_prompt="be kind", private=private)
    prompt = store.threads.add_message(thread.id, None, "user", "quote \u2028 and emoji \U0001f600 \x1b[31m?", tip=True)
    made = [
        NewAnswer(text, at, "m" * 64, None, {"temperature": 0.8}, 7, [1, 2, at], 5, "stop", {"seconds": 0.5})
        for at, text in enumerate(("a\nb", "c", "d"))
    ]
    ids = [m.id for m in store.threads.add_answers(thread.id, prompt.id, made)]
    say = store.judgments
    first = say.pick(prompt.id, ids[0], ids)
    say.rank(prompt.id, [[ids[2]], ids[:2]], supersedes=first.id)
    say.thumb(prompt.id, ids[0], 1)
    say.rate(prompt.id, {ids[0]: 6, ids[1]: 2})
    say.correct(prompt.id, ids[1], "better", ids)
    say.flag(prompt.id, ids[1], "rule-insult", True)
    say.note(prompt.id, ids[1], "too \u009b short")
    say.retract(say.all_bad(prompt.id, ids).id)
    store.splits.assign([prompt.id])
    return prompt.id


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


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old")

    def fail() -> None:
        with exporting.writing(path) as file:
            file.write("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]
    assert path.read_text() == "old"
    with pytest.raises(StorageError, match="cannot write"), exporting.writing(tmp_path / "no" / "f"):
        pass


# lossless


def save(store: Store, path: Path, private: bool = False) -> bytes:
    with exporting.writing(path) as file:
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


def test_turn_keys_tell_records_apart() -> None:
    def one(**changes: object) -> Turn:
        return module("trl-preference").parse({**GOOD, **changes})[0]

    assert one().key == one(extra=1).key
    different = [one(), one(prompt="x"), one(chosen="x"), one(rejected="x"), one(margin=0.5)]
    assert len({turn.key for turn in different}) == 5
