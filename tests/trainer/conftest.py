"""Tiny random models, in torch and as GGUFs, and the cache that all tests of the real model share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.logprobs import TokenTurn, use_shared_prefix
from trainer.lora import Lora

VOCABULARY = 259  # <unk>, <s>, </s> and the 256 bytes


def tiny_model(seed: int = 0, vocabulary: int = VOCABULARY) -> Any:
    """Grouped-query attention, untied head: the shapes where mistakes show."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far from uniform answers
            parameter.mul_(4 if parameter.dim() > 1 else 1)
    return model


def tiny_qwen2(seed: int = 0) -> Any:
    """Like Qwen2: biases on q, k and v, the embedding as its head, q's and k's rows not permuted in a GGUF."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = Qwen2ForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_()
            else:
                parameter.mul_(4 if parameter.dim() > 1 else 1)
    return model


def tiny_lora(
    seed: int = 0,
    rank: int = 4,
    model: Any = None,
    layers: Sequence[int] | None = None,
    modules: Sequence[str] = (),
) -> Lora:
    """An adapter that changes the tiny model (or the given one): B is not zero."""
    model = model or tiny_model(seed)
    use_shared_prefix(model)
    lora = Lora(model, rank=rank, alpha=2 * rank, seed=seed, layers=layers, modules=modules)
    shake(lora)
    return lora


def shake(lora: Lora, scale: float = 0.1, seed: int = 1) -> None:
    """Give B random values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, master in lora.masters.items():
            if "lora_B" in name:
                master.copy_(torch.randn(master.shape, generator=generator) * scale)
    lora.publish()


def write_tiny_gguf(path: Path, model: Any, *, half: bool = False) -> None:
    """A tiny model as llama.cpp's converter would write it: llama with q's and k's rows permuted, qwen2 without.

    fp32, or half: matrices in f16, to which the model in torch is rounded as well; vectors stay fp32, as they do there.
    """
    import gguf

    from trainer.adapter_file import heads_of, permute

    config = model.config
    architecture = config.model_type
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    writer.add_context_length(256)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))])
    writer.add_token_scores([0.0] * VOCABULARY)
    kinds = gguf.TokenType
    writer.add_token_types([kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * 256])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(
        next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture), config.num_hidden_layers
    )
    permuted = heads_of(config) if architecture == "llama" else {}
    for name, parameter in model.named_parameters():  # a tied head is none of them
        if half and parameter.dim() > 1:
            parameter.data = parameter.data.half().float()
        rows = parameter.detach().float()
        projection = name.removesuffix(".weight").rpartition(".")[2]
        if projection in permuted:
            rows = permute(rows, permuted[projection])
        file_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(file_name, (rows.half() if half and rows.dim() > 1 else rows).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_turns(count: int = 3, seed: int = 0) -> list[TokenTurn]:
    """Prompts and answers of many lengths, one-token answers too."""
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> list[int]:
        return torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()

    turns = []
    for i in range(count):
        turns.append(TokenTurn(ids(5 + 7 * i), [ids(1 + (3 * i + 5 * j) % 13) for j in range(1 + (i + 3) % 5)]))
    return turns


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """For tiny models, handing work to a second thread costs more than the work, many times more on a busy machine."""
    threads = torch.get_num_threads()
    if request.node.get_closest_marker("real") is None:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the real model lies dequantised: made once for all tests (20 seconds), or the one that HONE_CACHE names."""
    kept = os.environ.get("HONE_CACHE")
    return Path(kept) if kept else tmp_path_factory.mktemp("models")
