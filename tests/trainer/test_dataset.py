"""From rows to token ids: the bundled model's own vocabulary, a store in a temporary home."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chatapp.engine.base import Message
from chatapp.engine.model_files import bundled
from chatapp.engine.vocab import Vocab
from storage.store import Store
from storage.threads import NewAnswer
from trainer.dataset import Dataset, DemoRef, PairRef, SingleRef, Turn, best_and_worst, build, fit_prompt, gather

MODEL = "m" * 64


@pytest.fixture(scope="module")
def vocab() -> Iterator[Vocab]:
    with Vocab.open(bundled()) as opened:
        yield opened


@pytest.fixture
def asked(store: Store, vocab: Vocab) -> Any:
    """asked(prompt, texts) -> (prompt id, answer ids), as the chat stores them; the first answer was cut off."""
    store.add_model(MODEL, "m", "llama", "t", "m.gguf")

    def ask(prompt: str, texts: list[str], adapter: str | None = None, at: Any = ()) -> tuple[str, list[str]]:
        thread = store.threads.new()
        message = store.threads.add_message(thread.id, None, "user", prompt)
        answers = []
        for i, text in enumerate(texts):
            ids = vocab.tokenize(text) if i == 0 else vocab.response_ids(text)
            sampling = {} if at == () else {"temperature": at}
            answers.append(NewAnswer(text, i, MODEL, adapter, sampling, 1, ids, 10, "length" if i == 0 else "stop"))
        return message.id, [m.id for m in store.threads.add_answers(thread.id, message.id, answers)]

    return ask


def dataset(store: Store, vocab: Vocab, **options: Any) -> Dataset:
    return build(store, store.judgments.derived(options.pop("include", ())), vocab, MODEL, **options)


def test_a_ranking_is_one_turn_with_each_answer_once(store: Store, vocab: Vocab, asked: Any) -> None:
    prompt, (a, b, c) = asked("Hello?", ["one", "two", "three"])
    store.judgments.rank(prompt, [[b], [a, c]])
    (turn,) = dataset(store, vocab).turns
    assert turn.prompt == vocab.prompt_ids([Message(role="user", content="Hello?")])
    assert len(turn.responses) == 3
    assert [(turn.responses[p.chosen], p.weight) for p in turn.pairs] == [(vocab.response_ids("two"), 0.5)] * 2


def test_cut_off_answers_carry_no_end_of_turn(store: Store, vocab: Vocab, asked: Any) -> None:
    prompt, (a, b) = asked("Hello?", ["one", "two"])
    store.judgments.pick(prompt, b, [a, b])
    (turn,) = dataset(store, vocab).turns
    (pair,) = turn.pairs
    assert turn.responses[pair.rejected] == vocab.tokenize("one")
    assert turn.responses[pair.chosen][-1] == vocab.end_of_turn
    assert sorted(turn.from_base) == [0, 1]


@pytest.mark.parametrize(
    ("drawn", "scored"), [(0.8, 0.8), (1, 1.0), (0.0, 0.5), (3.0, 1.5), ((), 1.0), (None, 1.0), ("hot", 1.0)], ids=str
)
def test_answers_are_scored_at_the_temperature_they_were_drawn_at(
    store: Store, vocab: Vocab, asked: Any, drawn: Any, scored: float
) -> None:
    """Greedy answers and wild ones at the nearest that makes sense; what is not known counts as 1."""
    prompt, (a, b) = asked("Hello?", ["one", "two"], at=drawn)
    store.judgments.correct(prompt, b, "better", [a, b])
    (turn,) = dataset(store, vocab).turns
    assert turn.temperature == turn.tokens.temperature == best_and_worst(turn).temperature == scored
    (turn,) = dataset(store, vocab, temperature=1.0).turns
    assert turn.temperature == 1.0


def test_stored_ids_win_over_the_text(store: Store, vocab: Vocab) -> None:
    """The model may spell a text with other tokens than the tokeniser."""
    store.add_model(MODEL, "m", "llama", "t", "m.gguf")
    thread = store.threads.new()
    prompt = store.threads.add_message(thread.id, None, "user", "Hi")
    odd = [*vocab.tokenize("hel"), *vocab.tokenize("lo"), vocab.end_of_turn]
    made = NewAnswer("hello", 0, MODEL, None, {}, 1, odd, 10, "stop")
    other = NewAnswer("hello you", 1, "other", None, {}, 1, [1, 2, 3], 10, "stop")
    store.add_model("other", "o", "llama", "t", "o.gguf")
    a, b = store.threads.add_answers(thread.id, prompt.id, [made, other])
    store.judgments.pick(prompt.id, a.id, [a.id, b.id])
    (turn,) = dataset(store, vocab).turns
    assert turn.responses == [odd, vocab.response_ids("hello you")]  # another model's ids mean nothing here


def test_a_correction_is_over_all_and_a_demonstration(store: Store, vocab: Vocab, asked: Any) -> None:
    prompt, (a, b) = asked("Hello?", ["one", "two"])
    store.judgments.correct(prompt, b, "better", [a, b])
    (turn,) = dataset(store, vocab).turns
    assert len(turn.pairs) == 2
    (demo,) = turn.demos
    assert turn.responses[demo.response] == vocab.response_ids("better")
    assert {p.chosen for p in turn.pairs} == {demo.response}


def test_thumbs_are_single_judgments(store: Store, vocab: Vocab, asked: Any) -> None:
    prompt, (a, _) = asked("Hello?", ["one", "two"])
    store.judgments.thumb(prompt, a, -1)
    (turn,) = dataset(store, vocab).turns
    assert [(s.good, s.weight) for s in turn.singles] == [(False, 1.0)]
    assert turn.pairs == []


def test_the_same_conversation_twice_is_one_turn(store: Store, vocab: Vocab, asked: Any) -> None:
    for texts in (["one", "two"], ["three", "two"]):
        prompt, (a, b) = asked("Hello?", texts)
        store.judgments.pick(prompt, b, [a, b])
    (turn,) = dataset(store, vocab).turns
    assert len(turn.responses) == 3
    assert len(turn.judgments) == 2


def test_identical_answers_give_no_pair(store: Store, vocab: Vocab, asked: Any) -> None:
    prompt, (_, b, c) = asked("Hello?", ["x", "two", "two"])
    judgment = store.judgments.rank(prompt, [[b], [c]])
    found = dataset(store, vocab)
    assert found.turns == []
    assert found.dropped == {"identical": 1}
    assert found.unused == [judgment.id]


def test_empty_answers_are_left_out(store: Store, vocab: Vocab, asked: Any) -> None:
    prompt, (a, b) = asked("Hello?", ["", "two"])  # the first was stopped before its first token
    store.judgments.pick(prompt, b, [a, b])
    assert dataset(store, vocab).dropped == {"empty": 1}


def test_long_answers_are_cut_and_long_prompts_lose_old_turns(store: Store, vocab: Vocab, asked: Any) -> None:
    prompt, (a, b) = asked("Hello?", ["one " * 50, "two " * 50])
    store.judgments.pick(prompt, b, [a, b])
    found = dataset(store, vocab, max_response=20)
    assert {len(r) for r in found.turns[0].responses} == {20}
    assert found.dropped == {"cut": 2}
    messages = [
        Message(role="system", content="Be brief."),
        Message(role="user", content="old " * 40),
        Message(role="assistant", content="answer " * 40),
        Message(role="user", content="new"),
    ]
    assert fit_prompt(vocab, messages, 1000) == vocab.prompt_ids(messages)
    assert fit_prompt(vocab, messages, 60) == vocab.prompt_ids([messages[0], messages[3]])
    assert fit_prompt(vocab, messages, 5) is None
    assert found.unused == []
    assert dataset(store, vocab, max_prompt=5).dropped == {"too_long": 1}
    assert len(dataset(store, vocab, max_prompt=5).unused) == 1


def test_split_is_stored_and_by_prompt(store: Store, vocab: Vocab, asked: Any) -> None:
    for i in range(10):
        prompt, (a, b) = asked(f"Question {i}?", ["one", "two"])
        store.judgments.pick(prompt, b, [a, b])
    first = {t.key: t.split for t in dataset(store, vocab).turns}
    assert sorted(first.values()).count("held_out") == 2
    assert {t.key: t.split for t in dataset(store, vocab).turns} == first


def test_imports_weigh_at_most_as_much_as_ones_own(store: Store, vocab: Vocab, asked: Any) -> None:
    prompt, (a, b) = asked("Mine?", ["one", "two"])
    store.judgments.pick(prompt, b, [a, b])
    for i in range(3):
        prompt, (a, b) = asked(f"Theirs {i}?", ["one", "two"])
        store.judgments.pick(prompt, b, [a, b], source="ai:judge")
    assert len(dataset(store, vocab).turns) == 1
    weights = sorted(t.weight for t in dataset(store, vocab, include=["ai"]).turns)
    assert weights == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1.0])
    weights = sorted(t.weight for t in dataset(store, vocab, include=["ai"], weight_of_others=0.5).turns)
    assert weights == pytest.approx([0.5, 0.5, 0.5, 1.0])


def test_many_imports_are_a_sample_by_prompt(store: Store, vocab: Vocab, asked: Any) -> None:
    """All of one's own; of others the same prompts each time, weighing as much together as if all were there."""
    for i in range(2):
        prompt, (a, b) = asked(f"Mine {i}?", ["one", "two"])
        store.judgments.pick(prompt, b, [a, b])
    for i in range(12):
        prompt, (a, b, c) = asked(f"Theirs {i}?", ["one", "two", "three"])
        store.judgments.rank(prompt, [[b], [a], [c]], source="ai:judge")
        store.judgments.thumb(prompt, b, 1, source="ai:judge")
    whole, nothing_out = gather(store, ["ai"], 100)
    plain = store.judgments.derived(["ai"])
    assert sorted(whole.pairs) == sorted(plain.pairs)
    assert sorted(whole.unpaired) == sorted(plain.unpaired)
    assert nothing_out == {"included.prompts": 12, "included.left_out": 0}
    some, counts = gather(store, ["ai"], 5)
    assert counts == {"included.prompts": 12, "included.left_out": 7}
    assert gather(store, ["ai"], 5) == (some, counts)
    kept = {p.prompt_id for p in some.pairs if p.source != "chat"}
    assert len(kept) == 5
    assert kept == {u.prompt_id for u in some.unpaired}  # a prompt stays whole
    assert len(some.pairs) == 2 + 5 * 3
    turns = build(store, some, vocab, MODEL).turns
    assert sum(t.weight for t in turns if len(t.responses) == 3) == pytest.approx(2.0)
    assert gather(store, [], 5)[1] == {}


