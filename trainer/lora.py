"""The trainable part: a PEFT LoRA on a frozen base, made quick on a CPU.

Two things differ from PEFT as it comes. The adapter's product is added in one fused operation (PEFT: cast, product,
product, scale, add, cast), and where the base is bf16 the model holds bf16 copies of A and B, so nothing is cast at
all; their fp32 masters live here and are what the optimiser changes and what is saved.
"""

from __future__ import annotations

import json
import types
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer import tensor_file
from trainer.config import TrainConfig
from trainer.errors import TrainerError
from trainer.fused import Fused
from trainer.logprobs import Packed, TokenTurn, decoder
from trainer.trunk import Trunk, adapted_from, layer_count


def _forward(self: Any, x: Tensor, *_: Any, **__: Any) -> Tensor:  # (..., in) -> (..., out)
    """peft.tuners.lora.Linear.forward for one unmerged adapter without dropout."""
    out = self.base_layer(x)
    if self.disable_adapters:
        return out
    a, b = self.lora_A["default"].weight, self.lora_B["default"].weight  # (r, in), (out, r)
    low = (x.reshape(-1, x.shape[-1]).to(a.dtype) @ a.t()) * self.scaling["default"]
    flat = out.reshape(-1, out.shape[-1])
    if out.dtype == b.dtype:
        return torch.addmm(flat, low, b.t()).view(out.shape)
    return (flat + (low @ b.t()).to(out.dtype)).view(out.shape)


