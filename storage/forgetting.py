"""Forgetting: the text goes for good, from the database, its log and index, caches, checkpoints and backups.

The rows change in one transaction (`storage.erasing` says what goes with what), which also notes that the files are
still to be cleaned (`storage.scrubbing`). Killed before that is done, the next `hone forget` or the next start of the
chat finishes it: `finish`.

What learned from a text may remember it: such versions are named, and stay until they are removed by hand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from storage import backups, lookup, rewards, scrubbing
from storage.erasing import Asked, Erasure, Kept, Plan
from storage.errors import translate
from storage.ids import now
from storage.scrubbing import Scrubbed

if TYPE_CHECKING:
    from storage.store import Store

#: in `meta` from the transaction that erased something until the files are clean
PENDING = "forgetting"
_LEARNING = "vacuum pending; a run may be learning"
_QUIET = "vacuum pending"


@dataclass(frozen=True, slots=True)
class Version:
    """An adapter that learned from a forgotten judgment, and whose files are there."""

    id: str
    name: str
    live: bool
    judgments: int  #: how many of those that are forgotten now


@dataclass(frozen=True, slots=True)
class Named:
    """Something that was asked for."""

    kind: str  #: thread, message or judgment
    id: str
    text: str  #: a title, a content or what a judgment says; empty where that is gone
    question: str = ""  #: that a judgment is of


@dataclass(frozen=True, slots=True)
class Preview:
    """What `forget` would do. The counts are of what is still there."""

    named: list[Named]
    messages: int
    judgments: int
    threads: int
    copies: list[str]  #: other messages with exactly the same text: they go only with `copies`
    kept: list[Kept]  #: what stays although one may expect it to go
    versions: list[Version]
    backups: int  #: copies of the database that would be cleaned
    reward_models: list[int] = field(default_factory=list)  #: numbers of the runs whose reward models would go


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `forget` did."""

    messages: int
    judgments: int
    threads: int
    copies: list[str]  #: messages with exactly the same text that are still there
    kept: list[Kept]
    versions: list[Version]
    files: Scrubbed = field(default_factory=Scrubbed)
    reward_models: list[int] = field(default_factory=list)  #: numbers of the runs whose reward models went

    @property
    def live(self) -> list[Version]:
        """The versions in use that still remember."""
        return [version for version in self.versions if version.live]

    def as_json(self) -> dict[str, Any]:
        """Everything, without a word of what was forgotten."""
        found = asdict(self)
        return {**found, **found.pop("files"), "live": [version.name for version in self.live]}


def preview(store: Store, ids: Sequence[str], copies: bool = False) -> Preview:
    """What `forget` would do; nothing is changed. Raises NotFound for an id that names nothing or several things."""
    found = [lookup.find(store, id) for id in ids]
    db = store.db.conn
    try:
        db.execute("BEGIN")
        try:
            plan = Erasure(db, _asked(found, copies)).plan()
        finally:
            db.execute("ROLLBACK")  # the temporary tables too
    except sqlite3.Error as error:
        raise translate(error, store.path) from error
    return Preview(
        [_named(store, kind, id) for kind, id in dict.fromkeys(found)],
        plan.messages,
        plan.judgments,
        plan.threads,
        plan.copies,
        plan.kept,
        _versions(store, plan),
        len(scrubbing.known(store)),
        _reward_models(store, plan),
    )


