"""The tree of a thread's messages."""

from __future__ import annotations

from storage.store import Store
from storage.threads import NewAnswer, Node


def answer(content: str, position: int) -> NewAnswer:
    return NewAnswer(content, position, "m" * 64, None, {}, 7, [5], 12, "stop")


def test_a_tree_says_what_was_shown_together_and_what_corrects_what(store: Store) -> None:
    store.add_model("m" * 64, "tiny", "llama", "t", "tiny.gguf")
    thread = store.threads.new()
    prompt = store.threads.add_message(thread.id, None, "user", "why?")
    first, second = store.threads.add_answers(thread.id, prompt.id, [answer("one", 0), answer("two", 1)])
    (again,) = store.threads.add_answers(thread.id, prompt.id, [answer("three", 0)])
    _, better = store.judgments.correct(prompt.id, second.id, "two and a half", [first.id, second.id])
    store.threads.add_message(store.threads.new().id, None, "user", "elsewhere")

    tree = store.threads.tree(thread.id)
    together, later = (store.threads.generations([id])[id].batch_id for id in (first.id, again.id))
    assert together != later
    assert tree == [
        Node(prompt.id, None, "user", None, None),
        Node(first.id, prompt.id, "assistant", together, None),
        Node(second.id, prompt.id, "assistant", together, None),
        Node(again.id, prompt.id, "assistant", later, None),
        Node(better.id, prompt.id, "assistant", None, second.id),
    ]


def test_a_thread_that_is_not_there_has_an_empty_tree(store: Store) -> None:
    assert store.threads.tree("nowhere") == []


def test_what_was_judged_is_counted_once(store: Store) -> None:
    store.add_model("m" * 64, "tiny", "llama", "t", "tiny.gguf")
    thread = store.threads.new()
    prompt = store.threads.add_message(thread.id, None, "user", "why?")
    ids = [a.id for a in store.threads.add_answers(thread.id, prompt.id, [answer("one", 0), answer("two", 1)])]

    def counted() -> tuple[int, int]:
        now = store.threads.get(thread.id)
        return now.judgment_count, now.judged_count

    assert counted() == (0, 0)
    last = store.judgments.pick(prompt.id, ids[0], ids)
    for best in (1, 0, 1):  # the same turn, picked again and again
        last = store.judgments.pick(prompt.id, ids[best], ids, supersedes=last.id)
    assert counted() == (1, 1)
    store.judgments.thumb(prompt.id, ids[1], 1)
    assert counted() == (2, 1), "two judgments of one turn"
    again = store.threads.add_message(thread.id, ids[1], "user", "and then?")
    (only,) = store.threads.add_answers(thread.id, again.id, [answer("three", 0)])
    store.judgments.thumb(again.id, only.id, -1)
    assert counted() == (3, 2)
    store.judgments.retract(last.id)  # what it replaced counts again
    assert counted() == (3, 2)
    assert [t.judged_count for t in store.threads.list()] == [2]
