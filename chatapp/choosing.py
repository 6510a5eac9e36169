"""The reward model's favourite among the alternatives of a chat: an option, and never the user's judgment.

One scoring child for as long as the chat lives, started with the first answers that it is asked about. Where there is
no reward model, or it cannot be asked, the answers stand as they came, and the chat says why, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chatapp.config import Settings
from chatapp.engine.base import Message

if TYPE_CHECKING:
    from pathlib import Path

    from chatapp.scoring import Scoring
    from storage.store import Store
    from storage.threads import NewAnswer


class Choosing:
    """Puts each answer's reward beside how it was drawn. One call at a time."""

    def __init__(self, settings: Settings, store: Store, model_hash: str) -> None:
        self._settings, self._store, self._model_hash = settings, store, model_hash
        self._scoring: Scoring | None = None
        self._by: Path | None = None  #: the reward model that the child has
        self._told: str | None = None
        self._ranking = False

    def begin(self) -> None:
        """Let the child load its model while the answers are drawn. What keeps it from that, `rank` says."""
        from chatapp.scoring import Scoring
        from storage import rewards
        from storage.errors import StorageError

        try:
            by = rewards.current(self._store, self._model_hash)
            if by != self._by:  # a newer one was learned
                self.close()
            if self._scoring is None:
                self._scoring, self._by = Scoring(self._settings), by
        except (StorageError, OSError):
            self.close()

    def rank(self, messages: Sequence[Message], answers: Sequence[NewAnswer]) -> tuple[list[NewAnswer], str | None]:
        """The answers in their order, with `reward` and `reward_rank` in their sampling; and what is to be said where
        they have none."""
        from chatapp.scoring import ScoringError
        from storage import rewards
        from storage.errors import StorageError

        if len(answers) < 2:
            return list(answers), None
        try:
            rewards.current(self._store, self._model_hash)
            self.begin()
            if self._scoring is None:
                raise ScoringError("the process that scores answers could not be started. Free some memory.")
            self._ranking = True
            scores = self._scoring.rewards(messages, [answer.token_ids or [] for answer in answers])
        except (ScoringError, StorageError, OSError, ValueError, KeyError) as error:
            self.close()
            said = f"reward_picks is on, and the answers were not ranked: {error}"
            told, self._told = self._told, said
            return list(answers), None if told == said else said
        finally:
            self._ranking = False
        self._told = None
        totals = [float(score["total"]) for score in scores]
        return [
            replace(answer, sampling={**answer.sampling, **place(index, totals)})
            for index, answer in enumerate(answers)
        ], None

    def opinions(self, messages: Sequence[Message], answers: Sequence[NewAnswer]) -> list[list[float]] | None:
        """What each head of the reward model says of each answer; None where there is none that could be asked."""
        from chatapp.scoring import ScoringError
        from storage.errors import StorageError

        try:
            self.begin()
            if self._scoring is None:
                return None
            self._ranking = True
            scores = self._scoring.rewards(messages, [answer.token_ids or [] for answer in answers])
            heads = [score["heads"] for score in scores]
        except (ScoringError, StorageError, OSError, ValueError, KeyError):
            self.close()
            return None
        finally:
            self._ranking = False
        return None if any(one is None for one in heads) else heads

    def stop(self) -> None:
        """End a ranking under way, from any thread: the answers stand as they came."""
        scoring = self._scoring
        if self._ranking and scoring is not None:
            scoring.kill()

    def close(self) -> None:
        scoring, self._scoring, self._by = self._scoring, None, None
        if scoring is not None:
            scoring.close()


def place(index: int, totals: Sequence[float]) -> dict[str, Any]:
    """How the reward model ranked an answer among those drawn with it: 0 is the best."""
    ranked = sorted(range(len(totals)), key=lambda i: -totals[i])
    return {"best_of": len(totals), "reward": totals[index], "reward_rank": ranked.index(index)}


def favourite(answers: Sequence[NewAnswer]) -> int:
    """The reward model's, where it was asked; else the first."""
    return next((i for i, answer in enumerate(answers) if answer.sampling.get("reward_rank") == 0), 0)