def forget(
    store: Store, ids: Sequence[str], copies: bool = False, progress: Callable[[str], None] | None = None
) -> Forgotten:
    """Forget messages, threads and judgments, by id, for good. progress gets a sentence before each longer step.

    What was forgotten before may be named again: then the files are cleaned again. Raises NotFound before anything is
    changed; StorageError when the rows are changed and a file could not be cleaned, with what to do.
    """
    say = progress or (lambda _: None)
    found = [lookup.find(store, id) for id in ids]
    with backups.lock(store.home), _thorough(store):
        with store.write() as db:
            erasure = Erasure(db.conn, _asked(found, copies))
            plan = erasure.plan()
            models = [run for run in plan.runs if rewards.file_of(store, run).exists()]
            erasure.apply(now())
            erasure.close()
            learning = plan.learnable or store.meta_get(PENDING) == _LEARNING
            store.meta_set(PENDING, _LEARNING if learning else _QUIET)
        files = _scrub(store, learning, say)
    left = [] if copies else plan.copies
    versions = _versions(store, plan)
    # a run that has not ended keeps its files for now
    gone = sorted(store.runs.get(run).number for run in models if not rewards.file_of(store, run).exists())
    return Forgotten(plan.messages, plan.judgments, plan.threads, left, plan.kept, versions, files, gone)


def finish(store: Store, progress: Callable[[str], None] | None = None) -> bool:
    """Clean the files of a `forget` that was killed or could not end. False: there was nothing to do."""
    if store.meta_get(PENDING) is None:
        return False
    with backups.lock(store.home), _thorough(store):
        pending = store.meta_get(PENDING)  # another process may have been at it
        if pending is None:
            return False
        _scrub(store, pending == _LEARNING, progress or (lambda _: None))
    return True


def forget_again(store: Store, messages: Collection[str], judgments: Collection[str]) -> None:
    """Forget in a database that is an older copy what was forgotten since, as far as it is in there.

    Of the files, only the database itself is cleaned.
    """
    with _thorough(store):
        with store.write() as db:
            erasure = Erasure(db.conn, Asked(messages, (), judgments, again=True))
            erasure.apply(now())
            erasure.close()
            db.execute("DELETE FROM meta WHERE key LIKE 'draft:%'")  # typed then, asked and forgotten later
        scrubbing.compact(store.db.conn, store.path)
        scrubbing.cut_log(store, lambda _: None)


def _scrub(store: Store, learning: bool, say: Callable[[str], None]) -> Scrubbed:
    files = scrubbing.scrub(store, learning, say)
    if files.run_ended:
        store.meta_set(PENDING, None)
        store.db.conn.execute(
            "PRAGMA wal_checkpoint(TRUNCATE)"
        )  # it holds that line alone, so whether it ends is no matter
    return files


@contextmanager
def _thorough(store: Store) -> Iterator[None]:
    """What this thread's connection deletes is overwritten, and what it sorts stays in memory."""
    db = store.db.conn
    before = db.execute("PRAGMA secure_delete").fetchone()[0]
    db.execute("PRAGMA secure_delete = ON")
    db.execute("PRAGMA temp_store = MEMORY")
    try:
        yield
    finally:
        db.execute(f"PRAGMA secure_delete = {before}")
        db.execute("PRAGMA temp_store = DEFAULT")


def _asked(found: Sequence[tuple[str, str]], copies: bool) -> Asked:
    ids = {kind: [id for k, id in found if k == kind] for kind in (lookup.MESSAGE, lookup.THREAD, lookup.JUDGMENT)}
    return Asked(ids[lookup.MESSAGE], ids[lookup.THREAD], ids[lookup.JUDGMENT], copies)


def _named(store: Store, kind: str, id: str) -> Named:
    if kind == lookup.MESSAGE:
        return Named(kind, id, store.threads.message(id).text)
    if kind == lookup.THREAD:
        return Named(kind, id, store.threads.get(id).title)
    judgment = store.judgments.get(id)
    return Named(kind, id, store.judgments.describe(judgment), store.threads.message(judgment.prompt_id).text)


def _versions(store: Store, plan: Plan) -> list[Version]:
    found = []
    for learner in plan.learners:
        adapter = store.adapters.get(learner.id)
        if store.adapters.there(adapter):
            found.append(Version(adapter.id, adapter.name, adapter.state == "live", learner.judgments))
    return found


def _reward_models(store: Store, plan: Plan) -> list[int]:
    """They lie in the folders of their runs, which are emptied."""
    return sorted(store.runs.get(id).number for id in plan.runs if rewards.file_of(store, id).exists())
