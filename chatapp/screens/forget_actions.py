"""What the chat's screen does to forget this turn or this thread, and when another program forgot a part of it."""

from __future__ import annotations

from functools import partial

from chatapp.forgetting import OpenThread
from chatapp.screens.dialogs import Confirm
from chatapp.screens.thread_actions import ThreadActions
from chatapp.session import SessionError
from chatapp.view import Note


class ForgetActions(ThreadActions):
    """Forgetting, from the palette."""

    _followed: OpenThread | None = None

    @property
    def _open_thread(self) -> OpenThread:
        """Of the session that is open now: another model has a session of its own."""
        if self._followed is None or self._followed.session is not self.session:
            self._followed = OpenThread(self.session)
        return self._followed

    def action_forget_turn(self) -> None:
        self.jobs.start("dialog", self._forget, whole=False)

    def action_forget_thread(self) -> None:
        self.jobs.start("dialog", self._forget, whole=True)

    async def _forget(self, whole: bool) -> None:
        id = await self.jobs.call(self._open_thread.named, whole)
        question = await self.jobs.call(self._open_thread.question, id)
        if await self.app.push_screen_wait(Confirm(question)) is None:
            return
        if self.generating:
            raise SessionError("Still answering. Esc stops it.")
        self.answers.take_draft()
        self._history.forget()
        if whole:  # what is typed belongs to it
            self.prompt.put("")
            self._saved_draft = ""
        self.say("Forgetting.", quiet=True)
        # in the thread of the store: nothing is asked, judged or closed in the middle of it
        lines, view = await self.jobs.call(self._open_thread.forget, id, self._say_from_thread)
        await self._show(view)
        for line in lines:
            self.note(Note(line))
        self.threads.refresh_rows()
        self._mark_changed()
        await self._refresh_status()

    def _say_from_thread(self, text: str) -> None:
        self.app.call_later(partial(self.say, text, quiet=True))

    async def _show_what_is_left(self) -> None:
        """Where `hone forget` beside the chat took a part of what it shows."""
        if self.generating:
            return
        view = await self.jobs.call(self._open_thread.elsewhere)
        if view is not None:
            self.answers.take_draft()
            await self._show(view)
            self.note(Note("A part of this thread was forgotten by another program."))
            self.threads.refresh_rows()
