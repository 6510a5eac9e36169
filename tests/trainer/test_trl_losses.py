"""Our losses against TRL's own code on the same log-probabilities: values and gradients.

TRL's trainers are real ones, their compute_loss runs as it is; only the model is replaced by one that answers with
per-token log-probabilities of ours. Where TRL and we (or the paper) differ, the test's docstring says so. TRL 1.16 has
no counterpart of margins and DPOP: for those the arithmetic in test_losses.py stands alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.conftest import tiny_model
from tests.trainer.trl_side import make
from trainer import losses

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

PROMPT = 3
CHOSEN, REJECTED = [4, 1, 7, 2, 5], [2, 6, 7, 1, 3]  # tokens of each pair's responses
PAIRS = len(CHOSEN)


def batch(*lengths: int) -> dict[str, Tensor]:
    """What their collators make of a prompt of 3 tokens and responses of these lengths: (N, T), padded on the right."""
    width = PROMPT + max(lengths)
    place = torch.arange(width)[None]
    ends = PROMPT + torch.tensor(lengths)[:, None]
    return {
        "input_ids": torch.ones(len(lengths), width, dtype=torch.long),
        "attention_mask": (place < ends).long(),
        "completion_mask": ((place >= PROMPT) & (place < ends)).long(),
    }


def token_logps(inputs: dict[str, Tensor], seed: int) -> Tensor:  # (N, T - 1), 0 outside of the responses
    generator = torch.Generator().manual_seed(seed)
    mask = inputs["completion_mask"][:, 1:]
    return (-3 * torch.rand(mask.shape, generator=generator) * mask).requires_grad_()


class Answers:
    """A model whose forward pass has happened already: gives the log-probabilities of the ids that it is asked for."""

    def __init__(self, *known: tuple[Tensor, Tensor]) -> None:
        self.known = known

    def __call__(self, *, input_ids: Tensor, labels: Tensor, **_: Any) -> Any:
        logps = next(values for ids, values in self.known if ids is input_ids)
        extra = dict.fromkeys(("entropy", "mean_logits"), torch.zeros_like(logps))
        mask = labels[:, 1:] != -100
        return SimpleNamespace(log_probs=logps, label_mask=mask, is_top1=torch.zeros_like(mask), **extra)


@pytest.fixture(scope="module")
def dpo_side(tmp_path_factory: pytest.TempPathFactory) -> Any:
    row = {"prompt_ids": [5], "chosen_ids": [6], "rejected_ids": [7]}
    from peft import LoraConfig

    made = make("dpo", tiny_model(), [row], tmp_path_factory.mktemp("trl"), lora=LoraConfig(target_modules=["q_proj"]))
    made.precompute_ref_logps = True  # the reference comes with the batch
    return made


def both(
    theirs: Any, kind: str, ours: Callable[..., Tensor], pairs: slice, *, beta: float, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """TRL's mean loss over the pairs and ours, each with its gradient by the token log-probs behind it: (1 + tokens,).

    ours: (chosen, rejected, ref_chosen, ref_rejected, chosen lengths, rejected lengths, token log-probs of chosen).
    """
    chosen, rejected = CHOSEN[pairs], REJECTED[pairs]
    inputs = batch(*chosen, *rejected)
    reference = token_logps(inputs, seed=2).detach().sum(1)
    n = len(chosen)
    found = []
    for side in ("trl", "ours"):
        logps = token_logps(inputs, seed=1)
        if side == "trl":
            theirs.loss_types, theirs.loss_weights = [kind], [1.0]
            theirs.beta, theirs.label_smoothing = beta, label_smoothing
            given = inputs | {"ref_chosen_logps": reference[:n], "ref_rejected_logps": reference[n:]}
            loss = theirs.compute_loss(Answers((inputs["input_ids"], logps)), given)
        else:
            sums, lengths = logps.sum(1), inputs["completion_mask"].sum(1).float()
            sides = (*sums.split(n), *reference.split(n), *lengths.split(n))
            loss = ours(*sides).mean()
        (grad,) = torch.autograd.grad(loss, logps)
        # outside of the responses there are no tokens: their padded places have no gradient that could matter
        found.append(torch.cat([loss.detach()[None], (grad * inputs["completion_mask"][:, 1:]).flatten()]))
    return found[0], found[1]


ALL = slice(None)


def test_sigmoid(dpo_side: Any) -> None:
    def ours(c: Tensor, r: Tensor, rc: Tensor, rr: Tensor, *_: Tensor) -> Tensor:
        return losses.dpo(c, r, rc, rr, beta=0.3)[0]

    theirs, mine = both(dpo_side, "sigmoid", ours, ALL, beta=0.3)
    assert torch.allclose(theirs, mine, atol=1e-6)


def test_length_normalised_is_sigmoid_norm(dpo_side: Any) -> None:
    def ours(c: Tensor, r: Tensor, rc: Tensor, rr: Tensor, lc: Tensor, lr: Tensor) -> Tensor:
        return losses.dpo(c, r, rc, rr, beta=2.0, lengths=(lc, lr))[0]

    theirs, mine = both(dpo_side, "sigmoid_norm", ours, ALL, beta=2.0)
    assert torch.allclose(theirs, mine, atol=1e-6)


def test_ipo_is_trls_when_length_normalised(dpo_side: Any) -> None:
    """Eq. 17 of the paper has summed log-ratios, and so has kind="ipo" by itself; TRL always divides by the length
    (its authors asked the paper's). So TRL's is ours with lengths, and another one than ours without."""

    def per_token(c: Tensor, r: Tensor, rc: Tensor, rr: Tensor, lc: Tensor, lr: Tensor) -> Tensor:
        return losses.dpo(c, r, rc, rr, beta=0.2, kind="ipo", lengths=(lc, lr))[0]

    def summed(c: Tensor, r: Tensor, rc: Tensor, rr: Tensor, *_: Tensor) -> Tensor:
        return losses.dpo(c, r, rc, rr, beta=0.2, kind="ipo")[0]

    theirs, mine = both(dpo_side, "ipo", per_token, ALL, beta=0.2)
    assert torch.allclose(theirs, mine, atol=1e-5)
    theirs, mine = both(dpo_side, "ipo", summed, ALL, beta=0.2)
    assert not torch.allclose(theirs[0], mine[0], atol=1e-2)


@pytest.mark.parametrize("pair", range(PAIRS))
def test_label_smoothing_is_aot_of_one_pair(dpo_side: Any, pair: int) -> None:
    """TRL's sigmoid ignores label_smoothing; cDPO's formula lives on in its AOT loss, which first sorts the batch:
    with a single pair there is nothing to sort."""

    def ours(c: Tensor, r: Tensor, rc: Tensor, rr: Tensor, *_: Tensor) -> Tensor:
        return losses.dpo(c, r, rc, rr, beta=0.3, label_smoothing=0.2)[0]

    theirs, mine = both(dpo_side, "aot", ours, slice(pair, pair + 1), beta=0.3, label_smoothing=0.2)
    assert torch.allclose(theirs, mine, atol=1e-6)


def test_robust_dpo_is_another_answer_to_flipped_labels(dpo_side: Any) -> None:
    """TRL's "robust" (Chowdhury et al. 2024, arXiv 2403.00409) takes the flipped term away: ((1 - e) L(h) - e L(-h)) /
    (1 - 2e), unbiased and unbounded below; cDPO adds it. From the same two terms: cDPO = (1 - 2e) robust + 2e L(-h)."""
    e = 0.2

    def ours(c: Tensor, r: Tensor, rc: Tensor, rr: Tensor, *_: Tensor) -> Tensor:
        conservative = losses.dpo(c, r, rc, rr, beta=0.3, label_smoothing=e)[0]
        flipped = losses.dpo(r, c, rr, rc, beta=0.3)[0]
        return (conservative - 2 * e * flipped) / (1 - 2 * e)

    theirs, mine = both(dpo_side, "robust", ours, ALL, beta=0.3, label_smoothing=e)
    assert torch.allclose(theirs, mine, atol=1e-6)


def test_sft_on_chosen_is_a_mean_over_tokens(dpo_side: Any) -> None:
    """TRL's "sft" beside DPO averages over all tokens of the batch: losses.sft. losses.nll is a mean per demonstration,
    so that a long correction does not outweigh a short one."""

    def ours(c: Tensor, r: Tensor, rc: Tensor, rr: Tensor, lc: Tensor, lr: Tensor) -> Tensor:
        return losses.sft(c, lc)

    def each(c: Tensor, r: Tensor, rc: Tensor, rr: Tensor, lc: Tensor, lr: Tensor) -> Tensor:
        return losses.nll(c, lc)

    theirs, mine = both(dpo_side, "sft", ours, ALL, beta=0.1)
    assert torch.allclose(theirs, mine, atol=1e-6)
    for pair in range(PAIRS):
        theirs, mine = both(dpo_side, "sft", each, slice(pair, pair + 1), beta=0.1)
        assert torch.allclose(theirs, mine, atol=1e-6)


def test_sft_is_sfttrainers_loss(tmp_path: Path) -> None:
    """SFTTrainer with the prompt masked: the mean NLL over the demonstrations' tokens."""
    theirs = make("sft", tiny_model(), [{"input_ids": [5, 6], "labels": [-100, 6]}], tmp_path)
    inputs = batch(*CHOSEN)
    labels = inputs["input_ids"].masked_fill(inputs.pop("completion_mask") == 0, -100)
    logps = token_logps(batch(*CHOSEN), seed=1)
    loss = theirs.compute_loss(Answers((inputs["input_ids"], logps)), inputs | {"labels": labels})
    mine = losses.sft(logps.sum(1), torch.tensor(CHOSEN).float())
    assert torch.allclose(loss, mine, atol=1e-6)
    assert torch.allclose(*(torch.autograd.grad(x, logps)[0] for x in (loss, mine)), atol=1e-7)


@pytest.mark.parametrize("strange", [-1.0, 1.5], ids=["baseline below 0", "baseline above 0"])
def test_kto(strange: float, tmp_path: Path) -> None:
    """Eq. 8 with weights and the baseline z0: TRL's is the mean log-ratio of the batch's answers to each other's
    prompts, at least 0, without gradient; it comes into losses.kto as a number. The paper's KL has the same estimate.
    fit.py gives each turn the log-ratio of one strange answer: the same estimate from a sample of one."""
    good = torch.tensor([True, False, True, True, False])
    row = {"prompt_ids": [5], "completion_ids": [6], "KL_completion_ids": [7], "label": True}
    options = {"beta": 0.4, "desirable_weight": 0.7, "undesirable_weight": 1.3, "per_device_train_batch_size": 2}
    from peft import LoraConfig

    theirs = make("kto", tiny_model(), [row, row], tmp_path, lora=LoraConfig(target_modules=["q_proj"]), **options)
    theirs.precompute_ref_logps = True
    main, other = batch(*CHOSEN), batch(*REJECTED)
    logps, strange_logps = token_logps(main, seed=1), token_logps(other, seed=3)
    reference, strange_reference = token_logps(main, seed=2).detach().sum(1), strange_logps.detach().sum(1) - strange
    given = main | {f"KL_{name}": values for name, values in other.items()}
    given |= {"label": good, "ref_logps": reference, "ref_KL_logps": strange_reference}
    model = Answers((main["input_ids"], logps), (other["input_ids"], strange_logps))
    loss = theirs.compute_loss(model, given)

    baseline = (strange_logps.sum(1) - strange_reference).mean()
    mine, metrics = losses.kto(logps.sum(1), reference, good, baseline, beta=0.4, good_weight=0.7, bad_weight=1.3)
    assert metrics["kto_baseline"] == pytest.approx(max(0.0, strange), abs=1e-5)
    assert torch.allclose(loss, mine.mean(), atol=1e-6)
    assert torch.allclose(*(torch.autograd.grad(x, logps)[0] for x in (loss, mine.mean())), atol=1e-7)