def test_best_and_worst_of_a_ranking() -> None:
    """2 > 0 > 3 > 1, six pairs: 2 over 1 is left, at the weight of all."""
    order = [2, 0, 3, 1]
    pairs = [PairRef(a, b, 1 / 6) for i, a in enumerate(order) for b in order[i + 1 :]]
    turn = Turn("k", "train", [], [1], [[10], [11], [12], [13]], pairs, judgments={"j"}, from_base=[0, 1, 2])
    turn.drawers = {2: "v1", 3: "v2"}
    short = best_and_worst(turn)
    assert short.responses == [[11], [12]]
    assert [(p.chosen, p.rejected) for p in short.pairs] == [(1, 0)]
    assert short.weight == pytest.approx(turn.weight)
    assert short.from_base == [0, 1]
    assert short.drawers == {1: "v1"}
    assert short.judgments == {"j"}
    assert len(turn.pairs) == 6


def test_a_thumb_on_an_answer_of_a_pair_is_said_by_the_pair() -> None:
    """0 and 2 up, 1 down: 0 over 1 at the weight of all. 3, a thumb that no pair holds, stays."""
    pairs = [PairRef(0, 1, 0.25), PairRef(2, 1, 0.125)]
    singles = [SingleRef(0, True, 0.5), SingleRef(1, False, 0.5), SingleRef(2, True, 0.5), SingleRef(3, True, 0.5)]
    turn = Turn("k", "train", [], [1], [[10], [11], [12], [13]], pairs, [], singles)
    short = best_and_worst(turn)
    assert short.responses == [[10], [11], [13]]
    assert short.pairs == [PairRef(0, 1, 1.875)]
    assert short.singles == [SingleRef(2, True, 0.5)]
    one = replace(turn, pairs=pairs[:1], singles=singles[3:])
    assert best_and_worst(one) is one


def test_best_and_worst_keeps_what_is_judged_by_itself() -> None:
    """A pick of 0 over 1 and 2, a correction 3 over all of them, and a thumb down for 2."""
    pairs = [PairRef(0, 1, 0.5), PairRef(0, 2, 0.5), *(PairRef(3, i, 1 / 3) for i in range(3))]
    turn = Turn("k", "train", [], [1], [[10], [11], [12], [13]], pairs, [DemoRef(3, 1.0)], [SingleRef(2, False, 1.0)])
    short = best_and_worst(turn)
    assert short.responses[short.demos[0].response] == [13]
    assert short.responses[short.singles[0].response] == [12]
    (pair,) = short.pairs
    assert short.responses[pair.chosen] == [13]
    assert short.responses[pair.rejected] in ([11], [12])
    assert pair.weight == pytest.approx(2.0)


def test_one_pair_is_left_as_it_is() -> None:
    turn = Turn("k", "train", [], [1], [[10], [11], [12]], [PairRef(0, 1, 1.0)])
    assert best_and_worst(turn) is turn
