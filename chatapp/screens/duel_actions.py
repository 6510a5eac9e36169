"""What the chat's screen does to let two versions meet, blind, in the normal chat."""

from __future__ import annotations

from chatapp import dueling
from chatapp.screens.dialogs import Choose
from chatapp.screens.forget_actions import ForgetActions
from chatapp.session import SessionError
from chatapp.view import Note


class DuelActions(ForgetActions):
    """Begin a duel, end it."""

    def action_duel(self) -> None:
        if self.opened is not None:
            self._panel(self._duel)

    async def _duel(self) -> None:
        if self.generating:
            raise SessionError("Still answering. Esc stops it.")
        session = self.session
        if session.duel is not None:
            await self._end_duel()
            return
        matches = await self.jobs.call(dueling.matches, session.store, session.model.hash, session.adapter)
        if not matches:
            self.say(dueling.NOBODY, quiet=True)
            return
        choices = [(str(at), f"{one.words}{about}") for at, (one, about) in enumerate(matches)]
        chosen = await self.app.push_screen_wait(Choose("Who answers, one answer each, without a name?", choices))
        if chosen is None:
            return
        session.duel = duel = matches[int(chosen)][0]
        self.tell(Note(dueling.begun(duel)))
        await self._refresh_status()

    async def _end_duel(self) -> None:
        session = self.session
        over, session.duel = session.duel, None
        if over is None:
            raise SessionError(dueling.NONE_ON)
        self.tell(Note(dueling.ended(over)))
        await self._refresh_status()
