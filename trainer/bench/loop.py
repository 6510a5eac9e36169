"""The whole loop on the real model with one user, as a check: 40 rankings by plain words, 40 unseen prompts.

`hone simulate` is the whole measurement; this is one row of it with a yes or no. Also what other measurements and tests
need to fill a home with judgments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from chatapp.engine.base import Candidate
from chatapp.engine.vocab import Vocab
from storage.store import Store
from trainer.simulate import Plan, simulate
from trainer.simulation.judging import Ranking, Turn, groups, record
from trainer.simulation.progress import Progress
from trainer.users import USERS, letters_a_word

__all__ = ["letters_a_word", "measure", "record_rankings"]

Rule = Callable[[str], float]


def record_rankings(
    store: Store,
    gguf: Path,
    model_hash: str,
    answered: Sequence[tuple[str, Sequence[Candidate]]],
    rule: Rule,
    adapter_id: str | None = None,
) -> int:
    """Store prompts with their answers and rank each by the rule, smaller first. Returns the pairs that gives.

    adapter_id: of the version that answered; None: the base.
    """
    with Vocab.open(gguf) as vocab:
        store.add_model(model_hash, vocab.name, vocab.architecture, vocab.chat_template_hash, str(gguf))
    for spent, (prompt, batch) in enumerate(answered, 1):
        ranked = Ranking(groups([-round(rule(c.text), 6) for c in batch]))
        record(store, model_hash, adapter_id, Turn(prompt, list(batch), ranked, spent))
    return len(store.judgments.derived().pairs)


def measure(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Run the loop; quick: 10 judgments and answers of 48 tokens to 4 prompts."""
    plan = Plan((10,), test_prompts=4, max_tokens=48) if quick else Plan((40,), test_prompts=40)
    (row,) = simulate(settings, plan, [USERS["plain-words"]], Progress())
    return {"ok": quick or (row.promoted and (row.win_rate or 0.0) >= 0.8), **row.as_dict()}
