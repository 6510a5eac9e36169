"""What the page of judgments does with one of them: say it anew, take it back, forget it, go to its thread."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from chatapp.clean import one_line
from chatapp.judged import may_retract, retract, said
from chatapp.screens.correct import Correct
from chatapp.screens.dialogs import AskText, Choose, Confirm
from chatapp.screens.page import Page
from chatapp.session import SessionError
from chatapp.view import Note

if TYPE_CHECKING:
    from storage.history import Names, Standing
    from storage.preferences import Judgment


class JudgmentActions(Page):
    """Each works on the judgment of an id, and says in one line what came of it."""

    _forgetting = False

    async def _changed(self, thread_id: str) -> None:
        """Show in the list and in the chat what is true now."""
        await self._reload()
        chat, session = self.chat, self.session
        chat._mark_changed()
        if session.thread is not None and session.thread.id == thread_id and not chat.generating:
            focused = chat.focused
            chat.answers.take_draft()
            await chat._show(await self.call(session.open, thread_id))
            chat.set_focus(focused)
        chat.threads.refresh_rows()
        await chat._refresh_status()

    @abstractmethod
    async def _reload(self) -> None:
        """Read what the page shows again."""

    # -- saying it anew ----------------------------------------------------------------------------------------------

    async def _edit(self, id: str) -> None:
        from storage.errors import InvalidJudgment

        old, state, names, text = await self.call(self._before, id)
        if old.kind == "duel":
            self.say("A duel is not edited: take it back, and hold another.", error=True)
            return
        if not state.in_force or state.reasked is not None:
            self.say(_not_edited(state), error=True)
            return
        wrong = ""
        while True:
            typed = await self.app.push_screen_wait(_dialog(old, names, text, wrong))
            if typed is None:
                return
            try:
                made = await self.call(self._restate, old, names, typed)
            except InvalidJudgment as error:
                text, wrong = typed, f"! {one_line(str(error), 200)}\n\n"
            else:
                break
        await self._changed(state.thread_id)
        self.say(f"{made}, in the place of what was said before.")

    def _before(self, id: str) -> tuple[Judgment, Standing, Names, str]:
        from chatapp.restating import as_typed
        from storage import history

        old = self.store.judgments.get(id)
        names = history.names(self.store, old)
        return old, history.standing(self.store, id), names, as_typed(self.store, old, names)

    def _restate(self, old: Judgment, names: Names, text: str) -> str:
        from chatapp import restating

        return said(self.store, restating.record(self.store, old, restating.typed(old, names, text)))

    # -- taking it back ----------------------------------------------------------------------------------------------

    async def _retract(self, id: str) -> None:
        thread_id, question = await self.call(may_retract, self.store, id)
        if await self.app.push_screen_wait(Confirm(question)) is None:
            return
        line = await self.call(retract, self.store, id)
        await self._changed(thread_id)
        self.say(line)

    # -- forgetting --------------------------------------------------------------------------------------------------

    async def _forget(self, id: str) -> None:
        from chatapp.forgetting import report, short_question
        from storage import forgetting, history

        thread_id = (await self.call(history.standing, self.store, id)).thread_id
        question = await self.call(short_question, self.store, id)
        if await self.app.push_screen_wait(Confirm(question)) is None:
            return
        if self.chat.generating:
            raise SessionError("Still answering. Esc in the chat stops it.")
        self.say("Forgetting.")
        self._forgetting = True
        try:
            done = await self.call(lambda: forgetting.forget(self.store, [id], progress=self._say_from_thread))
        finally:
            self._forgetting = False
        lines = report(done)
        await self._changed(thread_id)
        for line in lines[1:]:
            self.chat.note(Note(line))  # what is left to do by hand is to be read in peace
        self.say(lines[0] + (" More is said in the chat." if len(lines) > 1 else ""))

    def _say_from_thread(self, text: str) -> None:
        self.app.call_later(self._say_step, text)

    def _say_step(self, text: str) -> None:
        if self._forgetting:  # one that comes late would hide what came of it
            self.say(text)

    # -- going there -------------------------------------------------------------------------------------------------

    async def _go(self, thread_id: str) -> None:
        thread = await self.call(self.store.threads.get, thread_id)
        if thread.origin != "chat":
            raise SessionError(f"It stands in no chat: it came from {one_line(thread.origin, 40)}.")
        if thread.deleted_at is not None:
            raise SessionError("Its thread is deleted. In the chat, Ctrl+P and “Bring back” undo the last deletion.")
        if self.chat.generating:
            raise SessionError("Still answering. Esc in the chat stops it.")
        self.dismiss(None)
        self.chat.jobs.start("turn", self.chat._go, lambda: self.session.open(thread_id))


def _not_edited(state: Standing) -> str:
    """Why, and what can be done; the line above the keys has said of it what it is already."""
    if state.replaced_by is not None:
        return "This one cannot be edited, but the one that was given in its place can: it stands further up."
    if state.reasked is not None:
        return "This one cannot be edited: it only compares. The first judgment of the pair can be."
    if state.forgotten:
        return "This one cannot be edited: nothing is left of it."
    if state.retracted_at is not None:
        return "This one cannot be edited. The answers can be judged again in the chat: g goes there."
    return f"This one cannot be edited: {state.reasons[0]}."


def _dialog(old: Judgment, names: Names, text: str, wrong: str) -> AskText | Choose | Correct:
    """Asks for what `chatapp.restating.typed` reads."""
    of = ", ".join(names.here.get(item.message_id, "?") for item in old.items)
    if old.kind == "thumb":
        return Choose(f"Is {of} good or bad?", [("up", "good"), ("down", "bad")])
    if old.kind == "flag":
        return Choose(f"Does {of} break the rule?", [("yes", "It breaks the rule"), ("no", "It keeps the rule")])
    if old.kind == "correction":
        return Correct("The correction", text)
    if old.kind == "note":
        return AskText(f"{wrong}The note on {of}", text)
    if old.kind == "rating":
        return AskText(f"{wrong}The scores, 1 (worst) to 7 (best), as in A=6 B=2", text)
    return AskText(f"{wrong}The best first, as in B > A = C; one name alone picks it; or: all bad", text)
