"""Rollouts on the real model, in half precision: the same answers as one at a time, only many at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chatapp.engine import half
from chatapp.engine.base import EngineConfig, EngineError, Sampling
from chatapp.engine.half import half_precision
from chatapp.engine.llama import LlamaEngine
from chatapp.engine.process import EngineProcess
from chatapp.engine.yield_lock import GenerationLock
from tests.engine.conftest import user

pytestmark = pytest.mark.real

ASKED = ["Name a fruit.", "Why is the sky blue?", "Tell a long story about a dragon.", "Say yes.", "How do I swim?"]


@pytest.fixture(scope="module")
def copy(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return half_precision(model_path, tmp_path_factory.mktemp("half"))


@pytest.fixture(scope="module")
def plain(copy: Path) -> Iterator[LlamaEngine]:
    with LlamaEngine(EngineConfig(copy, context_size=1024)) as started:
        yield started


@pytest.fixture(scope="module")
def streams(copy: Path) -> Iterator[LlamaEngine]:
    """Three answers at one time, 256 tokens each."""
    with LlamaEngine(EngineConfig(copy, context_size=768, streams=3)) as started:
        yield started


def prompts(engine: LlamaEngine) -> list[list[int]]:
    return [engine.vocab.prompt_ids(user(text)) for text in ASKED]


def draw(engine: LlamaEngine, asked: list[list[int]], n: int, **sampling: float | int) -> list[list[list[int]]]:
    return engine.draw(asked, n, Sampling(**sampling), lambda ended: None)  # type: ignore[arg-type]


def test_half_precision_says_what_the_file_says(plain: LlamaEngine, engine: LlamaEngine, copy: Path) -> None:
    """The copy's next-word distribution is the model's, but for what 8-bit activations round off there."""
    ids = engine.vocab.prompt_ids(user(ASKED[1]))
    mine, theirs = plain.logits(ids)[-1].astype(np.float64), engine.logits(ids)[-1].astype(np.float64)
    p, q = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (mine, theirs))
    assert float((p * np.log(p / q)).sum()) < 0.02
    assert half_precision(copy, copy.parent) == copy, "made once"


def test_a_large_model_is_used_as_it_is(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half, "LARGEST", 1000)
    assert half_precision(model_path, tmp_path / "models") == model_path
    assert not (tmp_path / "models").exists()


def test_what_a_killed_process_left_unfinished_goes(tmp_path: Path) -> None:
    """But not what another one is making now."""
    old, new = tmp_path / f"{half.UNFINISHED}a.gguf", tmp_path / f"{half.UNFINISHED}b.gguf"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    gguf = tmp_path / "no.gguf"
    gguf.write_bytes(b"no model")
    assert half_precision(gguf, tmp_path) == gguf, "it cannot be copied"
    assert (old.exists(), new.exists()) == (False, True)
    (tmp_path / half.NAME).write_bytes(b"made meanwhile")
    os.utime(new, (1, 1))
    assert half_precision(gguf, tmp_path) == tmp_path / half.NAME
    assert not new.exists(), "also where the copy is there"


def test_the_likeliest_answers_are_those_of_one_at_a_time(plain: LlamaEngine, streams: LlamaEngine) -> None:
    told: list[int] = []
    greedy = Sampling(temperature=0, max_tokens=20)
    found = streams.draw(prompts(streams), 2, greedy, told.append)
    for text, answers in zip(ASKED, found, strict=True):
        wanted = plain.generate(user(text), 1, greedy)[0].token_ids
        assert answers == [wanted, wanted]
    assert sorted(set(told) - {0}) == list(range(1, 11)), "and now and then the same again"


def test_each_answer_has_a_seed_of_its_own(streams: LlamaEngine) -> None:
    asked = prompts(streams)[1:3]
    first, again, other = (draw(streams, asked, 4, max_tokens=24, seed=seed) for seed in (5, 5, 6))
    assert [len(answers) for answers in first] == [4, 4]
    assert len({tuple(a) for answers in first for a in answers}) == 8
    assert first == again
    assert first != other
    assert first[0][1:] == other[0][:-1], "a seed says what is drawn, whichever stream draws it"


def test_an_answer_ends_where_the_turn_or_the_room_does(streams: LlamaEngine) -> None:
    short, long = prompts(streams)[3], prompts(streams)[2]
    ((brief,), (cut,)) = draw(streams, [short, long], 1, temperature=0, max_tokens=400)
    assert streams.vocab.is_eog(brief[-1])
    assert len(cut) == 256 - len(long), "a stream has 256 tokens"
    none, some = draw(streams, [long * 10, short], 2, max_tokens=4)
    assert none == []
    assert len(some) == 2
    assert draw(streams, [], 2) == []


def test_what_cannot_be_drawn_is_refused(streams: LlamaEngine, copy: Path) -> None:
    with pytest.raises(EngineError, match="A prompt has no tokens"):
        draw(streams, [[]], 2)
    with pytest.raises(EngineError, match="0 answers were asked for"):
        draw(streams, [[1]], 0)
    with pytest.raises(EngineError, match="streams is 65; it must be from 0 to 64"):
        LlamaEngine(EngineConfig(copy, streams=65))


def test_a_chats_engine_draws_no_rollouts(plain: LlamaEngine) -> None:
    with pytest.raises(EngineError, match="need an engine with streams"):
        draw(plain, prompts(plain), 2)


def test_it_gives_way_to_a_chat_and_can_be_stopped_meanwhile(copy: Path, tmp_path: Path) -> None:
    lock = GenerationLock(tmp_path / "generation.lock")
    told: list[int] = []
    with LlamaEngine(EngineConfig(copy, context_size=768, streams=3, lock_path=lock.path)) as engine:

        def on_answer(ended: int) -> None:
            told.append(ended)
            engine.stop()

        with lock.generating(), pytest.raises(EngineError, match="stopped before their end"):
            engine.draw(prompts(engine), 2, Sampling(max_tokens=4), on_answer)
        assert told == [0], "nothing was drawn while somebody else generated"
        assert len(draw(engine, prompts(engine), 1, max_tokens=4)) == 5


def test_it_is_stopped_and_draws_again(streams: LlamaEngine) -> None:
    def on_answer(ended: int) -> None:
        threading.Thread(target=streams.stop).start()

    with pytest.raises(EngineError, match="stopped before their end"):
        streams.draw(prompts(streams) * 4, 8, Sampling(max_tokens=200), on_answer)
    assert len(draw(streams, prompts(streams), 1, max_tokens=4)) == 5


def test_another_process_draws_them_and_can_be_called_off(copy: Path) -> None:
    class CalledOff(Exception):
        pass

    def on_answer(ended: int) -> None:
        if ended == 2:
            raise CalledOff

    with EngineProcess(EngineConfig(copy, context_size=1024, streams=4)) as engine:
        asked = [list(range(10, 20)), list(range(30, 42))]
        sampling = Sampling(max_tokens=8, seed=3)
        told: list[int] = []
        found = engine.draw(asked, 3, sampling, told.append)
        assert [len(answers) for answers in found] == [3, 3]
        assert sorted(set(told) - {0}) == [1, 2, 3, 4, 5, 6]
        with pytest.raises(CalledOff):
            engine.draw(asked * 20, 3, sampling, on_answer)
        assert engine.draw(asked, 3, sampling) == found
