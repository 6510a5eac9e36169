"""What pruning frees, and what it leaves: every version that a key or a rollback still leads to."""

from __future__ import annotations

from storage import paths, pruning
from storage.adapters import Adapter
from storage.store import Store
from storage.threads import NewAnswer
from storage.versions import duels, learned, questions, way_forward

MODEL = "m" * 64


def version(store: Store, state: str = "retired", parent: Adapter | None = None, size: int = 1000) -> Adapter:
    """A version with files of that many bytes."""
    id = f"version-{len(store.adapters.list()) + 1}"
    folder = paths.adapter_dir(store.home, id)
    folder.mkdir(parents=True)
    (folder / "adapter.gguf").write_bytes(b"G" * size)
    return store.adapters.register(id, model_hash=MODEL, files={}, parent_id=parent.id if parent else None, state=state)


def names(usage: pruning.Usage) -> list[str]:
    return [one.adapter.name for one in usage.prunable]


def test_the_live_version_its_way_back_and_the_last_two_in_use_stay(store: Store) -> None:
    v1 = version(store)
    version(store, "rejected", v1)
    v3 = version(store, "retired", v1)
    v4 = version(store, "retired", v3)
    version(store, "candidate", v4)  # another one went live before it could
    version(store, "retired", v4)
    v7 = version(store, "live", v1, size=70)
    version(store, "rejected", v7, size=50)
    usage = pruning.usage(store)
    # v1 is where a rollback goes; v4 and v6 were the last two in use
    assert names(usage) == ["v2", "v3", "v5", "v8"]
    assert usage.freed == 3050
    assert usage.versions == 6000 + 120
    pruned = pruning.prune(store, [one.adapter.id for one in usage.prunable])
    assert names(pruned) == names(usage)
    assert [a.name for a in store.adapters.list() if store.adapters.there(a)] == ["v1", "v4", "v6", "v7"]
    assert len(store.adapters.list()) == 8, "the rows stay"
    assert pruning.usage(store).prunable == []
    back = store.adapters.rollback(MODEL)
    assert back is not None
    assert back.id == v1.id


def test_a_candidate_that_waits_for_its_chance_stays(store: Store) -> None:
    v1 = version(store, "live")
    version(store, "candidate", v1)
    assert pruning.usage(store).prunable == []


def test_a_version_that_went_live_after_the_question_stays(store: Store) -> None:
    version(store, "live")
    rejected = version(store, "rejected")
    asked = [one.adapter.id for one in pruning.usage(store).prunable]
    assert asked == [rejected.id]
    store.adapters.use(rejected.id, MODEL)
    assert names(pruning.prune(store, asked)) == []
    assert store.adapters.there(rejected)


def test_only_what_was_agreed_to_goes(store: Store) -> None:
    first, second = version(store, "rejected"), version(store, "rejected")
    assert names(pruning.prune(store, [first.id])) == ["v1"]
    assert store.adapters.there(second)


def test_caches_go_but_not_under_a_run(store: Store) -> None:
    deep = paths.cache_dir(store.home) / "deep"
    deep.mkdir()
    (deep / "states").write_bytes(b"s" * 300)
    run = store.runs.queue(model_hash=MODEL)
    store.runs.claim(run.id)
    usage = pruning.usage(store)
    assert (usage.caches, usage.held) == (0, 300)
    pruning.prune(store, [])
    assert deep.exists()
    store.runs.finish(run.id, "done")
    assert pruning.prune(store, []).caches == 300
    assert list(paths.cache_dir(store.home).iterdir()) == []


def test_forward_undoes_each_rollback(store: Store) -> None:
    v1 = version(store)
    v2 = version(store, "retired", v1)
    version(store, "rejected", v2)
    v4 = version(store, "live", v2)
    assert way_forward(store, MODEL) is None
    for expected in (v2, v1, None):
        back = store.adapters.rollback(MODEL)
        assert (back.id if back else None) == (expected.id if expected else None)
    for expected in (v1, v2, v4):
        forward = way_forward(store, MODEL)
        assert forward is not None
        assert forward.id == expected.id
        store.adapters.use(forward.id, MODEL)
    assert way_forward(store, MODEL) is None


def test_forward_goes_to_the_newest_branch_and_passes_over_what_is_gone(store: Store) -> None:
    v1 = version(store, "live")
    old = version(store, "retired", v1)
    gone = version(store, "retired", v1)
    newest = version(store, "retired", gone)
    store.adapters.remove(gone.id)
    forward = way_forward(store, MODEL)
    assert forward is not None
    assert forward.id == newest.id
    store.adapters.remove(newest.id)
    forward = way_forward(store, MODEL)
    assert forward is not None
    assert forward.id == old.id


def test_duels_of_a_version(store: Store) -> None:
    store.add_model(MODEL, "tiny", "llama", "t", "tiny.gguf")
    v1 = version(store)
    v2 = version(store, "live", v1)
    thread = store.threads.new("t")

    def duel(winner: Adapter | None, loser: Adapter | None, tie: bool = False) -> str:
        prompt = store.threads.add_message(thread.id, None, "user", "why?")
        answers = [
            NewAnswer("so", place, MODEL, a.id if a else None, {}, 1, [1], 3, "stop")
            for place, a in enumerate((winner, loser))
        ]
        ids = [message.id for message in store.threads.add_answers(thread.id, prompt.id, answers)]
        return store.judgments.duel(prompt.id, *ids, tie).id

    duel(v2, None)
    duel(None, v2, tie=True)
    duel(v1, v2)
    duel(v1, None)
    store.judgments.retract(duel(v2, v1))
    found = [(other, d.wins, d.losses, d.ties) for other, d in duels(store, MODEL, v2.id)]
    assert found == [("v1", 0, 1, 0), ("base", 1, 0, 1)]
    assert [(other, d.n) for other, d in duels(store, MODEL, None)] == [("v2", 2), ("v1", 1)]


def test_what_a_version_learned_from_and_the_last_questions(store: Store) -> None:
    thread, hidden = store.threads.new("t"), store.threads.new("h", private=True)
    store.threads.add_message(hidden.id, None, "user", "a secret")
    prompts = [store.threads.add_message(thread.id, None, "user", text) for text in ("one", "two", "two", "three")]
    answer = store.threads.add_message(thread.id, prompts[0].id, "assistant", "yes")
    thumb = store.judgments.thumb(prompts[0].id, answer.id, 1)
    rate = store.judgments.rate(prompts[0].id, {answer.id: 6})
    run = store.runs.queue(model_hash=MODEL)
    store.runs.record_judgments(run.id, [(thumb.id, "train"), (rate.id, "held_out")])
    assert [(j.id, j.kind, j.split) for j in learned(store, run.id)] == [
        (rate.id, "rating", "held_out"), (thumb.id, "thumb", "train"),
    ]  # fmt: skip
    assert [store.threads.message(id).content for id in questions(store, 3)] == ["three", "two", "one"]
