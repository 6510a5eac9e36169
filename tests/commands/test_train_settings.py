"""The settings of a run from the shell: refused before anything is queued, listed, and said of each run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.store import Store
from tests.commands.shell import Shell


@pytest.mark.parametrize("wait", [[], ["--wait"], ["--watch"]])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["epochs=1.5"], "epochs is 1.5; it must be a whole number, between 1 and 100"),
        (["beta=nan"], "beta is 'nan'; it must be a number, above 0 and at most 10"),
        (["epoch=1"], "'epoch' is no setting of such a run; there are"),
        (["include=everything"], "cannot include 'everything'; use imports"),
    ],
)
def test_a_wrong_one_is_refused_and_nothing_is_queued(
    hone: Shell, home: Path, wait: list[str], given: list[str], said: str
) -> None:
    assert hone("train", *(word for one in given for word in ("--set", one)), *wait, code=1).startswith(f"hone: {said}")
    assert hone.out == ""
    with Store.open(home) as store:
        assert store.runs.list() == []


def test_they_are_listed_by_method(hone: Shell) -> None:
    assert "kl_aim" in hone("train", "--settings", "--method", "ppo")
    assert "kl_aim" not in hone("train", "--settings")
    found = hone.json("train", "--settings", "--method", "ppo")
    assert found["method"] == "ppo"
    (aim,) = (row for row in found["settings"] if row["name"] == "kl_aim")
    assert aim["default"] == 0
    assert aim["must_be"] == "a number, at least 0"
    assert "nats a token" in aim["meaning"]


def test_a_run_says_what_it_was_given(hone: Shell, home: Path) -> None:
    with Store.open(home) as store:
        store.runs.queue("ppo", {"kl_aim": 0.06, "include": [], "rules_weight": 4.0})
        store.runs.queue("ppo", {"algorithm": "rloo"})
        store.runs.queue("dpo", {"include": []})
    said = hone("runs", "show", "1")
    assert "algorithm: ppo\n" in said
    assert "settings given: kl_aim=0.06 rules_weight=4.0\n" in said
    assert hone.json("runs", "1")["config"] == {"algorithm": "ppo", "include": [], "kl_aim": 0.06, "rules_weight": 4.0}
    assert "algorithm: rloo\n" in hone("runs", "2")
    assert "algorithm" not in hone("runs", "3")
    assert hone.json("runs", "3")["config"] == {"include": []}
    listed = hone("runs")
    assert "settings" not in listed
    hone("runs", "--json")
    assert all("config" in json.loads(line) for line in hone.out.splitlines())
