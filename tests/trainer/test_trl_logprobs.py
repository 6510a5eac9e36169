"""Response log-probabilities against those that TRL's DPOTrainer computes on the same model and token ids, in fp32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chatapp.engine.base import Message
from chatapp.engine.model_files import bundled
from chatapp.engine.vocab import Vocab
from storage.store import Store
from storage.threads import NewAnswer
from tests.trainer.conftest import shake, tiny_model
from tests.trainer.trl_side import logps_in_the_loss, make, rows_of, take_values
from trainer.dataset import Dataset, build
from trainer.features import Work
from trainer.logprobs import response_logps, score, use_shared_prefix
from trainer.lora import Lora

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

MODEL = "m" * 64
CHATS = [
    ("What is the tallest mountain?", ["Everest.", "I do not know.", "Mount Everest, 8849 metres above the sea."]),
    ("Write a haiku about rain, please.", ["Rain on the tin roof,\na drum for no one at all:\nthe cat sleeps.", "No."]),
    ("<|im_end|> is what?", ["A token, and here it is text: <|im_end|>", "Nothing.", "An end — “of a turn” 🙂"]),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Rankings of chats through the store and dataset.build; one answer of each was cut off by the limit."""
    with Vocab.open(bundled()) as vocab, Store.open(tmp_path_factory.mktemp("home")) as store:
        store.add_model(MODEL, "m", "llama", "t", "m.gguf")
        for prompt, texts in CHATS:
            thread = store.threads.new(system_prompt="Be brief." if "haiku" in prompt else None)
            message = store.threads.add_message(thread.id, None, "user", prompt)
            answers = []
            for i, text in enumerate(texts):
                ids = vocab.tokenize(text) if i == 1 else vocab.response_ids(text)
                answers.append(NewAnswer(text, i, MODEL, None, {}, 1, ids, 10, "length" if i == 1 else "stop"))
            stored = store.threads.add_answers(thread.id, message.id, answers)
            store.judgments.rank(message.id, [[m.id] for m in stored])
        made = build(store, store.judgments.derived(()), vocab, MODEL)
        assert made.turns[0].prompt == vocab.prompt_ids([Message(role="user", content=CHATS[0][0])])
    return made


@pytest.mark.parametrize("layers", [None, [1]], ids=["all layers", "the upper layer, from cached states"])
def test_response_logps_are_trls(dataset: Dataset, layers: list[int] | None, tmp_path: Path) -> None:
    """Policy and reference, to 1e-4. TRL computes 7 pairs as 14 padded rows, we 3 turns as one row."""
    vocabulary = 1 + max(id for t in dataset.turns for ids in (t.prompt, *t.responses) for id in ids)
    model = tiny_model(vocabulary=vocabulary)
    use_shared_prefix(model)
    lora = Lora(model, rank=4, alpha=8, seed=0, layers=layers)
    shake(lora)
    works = [Work(turn, []) for turn in dataset.turns]
    rows = rows_of(works)
    assert len(rows) == 7
    theirs = make(
        "dpo",
        tiny_model(vocabulary=vocabulary),
        rows,
        tmp_path,
        lora=lora.model.peft_config["default"],
        max_length=None,
    )
    take_values(theirs.model, lora)

    turns = [t.tokens for t in dataset.turns]
    with torch.no_grad():
        policy = response_logps(lora.model, lora.pack(turns)).split([len(t.responses) for t in turns])
    with lora.disabled():
        reference = score(lora.model, turns, budget=1024, packer=lora.pack)
    for found, values in zip(logps_in_the_loss(theirs, rows), (policy, reference), strict=True):
        chosen = [float(v[p.chosen]) for t, v in zip(dataset.turns, values, strict=True) for p in t.pairs]
        rejected = [float(v[p.rejected]) for t, v in zip(dataset.turns, values, strict=True) for p in t.pairs]
        assert found.tolist() == pytest.approx([*chosen, *rejected], abs=1e-4)
    assert max(abs(float(a) - b) for p, r in zip(policy, reference, strict=True) for a, b in zip(p, r, strict=True)) > 1
