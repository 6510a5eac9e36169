"""TRL's RewardTrainer on token ids that are ready, for the measurements beside it: see with_trl.py.

What it gives with --use_peft: a LoRA on q_proj and v_proj and a linear head on the last token, trained with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.bench.with_trl import TokenPair, now, require

PAD = 0  #: masked wherever it stands
ROWS = 8  #: answers scored at one time


@dataclass(slots=True)
class Trained:
    """What TRL made, and how long it took. Importing and loading count as setting up."""

    model: Any  #: a PEFT model with one output
    log: list[dict[str, Any]]  #: a row of metrics a step
    seconds: float


def train(
    folder: Path,
    pairs: Sequence[TokenPair],
    made: Path,
    *,
    lora: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train with a RewardTrainer as it comes, but for `options` (fields of RewardConfig) and `lora` (of LoraConfig).

    folder: of the base in Hugging Face's format. made: where the trainer may write. Nothing is sent anywhere.
    """
    require()
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast, TrainerCallback

    torch.manual_seed(0)  # of the head
    # weights in fp32 whatever the device, as with_trl.load
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, local_files_only=True, pad_token_id=PAD
    )
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    settings = {
        "output_dir": str(made),
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": not accelerated,
        **(options or {}),
    }

    class Ready(trl.RewardTrainer):
        """Sends nothing anywhere."""

        def _send_telemetry(self) -> None:
            """Nothing leaves this machine."""

    class Steps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if progress is not None:
                progress(state.global_step, state.max_steps)

    rows = [
        {"chosen_ids": [*pair.prompt, *pair.chosen], "rejected_ids": [*pair.prompt, *pair.rejected]} for pair in pairs
    ]
    # only the padding token is asked of it
    words = Tokenizer(models.WordLevel({"<pad>": PAD}, unk_token="<pad>"))
    trainer = Ready(
        model=model,
        args=trl.RewardConfig(**settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<pad>"),
        peft_config=LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"], **lora),
        callbacks=[Steps()],
    )
    started = now()
    trainer.train()
    return Trained(trainer.model, [row for row in trainer.state.log_history if "loss" in row], now() - started)


def rewards(model: Any, texts: Sequence[Sequence[int]]) -> list[float]:
    """The output at each text's last token."""
    import torch

    model.eval()
    device = next(model.parameters()).device
    found: list[float] = []
    with torch.no_grad():
        for at in range(0, len(texts), ROWS):
            group = [list(text) for text in texts[at : at + ROWS]]
            longest = max(map(len, group))
            # the head looks for the last token that is no padding: a text of padding's own id would be cut short, so
            # each row is computed with its own last place
            ids = torch.tensor([text + [PAD] * (longest - len(text)) for text in group], device=device)
            mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in group], device=device)
            inner = model.get_base_model()
            states = inner.model(input_ids=ids, attention_mask=mask).last_hidden_state
            last = torch.tensor([len(text) - 1 for text in group], device=device)
            found += inner.score(states[torch.arange(len(group)), last])[:, 0].float().tolist()
    return found
