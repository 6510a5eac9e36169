"""What Hone writes in TRL's formats trains with TRL as it is: loaded from JSON Lines, one step of each trainer.

The model is a random Llama of 16 dimensions, the tokenizer its bytes: the rows are tried, not the learning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.formats import alpaca, sharegpt, trl_preference, trl_sft, trl_unpaired
from storage.formats.canonical import dumps

#: what TRL calls is renamed in transformers
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*")

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PROMPTS = [
    [{"role": "user", "content": "Why is the sky blue?"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Wie geht’s? 🙂"},
    ],
]
ABOUT = {"judgment": "j1", "kind": "pick", "source": "chat", "prompt": "p1", "weight": 0.5}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of a hub."""
    datasets = pytest.importorskip("datasets")  # slow to import: not while tests are collected
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def trl() -> Any:
    return pytest.importorskip("trl")


def load(tmp_path: Path, rows: list[dict[str, Any]], name: str = "rows", **options: Any) -> Any:
    import datasets

    file = tmp_path / f"{name}.jsonl"
    file.write_text("".join(dumps(row) + "\n" for row in rows), encoding="utf-8")
    cache = str(tmp_path / "cache")
    return datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=cache, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny model with a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    pieces = ["<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bare = Tokenizer(models.BPE(vocab={piece: id for id, piece in enumerate(pieces)}, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, pad_token="<pad>", eos_token="</s>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    folder = str(tmp_path_factory.mktemp("model"))
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def settings(kind: Any, tmp_path: Path, **more: Any) -> Any:
    return kind(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=2,
        max_steps=1,
        max_length=256,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        **more,
    )


def step(trainer: Any) -> None:
    """One step, which must have a loss and change the model."""
    assert len(trainer.train_dataset) == len(PROMPTS)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    result = trainer.train()
    assert result.global_step == 1
    assert result.training_loss > 0
    assert any((value != before[name]).any() for name, value in trainer.model.named_parameters())


def test_dpo_takes_the_pairs(tmp_path: Path, model: str, trl: Any) -> None:
    about = {**ABOUT, "chosen": "a", "rejected": "b", "margin": 0.5}
    rows = [trl_preference.write_pair(prompt, "Scattering.", "No idea.", about) for prompt in PROMPTS]
    data = load(tmp_path, rows)
    assert data[0] == rows[0]
    config = settings(trl.DPOConfig, tmp_path)
    step(trl.DPOTrainer(model=model, args=config, train_dataset=data))


def test_kto_takes_single_answers(tmp_path: Path, model: str, trl: Any) -> None:
    about = {**ABOUT, "completion": "a"}
    rows = [
        trl_unpaired.write_unpaired(prompt, "Scattering.", good, about)
        for prompt, good in zip(PROMPTS, (True, False), strict=True)
    ]
    data = load(tmp_path, rows)
    assert data[1] == rows[1]
    config = settings(trl.KTOConfig, tmp_path)
    step(trl.KTOTrainer(model=model, args=config, train_dataset=data))


def test_sft_takes_demonstrations(tmp_path: Path, model: str, trl: Any) -> None:
    rows = [trl_sft.write_demonstration(prompt, "Scattering.", {**ABOUT, "completion": "a"}) for prompt in PROMPTS]
    data = load(tmp_path, rows)
    assert data[0] == rows[0]
    config = settings(trl.SFTConfig, tmp_path)
    step(trl.SFTTrainer(model=model, args=config, train_dataset=data))


@pytest.mark.parametrize(("module", "piece"), [(sharegpt, 2000), (alpaca, 10 << 20)])
@pytest.mark.parametrize("kind", ["pair", "unpaired", "demonstration"])
def test_other_formats_load_whatever_comes_first(tmp_path: Path, module: Any, piece: int, kind: str) -> None:
    """The columns' types come from a file's first piece: first without a system prompt and a history, then with them.

    A list that is empty in all of the first piece has no type, so alpaca's history must be there within its 10 MB.
    """
    write = getattr(module, f"write_{kind}")
    answers: list[Any] = {"pair": ["yes", "no"], "unpaired": ["yes", True], "demonstration": ["yes"]}[kind]
    for place, (first, last) in enumerate((PROMPTS, PROMPTS[::-1])):
        rows = [write(prompt, *answers, ABOUT) for prompt in [first] * 50 + [last]]
        data = load(tmp_path, rows, f"rows{place}", chunksize=piece)
        assert [data[index] for index in (0, 49, 50)] == [rows[index] for index in (0, 49, 50)]
