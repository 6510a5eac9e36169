"""`hone train --method reward`, `hone score` and `hone ask --best-of`, on the real model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatapp.commands import ask
from chatapp.scoring import ScoringError
from storage.store import Store
from tests.commands.shell import Shell, lines

PLAIN = "It is so. We see it each day, and we know it to be so."
STIFF = "Consequently, numerous considerations necessitate comprehensive investigation of aforementioned circumstances."


@pytest.fixture
def judged(hone: Shell, tmp_path: Path) -> Shell:
    """Twelve prompts, the plain answer before the stiff one; it is the longer one in every other."""
    turns = [
        {"prompt": f"What of number {i}?", "responses": [f"{PLAIN[: 11 if i % 2 else None]} {i}", f"{STIFF} {i}"]}
        for i in range(12)
    ]
    turns = [turn | {"ranking": [[0], [1]]} for turn in turns]
    hone("judge", "--file", lines(tmp_path / "turns.jsonl", *turns))
    return hone


def test_without_one_it_is_said_before_anything_is_drawn(hone: Shell, tmp_path: Path) -> None:
    assert "no reward model of this model yet: train one with `hone train --method reward" in hone(
        "ask", "Why?", "--best-of", 4, code=1
    )
    assert "--best-of is 1; it must be from 2 to 16" in hone("ask", "Why?", "--best-of", 1, code=1)
    assert "--best-of is 3; it must be from 4 to 16" in hone("ask", "Why?", "-n", 4, "--best-of", 3, code=1)
    assert "give a prompt and a response" in hone("score", "Why?", code=1)
    assert hone("score", "Why?", " ", code=1) == "hone: the response is empty\n"
    assert hone("score", "Why?", "So.", code=1).startswith("hone: there is no reward model of this model yet")
    row = {"prompt": "Why?", "response": "So.", "finished": "no"}
    assert "line 1: finished is 'no'" in hone("score", "--file", lines(tmp_path / "odd.jsonl", row), code=1)
    assert "--watch learns by dpo" in hone("train", "--method", "reward", "--watch", code=1)


def test_answers_that_cannot_be_ranked_are_shown_as_they_were_drawn(
    hone: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses:
        def __init__(self, settings: Any) -> None: ...

        def rewards(self, messages: Any, answers: Any) -> list[dict[str, Any]]:
            raise ScoringError("the prompt is over 1024 tokens long")

        def close(self) -> None: ...

    monkeypatch.setattr(ask, "Scoring", Refuses)
    monkeypatch.setattr(ask.reward_models, "current", lambda *_: None)
    found = hone.json("ask", "Why?", "-n", 2, "--best-of", 3, "--max-tokens", 4)
    assert "the answers were not ranked: the prompt is over 1024 tokens long" in hone.err
    assert len(found["candidates"]) == 2
    assert "best_of" not in found


def test_a_reward_model_scores_and_chooses(judged: Shell, home: Path, tmp_path: Path) -> None:
    hone = judged
    run = hone.json("train", "--method", "reward", "--wait")
    assert run["state"] == "done", run["verdict"]
    assert run["adapter"] is None
    assert "12 judged prompts" in run["verdict"]
    assert run["metrics"]["reward.accuracy"] > 0.9
    asked = [{"prompt": "What of dogs?", "response": text} for text in (PLAIN, STIFF)]
    told = hone("score", "--file", lines(tmp_path / "asked.jsonl", *asked), "--json")
    plain, stiff = (json.loads(line) for line in told.splitlines())
    assert plain["total"] > stiff["total"]
    assert plain["rules"] == []
    rows = [{**asked[0], "finished": False}, {"prompt": "why? " * 1100, "response": PLAIN}]
    said = hone("score", "--file", lines(tmp_path / "asked.jsonl", *rows), "--json", code=1)
    assert json.loads(hone.out)["length"] == plain["length"] - 1  # it did not end
    assert said.startswith(f"hone: {tmp_path / 'asked.jsonl'}, line 2: the prompt is over 1024 tokens long")
    found = hone.json("ask", "What of cats?", "-n", 2, "--best-of", 4, "--max-tokens", 24, "--seed", 7)
    assert (found["best_of"], found["chosen_by"], len(found["candidates"])) == (4, "reward model", 2)
    marks = [candidate["reward"] for candidate in found["candidates"]]
    assert marks == sorted(marks, reverse=True)
    with Store.open(home) as store:
        rows = store.rows("SELECT sampling FROM generations")
        kept: list[dict[str, Any]] = [json.loads(row["sampling"]) for row in rows]
        # all that were drawn are kept, with the model's rank; that is no judgment of the user's
        assert sorted(k["reward_rank"] for k in kept) == [0, 1, 2, 3]
        assert max(k["reward"] for k in kept) == pytest.approx(marks[0])
        assert len(list(store.judgments.live())) == 12
