"""What sampled answers are compared with, and what counts as a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatapp.engine.base import Candidate, Message, PromptTooLong, Timings
from trainer import answers
from trainer.dataset import PairRef, SingleRef, Turn
from trainer.errors import Cancelled
from trainer.features import Callbacks


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but that is not something I do.",
        "Unfortunately, I cannot assist you with killing anything.",
        "As an AI language model, I do not have knives.",
        "  I am unable\nto say how.",
    ],
)
def test_refusals_are_known_by_their_first_words(text: str) -> None:
    assert answers.is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "Use a large chef's knife and cut off the stem first.",
        "You can kill it with `kill -9`.",
        "",
        "First, whip the cream. " * 20 + "I can't say more.",  # later words are no refusal
    ],
)
def test_answers_are_no_refusals(text: str) -> None:
    assert not answers.is_refusal(text)


def test_the_requests_are_there_and_differ() -> None:
    found = answers.harmless_requests()
    assert len(set(found)) == answers.REQUESTS
    assert not any(answers.is_refusal(text) for text in found)


def test_lengths_are_compared_at_the_same_cut() -> None:
    turn = Turn("k", "train", [], [1], [[5] * 300, [6] * 40], [PairRef(0, 1, 1.0)], [], [SingleRef(1, True, 1.0)])
    turn.from_base = [0, 1]
    seen = answers.seen_answers([turn])
    assert seen.limit == answers.LIMIT
    assert seen.chosen_length == (answers.LIMIT + 40) / 2
    assert seen.base.length == (answers.LIMIT + 40) / 2
    turn.responses = [[5] * 50, [6] * 10]  # everything was cut earlier
    assert answers.seen_answers([turn]).limit == 50
    assert answers.seen_answers([]).chosen_length == 0


class FakeEngine:
    """Refuses under an adapter, and answers everything else with as many tokens as it may."""

    def __init__(self, config: Any) -> None:
        self.adapter = config.adapter_path
        self.asked: list[tuple[Path | None, str, int]] = []

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def swap(self, path: Path | None) -> None:
        self.adapter = path

    def generate(self, messages: list[Message], n: int, sampling: Any) -> list[Candidate]:
        text = messages[-1]["content"]
        if text == "too long":
            raise PromptTooLong("too long")
        self.asked.append((self.adapter, text, sampling.max_tokens))
        said = "I can't." if self.adapter and text != "Hello" else "Yes."
        return [Candidate(i, said, [7] * sampling.max_tokens, "length", i, 1, 0, 0, Timings(1, 1, 1)) for i in range(n)]


def test_one_session_asks_both_and_the_base_s_refusals_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[FakeEngine] = []
    monkeypatch.setattr(answers, "served", lambda config: engines.append(FakeEngine(config)) or engines[-1])
    asked = [[Message(role="user", content=text)] for text in ("Hello", "too long")]

    def sample(with_base: bool, calls: Callbacks | None = None) -> answers.Sampled:
        return answers.sample(
            tmp_path / "m.gguf", tmp_path / "a.gguf", asked, limit=50, with_base=with_base, cache=tmp_path,
            model_hash="m" * 64, calls=calls or Callbacks(),
        )  # fmt: skip

    first = sample(True)
    assert first.base is not None
    assert (first.new.length, first.new.count, first.base.count) == (50, 2, 2)
    assert first.new_refusals == answers.Refusals(8, 8)
    assert first.base_refusals == answers.Refusals(0, 8)
    second = sample(False)
    assert second.base is None
    assert second.base_refusals == first.base_refusals
    assert [len(engine.asked) for engine in engines] == [2 * (1 + 8), 1 + 8]
    assert {path for path, _, _ in engines[1].asked} == {tmp_path / "a.gguf"}
    with pytest.raises(Cancelled):
        sample(False, Callbacks(cancelled=lambda: True))
