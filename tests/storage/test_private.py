"""A private thread: nothing learns from it, and nothing of it leaves."""

from __future__ import annotations

from storage import exporting
from storage.forgetting import forget
from storage.formats import BOTH, hone, module
from storage.formats.canonical import dumps
from tests.storage.forgettable import MODEL, World

CHAT = ["q1", "a1", "a2", "a3", "correction", "q2", "b1", "b2"]


def exported(world: World) -> str:
    """Every row of every format, and the lossless one."""
    lines = list(hone.export(world.store))
    for format in BOTH:
        for kind in (kind for kind, function in exporting.ROWS.items() if hasattr(module(format), function)):
            lines += map(dumps, exporting.rows(world.store, exporting.Export(format, kind), ["imports", "ai"]))
    return "\n".join(lines)


def test_nothing_of_it_is_learned_or_leaves(world: World) -> None:
    store, judgments = world.store, world.store.judgments
    prompts = {world.ids["q1"], world.ids["q2"]}
    judgments.rate(world.ids["q2"], {world.ids["b1"]: 7, world.ids["b2"]: 2})
    judgments.all_bad(world.ids["q1"], [world.ids["a1"], world.ids["a3"]])
    assert prompts <= {j.prompt_id for j in judgments.live()}
    assert judgments.waiting("another model") > judgments.waiting(MODEL) > 0
    assert all(world.text(name) in exported(world) for name in CHAT)
    before = judgments.waiting("another model")

    taught = [t for id in prompts for t in judgments.explain(id).values() if t.pairs or t.unpaired or t.demonstrations]
    store.threads.set_private(world.ids["thread"])
    assert judgments.waiting("another model") == before - len(taught)
    assert judgments.waiting(MODEL) == 1  # of the shell
    include = ["imports", "ai"]
    assert prompts.isdisjoint(j.prompt_id for j in judgments.live(include))
    assert prompts.isdisjoint(j.prompt_id for turn in judgments.each_turn(include) for j in turn)
    derived = judgments.derived(include)
    taught = [*derived.pairs, *derived.unpaired, *derived.demonstrations, *derived.rule_labels]
    assert taught
    assert prompts.isdisjoint(example.prompt_id for example in taught)
    assert prompts.isdisjoint(pair.prompt_id for pair in judgments.pairs(include))
    assert [judgments.explain(id) for id in prompts] == [{}, {}]
    text = exported(world)
    copy = "q1"  # the same question stands in another thread, which is not private
    assert [name for name in CHAT if world.text(name) in text and name != copy] == []
    assert world.word("note") not in text
    assert world.word("c1") in text
    assert world.word("a1") in "\n".join(hone.export(store, include_private=True))

    store.threads.set_private(world.ids["thread"], False)
    assert judgments.waiting("another model") == before


def test_only_prompts_that_teach_are_drawn_for_the_test(world: World) -> None:
    """The split is drawn for what is learned from; that is all that the trainer asks it for."""
    world.store.threads.set_private(world.ids["thread"])
    derived = world.store.judgments.derived(["imports"])
    drawn = world.store.splits.assign(sorted({e.prompt_id for e in [*derived.pairs, *derived.unpaired]}))
    assert drawn
    assert not {world.ids["q1"], world.ids["q2"]} & set(drawn)
    assert world.store.value("SELECT count(*) FROM splits") == len(drawn)


def test_a_private_thread_is_forgotten_like_any_other(world: World) -> None:
    world.store.threads.set_private(world.ids["thread"])
    copies = world.backups()
    done = forget(world.store, [world.ids["thread"], world.ids["copy"]])
    assert (done.threads, len(done.files.backups)) == (1, len(copies))
    assert world.found("q1", "a1", "note", "correction", "system") == set()
