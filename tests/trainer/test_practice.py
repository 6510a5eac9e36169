"""Answers of the base that nobody judged: what is there, what is written, and which of them a run takes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chatapp.engine.base import Candidate, EngineCrashed, Message, Timings
from chatapp.engine.model_files import file_hash, resolve
from chatapp.engine.vocab import Vocab
from storage.assets import asset
from tests.trainer import tiny_runs
from trainer import practice
from trainer.config import TrainConfig
from trainer.dataset import DemoRef, PairRef, Turn
from trainer.errors import Cancelled
from trainer.features import Callbacks
from trainer.practice import Drill, Practice, SecondLook, drills, requests, write

HASH = "f" * 64


@pytest.fixture
def vocab(tmp_path: Path) -> Iterator[Vocab]:
    with Vocab.open(tiny_runs.tiny_gguf(tmp_path)) as found:
        yield found


def ids(vocab: Vocab, text: str) -> list[int]:
    return vocab.response_ids(text)


def judged(vocab: Vocab, count: int = 12, liked: str = "rain", first: int = 0) -> list[Turn]:
    """Who has the liked word is better."""
    found = []
    for i in range(first, first + count):
        answers = [ids(vocab, f"{liked} {i}"), ids(vocab, f"dust {i}")]
        found.append(Turn(str(i), "train", [], [1], answers, [PairRef(0, 1, 1.0)]))
    return found


def learned(known: list[Drill], turns: list[Turn], vocab: Vocab, **settings: Any) -> Practice:
    """A practice on these drills, whether they are enough or not."""
    found = Practice(turns, TrainConfig(**settings), vocab)
    found.take(known, vocab)
    return found


def bank(vocab: Vocab, count: int = 20) -> list[Drill]:
    """The higher the number, the more often the better answer says it."""
    return [Drill(f"Request {i}?", [ids(vocab, "dust"), ids(vocab, "rain " * (i + 1))]) for i in range(count)]


# which are taken


def test_the_clearest_pairs_are_taken(vocab: Vocab) -> None:
    known = bank(vocab)
    found = learned(known, judged(vocab), vocab).turns(5)
    assert [turn.messages[0]["content"] for turn in found] == [f"Request {i}?" for i in (19, 18, 17, 16, 15)]
    first = found[0]
    assert first.prompt == vocab.prompt_ids([Message(role="user", content="Request 19?")])
    assert first.responses == [known[19].answers[1], known[19].answers[0]]
    assert [(p.chosen, p.rejected, p.weight) for p in first.pairs] == [(0, 1, 1.0)]
    assert first.temperature == practice.TEMPERATURE
    assert (first.split, first.judgments) == ("train", set())


def test_nothing_is_practised_without_a_taste_or_without_answers(vocab: Vocab) -> None:
    known = bank(vocab)
    assert learned(known, judged(vocab), vocab).turns(0) == []
    assert learned(known[: practice.LEAST - 1], judged(vocab), vocab).turns(5) == []
    undecided = judged(vocab)
    for turn in undecided[::2]:
        turn.pairs = [PairRef(1, 0, 1.0)]
    assert learned(known, undecided, vocab).turns(5) == []
    alike = [Drill(f"Request {i}?", [ids(vocab, "rain")] * 2) for i in range(20)]
    assert learned(alike, judged(vocab), vocab).turns(5) == []


def test_answers_are_fetched_only_for_a_taste(vocab: Vocab) -> None:
    asked: list[int] = []

    def fetch(wanted: int) -> list[Drill]:
        asked.append(wanted)
        return bank(vocab)

    assert Practice.begin(judged(vocab), TrainConfig(), vocab, fetch).turns(5)
    assert asked == [12]
    undecided = judged(vocab)
    for turn in undecided[::2]:
        turn.pairs = [PairRef(1, 0, 1.0)]
    assert not Practice.begin(undecided, TrainConfig(), vocab, fetch).turns(5)
    assert not Practice.begin(judged(vocab), TrainConfig(practice_share=0.0), vocab, fetch).turns(5)
    assert asked == [12]


def test_an_answer_without_a_word_is_none(vocab: Vocab) -> None:
    """Who likes it short would learn to say nothing."""
    silent = [Drill(d.prompt, [*d.answers, vocab.response_ids("x")[-1:]]) for d in bank(vocab)]
    found = learned(silent, judged(vocab), vocab).turns(20)
    assert len(found) == 20
    assert all(vocab.detokenize(ids).strip() for turn in found for ids in turn.responses)


def test_the_judgments_of_others_do_not_hide_ones_own(vocab: Vocab, monkeypatch: pytest.MonkeyPatch) -> None:
    """They weigh little, demonstrations say nothing of answers, and a practised turn weighs what a judged one does."""
    monkeypatch.setattr(practice, "MOST", 12)
    theirs = judged(vocab, 40, "dust", 100)
    for at, turn in enumerate(theirs):
        turn.pairs = [PairRef(at % 2, 1 - at % 2, 0.3)]
    shown = judged(vocab, 40, "dust", 200)
    for turn in shown:
        turn.pairs, turn.demos = [], [DemoRef(0, 1.0)]
    found = learned(bank(vocab), [*theirs, *shown, *judged(vocab)], vocab).turns(20)
    assert {pair.weight for turn in found for pair in turn.pairs} == {1.0}
    monkeypatch.setattr(practice, "MOST", 52)
    found = learned(bank(vocab), [*theirs, *shown, *judged(vocab)], vocab).turns(20)
    weights = {pair.weight for turn in found for pair in turn.pairs}
    assert weights == {round((12 + 40 * 0.3) / 52, 6)}


def test_the_temperature_of_a_run_is_that_of_what_it_practises(vocab: Vocab) -> None:
    assert learned(bank(vocab), judged(vocab), vocab).turns(1)[0].temperature == practice.TEMPERATURE
    assert learned(bank(vocab), judged(vocab), vocab, temperature=1.0).turns(1)[0].temperature == 1.0


def test_a_prediction_practises_on_nothing_of_what_it_predicts(vocab: Vocab) -> None:
    """Hail is liked in two turns alone: who may not know them does not practise on hail."""
    known = [Drill(f"Request {i}?", [ids(vocab, "snow " * (i + 1)), ids(vocab, "hail " * (i + 1))]) for i in range(20)]
    train = [*judged(vocab, 20), *judged(vocab, 2, "hail", first=100)]
    course = learned([*known, *bank(vocab)], train, vocab)
    liked = {turn.key: course._read(turn.responses[0]).words.get("hail", 0) for turn in course.turns(40)}
    assert any(liked.values())
    look = SecondLook.plan(course, train, train[20:], TrainConfig())
    assert sorted(t.key for fold in look.folds for t in fold.left_out) == ["100", "101"]
    for fold in look.folds:
        out = {t.key for t in fold.left_out}
        assert not out & set(fold.learned)
        assert len(fold.learned) == len(train) - len(out) + len(fold.practised)
    others = course.turns(40, without={"100", "101"})
    assert others
    assert not any("hail" in course._read(ids).words for turn in others for ids in turn.responses)
    mine = course.turns(3)
    more = look.practised(but=mine)
    assert more
    assert not {t.key for t in more} & {t.key for t in mine}


# what is there


def test_the_bundled_models_answers_come_with_it(tmp_path: Path) -> None:
    found = drills(tmp_path, file_hash(resolve(None, tmp_path).path, tmp_path))
    assert len(found) >= 100
    assert all(len(drill.answers) >= 4 for drill in found)
    assert {drill.prompt for drill in found} <= set(requests())


def test_what_is_broken_or_not_asked_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests()
    path = practice.written(tmp_path, HASH)
    path.parent.mkdir()
    good = practice.line(Drill(asked[0], [[1, 2], [3]]))
    other = practice.line(Drill("Nobody asked this.", [[1], [2]]))
    alone = practice.line(Drill(asked[1], [[1]]))
    empty = practice.line(Drill(asked[2], [[1], []]))
    path.write_bytes(good + other + alone + empty + b'{"prompt": 3}\n[1]\n{"prompt": "cut o')
    assert drills(tmp_path, HASH) == [Drill(asked[0], [[1, 2], [3]])]
    assert drills(tmp_path, "e" * 64) == []
    path.unlink()
    path.mkdir()  # cannot be read
    monkeypatch.setattr(practice, "asset", lambda name: tmp_path / Path(name).name)
    (tmp_path / f"{HASH[:16]}.jsonl.gz").write_bytes(gzip.compress(good, mtime=0)[:-6])
    monkeypatch.setattr(practice, "requests", lambda: asked)
    assert drills(tmp_path, HASH) == []


class FakeEngine:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent = False  #: whether answers are empty: the end of the turn and nothing before it
        self.crashes_at = 1000

    def generate(self, messages: list[Message], n: int, sampling: Any, on_token: Any) -> list[Candidate]:
        if len(self.asked) == self.crashes_at:
            raise EngineCrashed("it died")
        self.asked.append(messages[-1]["content"])
        on_token(0, "x")
        text, ids = ("", [2]) if self.silent else ("x", [5, 2])
        return [Candidate(i, text, ids, "stop", sampling.seed + i, 3, 0, 0, Timings(1, 1, 1)) for i in range(n)]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()

    @contextmanager
    def started(_: Any) -> Iterator[FakeEngine]:
        yield fake

    monkeypatch.setattr(practice, "served", started)
    return fake


def test_another_models_answers_are_written_until_patience_ends(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests()
    times = iter(range(0, 10_000, 5))
    monkeypatch.setattr(practice.time, "monotonic", lambda: float(next(times)))
    first = write(tmp_path / "m.gguf", tmp_path, HASH, [], Callbacks())
    assert 4 < len(first) < 20
    assert drills(tmp_path, HASH) == first
    with practice.written(tmp_path, HASH).open("ab") as file:
        file.write(b'{"prompt": "cut o')
    second = write(tmp_path / "m.gguf", tmp_path, HASH, drills(tmp_path, HASH), Callbacks())
    assert [d.prompt for d in second] == asked[: len(second)]
    assert engine.asked == asked[: len(second)]
    assert drills(tmp_path, HASH) == second
    assert write(tmp_path / "m.gguf", tmp_path, HASH, [Drill(p, [[1], [2]]) for p in asked], Callbacks())
    assert len(engine.asked) == len(second)


def test_a_slow_model_is_asked_once(tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(0, 10_000, 30))
    monkeypatch.setattr(practice.time, "monotonic", lambda: float(next(times)))
    asked = (tmp_path / "m.gguf", tmp_path, HASH)
    told: list[int] = []
    assert practice.ready(*asked, 9, Callbacks(), told.append) == []
    assert len(engine.asked) == 1
    assert practice.ready(*asked, 9, Callbacks(), told.append) == []
    assert len(engine.asked) == 1
    assert told == [0]


def test_a_cancelled_run_ends_within_an_answer(tmp_path: Path, engine: FakeEngine) -> None:
    said: list[bool] = []
    with pytest.raises(Cancelled):
        write(
            tmp_path / "m.gguf", tmp_path, HASH, [], Callbacks(cancelled=lambda: bool(said) or bool(said.append(True)))
        )
    assert len(engine.asked) == 1


def test_a_crash_costs_what_was_not_answered_yet(tmp_path: Path, engine: FakeEngine) -> None:
    engine.crashes_at = 3
    assert [d.prompt for d in write(tmp_path / "m.gguf", tmp_path, HASH, [], Callbacks())] == requests()[:3]


def test_a_model_that_says_nothing_gives_nothing_to_practise_on(tmp_path: Path, engine: FakeEngine) -> None:
    engine.silent = True
    assert write(tmp_path / "m.gguf", tmp_path, HASH, [], Callbacks()) == []
    assert engine.asked == requests()
    assert drills(tmp_path, HASH) == []


def test_a_full_disk_costs_a_run_nothing_but_practice(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    asked = (tmp_path / "m.gguf", tmp_path, HASH)
    assert practice.ready(*asked, 9, Callbacks(), told.append, more=False) == []
    monkeypatch.setattr(practice, "requests", lambda: [f"Request {i}?" for i in range(3)])
    assert len(practice.ready(*asked, 9, Callbacks(), told.append)) == 3
    assert told == [1, 2, 3, 0]
    practice.written(tmp_path, HASH).unlink()
    practice.written(tmp_path, HASH).mkdir()  # cannot be opened for writing
    monkeypatch.setattr(practice, "drills", lambda *_: [Drill("Request 0?", [[1], [2]])])
    assert practice.ready(*asked, 9, Callbacks(), told.append) == [Drill("Request 0?", [[1], [2]])]


def test_the_shipped_file_is_small() -> None:
    for path in asset("practice.jsonl").parent.glob("practice/*.gz"):
        assert path.stat().st_size < 1_000_000
        assert all(json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines() if line)
