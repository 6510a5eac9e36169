"""States of frozen layers that are kept give what computing everything gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.conftest import random_turns, shake, tiny_model
from trainer import adapter_file
from trainer.logprobs import TokenTurn, pack, response_logps, use_shared_prefix
from trainer.lora import Lora
from trainer.trunk import Trunk


def upper(seed: int = 0) -> Lora:
    """An adapter on the second of the tiny model's two layers."""
    model = tiny_model(seed)
    use_shared_prefix(model)
    lora = Lora(model, rank=4, alpha=4, seed=seed, layers=[1])
    shake(lora)
    return lora


def gradients(lora: Lora, packed: Any) -> torch.Tensor:
    response_logps(lora.model, packed).square().sum().backward()
    lora.collect_gradients()
    found = torch.cat([p.grad.flatten() for p in lora.parameters() if p.grad is not None])
    for p in lora.parameters():
        p.grad = None
    return found


def test_log_probabilities_and_gradients_are_those_of_the_whole_pass() -> None:
    lora, turns = upper(), random_turns()
    short = lora.pack(turns)
    assert short.states is not None
    assert short.first == 1
    assert torch.allclose(response_logps(lora.model, short), response_logps(lora.model, pack(turns)), atol=1e-5)
    ours, whole = gradients(lora, lora.pack(turns)), gradients(lora, pack(turns))
    assert (ours - whole).abs().max() <= 1e-5 * whole.abs().max()  # sums in another order


def test_states_are_computed_once_a_turn_and_not_kept_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, passes in ((1 << 20, 1), (0, 3)):
        trunk = Trunk(prepared(), 1, keep_bytes=limit)
        turn = random_turns()[0]
        computed = []
        compute = Trunk._compute

        def count(self: Trunk, packed: Any, computed: list[int] = computed, compute: Any = compute) -> Any:
            computed.append(1)
            return compute(self, packed)

        with monkeypatch.context() as patch:
            patch.setattr(Trunk, "_compute", count)
            found = [trunk.pack([turn]).states for _ in range(3)]
        assert all(states is not None for states in found)
        assert len(computed) == passes


def test_answers_are_kept_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of all answers, the fit on two of them and another version have what they share."""
    turn = next(turn for turn in random_turns() if len(turn.responses) > 2)
    two = TokenTurn(turn.prompt, [turn.responses[2], turn.responses[0]])
    more = TokenTurn(turn.prompt, [turn.responses[1], [7, 8, 9]])
    alone = [Trunk(prepared(), 1).pack([each]).states for each in (two, more)]
    lora = upper()
    lora.pack([turn])
    compute, computed = Trunk._compute, []
    monkeypatch.setattr(Trunk, "_compute", lambda self, turns: (computed.extend(turns), compute(self, turns))[1])
    found = [lora.pack([each]).states for each in (two, more)]
    assert computed == [TokenTurn(turn.prompt, [[7, 8, 9]])]
    for one, other in zip(found, alone, strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one, other, atol=1e-5)
    trunk = lora.trunk
    base = lora.remove()
    again = Lora(base, rank=2, alpha=4, seed=1, layers=[1], trunk=trunk)
    assert again.trunk is trunk
    assert Lora(again.remove(), rank=2, alpha=4, seed=1, layers=[0, 1], trunk=trunk).trunk is not trunk
    assert Lora(prepared(), rank=2, alpha=4, seed=1, layers=[1], trunk=trunk).trunk is not trunk


def test_a_model_that_does_more_before_its_layers_is_computed_whole() -> None:
    """Scaled embeddings (Gemma), for one: its states must not be scaled twice."""
    model = prepared()
    whole = model.model.forward

    def scaled(*, input_ids: Any = None, inputs_embeds: Any = None, **rest: Any) -> Any:
        embedded = model.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        return whole(inputs_embeds=embedded * 8, **rest)

    model.model.forward = scaled
    trunk = Trunk(model, 1)
    assert trunk.first == 0
    assert trunk.pack(random_turns()).states is None


def test_a_saved_adapter_of_some_layers_comes_back_as_it_was(tmp_path: Path) -> None:
    lora = upper()
    adapter_file.write_folder(tmp_path / "a", lora, architecture="llama", permuted={"q_proj": True, "k_proj": True})
    again = Lora.of(prepared(), tmp_path / "a")
    turns = random_turns()
    assert set(again.state()) == set(lora.state())
    assert all(".layers.1." in name for name in again.state())
    assert torch.equal(response_logps(again.model, again.pack(turns)), response_logps(lora.model, lora.pack(turns)))
    with pytest.raises(FileNotFoundError):
        Lora.of(prepared(), tmp_path / "none")


def prepared() -> Any:
    model = tiny_model()
    use_shared_prefix(model)
    return model


def test_the_next_run_computes_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, (one, two, three) = tmp_path / "cache" / "lower.safetensors", random_turns()[:3]
    first, second, third = (Trunk(prepared(), 1) for _ in range(3))
    expected = [first.pack([turn]).states for turn in (one, two)]
    first.recall(path)  # there is none yet
    first.keep(path, [one, two])

    second.recall(path)
    compute, computed = Trunk._compute, []
    monkeypatch.setattr(Trunk, "_compute", lambda self, turns: (computed.extend(turns), compute(self, turns))[1])
    again = second.pack([one, three]).states
    assert computed == [three]
    assert again is not None
    assert expected[0] is not None
    assert torch.equal(again[:, : expected[0].shape[1]], expected[0])
    second.keep(path, [two, three])  # the first is judged no more; the second was not needed by now

    third.recall(path)
    third.pack([two, three])
    assert computed == [three]
    third.pack([one])
    assert computed == [three, one]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"broken", b"\x08\0\0\0\0\0\0\0{}      "])
def test_broken_states_on_disk_count_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lower.safetensors"
    path.write_bytes(content)
    trunk = Trunk(prepared(), 1)
    trunk.recall(path)
    trunk.pack(random_turns()[:1])
    trunk.keep(path, random_turns()[:1])
    again = Trunk(prepared(), 1)
    again.recall(path)
    assert torch.equal(again.pack(random_turns()[:1]).states, trunk.pack(random_turns()[:1]).states)  # type: ignore[arg-type]


def test_no_more_is_written_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = random_turns()[:3]
    trunk = Trunk(prepared(), 1)
    states = trunk.pack(turns[:1]).states
    assert states is not None
    trunk.pack(turns)
    monkeypatch.setattr("trainer.trunk.DISK_BYTES", states.numel() * states.element_size())
    trunk.keep(tmp_path / "lower.safetensors", turns)
    assert 0 < (tmp_path / "lower.safetensors").stat().st_size < 2 * states.numel() * states.element_size()
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    trunk.keep(blocked / "lower.safetensors", turns)  # only slower the next time
