"""Another model for the running chat: which there are, whether one can be opened, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatapp.clean import one_line
from chatapp.config import Settings
from chatapp.verdicts import SessionError
from chatapp.view import Note

if TYPE_CHECKING:
    from chatapp.opening import Opened

MARK = {"yes": "learns", "no": "cannot learn here", "unknown": "learning not tried yet"}


def choices(settings: Settings) -> list[tuple[str, str]]:
    """(what names it, the model in words) of those on the disk."""
    from chatapp.engine.found_models import find, trainable

    models, _ = find(settings.cache_dir, settings.model_dirs)
    found = []
    for model in models:
        learns, _ = trainable(model, settings.cache_dir)
        about = f"{model.bytes / 1e9:.2f} GB, {model.architecture or '?'}, {MARK[learns]}"
        found.append((model.spec, f"{one_line(model.name, 26)} ({about})"))
    return found


def with_model(settings: Settings, spec: str) -> Settings:
    """The settings with another model, "none" being the bundled one. Raises SessionError where it cannot be opened."""
    from chatapp.engine import model_files
    from chatapp.engine.base import EngineError

    changed = replace(settings, model=None if spec == "none" else spec)
    try:
        model_files.resolve(changed.model, changed.cache_dir)
    except (EngineError, OSError) as error:
        raise SessionError(f"{error} The model before goes on answering.") from error
    return changed


def about(spec: str) -> Note:
    """To be said once it answers."""
    named = "The bundled model" if spec == "none" else spec.rsplit("/", 1)[-1]
    return Note(f"{named} answers until the chat ends; `model` in the settings keeps it. Its versions are its own.")


def carry(before: Opened, after: Opened) -> tuple[Note, ...]:
    """Take over what goes on with another model, and say what does not."""
    after.lessons.paused = before.lessons.paused
    session = before.session
    if session.thread is None:
        after.session.system_prompt = session.system_prompt
    return (Note(f"The duel of {session.duel.words} has ended."),) if session.duel is not None else ()
