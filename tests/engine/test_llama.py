"""The engine on the real model: batches, seeds, stopping, limits, the cache, scores."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from chatapp.engine.base import EngineConfig, EngineError, Message, ModelFileError, PromptTooLong, Sampling
from chatapp.engine.llama import LlamaEngine
from tests.engine.conftest import user

pytestmark = pytest.mark.real

STORY = user("Tell a long story about a lighthouse and a dragon.")


def test_candidates_stream_and_differ(engine: LlamaEngine) -> None:
    streamed = [""] * 4
    order: list[int] = []

    def on_token(index: int, text: str) -> None:
        assert text
        streamed[index] += text
        order.append(index)

    answers = engine.generate(STORY, 4, Sampling(seed=7, max_tokens=24), on_token)
    assert [answer.text for answer in answers] == streamed
    assert len(set(streamed)) == 4
    assert set(order[:4]) == {0, 1, 2, 3}  # side by side, not one after the other
    for index, answer in enumerate(answers):
        assert (answer.index, answer.seed) == (index, 7 + index)
        assert len(answer.token_ids) <= 24
        assert answer.text == engine.vocab.detokenize(answer.token_ids)
        assert 0 < answer.timings.first_token_ms <= answer.timings.total_ms


def test_a_seed_repeats_itself(engine: LlamaEngine) -> None:
    def run(seed: int | None, n: int = 3) -> list[list[int]]:
        engine.logits([1])  # an empty cache each time
        return [answer.token_ids for answer in engine.generate(STORY, n, Sampling(seed=seed, max_tokens=16), None)]

    assert run(11) == run(11)
    assert run(11) != run(12)
    assert run(None) != run(None)
    assert run(2**32 - 1, 1) == run(0, 1)  # llama.cpp would take it for "random"


def test_greedy_is_greedy(engine: LlamaEngine) -> None:
    answers = engine.generate(STORY, 2, Sampling(temperature=0, max_tokens=12))
    assert answers[0].token_ids == answers[1].token_ids
    prompt = engine.vocab.prompt_ids(STORY)
    best = engine.logits(prompt + answers[0].token_ids[:-1]).argmax(axis=1)[len(prompt) - 1 :]
    assert list(best) == answers[0].token_ids


def test_a_warm_cache_changes_nothing_but_rounding(engine: LlamaEngine) -> None:
    """The same response scored cold and from the cache: batch shapes differ, so only the last bits may."""
    response = "Once upon a time there was a keeper who loved the sea."
    engine.swap(None)
    cold = engine.score(STORY, response)
    engine.generate(STORY, 4, Sampling(seed=1, max_tokens=8))
    warm = engine.score(STORY, response)
    assert np.abs(np.array(cold) - np.array(warm)).max() < 0.05
    greedy = Sampling(temperature=0, max_tokens=16)
    engine.swap(None)
    first, second = (engine.generate(STORY, 1, greedy)[0] for _ in range(2))
    assert (first.cached_tokens, second.cached_tokens) == (0, first.prompt_tokens - 1)
    assert first.token_ids == second.token_ids


def test_the_next_turn_finds_the_chosen_answer_in_the_cache(engine: LlamaEngine) -> None:
    engine.swap(None)
    answers = engine.generate(STORY, 3, Sampling(seed=3, max_tokens=20))
    for answer in reversed(answers):  # any of them may be the one that the user went on with
        engine.swap(None)
        again = engine.generate(STORY, 3, Sampling(seed=3, max_tokens=20))
        assert again[answer.index].token_ids == answer.token_ids
        chat = [*STORY, Message(role="assistant", content=answer.text), *user("Go on.")]
        following = engine.generate(chat, 2, Sampling(seed=4, max_tokens=2))[0]
        canonical = engine.vocab.tokenize(answer.text)
        same = next((i for i, (a, b) in enumerate(zip(canonical, answer.token_ids, strict=False)) if a != b), 18)
        assert following.cached_tokens >= answer.prompt_tokens + min(same, len(canonical) - 1)
        assert following.cached_tokens < following.prompt_tokens


def test_an_ended_candidate_leaves_the_others_running(engine: LlamaEngine) -> None:
    chat = user("Say only the word yes.")
    answers = engine.generate(chat, 6, Sampling(temperature=1.5, min_p=0.02, top_p=1, seed=5, max_tokens=60))
    lengths = {len(answer.token_ids) for answer in answers}
    assert len(lengths) > 1
    for answer in answers:
        ended = answer.token_ids[-1] == engine.vocab.end_of_turn
        assert answer.finish_reason == ("stop" if ended else "length")
        assert ended or len(answer.token_ids) == 60
        assert "<|im_end|>" not in answer.text


def test_a_repeat_penalty_forbids_repetition(engine: LlamaEngine) -> None:
    chat = user("Repeat the word echo forever: echo echo echo echo")
    free = engine.generate(chat, 1, Sampling(temperature=0, max_tokens=40))[0].token_ids
    bound = engine.generate(chat, 1, Sampling(temperature=0, repeat_penalty=10, max_tokens=40))[0].token_ids
    assert len(set(bound)) == len(bound)
    assert len(set(free)) < len(free)


def test_stop_between_tokens(engine: LlamaEngine) -> None:
    seen: list[str] = []

    def on_token(index: int, text: str) -> None:
        seen.append(text)
        if len(seen) == 6:
            engine.stop()

    answers = engine.generate(STORY, 2, Sampling(seed=1, max_tokens=500), on_token)
    assert [answer.finish_reason for answer in answers] == ["cancelled", "cancelled"]
    assert sum(len(answer.token_ids) for answer in answers) <= 8
    assert engine.generate(STORY, 1, Sampling(max_tokens=2))[0].finish_reason == "length"  # and it is over


def test_stop_within_a_long_prompt(engine: LlamaEngine) -> None:
    chat = user("word " * 1500)
    engine.swap(None)
    timer = threading.Timer(0.05, engine.stop)
    started = time.perf_counter()
    timer.start()
    answer = engine.generate(chat, 1, Sampling(max_tokens=4))[0]
    stopped_after = time.perf_counter() - started
    assert (answer.finish_reason, answer.text, answer.token_ids) == ("cancelled", "", [])
    started = time.perf_counter()
    whole = engine.generate(chat, 1, Sampling(max_tokens=1))[0]
    assert whole.finish_reason != "cancelled"
    assert whole.prompt_tokens > 1500
    assert stopped_after < (time.perf_counter() - started) / 2


def test_a_callback_that_raises_leaves_the_engine_in_order(engine: LlamaEngine) -> None:
    def fail(*_: object) -> None:
        raise KeyError("from the callback")

    with pytest.raises(KeyError, match="from the callback"):
        engine.generate(STORY, 2, Sampling(max_tokens=5), fail)
    engine.swap(None)
    expected = engine.generate(STORY, 2, Sampling(temperature=0, max_tokens=5))[0].token_ids
    with pytest.raises(KeyError):
        engine.generate(STORY, 2, Sampling(max_tokens=5), fail)
    assert engine.generate(STORY, 2, Sampling(temperature=0, max_tokens=5))[0].token_ids == expected


def test_the_oldest_turns_are_dropped(small: LlamaEngine) -> None:
    system = Message(role="system", content="You are a parrot.")
    chat: list[Message] = [system]
    for turn in range(14):
        text = f"Question {turn}: what is the number after {turn}?"
        answer = small.generate([*chat, *user(text)], 2, Sampling(max_tokens=8, seed=turn))[0]
        assert answer.prompt_tokens + 2 * 8 <= 256
        assert answer.dropped_messages % 2 == 0
        chat += [*user(text), Message(role="assistant", content="It is the next one, of course.")]
    assert 0 < answer.dropped_messages < 26
    kept = [system, *chat[1 + answer.dropped_messages : -1]]
    assert len(small.vocab.prompt_ids(kept)) == answer.prompt_tokens  # the system prompt and the newest turns
    assert answer.cached_tokens > len(small.vocab.prompt_ids([system]))  # dropping in steps keeps the cache of use


def test_budgets_share_the_context(small: LlamaEngine) -> None:
    answers = small.generate(STORY, 16, Sampling(max_tokens=4000, seed=1, temperature=1.0))
    used = answers[0].prompt_tokens + sum(len(answer.token_ids) for answer in answers)
    assert used <= 256 + 16
    assert {answer.finish_reason for answer in answers} <= {"length", "stop"}
    alone = small.generate(STORY, 1, Sampling(max_tokens=4000, seed=1))[0]
    assert alone.prompt_tokens + len(alone.token_ids) <= 256


def test_a_newest_message_that_does_not_fit(small: LlamaEngine) -> None:
    with pytest.raises(PromptTooLong, match=r"are 3\d\d tokens; with 2 answer\(s\) at most \d+ fit the context of 256"):
        small.generate(user("word " * 300), 2, Sampling())
    with pytest.raises(PromptTooLong):
        small.score(STORY, "word " * 300)
    assert small.generate(STORY, 1, Sampling(max_tokens=1))


def test_score_is_the_log_softmax_of_the_logits(engine: LlamaEngine) -> None:
    prompt, response = engine.vocab.prompt_ids(STORY), engine.vocab.response_ids("Once upon a time.")
    logits = engine.logits(prompt + response).astype(np.float64)[len(prompt) - 1 : -1]
    logps = (
        logits
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - logits.max(1, keepdims=True)
    )
    expected = logps[np.arange(len(response)), response]
    assert np.abs(np.array(engine.score(STORY, "Once upon a time.")) - expected).max() < 0.05
    assert engine.score(STORY, response) == pytest.approx(engine.score(STORY, "Once upon a time."), abs=0.05)
    assert engine.score(STORY, []) == []
    with pytest.raises(EngineError, match="99999 is not in this model's vocabulary"):
        engine.score(STORY, [99999])


def test_logits_are_the_same_to_the_last_bit(engine: LlamaEngine) -> None:
    ids = engine.vocab.prompt_ids(user("one two three " * 60))
    first = engine.logits(ids)
    engine.generate(STORY, 4, Sampling(max_tokens=8))
    assert first.shape == (len(ids), engine.vocab.n_tokens)
    assert np.array_equal(first, engine.logits(ids))


@pytest.mark.parametrize(("n", "chat"), [(0, STORY), (17, STORY), (1, [])])
def test_nonsense_is_refused(engine: LlamaEngine, n: int, chat: list[Message]) -> None:
    with pytest.raises(EngineError, match=r"must be 1 to 16|conversation is empty"):
        engine.generate(chat, n, Sampling())


def test_bad_configurations(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="context_size is 7"):
        LlamaEngine(EngineConfig(model_path, context_size=7))
    with pytest.raises(EngineError, match="threads is 0"):
        LlamaEngine(EngineConfig(model_path, threads=0))
    with pytest.raises(EngineError, match=r"context of 2000000000 tokens needs about \d+\.\d GiB"):
        LlamaEngine(EngineConfig(model_path, context_size=2_000_000_000))
    with pytest.raises(ModelFileError):
        LlamaEngine(EngineConfig(tmp_path / "none.gguf"))


def test_a_closed_engine_says_so(model_path: Path) -> None:
    engine = LlamaEngine(EngineConfig(model_path, context_size=256))
    engine.close()
    engine.close()
    engine.stop()
    with pytest.raises(EngineError, match="closed"):
        engine.generate(STORY, 1, Sampling())
