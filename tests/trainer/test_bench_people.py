"""`hone bench people`: the split, the cells, the intervals; and a whole cell on the tiny model."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from chatapp.config import Settings
from chatapp.engine.vocab import Vocab
from tests.trainer.tiny_runs import tiny_gguf
from trainer import base_model
from trainer.bench import child, people, preferences, with_trl_reward
from trainer.bench.cell import Cell
from trainer.bench.cell import run as run_cell
from trainer.errors import TrainerError

PAIRS = 60


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dialogues of three kinds: short ones, some that begin alike, one whose last question is too long."""
    folder = tmp_path_factory.mktemp("data")
    draw = random.Random(1)
    with gzip.open(folder / preferences.FILES["hh"], "wt", encoding="utf-8") as file:
        for place in range(PAIRS):
            opening = f"Question {place // 2 if place < 20 else place}"
            more = f"\n\nAssistant: yes\n\nHuman: and {place}?" if place % 2 else ""
            start = f"\n\nHuman: {opening}{more}\n\nAssistant: "
            row = {"chosen": start + "a" * draw.randint(2, 9), "rejected": start + "b" * draw.randint(2, 9)}
            file.write(json.dumps(row) + "\n")
        long = f"\n\nHuman: {'x' * 200}\n\nAssistant: "
        file.write(json.dumps({"chosen": long + "yes", "rejected": long + "no"}) + "\n")
    questions = [
        {
            "question": f"Which, {place}?",
            "passages": [["Title", "One.", "Two."]],
            **{f"prediction {number}": f"answer {number}" for number in (1, 2, 3, 4)},
            "preference": [1, 1, 0, 2, 1, 2],
        }
        for place in range(4)
    ]
    (folder / preferences.FILES["qa"]).write_text(json.dumps(questions))
    return folder


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocab]:
    with Vocab.open(tiny_gguf(tmp_path_factory.mktemp("model"))) as found:
        yield found


def parts(data: Path, vocab: Vocab, train_pairs: int, source: str = "hh", test_pairs: int = 15) -> preferences.Split:
    path = preferences.find(data, source)
    return preferences.split(
        path, source, vocab, test_pairs=test_pairs, train_pairs=train_pairs, max_prompt=120, max_response=64
    )


