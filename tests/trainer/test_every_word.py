"""What the policy gains by every word of its language, against what it gains by those that were drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from tests.trainer.test_logprobs import gradients
from tests.trainer.test_ppo import CONFIG, lora
from trainer.features import Callbacks
from trainer.logprobs import TokenTurn, summed, token_logps
from trainer.ppo import Output, advise, look, step_loss
from trainer.rollouts import Rollout
from trainer.words import Words

WORDS = torch.tensor([7, 90, 200])  #: of a language of three


@pytest.mark.parametrize(("algorithm", "ratio"), [("ppo", "token"), ("rloo", "token"), ("rloo", "answer")])
def test_the_mean_over_all_words_is_the_same_slope_with_less_luck(algorithm: str, ratio: str) -> None:
    """All pairs of answers of two words, each as often as it is drawn: the mean slope of the loss is that of the mean
    score, whether a word's share is learned from as it was drawn or by its mean over all words; the slopes of single
    pairs lie closer to it in the second case. A score is what the words are worth, and something of the answer whole.
    """
    policy = lora(shaken=True)
    embeddings = policy.model.get_input_embeddings().weight.detach()
    output = Output(Words(policy.model.get_output_embeddings(), WORDS), embeddings[WORDS])
    answers = [[int(a), int(b)] for a in WORDS for b in WORDS]
    worth = 3 * torch.randn(1, 64, generator=torch.Generator().manual_seed(1))
    shares = [(embeddings[torch.tensor(answer)] @ worth[0]).tolist() for answer in answers]
    scores = [sum(share) + float(answer[0] == answer[1]) for share, answer in zip(shares, answers, strict=True)]
    config: Any = replace(CONFIG, algorithm=algorithm, ratio=ratio, whiten=False, gae_decay=1.0, words=3)

    packed = policy.pack([TokenTurn([9, 8, 7], answers)])
    logps = summed(token_logps(policy.model, packed, output.scores), packed.owner, len(answers))
    chances = logps.detach().exp()
    assert float(chances.sum()) == pytest.approx(1, abs=1e-5)
    wanted = -gradients(policy, (logps.exp() * torch.tensor(scores)).sum()) * (1.0 if ratio == "answer" else 0.5)
    luck = {}
    for expected in (False, True):
        mean, square = torch.zeros_like(wanted), 0.0
        for a, b in product(range(len(answers)), repeat=2):
            turn = TokenTurn([9, 8, 7], [answers[a], answers[b]])
            rollout = Rollout(
                turn,
                torch.tensor([scores[a], scores[b]]),
                shares=torch.tensor(shares[a] + shares[b]),
                worth=worth.repeat(2, 1) if expected else torch.zeros(0),
            )
            seen = look(policy, None, [rollout], config, Callbacks(), [TokenTurn([9], [WORDS.tolist()])])
            assert isinstance(seen.scores, Words)
            assert torch.equal(seen.scores.ids, WORDS), "those that are wanted"
            advise([rollout], config, 0.0)
            found = gradients(policy, step_loss(policy, None, [rollout], seen, config)[0])
            chance = float(chances[a] * chances[b])
            mean, square = mean + chance * found, square + chance * float((found - wanted).square().sum())
        torch.testing.assert_close(mean, wanted, atol=1e-5, rtol=1e-3)
        luck[expected] = square
    assert luck[True] < 0.7 * luck[False]
