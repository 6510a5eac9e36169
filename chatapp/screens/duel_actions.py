"""What the chat's screen does to let two versions meet, blind, in the normal chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatapp.dueling import Duel
from chatapp.screens.dialogs import Choose
from chatapp.screens.forget_actions import ForgetActions
from chatapp.session import SessionError
from chatapp.view import Note

if TYPE_CHECKING:
    from storage.adapters import Adapter

END = "end"


class DuelActions(ForgetActions):
    """Begin a duel, end it."""

    def action_duel(self) -> None:
        if self.opened is not None:
            self.jobs.start(self._duel(), "dialog")

    async def _duel(self) -> None:
        if self.generating:
            raise SessionError("Still answering. Esc stops it.")
        matches = await self.jobs.call(self._matches)
        if not matches:
            self.say("There is no version yet to meet the base: judge some answers, and Hone learns.", quiet=True)
            return
        now = self.session.duel
        choices = [(END, f"End the duel of {now.words}")] if now is not None else []
        choices += [(str(at), f"{one.words}{about}") for at, (one, about) in enumerate(matches)]
        chosen = await self.app.push_screen_wait(Choose("Who answers, one answer each, without a name?", choices))
        if chosen is None:
            return
        if chosen == END:
            self.session.duel = None
            self.tell(Note(f"The duel of {now.words if now else ''} has ended: the live version answers."))
        else:
            self.session.duel = duel = matches[int(chosen)][0]
            self.tell(
                Note(
                    f"Duel: {duel.words}. Each question gets one answer of each, in places by chance; "
                    "who is who is said when you have chosen. /duel ends it."
                )
            )
        await self._refresh_status()

    def _matches(self) -> list[tuple[Duel, str]]:
        """Whom the live version can meet, the one before it first; without a live one, whom the base can."""
        from storage.duels import tally

        adapters, session = self.session.store.adapters, self.session
        mine = session.adapter
        there = [one for one in adapters.list(session.model.hash) if adapters.there(one) and one.state != "candidate"]
        others: list[Adapter | None] = [one for one in there if mine is None or one.id != mine.id]
        if mine is not None:
            others.append(None)
        # the one before the live one, the base, then the newest first
        before = mine.parent_id if mine is not None else None
        others.sort(key=lambda one: (one is None or one.id != before, one is not None, -one.number if one else 0))
        found = []
        for other in others:
            met = tally(session.store, session.model.hash, mine.id if mine else None, other.id if other else None)
            low, high = met.interval
            won = f"{met.wins + met.ties / 2:g} of {met.n} won, {100 * low:.0f} to {100 * high:.0f} %"
            rejected = ", rejected" if other is not None and other.state == "rejected" else ""
            found.append((Duel(mine, other), f"{rejected} ({won})" if met.n else rejected))
        return found
