"""How a run learns: the kinds of runs, by the names that `hone train --method` takes."""

from __future__ import annotations

from trainer.lesson import Lesson
from trainer.ppo_lesson import PpoLesson
from trainer.reward_task import RewardTask
from trainer.rlhf_lesson import RlhfLesson
from trainer.sft_lesson import SftLesson
from trainer.task import Task

TASKS: dict[str, type[Task]] = {
    "dpo": Lesson,
    "sft": SftLesson,
    "reward": RewardTask,
    "ppo": PpoLesson,
    "rlhf": RlhfLesson,
}
