"""`python -m trainer settings` and `check`: the list cannot go stale, and asking is quick."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from trainer.__main__ import main
from trainer.config import CONFIGS
from trainer.settings import lines, listing


@pytest.mark.parametrize("method", CONFIGS)
def test_each_setting_has_a_default_a_range_and_a_meaning(method: str) -> None:
    rows = listing(method)
    assert {row["name"] for row in rows} == CONFIGS[method].settings()
    for row in rows:
        assert row["meaning"]
        assert row["must_be"]
        CONFIGS[method].read({row["name"]: row["default"]})
    assert len(lines(method)) == len(rows) + 2


def test_defaults_are_those_of_the_method() -> None:
    rates = {method: row["default"] for method in CONFIGS for row in listing(method) if row["name"] == "learning_rate"}
    assert rates["ppo"] == CONFIGS["ppo"]().learning_rate != rates["dpo"]
    (aim,) = (line for line in lines("ppo") if line.startswith("kl_aim "))
    assert "0.0 " in aim
    assert aim.endswith("(a number, at least 0)")


def test_they_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--method", "reward", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"method": "reward", "settings": listing("reward")}


def test_neither_loads_torch() -> None:
    """`hone train` waits for the check before it queues a run."""
    code = (
        "import io, sys; from trainer.__main__ import main; sys.stdin = io.StringIO('{\"batches\": 3}'); "
        "main(['check', '--method', 'ppo']); main(['settings']); "
        "assert not {'torch', 'numpy', 'llama_cpp', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
