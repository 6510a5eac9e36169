"""What the page of the versions does to take one elsewhere: asks as what and where to, and has it written."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chatapp.clean import clean
from chatapp.lineage import size
from chatapp.screens.dialogs import AskText, Choose, Confirm
from chatapp.screens.page import Page
from chatapp.session import SessionError
from chatapp.view import Note

if TYPE_CHECKING:
    from chatapp.lineage import Row
    from chatapp.version_export import Export
    from storage.adapters import Adapter


class ExportActions(Page):
    """A page on which a version can be highlighted, and exported."""

    _exporting: Export | None = None  #: what is being written

    @abstractmethod
    def _row(self) -> Row | None:
        """The highlighted version."""

    def action_export(self) -> None:
        self.start("dialog", self._export)

    async def _export(self) -> None:
        from chatapp.version_export import FORMATS

        row = self._row()
        if row is None or row.adapter is None:
            raise SessionError("The base is the model itself: choose a version, to export it.")
        if self._exporting is not None:
            raise SessionError("An export is under way. Esc stops it.")
        await self.call(self.store.adapters.need, row.adapter)
        formats = [(name, f"{name}: {what}") for name, what in FORMATS.items()]
        format = await self.app.push_screen_wait(Choose(f"Export {row.name} as", formats))
        export = None if format is None else await self._ask_where(row.adapter, format)
        if export is not None:
            await self._write(export)

    async def _ask_where(self, adapter: Adapter, format: str) -> Export | None:
        """Until it is a place that can be written, or the question is cancelled."""
        from chatapp.version_export import default_target, prepare
        from storage.errors import StorageError

        session = self.session
        question = f"Where to? ({format} of {adapter.name})"
        there: str | None = _short(Path.cwd() / default_target(format, session.model, adapter))
        while True:
            there = await self.app.push_screen_wait(AskText(question, there or ""))
            if there is None:
                return None
            target, force = Path(there).expanduser(), False
            if os.path.lexists(target):
                replace = Confirm(f"{_short(target)} is there already. Replace it?")
                force = await self.app.push_screen_wait(replace) is not None
                if not force:
                    continue
            try:
                asked = (self.store, session.settings, session.model, adapter, format, target, force)
                return await self.call(prepare, *asked)
            except StorageError as error:
                why = clean(str(error))
                question = f"{why[:1].upper()}{why[1:]}. Where to?"

    async def _write(self, export: Export) -> None:
        from storage.errors import StorageError

        def progress(done: int, of: int) -> None:
            self.app.call_later(partial(self._tell_progress, export, done * 100 // of))

        self._exporting = export
        over = False
        try:
            self.say(f"Exporting {export.adapter.name}." + (" Esc stops it." if export.format == "merged" else ""))
            exported = await asyncio.to_thread(export.write, progress)
            over = True
        except StorageError:
            over = True
            if export.cancelled:
                raise SessionError("Stopped; nothing was written.") from None
            raise
        finally:
            self._exporting = None
            if not over:  # the page was left, or the chat
                export.cancel()
        said = f"{exported.version} is in {_short(exported.path)} ({size(exported.bytes)})."
        self.say(said)
        for line in (said, *exported.notes):  # whole, where one line may cut it
            self.chat.note(Note(line))

    def _tell_progress(self, export: Export, percent: int) -> None:
        if self._exporting is export and not export.cancelled:
            self.say(f"Exporting {export.adapter.name}: {percent} %. Esc stops it.")

    def _stopped(self) -> bool:
        """Stop the export, if one is under way that takes time."""
        if self._exporting is None or self._exporting.format != "merged":
            return False
        self._exporting.cancel()
        self.say("Stopping.")
        return True

    def interrupted(self) -> None:
        if not self._stopped():
            super().interrupted()

    def action_back(self) -> None:
        if not self._stopped():
            super().action_back()


def _short(path: Path) -> str:
    """With ~ for the user's own folder."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path)
