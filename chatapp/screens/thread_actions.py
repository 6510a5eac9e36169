"""What the chat's screen does with threads: new, open, rename, archive, delete, search."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from textual import on

from chatapp.clean import one_line
from chatapp.config import Settings
from chatapp.finding import open_at
from chatapp.privacy import heading, toggle_open
from chatapp.screens.dialogs import AskText, Confirm
from chatapp.screens.judging_actions import JudgingActions
from chatapp.session import SessionError
from chatapp.slash import NO_THREAD
from chatapp.view import View
from chatapp.widgets.threads import ThreadList, Threads


class ThreadActions(JudgingActions):
    """The list of threads and its wishes."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.deleted: list[tuple[str, str]] = []  #: (id, title) of threads deleted here

    def action_new_thread(self) -> None:
        self.jobs.start("turn", self._go, lambda: self.session.new())

    async def _go(self, where: Callable[[], View]) -> None:
        """Leave this thread for another."""
        if self.generating:
            raise SessionError("Still answering. Esc stops it.")
        await self._commit_ranking()
        await self._save_draft()
        view = await self.jobs.call(where)
        self.prompt.put("")
        self._saved_draft = ""
        await self._show(view)
        if self.threads.has_class("-over"):
            self._sidebar = None
            self._lay_out()
        self.threads.refresh_rows()

    async def _open_at(self, id: str, message_id: str | None) -> None:
        """Open a thread; where it was searched for at the turn, and the answer, that has the words."""
        await self._go(lambda: open_at(self.session, id, message_id))
        turn = self.answers.turn
        ids = [answer.message_id for answer in turn.answers] if turn is not None else []
        if message_id in ids:
            self.answers.action_focus_card(ids.index(message_id) - self.answers.focused_index)
        if message_id is not None and not self.visiting:
            self._hint_branch(turn)

    async def _save_draft(self) -> None:
        text = self.prompt.text
        if self.is_open and self.editing is None and text != self._saved_draft:
            self._saved_draft = text
            await self.jobs.call(self.session.save_draft, text)

    @on(ThreadList.Searched)
    def list_threads(self, event: ThreadList.Searched) -> None:
        if self.is_open:
            self.jobs.start("threads", self._list, event.archived, event.query)

    async def _list(self, archived: bool, query: str) -> None:
        from storage.search import threads

        session = self.session
        rows = await self.jobs.call(threads, session.store, query, archived)
        self.threads.show(rows, session.thread.id if session.thread else None, query, archived)

    @on(ThreadList.Left)
    def threads_left(self) -> None:
        if self.threads.has_class("-over"):
            self._sidebar = None
            self._lay_out()
        self.set_focus(self.prompt)

    @on(ThreadList.Wished)
    def thread_wished(self, event: ThreadList.Wished) -> None:
        id = event.thread_id
        if event.wish == "open":
            self.jobs.start("turn", self._open_at, id, event.message_id)
        elif event.wish == "new":
            self.action_new_thread()
        elif event.wish == "rename":
            self.jobs.start("dialog", self._rename, id)
        elif event.wish == "archive":
            self.jobs.start("store", self._archive, id)
        else:
            self.jobs.start("dialog", self._delete, id)

    def _with_current(self, job: Callable[[str], Coroutine[Any, Any, None]], group: str) -> None:
        if not self.is_open or self.session.thread is None:
            self.say(NO_THREAD, quiet=True)
        elif group == "dialog":
            self._panel(job, self.session.thread.id)
        else:
            self.jobs.start(group, job, self.session.thread.id)

    def action_rename_thread(self) -> None:
        self._with_current(self._rename, "dialog")

    def action_archive_thread(self) -> None:
        self._with_current(self._archive, "store")

    def action_private_thread(self) -> None:
        if self.is_open:  # before the first question too
            self.jobs.start("store", self._private)
        else:
            self.say("Hone is still opening. One moment.", quiet=True)

    def action_delete_thread(self) -> None:
        self._with_current(self._delete, "dialog")

    async def _rename(self, id: str) -> None:
        thread = await self.jobs.call(self.session.store.threads.get, id)
        title = await self.app.push_screen_wait(AskText("A new name for this thread", thread.title))
        if title is None:
            return
        await self.jobs.call(self.session.store.threads.rename, id, title)
        await self._retitled(id)

    async def _retitled(self, id: str) -> None:
        """Show a thread's new title, with the mark of a private one."""
        session = self.session
        if session.thread is not None and session.thread.id == id:
            session.thread = await self.jobs.call(session.store.threads.get, id)
            self.status.heading = heading(session.store, session.thread)
        self.threads.refresh_rows()

    async def _archive(self, id: str) -> None:
        thread = await self.jobs.call(self.session.store.threads.get, id)
        await self.jobs.call(self.session.store.threads.archive, id, thread.archived_at is None)
        what = "archived" if thread.archived_at is None else "brought back"
        self.say(f"“{one_line(thread.title, 40)}” was {what}.", quiet=True)
        self.threads.refresh_rows()

    async def _private(self) -> None:
        self.say(await self.jobs.call(toggle_open, self.session), quiet=True, whole=True)
        self.status.heading = await self.jobs.call(heading, self.session.store, self.session.thread)
        self._mark_changed()
        self.threads.refresh_rows()

    async def _delete(self, id: str) -> None:
        thread = await self.jobs.call(self.session.store.threads.get, id)
        count = thread.judgment_count
        learned = f"Its {count} judgment{'s' if count != 1 else ''} will no longer be learned from. " if count else ""
        question = f"Delete “{one_line(thread.title, 40)}”?\n{learned}Ctrl+P, “Bring back”, undoes it."
        if await self.app.push_screen_wait(Confirm(question)) is None:
            return
        if self.generating and self.session.thread is not None and self.session.thread.id == id:
            raise SessionError("Still answering. Esc stops it.")
        await self.jobs.call(self.session.store.threads.delete, id)
        self.deleted.append((id, thread.title))
        if self.session.thread is not None and self.session.thread.id == id:
            self.answers.take_draft()
            await self._go(lambda: self.session.new())
        self.say(f"“{one_line(thread.title, 40)}” was deleted.", quiet=True)
        self._mark_changed()
        self.threads.refresh_rows()

    def action_undelete_thread(self) -> None:
        self.jobs.start("store", self._undelete)

    async def _undelete(self) -> None:
        deleted = self.deleted or [
            (t.id, t.title)
            for t in await self.jobs.call(partial(self.session.store.threads.list, deleted=True, limit=1))
        ]
        if not deleted:
            self.say("No thread was deleted.", quiet=True)
            return
        id, title = deleted.pop()
        await self.jobs.call(self.session.store.threads.undelete, id)
        self.say(f"“{one_line(title, 40)}” is back.", quiet=True)
        self._mark_changed()
        self.threads.refresh_rows()

    def action_threads(self) -> None:
        shown = self.threads.has_class("-shown")
        self._sidebar = not shown
        self._lay_out()
        if shown:
            self.set_focus(self.prompt)
        else:
            self.threads.opened()
            self.set_focus(self.query_one(Threads))
