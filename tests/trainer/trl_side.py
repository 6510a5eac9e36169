"""TRL's real trainers on token ids that are ours, for the tests that compare with them.

Left out of theirs: tokenising (the ids are given), telemetry, files and progress bars. Everything that computes is
theirs: collator, model call, loss, PEFT's own LoRA, optimiser, clipping.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import trainer.fit
from trainer.config import TrainConfig
from trainer.features import Callbacks, Work
from trainer.fit import learning_rate_share
from trainer.lora import Lora
from trainer.team import Team


def tokenizer(size: int) -> Any:
    """Stands where TRL wants one; only its padding token is used."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<end>": 1} | {f"w{i}": i for i in range(2, size)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>", unk_token="<pad>")


def make(kind: str, model: Any, rows: Iterable[dict[str, Any]], folder: Path, **options: Any) -> Any:
    """TRL's trainer of a kind ("dpo", "kto", "sft") over rows of token ids, in fp32 on the CPU, in the rows' order.

    options: of its config; and `lora`, a PEFT config, `share`, step -> share of the learning rate.
    """
    import trl
    from datasets import Dataset
    from transformers import PrinterCallback

    theirs: Any = getattr(trl, f"{kind.upper()}Trainer")
    config: Any = getattr(trl, f"{kind.upper()}Config")
    lora = options.pop("lora", None)
    share: Callable[[int], float] | None = options.pop("share", None)

    class Tokenised(theirs):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _send_telemetry(self) -> None:
            pass

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if share is None:
                return super().create_scheduler(num_training_steps, optimizer)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
            return self.lr_scheduler

    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "logging_steps": 1,
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
    } | options
    made = Tokenised(
        model=model,
        args=config(**settings),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=tokenizer(min(64, model.config.vocab_size)),
        **({} if lora is None else {"peft_config": lora}),
    )
    made.remove_callback(PrinterCallback)
    return made


def rows_of(works: Iterable[Work]) -> list[dict[str, list[int]]]:
    """A row a pair, as TRL wants them: the prompt is there once for each response of each pair."""
    return [
        {
            "prompt_ids": list(work.turn.prompt),
            "chosen_ids": list(work.turn.responses[pair.chosen]),
            "rejected_ids": list(work.turn.responses[pair.rejected]),
        }
        for work in works
        for pair in work.turn.pairs
    ]


def dpo_trainer(model: Any, lora: Lora, order: Sequence[Work], steps: int, config: TrainConfig, folder: Path) -> Any:
    """A trl.DPOTrainer set up as `config` sets fit() up: lora's values first, one optimiser step for each of fit()'s.

    model: the same base as lora's, without an adapter. order: the works in the order that fit() took them, over all
    passes. The learning rate's course is ours (TRL has a scheduler like it, one step apart), everything else theirs.
    """
    rows = rows_of(order)
    assert len(rows) % steps == 0, "each step has the same number of pairs"
    made = make(
        "dpo",
        model,
        rows,
        folder,
        lora=copy.deepcopy(lora.model.peft_config["default"]),
        share=lambda step: learning_rate_share(step, steps, config.warmup),
        per_device_train_batch_size=len(rows) // steps,
        learning_rate=config.learning_rate,
        max_grad_norm=config.max_grad_norm,
        beta=config.beta,
        max_length=None,
    )
    take_values(made.model, lora)
    return made


def logps_in_the_loss(made: Any, rows: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor]:  # (2 P,), (2 P,)
    """Policy's and reference's log-probabilities of P pairs (chosen, then rejected), caught inside compute_loss."""
    caught: list[Tensor] = []

    inner = made.model.get_base_model()
    forward = inner.forward

    def watched(*arguments: Any, **named: Any) -> Any:
        output = forward(*arguments, **named)
        caught.append(output.log_probs.detach().sum(1))
        return output

    with patch.object(inner, "forward", watched), torch.no_grad():
        made.compute_loss(made.model, made.data_collator(list(rows)))
    policy, reference = caught
    return policy, reference


def take_values(model: Any, lora: Lora) -> None:
    """Give a PEFT model the adapter's values; the names are PEFT's on both sides."""
    theirs = dict(model.named_parameters())
    with torch.no_grad():
        for name, master in lora.masters.items():
            theirs[name].copy_(master)


def fit_and_note(lora: Lora, works: Sequence[Work], config: TrainConfig) -> tuple[list[dict[str, float]], list[Work]]:
    """Our loop: its metrics of each step, and the works in the order in which it took them. lora ends as it began."""
    history: list[dict[str, float]] = []
    order: list[Work] = []
    turn_loss = trainer.fit.turn_loss

    def noted(work: Work, *rest: Any, **named: Any) -> Any:
        order.append(work)
        return turn_loss(work, *rest, **named)

    with patch.object(trainer.fit, "turn_loss", noted):
        calls = Callbacks(progress=lambda step, total, line: history.append(dict(line)))
        trainer.fit.fit(lora, works, config, Team(), calls)
    lora.reset(config.seed)
    return history, order


def curves(history: Iterable[dict[str, float]]) -> tuple[Tensor, Tensor]:  # (S,), (S,)
    """Loss and gradient norm of each step, from fit()'s progress or from TRL's log."""
    steps = [(line["loss"], line["grad_norm"]) for line in history if "grad_norm" in line]
    loss, norm = torch.tensor(steps, dtype=torch.float64).T
    return loss, norm
