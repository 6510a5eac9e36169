"""What can go wrong in the trainer, each with a sentence for the person who asked for the run."""

from __future__ import annotations


class TrainerError(RuntimeError):
    """A run that cannot go on; the text says what happened, with which value, and the next step."""


class NotTrainable(TrainerError, ValueError):
    """torch does not compute the same model as llama.cpp from this file."""


class NotEnoughJudgments(TrainerError, ValueError):
    """Too few judged prompts for a fit that could be checked."""


class BadSetting(TrainerError, ValueError):
    """A setting of a run that cannot be used."""


class Cancelled(TrainerError):
    """Somebody asked for the run to stop."""


class TooLittleMemory(TrainerError, MemoryError):
    """A run would not fit into what is free; said before anything is loaded."""


class TooLittleDisk(TrainerError, OSError):
    """A run could not write its files; said before anything is computed."""
