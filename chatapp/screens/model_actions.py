"""What the chat's screen does to answer with another model: what is on the disk is listed, and one of it opened."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from dataclasses import replace

from chatapp.clean import one_line
from chatapp.screens.dialogs import Choose
from chatapp.screens.duel_actions import DuelActions
from chatapp.session import SessionError
from chatapp.view import Note

MARK = {"yes": "learns", "no": "cannot learn here", "unknown": "learning not tried yet"}


class ModelActions(DuelActions):
    """Picks a model, and opens the chat with it."""

    about_model: Note | None = None  #: to be said once it is loaded

    @abstractmethod
    async def _open(self) -> None:
        """Open the chat with the settings as they are."""

    def action_model(self) -> None:
        if self.opened is not None:
            self.jobs.start(self._model(""), "dialog")

    async def _model(self, spec: str) -> None:
        if self.generating:
            raise SessionError("Still answering. Esc stops it.")
        if not spec:
            self.say("Looking for models.", quiet=True)
            choices = await asyncio.to_thread(self._found)
            self.say("")
            chosen = await self.app.push_screen_wait(Choose("Which model answers from now on?", choices))
            if chosen is None:
                return
            spec = chosen
        await self._answer_with(spec)

    def _found(self) -> list[tuple[str, str]]:
        from chatapp.engine.found_models import find, trainable

        settings = self.settings
        models, _ = find(settings.cache_dir, settings.model_dirs)
        choices = []
        for model in models:
            learns, _ = trainable(model, settings.cache_dir)
            about = f"{model.bytes / 1e9:.2f} GB, {model.architecture or '?'}, {MARK[learns]}"
            choices.append((model.spec, f"{one_line(model.name, 26)} ({about})"))
        return choices

    async def _answer_with(self, spec: str) -> None:
        """Close the engine, and open the chat again with another file. Each model has its own versions."""
        from chatapp.engine import model_files
        from chatapp.engine.base import EngineError

        settings = replace(self.settings, model=None if spec == "none" else spec)
        try:
            await asyncio.to_thread(model_files.resolve, settings.model, settings.cache_dir)
        except (EngineError, OSError) as error:
            raise SessionError(f"{error} The model before goes on answering.") from error
        await self._commit_ranking()
        await self._save_draft()
        opened = self.opened
        if opened is None or self.generating:
            return
        before = opened.session
        self.opened, self._asked_early = None, False
        self.status.model, self.status.version = "opening…", ""
        self.say("Opening. What is typed is asked in a moment.", quiet=True)
        await asyncio.to_thread(opened.upkeep.stop)
        await self.jobs.call(opened.session.close)
        self.settings = settings
        name = spec if spec == "none" else spec.rsplit("/", 1)[-1]
        named = "The bundled model" if name == "none" else name
        self.about_model = Note(
            f"{named} answers until the chat ends; `model` in the settings keeps it. Its versions are its own."
        )
        await self._open()
        if self.opened is not None:
            self.opened.lessons.paused = opened.lessons.paused
            if before.thread is None:
                self.session.system_prompt = before.system_prompt
            if before.duel is not None:
                self.note(Note(f"The duel of {before.duel.words} has ended."))
