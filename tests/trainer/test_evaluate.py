"""The implicit reward on a preference file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from chatapp.engine.base import EngineConfig
from chatapp.engine.llama import LlamaEngine
from chatapp.engine.model_files import bundled
from storage.errors import StorageError
from storage.store import Store
from trainer.base_model import load_base
from trainer.evaluate import Example, evaluate, grouped, summarise
from trainer.logprobs import TokenTurn, plain_response_logps


def test_figures_by_hand() -> None:
    """beta 0.5: margins 0.5 * ((-1 - -2) - (-3 - -3)) = 0.5 and 0.5 * ((-5 - -4) - (-4 - -4)) = -0.5."""
    examples = [Example(1, [1], [2, 3], [4]), Example(2, [1], [5], [6])]
    result = summarise(examples, [(-1.0, -3.0), (-5.0, -4.0)], [(-2.0, -3.0), (-4.0, -4.0)], 0.5)
    assert result["n"] == 2
    assert result["prompts"] == 1
    assert result["accuracy"] == 0.5
    assert result["margin"] == 0.0
    assert result["log_loss"] == pytest.approx((math.log1p(math.exp(-0.5)) + math.log1p(math.exp(0.5))) / 2)
    assert result["longer_wins"] == 0.75  # one longer, one tie


def test_pairs_of_one_prompt_share_it() -> None:
    a, b = Example(1, [1, 2], [3], [4]), Example(2, [1, 2], [3], [5])
    ((turn, pairs),) = grouped([a, b])
    assert turn.responses == [[3], [4], [5]]
    assert pairs == [a, b]


@pytest.mark.real
def test_base_log_probs_are_the_engines(store: Store, model_cache: Path, tmp_path: Path) -> None:
    """Summed log-probabilities against a plain transformers forward and llama.cpp's own; a bad line is named."""
    rows = [
        {"prompt": "What is the capital of France?", "chosen": "It is Paris.", "rejected": "I do not know."},
        {"prompt": "What is the capital of France?", "chosen": "It is Paris.", "rejected": "Berlin, of course."},
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join([*map(json.dumps, rows), "{}"]))
    (result,) = evaluate(store, bundled(), model_cache, file, adapter="all", per_pair=True, fp32=True)
    assert (result["adapter"], result["n"], result["prompts"]) == ("base", 2, 1)
    assert result["accuracy"] == 0.5  # the base orders nothing
    assert result["log_loss"] == pytest.approx(math.log(2))
    assert [row["line"] for row in result["skipped"]] == [3]
    base = load_base(bundled(), model_cache, dtype=torch.float32)
    base.model.set_attn_implementation("eager")
    with LlamaEngine(EngineConfig(bundled(), context_size=512)) as engine:
        for row, pair in zip(rows, result["pairs"], strict=True):
            prompt = engine.vocab.prompt_ids([{"role": "user", "content": row["prompt"]}])
            for name in ("chosen", "rejected"):
                plain = plain_response_logps(base.model, [TokenTurn(prompt, [engine.vocab.response_ids(row[name])])])
                assert pair[f"base_{name}_logp"] == pytest.approx(plain.item(), abs=1e-3)
                # its kernels round activations to 8 bits, which shows in unlikely words
                theirs = sum(engine.score([{"role": "user", "content": row["prompt"]}], row[name]))
                assert pair[f"base_{name}_logp"] == pytest.approx(theirs, abs=0.3 * pair[f"{name}_tokens"])
                assert pair[f"{name}_logp"] == pair[f"base_{name}_logp"]


def test_a_file_without_pairs_is_an_error(store: Store, model_cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("not json\n")
    with pytest.raises(StorageError, match="line 1"):
        evaluate(store, bundled(), model_cache, file)


def test_torch_is_told_to_use_the_cores_it_may() -> None:
    from trainer.base_model import usable_cores

    assert 1 <= usable_cores() <= torch.get_num_threads() * 64