def test_training_sets_are_nested_and_share_no_opening_with_the_test(data: Path, vocab: Vocab) -> None:
    small, large = parts(data, vocab, 10), parts(data, vocab, 40)
    assert [e.line for e in large.train[:10]] == [e.line for e in small.train]
    assert [e.line for e in large.test] == [e.line for e in small.test]
    assert len(large.train) == 40
    assert len(large.test) == len(large.test_keys) >= 15
    openings = {line: line // 2 if line < 20 else line for line in range(PAIRS)}
    sides = [{openings[e.line - 1] for e in side} for side in (large.train, large.test)]
    assert not sides[0] & sides[1]
    assert all(e.line <= PAIRS for e in [*large.train, *large.test])  # the one that is too long is in neither


def test_four_answers_are_one_turn_of_five_pairs(data: Path, vocab: Vocab) -> None:
    """[1, 1, 0, 2, 1, 2]: 1 > 2, 1 > 3, 1 = 4, 3 > 2, 2 > 4, 4 > 3; so five pairs a question, each answer once."""
    split = parts(data, vocab, 10, source="qa", test_pairs=5)
    turns = preferences.turns(split.train)
    assert [(len(t.responses), len(t.pairs)) for t in turns] == [(4, 5), (4, 5)]
    assert all(pair.weight == 1 for turn in turns for pair in turn.pairs)


def test_too_few_pairs_and_missing_files_are_one_sentence(data: Path, vocab: Vocab, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="holds 60 pairs that fit; 15 for the test and 100"):
        parts(data, vocab, 100)
    with pytest.raises(TrainerError, match="is not there: give the folder"):
        preferences.find(tmp_path, "qa")
    (tmp_path / preferences.FILES["qa"]).write_text('{"a": 1}')
    with pytest.raises(TrainerError, match="is not the fine-grained feedback"):
        parts(tmp_path, vocab, 10, source="qa")
    with pytest.raises(TrainerError, match="needs --data"):
        people.measure(Settings(tmp_path, tmp_path / "config.toml", tmp_path))


@pytest.mark.parametrize("text", ["hh", "hh:x:hone", "hh:0:hone", "other:10:hone", "hh:10:ours", "hh:10:trl@fast"])
def test_what_is_no_cell_is_named(text: str) -> None:
    with pytest.raises(TrainerError, match=f"'{text}' is no cell"):
        people.parse(text)


def test_cells() -> None:
    assert people.parse("qa:300:trl@2e-4") == ("qa", 300, "trl@2e-4")
    assert people.every_cell()[:4] == ["hh:100:hone", "hh:100:reward", "hh:100:trl", "hh:100:trl-reward"]
    assert len(people.every_cell()) == 24


def outcome(cell: Cell, margins: list[float]) -> dict[str, Any]:
    return {
        "cell": asdict(cell), "margins": margins, "longer": [1, -1, 0, 3], "keys": ["a", "a", "b", "c"],
        "train_prompts": 8, "seconds": {"reference": 2.0, "training": 6.0, "test": 1.0}, "peak_mb": 900,
    }  # fmt: skip


def cell(side: str, pairs: int = 8) -> Cell:
    return Cell("hh.jsonl.gz", "hh", pairs, side, "m.gguf", "cache", test_pairs=4)


def test_figures_by_hand() -> None:
    """Margins 2, -1, 0, 4: right 1, 0, 1/2, 1, so 62.5 %; longer wins in 1, 0, 1/2, 1 of them too: the same."""
    row = people.row(outcome(cell("hone"), [2, -1, 0, 4]))
    assert (row["accuracy"], row["longer_wins"], row["above_longer"]) == (0.625, 0.625, 0)
    assert row["above_longer_interval"] == [0, 0]
    assert (row["test_pairs"], row["test_prompts"]) == (4, 3)
    assert row["interval"] == [0.5, 1.0]  # draws of a alone: 1 of 2; of c alone: 1
    both = [outcome(cell("hone"), [2, 1, 1, 4]), outcome(cell("trl"), [2, -1, 0, 4])]
    assert people.differences(both)[0]["accuracy"] == 0.375
    assert people.differences([both[0], outcome(cell("trl", pairs=9), [1, 1, 1, 1])]) == []
    rewards = [outcome(cell("reward"), [2, 1, 1, 4]), outcome(cell("trl-reward"), [2, -1, 0, 4])]
    compared = [row["of"] for row in people.differences([*both, *rewards])]
    assert compared == ["hh:8:hone less trl", "hh:8:hone less reward", "hh:8:reward less trl-reward"]


def test_an_estimate_goes_by_what_was_measured() -> None:
    assert people.estimate(asdict(cell("hone", 100)), []) == 100 * people.SECONDS_A_PAIR["hh", "hone"]
    assert people.estimate(asdict(cell("hone", 100)), [outcome(cell("hone"), [1, 1, 1, 1])]) == 100


def test_goes_on_where_it_stopped(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that a kill cut off is measured again, what is whole is not; another setting is another measurement."""
    ran: list[str] = []

    def fake(module: str, job: dict[str, Any], what: str) -> dict[str, Any]:
        ran.append(what)
        return outcome(Cell(**job), [1, 1, 1, -1])

    monkeypatch.setattr(child, "run", fake)
    settings = Settings(tmp_path, tmp_path / "config.toml", tmp_path)
    out = tmp_path / "out.jsonl"
    only = ["hh:8:hone", "hh:8:trl"]
    first = people.measure(settings, data=data, out=out, only=only)
    assert ran == only
    assert [row["accuracy"] for row in first["rows"]] == [0.75, 0.75]
    lines = out.read_text().splitlines()
    out.write_text(lines[0] + "\n" + lines[1][:40])
    ran.clear()
    assert people.measure(settings, data=data, out=out, only=only)["rows"] == first["rows"]
    assert ran == ["hh:8:trl"]
    people.measure(settings, data=data, out=out, only=["hh:8:hone"], set=["epochs=1"])
    assert ran == ["hh:8:trl", "hh:8:hone epochs=1"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_cell_learns_what_people_prefer(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Chosen answers are a's, rejected ones b's: Hone orders nearly all pairs that it did not see, TRL at its default
    rate moves by next to nothing, and yet it is measured."""
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    monkeypatch.setattr(base_model, "usable_cores", lambda: 1)  # such small products are slower on two
    gguf = tiny_gguf(tmp_path)
    shared = {"file": str(data / preferences.FILES["hh"]), "source": "hh", "pairs": 16, "test_pairs": 10}
    limits = {"max_prompt": 120, "max_response": 64}
    found = {
        side: run_cell(Cell(**shared, side=side, gguf=str(gguf), cache_dir=str(tmp_path), set=changed))
        for side, changed in (
            ("hone", {**limits, "learning_rate": 5e-3, "epochs": 2, "rank": 4, "ordinary_weight": 0.0}),
            ("trl", limits),
            ("trl-reward", limits),
        )
    }
    assert found["hone"]["keys"] == found["trl"]["keys"]
    right = [sum(map(people.half, result["margins"])) / len(result["margins"]) for result in found.values()]
    assert right[0] >= 0.9
    assert max(map(abs, found["trl"]["margins"])) < 1 < max(map(abs, found["hone"]["margins"]))
    assert any(found["trl"]["margins"])
    assert len(found["trl-reward"]["margins"]) == len(found["hone"]["margins"])
    assert found["trl-reward"]["seconds"]["training"] > 0


def test_rewards_are_those_of_the_model_itself() -> None:
    """What a model for sequence classification says of each text alone, whatever stands beside it."""
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_labels=1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model: Any = transformers.LlamaForSequenceClassification(config).eval()
    model.get_base_model = lambda: model  # as PEFT's models have it
    texts = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [5, 6]]
    with torch.no_grad():
        wanted = [float(model(input_ids=torch.tensor([text])).logits[0, 0]) for text in texts]
    assert with_trl_reward.rewards(model, texts) == pytest.approx(wanted, abs=1e-5)
