"""Supervised fine-tuning: a version of the model from answers as they should be, the first stage of the classical road.

Ouyang et al. 2022 (arXiv 2203.02155) section 3.5. What is learned are demonstrations alone: one's corrections, and
imported ones where they are included. What it is tested on is as for any version: one's judgments of prompts that it
did not see. Where such a prompt has a demonstration and no judgment, that answer counts as a good one.
"""

from __future__ import annotations

from dataclasses import replace

from chatapp.engine.vocab import Vocab
from trainer import gate
from trainer.dataset import Dataset, SingleRef, Turn
from trainer.errors import NotEnoughJudgments
from trainer.lesson import Lesson


class SftLesson(Lesson):
    """A version of the model, from demonstrations."""

    def _dataset(self, vocab: Vocab) -> Dataset:
        found = Lesson._dataset(self, vocab)
        for turn in found.turns:
            if not (turn.pairs or turn.singles):
                turn.singles = [SingleRef(demo.response, True, demo.weight) for demo in turn.demos]
        learned = {t.key: t.corrections if t.split == "train" else t.judgments for t in found.turns}
        judgments = [(j, t.split) for t in found.turns for j in sorted(learned[t.key])]
        return replace(found, judgments=judgments)

    def _need(self, dataset: Dataset) -> None:
        shown = [turn for turn in dataset.turns if turn.demos]
        if len(shown) < gate.MIN_PROMPTS or not any(turn.split == "train" for turn in shown):
            raise NotEnoughJudgments(
                f"sft learns from answers as they should be, and needs them for at least {gate.MIN_PROMPTS} different "
                f"prompts; there are {len(shown)}: correct answers in the chat (e), or import demonstrations and give "
                "--include imports"
            )

    def _teaches(self, turn: Turn) -> bool:
        return turn.split == "held_out" or bool(turn.demos)

    def _taught(self, turn: Turn) -> Turn:
        return turn if turn.split == "held_out" else demonstrations(turn)


def demonstrations(turn: Turn) -> Turn:
    """The turn's demonstrations, without the answers beside them."""
    kept = sorted({demo.response for demo in turn.demos})
    place = {old: new for new, old in enumerate(kept)}
    return replace(
        turn,
        responses=[turn.responses[i] for i in kept],
        pairs=[],
        singles=[],
        demos=[replace(demo, response=place[demo.response]) for demo in turn.demos],
        from_base=[],
        drawers={},
    )
