"""Opening a chat: the store, the model file, the engine. Slow imports and disk work live here, off the first paint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatapp.config import Settings
from chatapp.engine.base import Engine, EngineConfig, EngineError
from chatapp.lessons import Lessons
from chatapp.session import ChatSession, Model, Note, View
from chatapp.trainer_process import Spawn
from chatapp.upkeep import Upkeep

if TYPE_CHECKING:
    from storage.locks import FileLock
    from storage.store import Store

MakeEngine = Callable[[EngineConfig], Engine]


@dataclass(frozen=True, slots=True)
class Opened:
    """A chat that is ready to be shown; its model may still be loading."""

    session: ChatSession
    lessons: Lessons
    view: View
    notes: tuple[Note, ...]
    upkeep: Upkeep  #: not started yet


class AlreadyRunning(RuntimeError):
    """Another Hone has this home open."""


def lock_home(settings: Settings) -> FileLock:
    """Take the one place of the chat in this home. Raises AlreadyRunning or StorageError."""
    from storage import paths
    from storage.errors import unusable_home
    from storage.locks import FileLock

    lock = FileLock(paths.chat_lock(settings.home))
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = lock.acquire(blocking=False)
    except OSError as error:
        raise unusable_home(settings.home, error) from error
    if not taken:
        holder = lock.holder()
        who = f" (process {holder})" if holder else ""
        raise AlreadyRunning(
            f"Hone is already running on {settings.home}{who}. "
            "Go on there, or open a second chat on a home of its own: hone --home FOLDER"
        )
    return lock


def open_chat(
    settings: Settings, make_engine: MakeEngine | None = None, spawn: Spawn | None = None, thread: str | None = None
) -> Opened:
    """Open everything and go to that thread, or to where the last session ended.

    Raises StorageError; a missing model is a note.
    """
    from storage.store import Store

    store = Store.open(settings.home)
    try:
        session, notes = _session(store, settings, make_engine)
        lessons = Lessons(store, settings, session.model.hash, spawn)
        recovered = lessons.recover()
        view, about_thread = session.resume(thread)
    except BaseException:
        store.close()
        raise
    return Opened(session, lessons, view, (*notes, *recovered, *about_thread), Upkeep(store))


def _session(store: Store, settings: Settings, make_engine: MakeEngine | None) -> tuple[ChatSession, list[Note]]:
    from chatapp.engine import model_files
    from storage import paths

    try:
        file = model_files.resolve(settings.model, settings.cache_dir)
        model_hash = model_files.file_hash(file.path, settings.cache_dir)
    except (EngineError, OSError) as error:
        session = ChatSession(store, None, settings, Model("", settings.model or "no model", ""))
        session.engine_error = str(error)
        return session, [Note(str(error), error=True)]

    notes: list[Note] = []
    live = store.adapters.live(model_hash)
    path = store.adapters.gguf(live) if live else None
    if live is not None and path is not None and not path.exists():
        notes.append(
            Note(f"The files of v{live.number} are gone from {path.parent}: answering with the base.", error=True)
        )
        live = path = None
    if make_engine is None:
        from chatapp.engine.process import EngineProcess

        make_engine = EngineProcess
    engine = make_engine(
        EngineConfig(
            model_path=file.path,
            context_size=settings.context_size,
            threads=settings.threads,
            gpu_layers=settings.gpu_layers,
            adapter_path=path,
            lock_path=paths.generation_lock(store.home),
            log_path=paths.logs_dir(store.home) / "engine.log",
        )
    )
    session = ChatSession(store, engine, settings, Model(model_hash, file.name, str(file.path)))
    session.adapter = live
    return session, notes