class Lora:
    """A model with one LoRA adapter: `model` computes, `masters` are the fp32 parameters by PEFT's names."""

    def __init__(
        self,
        base: Any,
        *,
        rank: int,
        alpha: float,
        seed: int,
        layers: Sequence[int] | None = None,
        modules: Sequence[str] = (),
        trunk: Trunk | None = None,
    ) -> None:
        """layers: those that are adapted, None for all. What lies below the lowest is computed once a turn.

        modules: names of the linear maps that are, where the model has any of them; none given: all. trunk: an earlier
        adapter's, whose states are taken over where it had the same base and layers.
        """
        from peft import LoraConfig, get_peft_model
        from peft.tuners.lora import Linear

        torch.manual_seed(seed)
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")  # peft asks transformers 5 for it
        base.requires_grad_(False)
        first = min(layers) if layers else 0
        same = trunk is not None and trunk.model is base and trunk.asked == first
        self.trunk = trunk if trunk is not None and same else Trunk(base, first)
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=_linear_names(base, modules) if layers or modules else "all-linear",
            layers_to_transform=list(layers) if layers else None,
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
        )
        self.model: Any = get_peft_model(base, config)
        self._working: dict[str, torch.nn.Parameter] = {}
        self.masters: dict[str, Tensor] = {}
        for module in self.model.modules():
            if isinstance(module, Linear):
                module.forward = types.MethodType(_forward, module)
        for name, parameter in self.model.named_parameters():
            if "lora_" in name:
                self.masters[name] = parameter.detach().float().clone().requires_grad_(True)
                parameter.data = parameter.data.to(base.dtype)
                self._working[name] = parameter
        self.model.eval()  # no dropout anywhere; gradients flow all the same
        self.fused = self._fused()

    @classmethod
    def fresh(cls, base: Any, config: TrainConfig, trunk: Trunk | None = None) -> Lora:
        """A new adapter as a run's settings want it."""
        layers = range(adapted_from(base, config.layer_share), layer_count(base))
        return cls(
            base,
            rank=config.rank,
            alpha=config.alpha,
            seed=config.seed,
            layers=layers,
            modules=config.modules,
            trunk=trunk,
        )

    @classmethod
    def of(cls, base: Any, folder: Path, trunk: Trunk | None = None) -> Lora:
        """A saved adapter, whatever its rank and layers; where it fails the base is bare.

        Raises FileNotFoundError, and TrainerError where the files are damaged or of another model.
        """
        from safetensors import SafetensorError

        try:
            config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
            layers = config.get("layers_to_transform")
            modules = config["target_modules"]  # a word like "all-linear" where somebody else made the folder
            rank, alpha, weights = config["r"], config["lora_alpha"], read_weights(folder)
        except (ValueError, KeyError, SafetensorError) as error:
            raise TrainerError(f"the adapter in {folder} cannot be read ({type(error).__name__}: {error})") from error
        modules = [] if isinstance(modules, str) else modules
        found = cls(base, rank=rank, alpha=alpha, seed=0, layers=layers, modules=modules, trunk=trunk)
        try:
            found.load_state(weights)
        except TrainerError:
            found.remove()
            raise
        return found

    def pack(self, turns: Sequence[TokenTurn]) -> Packed:
        """Turns in one row, as this adapter's model computes them quickest."""
        packed = self.trunk.pack(turns)
        return packed if self.fused is None else replace(packed, upper=self.fused)

    def _fused(self) -> Fused | None:
        """The adapted layers written out, where this model's are known; looked at with a B that is not zero."""
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in self._working.items():
                if "lora_B" in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
        try:
            return Fused.upper(self.model, self.trunk.first)
        finally:
            self.publish()

    @property
    def device(self) -> torch.device:
        return next(iter(self._working.values())).device

    def parameters(self) -> list[Tensor]:
        return list(self.masters.values())

    def collect_gradients(self) -> None:
        """Add the working copies' gradients to the masters', in fp32."""
        for name, parameter in self._working.items():
            if parameter.grad is not None:
                master, grad = self.masters[name], parameter.grad.float()
                master.grad = grad if master.grad is None else master.grad.add_(grad)
                parameter.grad = None

    def publish(self) -> None:
        """Copy the masters into the model."""
        with torch.no_grad():
            for name, parameter in self._working.items():
                parameter.copy_(self.masters[name])

    def reset(self, seed: int) -> None:
        """A fresh adapter: A drawn as PEFT draws it (Kaiming uniform), B zero."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, master in self.masters.items():
                if "lora_A" in name:
                    bound = (1 / master.shape[1]) ** 0.5  # kaiming_uniform with a = sqrt(5)
                    drawn = torch.empty(master.shape).uniform_(-bound, bound, generator=generator)
                    master.copy_(drawn)
                else:
                    master.zero_()
                master.grad = None
        self.publish()

    @property
    def untouched(self) -> bool:
        """Whether it changes nothing: the policy is the base."""
        return not any(bool(value.any()) for name, value in self.state().items() if "lora_B" in name)

    def rescale(self, factor: float) -> None:
        """Multiply what the adapter adds by factor."""
        with torch.no_grad():
            for name, master in self.masters.items():
                if "lora_B" in name:
                    master.mul_(factor)
        self.publish()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Weights by the names of a PEFT file, as `state` gives them."""
        with torch.no_grad():
            for name, master in self.masters.items():
                tensor = state.get(file_name(name))
                if tensor is None or tensor.shape != master.shape:
                    raise TrainerError(
                        f"the adapter does not fit this model: {file_name(name)} should be {tuple(master.shape)}, "
                        f"it is {'missing' if tensor is None else tuple(tensor.shape)}"
                    )
                master.copy_(tensor)
        self.publish()

    def state(self) -> dict[str, Tensor]:
        """The weights by the names of a PEFT file, fp32 on the CPU."""
        return {file_name(name): master.detach().cpu().clone() for name, master in self.masters.items()}

    def save(self, folder: Path) -> None:
        """Write adapter_model.safetensors and adapter_config.json, as PEFT reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        config = self.model.peft_config["default"]
        config.base_model_name_or_path = None  # it would be a path of this machine's cache
        config.inference_mode = True
        config.save_pretrained(str(folder))
        tensor_file.write(folder / "adapter_model.safetensors", self.state(), {"format": "pt"})

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The base itself."""
        with self.model.disable_adapter():
            if self.fused is not None:
                self.fused.on = False
            try:
                yield
            finally:
                if self.fused is not None:
                    self.fused.on = True

    def remove(self) -> Any:
        """Take the adapter off; returns the bare base."""
        return self.model.unload()

    def decoder(self) -> Any:
        """The transformers model that holds the adapter's layers."""
        return self.model.get_base_model()


def _linear_names(base: Any, wanted: Sequence[str] = ()) -> list[str]:
    """The linear maps of a layer, those that are wanted if there are such: another architecture has other names.

    PEFT's "all-linear" cannot be combined with a choice of layers.
    """
    named = decoder(base).layers.named_modules()
    found = {name.rpartition(".")[2] for name, module in named if isinstance(module, torch.nn.Linear)}
    return sorted(found.intersection(wanted) or found)


def file_name(name: str) -> str:
    """A parameter's name in PEFT's file."""
    return name.replace(".default.", ".")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a PEFT folder."""
    from safetensors.torch import load_file

    return load_file(str(folder / "adapter_model.safetensors"))
