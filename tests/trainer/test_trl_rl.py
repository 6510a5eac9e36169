"""The reward model's loss, and RLOO's advantages and loss, against TRL's own code on the same numbers."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.conftest import tiny_model
from tests.trainer.trl_side import tokenizer
from trainer import losses, rl

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
BETA, EACH = 0.3, 4


@pytest.mark.parametrize("centring", [None, 0.01])
@pytest.mark.parametrize("with_margin", [False, True])
def test_the_reward_models_loss_is_rewardtrainers(centring: float | None, with_margin: bool) -> None:
    """TRL's code runs as it is, on given rewards. Its margin is in units of reward: ours times margin_scale."""
    import trl
    from accelerate import Accelerator

    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(10, 1, generator=generator).requires_grad_()
    margin = torch.rand(5, generator=generator)
    theirs: Any = SimpleNamespace(
        model=SimpleNamespace(training=False),
        args=SimpleNamespace(center_rewards_coefficient=centring),
        accelerator=Accelerator(cpu=True),
        _metrics={"eval": defaultdict(list)},
        _total_train_tokens=0,
    )
    inputs = {"margin": 2 * margin} if with_margin else {}
    compute: Any = trl.RewardTrainer.compute_loss
    loss = compute(theirs, lambda **_: SimpleNamespace(logits=rewards), inputs)
    chosen, rejected = rewards[:, 0].chunk(2)
    mine = losses.bradley_terry(
        chosen,
        rejected,
        margin=margin if with_margin else None,
        margin_scale=2.0,
        centring=centring or 0.0,
    ).mean()
    torch.testing.assert_close(mine, loss)
    torch.testing.assert_close(*(torch.autograd.grad(x, rewards)[0] for x in (mine, loss)))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Tensor], list[Tensor], Tensor]:
    """A real RLOOTrainer that has drawn four answers to each of two prompts from a tiny model: it, what it made of
    them, the log-probabilities (old, reference) that it was told, and the scores."""
    import trl
    from datasets import Dataset
    from peft import LoraConfig

    scores = torch.tensor([1.0, 2.0, 6.0, -1.0, 0.0, 0.0, 3.0, 0.5])
    config = trl.RLOOConfig(
        output_dir=str(tmp_path_factory.mktemp("rloo")),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        beta=BETA,
        num_generations=EACH,
        per_device_train_batch_size=8,
        max_completion_length=5,
    )
    model = tiny_model()
    rows = [{"prompt": "w3 w4"}, {"prompt": "w5 w6"}]
    made: Any = trl.RLOOTrainer(
        model=model,
        reward_funcs=[lambda completions, **_: scores[: len(completions)].tolist()],
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(min(64, model.config.vocab_size)),
        peft_config=LoraConfig(target_modules=["q_proj"]),
    )
    told: list[Tensor] = []

    def logps(model: Any, ids: Tensor, mask: Tensor, keep: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor, None]:
        generator = torch.Generator().manual_seed(len(told))
        told.append(-3 * torch.rand(len(ids), keep, generator=generator))
        return told[-1].clone().requires_grad_(), torch.zeros(len(ids), keep), None

    made._get_per_token_logps_and_entropies = logps
    made.model.train()
    found = made._generate_and_score_completions([row for row in rows for _ in range(EACH)])
    return made, found, told, scores


def test_rloo_advantages_are_rlootrainers(scored: Any) -> None:
    """The penalty is taken off before the others' mean, as a sum over the tokens."""
    _, found, (old, reference, *_), scores = scored
    mask = found["completion_mask"].float()
    rewards = rl.token_rewards(scores, old, reference, mask, BETA).sum(1)
    torch.testing.assert_close(rl.rloo(rewards.view(-1, EACH)).flatten(), found["advantages"])


def test_rloo_loss_is_rlootrainers(scored: Any) -> None:
    """A whole answer is one action: the clipped ratio is of its summed log-probability."""
    made, found, told, _ = scored
    before = len(told)
    loss = made._compute_loss(made.model, found)
    new = told[before]
    mask = found["completion_mask"].float()
    mine, _ = rl.policy_loss((new * mask).sum(1), found["old_logps"], found["advantages"], clip=made.epsilon_low)
    torch.testing.assert_close(mine.mean(), loss.detach())
