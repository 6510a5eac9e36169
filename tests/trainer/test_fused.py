"""Layers written out against transformers' and PEFT's own, in values and gradients; and the words of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.conftest import random_turns, tiny_lora, tiny_model, tiny_qwen2
from trainer.logprobs import plain_response_logps, response_logps, use_shared_prefix
from trainer.lora import Lora
from trainer.softmax import chosen_logps
from trainer.words import Words


def gradients(lora: Lora, value: torch.Tensor) -> torch.Tensor:
    for parameter in lora.model.parameters():
        parameter.grad = None
    value.backward()
    return torch.cat([p.grad.flatten() for p in lora.model.parameters() if p.grad is not None])


@pytest.mark.parametrize(
    ("make", "layers"),
    [(tiny_model, None), (tiny_model, [1]), (tiny_qwen2, None), (tiny_qwen2, [1])],
    ids=["llama", "llama-upper", "qwen2", "qwen2-upper"],
)
def test_written_out_layers_give_the_models_own_values_and_gradients(make: Any, layers: list[int] | None) -> None:
    lora, turns = tiny_lora(model=make(), layers=layers), random_turns(4)
    assert lora.fused is not None
    assert (lora.trunk.lower is not None) == (layers is not None)
    weights = torch.randn(sum(len(t.responses) for t in turns), generator=torch.Generator().manual_seed(2))
    ours = response_logps(lora.model, lora.pack(turns))
    plain = plain_response_logps(lora.model, turns)
    assert (ours - plain).abs().max() < 1e-4
    a, b = gradients(lora, (ours * weights).sum()), gradients(lora, (plain * weights).sum())
    assert torch.cosine_similarity(a, b, dim=0) >= 0.9999
    assert (a - b).norm() / b.norm() < 1e-4


@pytest.mark.parametrize("modules", [("o_proj", "up_proj", "v_proj"), ("q_proj", "k_proj"), ("down_proj",)])
@pytest.mark.parametrize("layers", [None, [1]])
def test_some_maps_may_be_left_as_they_are(modules: tuple[str, ...], layers: list[int] | None) -> None:
    lora, turns = tiny_lora(layers=layers, modules=modules), random_turns(4)
    assert lora.fused is not None
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in lora.masters} == set(modules)
    ours, plain = response_logps(lora.model, lora.pack(turns)), plain_response_logps(lora.model, turns)
    assert (ours - plain).abs().max() < 1e-4
    a, b = gradients(lora, ours.sum()), gradients(lora, plain.sum())
    assert (a - b).norm() / b.norm() < 1e-4


def test_a_model_without_any_of_the_maps_gets_all() -> None:
    lora = tiny_lora(layers=[1], modules=["Wqkv", "fc1"])
    assert len({name.split(".lora_")[0] for name in lora.masters}) == 7


def test_a_saved_adapter_comes_back_with_its_maps(tmp_path: Path) -> None:
    lora, turns = tiny_lora(layers=[1], modules=["o_proj", "up_proj"]), random_turns(2)
    lora.save(tmp_path)
    base = tiny_model()
    use_shared_prefix(base)
    again = Lora.of(base, tmp_path)
    assert again.masters.keys() == lora.masters.keys()
    with torch.no_grad():
        both = [response_logps(each.model, each.pack(turns)) for each in (lora, again)]
    assert torch.equal(*both)


def test_with_the_adapter_off_it_is_the_base() -> None:
    turns = random_turns(3)
    lora = tiny_lora(model=tiny_qwen2(), layers=[1])
    with lora.disabled(), torch.no_grad():
        off = response_logps(lora.model, lora.pack(turns))
    base = tiny_qwen2()
    use_shared_prefix(base)
    with torch.no_grad():
        assert (off - plain_response_logps(base, turns)).abs().max() < 1e-4
        assert (response_logps(lora.model, lora.pack(turns)) - off).abs().max() > 0.1  # and on again it is not


def test_a_pass_of_the_base_before_the_backward_changes_no_gradient() -> None:
    """The adapter is taken out in place: the backward of the pass before it puts it back."""
    found = []
    for between in (False, True):
        lora = tiny_lora()
        assert lora.fused is not None
        packed = lora.pack(random_turns(2))
        loss = response_logps(lora.model, packed).sum()
        if between:
            with torch.no_grad(), lora.disabled():
                response_logps(lora.model, packed)
        found.append(gradients(lora, loss))
    assert float(found[0].abs().max()) > 0
    torch.testing.assert_close(*found)


def test_the_base_is_whole_after_the_adapter_was_taken_off() -> None:
    turns, lora = random_turns(2), tiny_lora()
    base = tiny_model()
    use_shared_prefix(base)
    left = lora.remove()
    with torch.no_grad():
        assert torch.equal(plain_response_logps(left, turns), plain_response_logps(base, turns))
    again = Lora(left, rank=2, alpha=2, seed=0)  # B is zero
    with torch.no_grad():
        assert (response_logps(again.model, again.pack(turns)) - plain_response_logps(base, turns)).abs().max() < 1e-4


def test_another_activation_is_left_to_the_model_itself() -> None:
    model = tiny_model()
    for layer in model.model.layers:
        layer.mlp.act_fn = torch.nn.GELU()
    lora, turns = tiny_lora(model=model, layers=[1]), random_turns(2)
    assert lora.fused is None
    assert lora.trunk.lower is None
    assert lora.trunk.first == 1
    with torch.no_grad():
        difference = response_logps(lora.model, lora.pack(turns)) - plain_response_logps(lora.model, turns)
    assert difference.abs().max() < 1e-4


def test_a_layer_that_computes_something_else_is_noticed() -> None:
    """The same parts, put together in another way."""
    model = tiny_model()
    for layer in model.model.layers:
        layer.mlp.gate_proj.register_forward_hook(lambda _, given, out: out * 1.5)
    assert tiny_lora(model=model).fused is None


def test_words_are_a_softmax_among_themselves() -> None:
    """Against the whole softmax: log p(y) - log p(these words), and the gradient that autograd finds."""
    generator = torch.Generator().manual_seed(3)
    head = torch.nn.Linear(8, 50)
    states = torch.randn(20, 8, generator=generator)
    labels = torch.randint(0, 50, (20,), generator=generator)
    words = Words.likely(head, [states], labels.unique(), 30)
    assert len(words) == 30
    ours = states.clone().requires_grad_()
    found = words.logps(ours, labels)
    found.sum().backward()
    theirs = states.clone().requires_grad_()
    whole = torch.log_softmax(head(theirs), -1)
    expected = whole.gather(1, labels[:, None])[:, 0] - whole[:, words.ids].logsumexp(1)
    expected.sum().backward()
    assert torch.allclose(found, expected, atol=1e-5)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)


def test_words_that_occur_are_among_them_and_then_the_likely_ones() -> None:
    """A head that gives word i the logit i: the likely ones are the last, and 0 and 1 are wanted."""
    head = torch.nn.Linear(1, 10)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.arange(10.0))
    words = Words.likely(head, [torch.ones(4, 1)], torch.tensor([0, 1]), 5)
    assert words.ids.tolist() == [0, 1, 7, 8, 9]
    assert len(Words.likely(head, [torch.ones(4, 1)], torch.arange(6), 2)) == 6


def test_all_words_are_the_whole_vocabulary() -> None:
    head = torch.nn.Linear(4, 12, bias=False)
    states, labels = torch.randn(5, 4), torch.tensor([0, 3, 11, 7, 7])
    words = Words.likely(head, [states], labels, 12)
    assert torch.allclose(words.logps(states, labels), chosen_logps(states, head.weight, None, labels), atol=1e-6)
