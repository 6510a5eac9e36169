"""Where things lie in a home folder. Nothing is created here."""

from __future__ import annotations

from pathlib import Path


def database(home: Path) -> Path:
    return home / "hone.db"


def adapters_dir(home: Path) -> Path:
    return home / "adapters"


def adapter_dir(home: Path, adapter_id: str) -> Path:
    return adapters_dir(home) / adapter_id


def run_dir(home: Path, run_id: str) -> Path:
    """Logs and checkpoints of one run."""
    return home / "runs" / run_id


def logs_dir(home: Path) -> Path:
    """Logs; they hold no chat text."""
    return home / "logs"


def cache_dir(home: Path) -> Path:
    """What was computed from the user's text: erased when the text is forgotten."""
    return home / "cache"


def chat_lock(home: Path) -> Path:
    """Held by the one chat of this home."""
    return home / "chat.lock"


def trainer_lock(home: Path) -> Path:
    """Held by the one trainer of this home."""
    return home / "trainer.lock"


def generation_lock(home: Path) -> Path:
    """Shared by whoever generates; the trainer waits for it between micro-batches."""
    return home / "generation.lock"


def migration_lock(home: Path) -> Path:
    return home / "migration.lock"


def backups_dir(home: Path) -> Path:
    """Whole copies of the database: forgetting has to reach them."""
    return home / "backups"


def backup_lock(home: Path) -> Path:
    """Held while a copy is made or put back, and by whoever changes the copies."""
    return home / "backup.lock"


def restoring_dir(home: Path) -> Path:
    """Where a copy is made ready before it takes the place of the database. Whatever is left there is waste."""
    return home / "restoring"
