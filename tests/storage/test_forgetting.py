"""What is forgotten is in no file any more; what was not asked for is still there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage import importing, paths
from storage.errors import InvalidJudgment, NotFound, StorageError
from storage.forgetting import forget, preview
from storage.formats import hone, hone_import
from storage.store import Store
from tests.storage.forgettable import World

THREAD = {"q1", "a1", "a2", "a3", "note", "first correction", "correction", "q2", "b1", "b2", "draft"}
#: gone with whatever is forgotten
ALWAYS = {"cache"}


@pytest.mark.parametrize(
    ("asked", "gone", "touched"),
    [
        # the first question, and all below it; its copy elsewhere stays (see the next test)
        (["q1"], THREAD, {"checkpoint 0", "checkpoint 1"}),
        (["thread"], THREAD | {"system"}, {"checkpoint 0", "checkpoint 1"}),
        # an answer, what followed it, and the corrections that were made of it
        (["a1"], {"a1", "note", "draft"}, {"checkpoint 0", "checkpoint 1"}),
        (["a2"], {"a2", "first correction", "correction", "q2", "b1", "b2", "draft"}, {"checkpoint 0", "checkpoint 1"}),
        (["b1"], {"b1", "draft"}, {"checkpoint 0"}),
        # judgments in a chat: a note, a correction with those before it and what followed it; a pick has no text
        (["note"], {"note"}, set()),
        (["new"], {"first correction", "correction", "q2", "b1", "b2", "draft"}, {"checkpoint 0"}),
        (["pick"], set(), {"checkpoint 0", "checkpoint 1"}),
        # judgments from elsewhere: their texts too, as far as nothing else refers to them
        (["s1 rank"], {"s1", "s1a", "s1b"}, {"checkpoint 1"}),
        (["s2 rank"], {"s2a"}, set()),
        (["s2 rank", "s2 thumb"], {"s2", "s2a", "s2b", "s2c"}, {"checkpoint 1"}),
        (
            ["s1 rank", "s2 rank", "s2 thumb"],
            {"s1", "s1a", "s1b", "s2", "s2a", "s2b", "s2c", "shell system"},
            {"checkpoint 1"},
        ),
        (["i1"], {"i1", "i1a", "i1b"}, {"checkpoint 1"}),
        (["note", "i1", "other"], {"note", "i1", "i1a", "i1b", "other", "c1", "c2"}, {"checkpoint 0", "checkpoint 1"}),
    ],
)
def test_no_file_holds_what_was_forgotten(world: World, asked: list[str], gone: set[str], touched: set[str]) -> None:
    world.store.meta_set("draft:new", world.text("q1"))  # typed before it was sent; the backups have it
    copies = world.backups()
    world.store.meta_set("draft:new", None)
    everything = world.found()
    assert everything == set(world._words)
    # `q1` stands in a thread of its own too: that one is asked for as well, or it could not be gone
    ids = [world.ids[name] for name in asked] + ([world.ids["copy"]] if gone & {"q1"} else [])
    done = forget(world.store, ids)
    assert done.files.backups == [str(path) for path in copies]
    assert done.copies == ([world.ids["q1"]] if "other" in asked else [])
    left = world.found()
    # drafts are taken out of every backup, and out of the thread that lost something
    assert everything - left - {"draft"} == (gone | touched | ALWAYS) - {"draft"}
    assert ("draft" in left) == ("draft" not in gone)
    assert os.path.getsize(f"{paths.database(world.home)}-wal") == 0
    world.intact()
    for name in gone - {"draft"}:
        assert world.search(name) == []
    again = world.take_in()
    assert (again.added, again.forgotten) == (0, int("i1" in asked))
    importing.undo(world.store, "pairs")
    again = world.take_in()
    assert (again.added, again.forgotten) == (2 - ("i1" in asked), int("i1" in asked))
    assert not gone or world.found(*gone) == set()


def test_the_preview_says_the_same_and_changes_nothing(world: World) -> None:
    before = world.store.data_version(), world.found()
    names = ("q1", "new", "s2 rank", "thread", "i1")
    for name in names:
        seen = preview(world.store, [world.ids[name]])
        assert [item.id for item in seen.named] == [world.ids[name]]
        assert seen.named[0].text
    assert (world.store.data_version(), world.found()) == before
    assert (seen.messages, seen.judgments, seen.threads, seen.backups) == (3, 1, 0, 0)
    seen = preview(world.store, [world.ids["q1"]])
    done = forget(world.store, [world.ids["q1"]])
    assert (
        (seen.messages, seen.judgments, seen.copies)
        == (done.messages, done.judgments, done.copies)
        == (9, 5, [world.ids["copy"]])
    )
    assert [v.name for v in seen.versions] == [v.name for v in done.versions] == ["v1", "v2"]
    assert done.as_json()["live"] == ["v2"]
    assert world.word("q1") not in str(done.as_json())
    with pytest.raises(NotFound, match="no thread, message or judgment 'nothing'"):
        preview(world.store, ["nothing"])


def test_copies_are_counted_or_go_too(world: World) -> None:
    done = forget(world.store, [world.ids["q1"][-8:]])
    assert done.copies == [world.ids["copy"]]
    assert world.message("copy").content == world.text("q1")
    assert world.found("q1") == {"q1"}
    # asking again for what is gone finds no copies: they are named once, with their ids
    done = forget(world.store, done.copies, copies=True)
    assert (done.copies, done.messages) == ([], 1)
    assert world.found("q1") == set()


def test_copies_go_with_what_is_below_them_but_no_system_prompt(world: World) -> None:
    threads = world.store.threads
    other = threads.new(system_prompt=world.text("a1"))
    question = threads.add_message(other.id, None, "user", "so?")
    copy = threads.add_message(other.id, question.id, "assistant", world.text("a1"))
    below = threads.add_message(other.id, copy.id, "user", world.text("below"))
    assert preview(world.store, [world.ids["a1"]]).copies == [copy.id]
    done = forget(world.store, [world.ids["a1"]], copies=True)
    assert (done.copies, done.messages) == ([], 3)
    assert threads.message(below.id).content is None
    assert [m.content for m in threads.path(question.id)] == [world.text("a1"), "so?"]


def test_rows_and_keys_stay_empty(world: World) -> None:
    done = forget(world.store, [world.ids["a1"], world.ids["i1"]])
    message = world.message("a1")
    assert (message.content, message.forgotten_at is not None) == (None, True)
    made = world.store.threads.generation(message.id)
    assert made is not None
    assert (made.token_ids, made.position) == (None, 0)
    note = world.store.judgments.get(world.ids["note"])
    assert (note.kind, note.payload, note.items) == ("note", {}, ())
    assert note.retracted_at
    assert note.forgotten_at
    # a pick of three loses one answer, and goes on preferring the best to the other
    pick = world.store.judgments.get(world.ids["pick"])
    assert (pick.forgotten_at, {item.message_id for item in pick.items}) == (None, {world.ids["a2"], world.ids["a3"]})
    imported = world.store.row("SELECT key, forgotten_at FROM judgments WHERE id = ?", [world.ids["i1"]])
    assert imported is not None
    assert imported["key"]
    assert world.store.value("SELECT forgotten FROM import_keys WHERE key = ?", [imported["key"]]) == 1
    assert (done.messages, done.judgments) == (4, 2)
    # v1 learned from the pick, v2 from that and the imported record: each counts a judgment once, however often
    assert [a.forgotten for a in world.store.adapters.list()] == [2, 2]
    forget(world.store, [world.ids["a1"], world.ids["a3"]])
    assert [a.forgotten for a in world.store.adapters.list()] == [2, 2]


def test_what_stays_is_said_with_the_id_to_forget_it_by(world: World) -> None:
    done = forget(world.store, [world.ids["old"]])
    assert [(kept.kind, kept.id) for kept in done.kept] == [
        ("message", world.ids["q1"]),
        ("judgment", world.ids["new"]),
    ]
    assert world.found("first correction", "correction") == {"correction"}
    done = forget(world.store, [world.ids["s2 rank"]])
    assert [(kept.id, kept.why) for kept in done.kept] == [
        (world.ids["s2"], "its prompt stays: other judgments refer to it")
    ]


def test_what_it_had_replaced_does_not_count_again(world: World) -> None:
    judgments = world.store.judgments
    first = judgments.pick(world.ids["q3"], world.ids["c1"], [world.ids["c1"], world.ids["c2"]])
    second = judgments.pick(world.ids["q3"], world.ids["c2"], [world.ids["c1"], world.ids["c2"]], supersedes=first.id)
    forget(world.store, [second.id])
    assert [j.kind for j in judgments.for_prompt(world.ids["q3"])] == ["thumb"]


def test_nothing_learns_from_it_and_nothing_is_added_below_it(world: World) -> None:
    store = world.store
    forget(store, [world.ids["q2"], world.ids["a1"], world.ids["s1 rank"]])
    live = {j.id for j in store.judgments.live(["imports"])}
    assert live == {world.ids[name] for name in ("pick", "s2 rank", "s2 thumb", "thumb", "i1", "i2", "new")}
    derived = store.judgments.derived(["imports"])
    used = {id for pair in derived.pairs for id in (pair.prompt_id, pair.chosen_id, pair.rejected_id)}
    assert all(message.content is not None for message in store.threads.messages(used).values())
    assert store.threads.conversation(world.ids["q2"]) == []
    assert store.splits.assign([world.ids["q2"]]) == {}
    with pytest.raises(StorageError, match="was forgotten: nothing can be written below it"):
        store.threads.add_message(world.ids["thread"], world.ids["q2"], "assistant", "x")
    with pytest.raises(InvalidJudgment, match="was forgotten and cannot be judged"):
        store.judgments.pick(world.ids["q1"], world.ids["a2"], [world.ids["a1"], world.ids["a2"]])
    thread = store.threads.get(world.ids["thread"])
    assert (thread.tip_message_id, thread.deleted_at, thread.title) == (
        world.ids["better"],
        None,
        world.text("q1")[:48],
    )


def test_a_title_goes_with_the_words_that_it_was_made_of(world: World) -> None:
    threads = world.store.threads

    def after(title: str, *texts: str) -> str:
        thread = threads.new(title)
        first = threads.add_message(thread.id, None, "user", texts[0])
        for text in texts[1:]:
            threads.add_message(thread.id, first.id, "assistant", text)
        answers = threads.children(first.id)
        forget(world.store, [answers[0].id if answers else first.id])
        return threads.get(thread.id).title

    assert after("Taxes", "how are taxes paid?", "ask Mr Smith", "by mail") == "Taxes"
    assert after("What Smith said", "how are taxes paid?", "ask Mr Smith", "by mail") == ""
    assert after("Ask Mr…", "how?", "Ask  Mr Smith") == ""
    assert after("A title of its own", "how are taxes paid?") == ""  # nothing is left to be titled
    assert after("\u8d0e\u56de", "why?", "\u6211\u7684\u8d0e\u56de\u8a08\u756b", "yes") == ""


def test_a_lossless_file_does_not_bring_it_back_even_after_an_undo(world: World, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    file.write_text("".join(f"{line}\n" for line in hone.export(world.store)))
    with Store.open(tmp_path / "moved") as store:
        hone_import.import_file(store, file, "moved")
        forget(store, [world.ids["a3"], world.ids["note"], world.ids["s2 rank"], world.ids["other"]])
        for _ in range(2):
            importing.undo(store, "moved")
            hone_import.import_file(store, file, "moved")
            for id in (world.ids[name] for name in ("a3", "q3", "c1", "s2a")):
                assert store.threads.message(id).content is None
            note = store.judgments.get(world.ids["note"])
            assert (note.payload, note.items, note.forgotten_at is not None) == ({}, (), True)
            assert store.threads.get(world.ids["other"]).title == ""
            pick = store.judgments.get(world.ids["pick"])
            assert {item.message_id for item in pick.items} <= {world.ids["a2"], world.ids["a1"]}
            again = "".join(f"{line}\n" for line in hone.export(store))
            assert not any(world.text(name) in again for name in ("a3", "note", "s2a", "other", "c1", "c2"))


def test_what_was_not_forgotten_comes_back_with_a_lossless_file(world: World, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    file.write_text("".join(f"{line}\n" for line in hone.export(world.store)))
    with Store.open(tmp_path / "moved") as store:
        hone_import.import_file(store, file, "moved")
        forget(store, [world.ids["a3"]])
        importing.undo(store, "moved")
        assert store.value("SELECT count(*) FROM messages") == 0
        hone_import.import_file(store, file, "moved")
        path = [m.content for m in store.threads.path(world.ids["a2"])]
        assert path == [world.text("system"), world.text("q1"), world.text("a2")]
        assert store.threads.message(world.ids["a3"]).forgotten_at
        assert store.threads.generation(world.ids["a3"]).token_ids is None  # type: ignore[union-attr]
        pick = store.judgments.get(world.ids["pick"])
        assert {item.message_id for item in pick.items} == {world.ids["a1"], world.ids["a2"]}
