"""The classical road in one run: imitate the corrections, learn a reward, optimise the policy against it.

Ouyang et al. 2022 (arXiv 2203.02155), figure 2. Each stage is what its own method does (sft_lesson.py, reward_task.py,
ppo_lesson.py); only the last one's version meets the gate. The reference of the KL penalty stays the base. Without
corrections the first stage is passed over; with a reward model that is refused the run ends, and says why.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, cast

from storage import rewards
from storage.errors import NoRewardModel
from trainer import rules
from trainer.config import RewardConfig, SftConfig, TrainConfig
from trainer.dataset import Dataset
from trainer.features import focus, prepare, some_words
from trainer.lesson import Given
from trainer.lora import Lora
from trainer.ppo_lesson import PpoLesson
from trainer.reward_task import RewardTask
from trainer.sft_lesson import demonstrations
from trainer.total import Reward


class RlhfLesson(PpoLesson):
    """A version of the model, by all three stages."""

    def _reward(self) -> Reward:
        config = RewardConfig(**self._shared(RewardConfig))
        stage = RewardTask(
            self.store, self.run_id, config, self.given, self.gguf, self.model_hash, self.cache_dir, None, self.team,
            self.clock, self.cancelled,
        )  # fmt: skip
        found = stage.run()
        self.metrics |= {name: value for name, value in stage.metrics.items() if name.startswith(("reward.", "rule."))}
        path = rewards.file_of(self.store, self.run_id)
        if found.state != "done":
            path.unlink(missing_ok=True)  # nobody is to rely on it
            raise NoRewardModel(f"its reward model was refused, so there is nothing to learn from. {found.verdict}")
        self.remarks.append(f"Its reward model: {found.verdict}")
        return Reward.read(path, self.model_hash)

    def _rewarder(self) -> str:
        return self.run_id

    def _learned_from(self, dataset: Dataset) -> list[tuple[str, str]]:
        """The stage before has noted its own, flags among them; what was corrected is among those."""
        rows = self.store.rows("SELECT judgment_id, split FROM run_judgments WHERE run_id = ?", [self.run_id])
        return [(row["judgment_id"], row["split"]) for row in rows]

    def _imitate(self, lora: Lora, given: Given) -> bool:
        """Corrections of prompts to train on, by their likelihood."""
        PpoLesson._imitate(self, lora, given)
        turns = [demonstrations(turn) for turn in given.said if turn.demos]
        if not turns:
            self.remarks.append("There were no corrections to imitate first.")
            return False
        config = SftConfig(**self._shared(SftConfig))
        parameters = sum(p.numel() for p in lora.decoder().parameters())
        config = cast(SftConfig, rules.apply(config, self.given, len(turns), parameters, self.layers))
        calls = replace(self.callbacks, progress=lambda *_: None)  # the steps that are told are those of the last stage
        with self.clock.phase("sft"):
            some = some_words(lora, config)
            works = prepare(turns, lora, config, None, calls, states_only=some)
            self.words = focus(works, lora, self.ordinary, config) if some else None
            self.total = config.steps(len(works))
            last = self._fit(works, lora, calls, self._checkpoint("sft", works), config)
        self.metrics |= {
            f"sft.{name}": value for name, value in last.items() if name in ("loss", "nll", "ordinary_nll")
        }
        self.metrics["sft.turns"] = len(turns)
        return True

    def _shared(self, kind: type[TrainConfig]) -> dict[str, Any]:
        """The settings that a stage has in common with the whole run."""
        common = {"rank", "alpha", "layer_share", "modules", "seed", "micro_tokens", "max_grad_norm", "words"}
        common |= {"include", "include_weight", "max_included", "max_prompt", "max_response"}
        return {f.name: getattr(self.config, f.name) for f in fields(kind) if f.name in common}
