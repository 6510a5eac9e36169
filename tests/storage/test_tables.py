"""Threads, judgments, splits, runs and adapters on a real file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from storage.errors import InvalidJudgment, NotFound, StorageError
from storage.store import Store
from storage.threads import NewAnswer


def turn(store: Store, prompt: str = "why?", answers: tuple[str, ...] = ("one", "two", "three"), **thread) -> tuple:
    made = store.threads.new(**thread)
    message = store.threads.add_message(made.id, None, "user", prompt, tip=True)
    return made, message, [store.threads.add_message(made.id, message.id, "assistant", a).id for a in answers]


def test_a_thread_is_a_tree_whose_tip_moves(store: Store) -> None:
    thread, prompt, (first, second, _) = turn(store, system_prompt="be brief")
    follow = store.threads.add_message(thread.id, second, "user", "and?", tip=True)
    assert [m["content"] for m in store.threads.conversation(follow.id)] == ["be brief", "why?", "two", "and?"]
    assert [m.content for m in store.threads.children(prompt.id)] == ["one", "two", "three"]
    store.threads.set_tip(thread.id, first)
    assert store.threads.get(thread.id).tip_message_id == first
    assert [m.id for m in store.threads.path(follow.id)][-2] == second


def test_answers_keep_how_they_came_to_be(store: Store) -> None:
    store.add_model("m" * 64, "tiny", "llama", "t", "tiny.gguf")
    thread = store.threads.new()
    prompt = store.threads.add_message(thread.id, None, "user", "hi")
    answer = NewAnswer("hello", 1, "m" * 64, None, {"temperature": 0.8}, 7, [5, 6, 2], 12, "stop", {"total_ms": 3.5})
    (message,) = store.threads.add_answers(thread.id, prompt.id, [answer])
    made = store.threads.generation(message.id)
    assert made is not None
    assert (made.token_ids, made.seed, made.position, made.answer_tokens) == ([5, 6, 2], 7, 1, 3)
    assert (made.sampling, made.timings, made.finish_reason) == ({"temperature": 0.8}, {"total_ms": 3.5}, "stop")


def test_archive_and_delete_hide_and_can_be_undone(store: Store) -> None:
    thread, prompt, ids = turn(store, title="x")
    store.judgments.pick(prompt.id, ids[0], ids)
    store.threads.archive(thread.id)
    assert store.threads.list() == []
    assert [t.id for t in store.threads.list(archived=True)] == [thread.id]
    store.threads.archive(thread.id, False)
    store.threads.delete(thread.id)
    assert store.threads.list() == [] == store.threads.list(archived=True)
    assert store.judgments.derived().pairs == []
    store.threads.undelete(thread.id)
    assert len(store.judgments.derived().pairs) == 2


def test_private_threads_teach_nothing(store: Store) -> None:
    _, prompt, ids = turn(store, private=True)
    store.judgments.pick(prompt.id, ids[0], ids)
    assert store.judgments.live() == []
    assert store.judgments.waiting("m") == 0


def test_undo_brings_back_what_was_before(store: Store) -> None:
    _, prompt, ids = turn(store)
    first = store.judgments.pick(prompt.id, ids[0], ids)
    before = store.judgments.derived()
    second = store.judgments.pick(prompt.id, ids[1], ids, supersedes=first.id)
    assert [j.id for j in store.judgments.live()] == [second.id]
    assert store.judgments.undo_last(prompt.id) is not None
    assert store.judgments.derived() == before
    assert store.judgments.undo_last(prompt.id) is not None
    assert store.judgments.undo_last(prompt.id) is None
    assert [j.retracted_at is not None for j in store.judgments.for_prompt(prompt.id, live_only=False)] == [True, True]


def test_what_was_recorded_is_said_in_one_line(store: Store) -> None:
    _, prompt, ids = turn(store)
    say = store.judgments.describe
    assert say(store.judgments.pick(prompt.id, ids[1], ids)) == "B > A, C: 2 pairs"
    assert say(store.judgments.rank(prompt.id, [[ids[1]], [ids[0], ids[2]]])) == "B > A = C: 2 pairs"
    assert say(store.judgments.all_bad(prompt.id, ids)) == "all bad: 3 bad examples"
    assert say(store.judgments.thumb(prompt.id, ids[2], 1)) == "C good: 1 good example"
    assert say(store.judgments.rate(prompt.id, {ids[0]: 7, ids[1]: 1})) == "A 7/7, B 1/7: 1 pair"
    assert say(store.judgments.correct(prompt.id, ids[1], "better", ids)[0]) == "correction > A, B, C: 3 pairs"
    assert say(store.judgments.flag(prompt.id, ids[0], "r", True)) == "A breaks the rule: 1 rule label"
    assert say(store.judgments.note(prompt.id, ids[0], "hm")) == "note on A"


def test_judgments_that_make_no_sense_are_refused(store: Store) -> None:
    _, prompt, ids = turn(store)
    _, other, _ = turn(store, "other")
    with pytest.raises(InvalidJudgment, match="twice"):
        store.judgments.rank(prompt.id, [[ids[0]], [ids[0]]])
    with pytest.raises(InvalidJudgment, match="not an answer"):
        store.judgments.pick(other.id, ids[0], ids)
    with pytest.raises(InvalidJudgment, match="from 1 to 7"):
        store.judgments.rate(prompt.id, {ids[0]: 8})
    with pytest.raises(InvalidJudgment, match="empty"):
        store.judgments.correct(prompt.id, ids[0], "  ", ids)
    with pytest.raises(InvalidJudgment, match="thumb is 2"):
        store.judgments.thumb(prompt.id, ids[0], 2)
    with pytest.raises(NotFound):
        store.judgments.pick("nowhere", ids[0], ids)
    assert store.judgments.live() == []


def test_imports_and_ai_teach_only_when_asked(store: Store) -> None:
    store.db.execute(
        "INSERT INTO imports(id, name, format, file, state, created_at) VALUES ('i', 'x', 'f', 'f', 'running', 't')"
    )
    for source in ("chat", "judge", "import:x", "ai:m"):
        _, prompt, ids = turn(store, source)
        store.judgments.pick(prompt.id, ids[0], ids, source=source)

    def sources(*include: str) -> list[str]:
        return [j.source for j in store.judgments.live(include)]

    assert sources() == ["chat", "judge"]
    assert sources("imports") == ["chat", "judge"]  # not complete yet
    store.db.execute("UPDATE imports SET state = 'complete'")
    assert sources("import:x") == ["chat", "judge", "import:x"]
    assert sources("ai") == ["chat", "judge", "ai:m"]
    with pytest.raises(InvalidJudgment, match="cannot include 'x'"):
        sources("x")


def test_of_every_five_prompts_one_is_held_out_for_ever(store: Store) -> None:
    prompts = [turn(store, f"question {i}")[1].id for i in range(50)]
    first = store.splits.assign(prompts[:23])
    second = store.splits.assign(prompts)
    assert all(second[id] == side for id, side in first.items())
    for start in range(0, 50, 5):
        assert Counter(second[id] for id in prompts[start : start + 5]) == {"train": 4, "held_out": 1}
    places = (
        [second[id] for id in prompts].index("held_out"),
        *([second[id] for id in prompts[s : s + 5]].index("held_out") for s in range(0, 50, 5)),
    )
    assert len(set(places)) > 1  # at random, not always the same one
    again = turn(store, "question 7")[1].id
    assert store.splits.assign([again])[again] == second[prompts[7]]


def test_prompts_that_are_split_at_once_are_split_alike_in_whatever_order_they_are_asked_for(tmp_path: Path) -> None:
    sides = []
    for name in ("one", "another"):
        with Store.open(tmp_path / name) as store:
            store.meta_set("store_id", "the same")
            prompts = [turn(store, f"question {i}")[1].id for i in range(30)]
            asked = prompts if name == "one" else list(reversed(prompts))
            found = store.splits.assign(asked)
            sides.append([found[id] for id in prompts])
    assert sides[0] == sides[1]


def test_waiting_counts_what_no_finished_run_has_seen(store: Store) -> None:
    _, prompt, ids = turn(store)
    judgment = store.judgments.pick(prompt.id, ids[0], ids)
    store.judgments.note(prompt.id, ids[0], "teaches nothing")
    assert store.judgments.waiting("m") == 1
    run = store.runs.queue(model_hash="m")
    store.runs.claim(run.id)
    store.runs.record_judgments(run.id, [(judgment.id, "train")])
    assert store.judgments.waiting("m") == 1
    store.runs.finish(run.id, "rejected")
    assert store.judgments.waiting("m") == 0
    assert store.judgments.waiting("another") == 1


def test_what_another_judgment_overrides_or_no_run_can_use_never_waits(store: Store) -> None:
    _, prompt, ids = turn(store)
    first = store.judgments.pick(prompt.id, ids[0], ids)
    store.judgments.pick(prompt.id, ids[0], ids)  # the same again: one of the two teaches
    assert store.judgments.waiting("m") == 1
    store.judgments.rank(prompt.id, [ids])  # all alike: nothing is left
    assert store.judgments.waiting("m") == 0
    _, prompt, ids = turn(store, "two")
    store.judgments.rate(prompt.id, {ids[0]: 4})
    assert store.judgments.waiting("m") == 0
    thumb = store.judgments.thumb(prompt.id, ids[1], 1)
    rating = store.judgments.rate(prompt.id, {ids[0]: 6})
    assert store.judgments.waiting("m") == 2
    run = store.runs.queue(model_hash="m")
    store.runs.record_judgments(run.id, [(rating.id, "train"), (first.id, "train")])
    store.runs.finish(run.id, "done", {"unused": [thumb.id]})
    assert store.judgments.waiting("m") == 0
    assert store.judgments.waiting("another") == 2


def test_a_run_is_claimed_once_and_a_dead_worker_is_told(store: Store) -> None:
    run = store.runs.queue(model_hash="m", config={"epochs": 3})
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert store.runs.claim(run.id, child.pid)
    assert not store.runs.claim(run.id, os.getpid())
    store.runs.metrics(run.id, 3, {"progress.step": 3, "progress.total": 9, "loss": 0.5})
    assert store.runs.progress(run.id) == (3, 9)
    assert store.runs.recover() == []
    child.kill()  # and not waited for: a zombie is dead too
    while store.runs.get(run.id).state == "running":
        recovered = store.runs.recover()
    child.communicate()
    assert [(r.id, r.state) for r in recovered] == [(run.id, "failed")]
    assert "still waiting" in (store.runs.get(run.id).error or "")


def test_a_queued_run_can_be_cancelled(store: Store) -> None:
    run = store.runs.queue(model_hash="m")
    assert store.runs.active() == run
    store.runs.request_cancel(run.id)
    assert store.runs.get(str(run.number)).state == "cancelled"
    assert not store.runs.claim(run.id)
    assert store.runs.active() is None


def make(store: Store, id: str, parent: str | None = None, model: str = "m") -> None:
    adapter = store.adapters.register(id, model_hash=model, files={"adapter.gguf": "0"}, parent_id=parent)
    store.adapters.dir(adapter).mkdir(parents=True)
    store.adapters.gguf(adapter).write_bytes(b"GGUF")


def test_promotion_is_compare_and_set_and_can_be_rolled_back(store: Store, home: Path) -> None:
    for id, parent in (("first", None), ("second", "first"), ("third", "first")):
        make(store, id, parent)
    make(store, "elsewhere", model="other")
    assert store.adapters.promote("first", None)
    assert store.adapters.promote("second", "first")
    assert not store.adapters.promote("third", "first")  # the live one is not what it was trained against
    assert {a.name: a.state for a in store.adapters.list("m")} == {"v1": "retired", "v2": "live", "v3": "candidate"}
    assert store.adapters.live("other") is None
    back = store.adapters.rollback("m")
    assert back is not None
    assert back.id == "first"
    assert store.adapters.promotion_paused("m")
    _, prompt, ids = turn(store)
    store.judgments.pick(prompt.id, ids[0], ids)
    assert not store.adapters.promotion_paused("m")
    assert store.adapters.rollback("m") is None
    with pytest.raises(StorageError, match="nothing to roll back"):
        store.adapters.rollback("m")
    assert store.adapters.use("v2", "m") is not None
    assert store.adapters.live("m").id == "second"  # type: ignore[union-attr]
    with pytest.raises(NotFound, match="v9"):
        store.adapters.use("v9", "m")


def test_what_was_replaced_is_taken_back_from_the_end(store: Store) -> None:
    _, prompt, ids = turn(store)
    first = store.judgments.pick(prompt.id, ids[0], ids)
    second = store.judgments.pick(prompt.id, ids[1], ids, supersedes=first.id)
    with pytest.raises(InvalidJudgment, match=second.id):
        store.judgments.retract(first.id)
    assert store.judgments.retract(second.id) is True
    assert store.judgments.retract(second.id) is False
    assert [j.id for j in store.judgments.live()] == [first.id]
    assert store.judgments.retract(first.id) is True


def test_a_flag_names_its_rule(store: Store) -> None:
    _, prompt, ids = turn(store)
    flag = store.judgments.flag(prompt.id, ids[1], "rule-insult", True)
    assert store.judgments.describe(flag) == "B breaks the rule 'insults': 1 rule label"
    gone = store.judgments.flag(prompt.id, ids[1], "rule-of-another-home", False)
    assert store.judgments.describe(gone) == "B keeps the rule: 1 rule label"


def test_files_of_a_version_can_be_removed_but_not_of_the_live_one(store: Store) -> None:
    for id, parent in (("first", None), ("second", "first"), ("third", "second"), ("fourth", "third")):
        make(store, id, parent)
        assert store.adapters.promote(id, parent)
    with pytest.raises(StorageError, match="v4 is the one in use: go back first"):
        store.adapters.remove("v4", "m")
    assert store.adapters.remove("v3").id == "third"
    store.adapters.remove("v2", "m")
    store.adapters.remove("v2", "m")  # gone already
    assert [a.state for a in store.adapters.list()] == ["retired", "retired", "retired", "live"]
    assert not store.adapters.dir(store.adapters.get("third")).exists()
    with pytest.raises(StorageError, match=r"the files of v3 are gone from .*: choose another version"):
        store.adapters.use("third", "m")
    before, gone = store.adapters.way_back("m")
    assert before is not None
    assert (before.id, [a.name for a in gone]) == ("first", ["v3", "v2"])
    assert store.adapters.rollback("m") is not None
    assert store.adapters.get("first").state == "live"
    store.adapters.use("fourth", "m")
    store.adapters.remove("first")
    assert store.adapters.rollback("m") is None  # the base
