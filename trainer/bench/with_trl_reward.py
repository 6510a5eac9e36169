"""TRL's RewardTrainer on token ids that are ready, for the measurements beside it: see with_trl.py.

What it gives with --use_peft: a LoRA on q_proj and v_proj and a linear head on the last token, trained with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.bench.with_trl import TokenPair, alone, native, now, padding, require, steps

PAD = 0  #: masked wherever it stands
ROWS = 8  #: answers scored at one time


@dataclass(slots=True)
class Trained:
    """What TRL made, and how long it took. Importing and loading count as setting up."""

    model: Any  #: a PEFT model with one output
    seconds: float


def train(
    folder: Path,
    pairs: Sequence[TokenPair],
    made: Path,
    *,
    lora: Mapping[str, Any],
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train with a RewardTrainer as it comes, but for `lora` (fields of LoraConfig) and `native`.

    folder: of the base in Hugging Face's format. made: where the trainer may write. Nothing is sent anywhere.
    """
    require()
    import torch
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)  # of the head
    # weights in fp32 whatever the device, as with_trl.load
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, local_files_only=True, pad_token_id=PAD
    )

    class Ready(trl.RewardTrainer):
        """Sends nothing anywhere."""

        def _send_telemetry(self) -> None:
            """Nothing leaves this machine."""

    rows = [
        {"chosen_ids": [*pair.prompt, *pair.chosen], "rejected_ids": [*pair.prompt, *pair.rejected]} for pair in pairs
    ]
    trainer = Ready(
        model=model,
        args=trl.RewardConfig(**alone(made), **native()),
        train_dataset=Dataset.from_list(rows),
        processing_class=padding(eos_token="<pad>"),
        peft_config=LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"], **lora),
        callbacks=[steps(progress)],
    )
    started = now()
    trainer.train()
    return Trained(trainer.model, now() - started)


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
