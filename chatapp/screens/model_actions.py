"""What the chat's screen does to answer with another model: what is on the disk is listed, and one of it opened."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

from chatapp import changing_model
from chatapp.screens.dialogs import Choose
from chatapp.screens.duel_actions import DuelActions
from chatapp.session import SessionError
from chatapp.view import Note


class ModelActions(DuelActions):
    """Picks a model, and opens the chat with it."""

    about_model: Note | None = None  #: to be said once it is loaded

    @abstractmethod
    async def _open(self) -> None:
        """Open the chat with the settings as they are."""

    def action_model(self) -> None:
        if self.opened is not None:
            self.jobs.start("dialog", self._model, "")

    async def _model(self, spec: str) -> None:
        if self.generating:
            raise SessionError("Still answering. Esc stops it.")
        if not spec:
            self.say("Looking for models.", quiet=True)
            choices = await asyncio.to_thread(changing_model.choices, self.settings)
            self.say("")
            chosen = await self.app.push_screen_wait(Choose("Which model answers from now on?", choices))
            if chosen is None:
                return
            spec = chosen
        await self._answer_with(spec)

    async def _answer_with(self, spec: str) -> None:
        """Close the engine, and open the chat again with another file. Each model has its own versions."""
        settings = await asyncio.to_thread(changing_model.with_model, self.settings, spec)
        await self._commit_ranking()
        await self._save_draft()
        opened = self.opened
        if opened is None or self.generating:
            return
        self.opened, self._asked_early = None, False
        self.status.model, self.status.version = "opening…", ""
        self.say("Opening. What is typed is asked in a moment.", quiet=True)
        await asyncio.to_thread(opened.upkeep.stop)
        await self.jobs.call(opened.session.close)
        self.settings = settings
        self.about_model = changing_model.about(spec)
        await self._open()
        if self.opened is not None:
            for note in changing_model.carry(opened, self.opened):
                self.note(note)
            if self.session.thread is None:
                self.transcript.tell_first(self.session.system_prompt or "")
