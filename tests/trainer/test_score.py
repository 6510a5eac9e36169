"""What the reward model says of answers: order, parts, refusals, and the child that answers lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chatapp.engine.base import Message
from storage.errors import NoRewardModel
from storage.store import Store
from tests.trainer import tiny_runs
from tests.trainer.test_reward_task import flag, learn
from trainer.errors import TrainerError
from trainer.score import Scorer, open_scorer, sentence, serve
from trainer.total import Weights

ASKED = [Message(role="user", content="Number 77?")]


@pytest.fixture
def gguf(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    tiny_runs.calm(monkeypatch)
    return tiny_runs.tiny_gguf(tmp_path_factory.getbasetemp())


@pytest.fixture
def scorer(store: Store, gguf: Path) -> Iterator[Scorer]:
    tiny_runs.judge(store, gguf, 12)
    flag(store, gguf, store.rules.list()[2].id, 12)
    assert learn(store, gguf).state == "done"
    with open_scorer(store, gguf, gguf.parent / "cache", Weights(rules=0.5, length=0.25)) as found:
        yield found


def test_without_a_reward_model_it_says_what_to_do(store: Store, gguf: Path) -> None:
    with (
        pytest.raises(NoRewardModel, match="hone train --method reward"),
        open_scorer(store, gguf, gguf.parent / "cache", Weights()),
    ):
        pass


def test_the_better_answer_has_the_higher_reward_and_its_parts_add_up(scorer: Scorer) -> None:
    better, worse = scorer.score(ASKED, ["aaaa", "bbbb"])
    assert better["total"] > worse["total"]
    assert better["preference"] > worse["preference"]
    for found in (better, worse):
        parts = found["preference"] + 0.5 * found["rules_part"] - 0.25 * found["length_part"]
        assert found["total"] == pytest.approx(parts)
        assert found["length"] == len(scorer.vocab.response_ids("aaaa"))  # with the end of the turn
    known = {rule["rule"]: rule for rule in worse["rules"]}
    assert len(known) == 12
    assert known[3]["counts"]
    assert known[3]["flags"] == 24
    assert known[3]["violation"] > 0.5 > next(r for r in better["rules"] if r["rule"] == 3)["violation"]
    assert not known[4]["counts"]
    told = sentence(worse)
    assert told.startswith(f"total {worse['total']:+.2f}\n  preference ")
    assert "breaks 3 (insults): " in told
    assert "breaks 4" not in told  # a guess


def test_tokens_and_text_are_the_same_answer(scorer: Scorer) -> None:
    ids = scorer.vocab.response_ids("abab")
    by_text, by_ids = scorer.score(ASKED, ["abab", ids])
    assert by_text["total"] == pytest.approx(by_ids["total"])
    assert by_text["length"] == by_ids["length"]
    (long,) = scorer.score(ASKED, ["ab" * 1024])
    assert long["length"] == 1024


def test_an_answer_that_was_cut_does_not_end(scorer: Scorer) -> None:
    ids = scorer.vocab.tokenize("abab")
    (cut,) = scorer.score(ASKED, ["abab"], finished=False)
    (drawn,) = scorer.score(ASKED, [ids])
    assert cut["length"] == len(ids)
    assert cut["total"] == pytest.approx(drawn["total"])


@pytest.mark.parametrize(
    ("weight", "said"),
    [(0.5, ", less 0.5 times that"), (-0.5, ", plus 0.5 times that"), (0.0, " (does not count)")],
)
def test_the_text_takes_off_what_the_total_takes_off(scorer: Scorer, weight: float, said: str) -> None:
    (found,) = replace(scorer, weights=Weights(0.5, weight)).score(ASKED, ["aaaa"])
    assert sentence(found).splitlines()[-1] == f"  length {found['length']} tokens: {found['length_part']:+.2f}{said}"


def test_what_cannot_be_scored_is_named(scorer: Scorer) -> None:
    with pytest.raises(TrainerError, match="the text is empty"):
        scorer.score(ASKED, ["  "])
    with pytest.raises(TrainerError, match="the prompt is over 1024 tokens"):
        scorer.score([Message(role="user", content="x" * 2000)], ["aaaa"])


def test_a_line_for_each_line(scorer: Scorer) -> None:
    lines = [
        json.dumps({"messages": ASKED, "answers": ["aaaa", "bbbb"]}),
        "",
        "no json",
        json.dumps({"messages": ASKED, "answers": [""]}),
        json.dumps({"messages": ASKED}),
    ]
    found = [json.loads(line) for line in serve(scorer, lines)]
    wanted = [score["total"] for score in scorer.score(ASKED, ["aaaa", "bbbb"])]
    assert [score["total"] for score in found[0]["scores"]] == pytest.approx(wanted)
    assert [list(line) for line in found[1:]] == [["error"]] * 3
