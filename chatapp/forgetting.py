"""Forgetting as people see it: what would go, what went and what is left to do by hand; and the open thread after it.

For `hone forget` and for the chat. What goes with what is said in `storage.erasing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from chatapp.clean import one_line
from chatapp.session import ChatSession, SessionError
from chatapp.view import View

if TYPE_CHECKING:
    from storage.forgetting import Forgotten, Named, Preview, Version
    from storage.store import Store


def question(seen: Preview, copies: bool) -> list[str]:
    """What would go and what would stay."""
    from storage.lookup import short

    lines = [_named(named) for named in seen.named]
    lines.append(f"In all {counts(seen)}, in the database, its caches and {_many(seen.backups, 'backup')}.")
    if seen.copies:
        others = f"{_many(len(seen.copies), 'other message')} with exactly the same text"
        lines.append(f"{others}: with what is below." if copies else f"{others} would stay: --copies takes them too.")
    lines += [f"What stays: {kept.why} ({short(kept.id)})." for kept in seen.kept]
    if seen.versions:
        lines.append(f"{_names(seen.versions)} learned from it, and may remember it afterwards.")
    lines += _reward_models(seen)
    lines.append("Not reached: what you exported, and what a disk or its snapshots still hold of overwritten files.")
    return lines


def short_question(store: Store, id: str) -> str:
    """Whether to forget one thing, in a few lines; to be answered by yes or no."""
    from storage.forgetting import preview

    seen = preview(store, [id])
    what = {
        "thread": "this thread",
        "message": "this question, its answers and all that followed",
        "judgment": f"“{one_line(seen.named[0].text, 60)}”{_of(seen.named[0])}",
    }[seen.named[0].kind]
    lines = [f"Forget {what} for good? {counts(seen)} go, from the backups too. It cannot be undone."]
    lines += [f"What stays: {kept.why}." for kept in seen.kept if seen.named[0].kind == "judgment"]
    if seen.versions:
        lines.append(f"{_names(seen.versions)} learned from it and may remember it.")
    lines += _reward_models(seen)
    if seen.copies:
        lines.append(f"The same text in {_many(len(seen.copies), 'other message')} stays.")
    return "\n".join(lines)


def _named(named: Named) -> str:
    from storage.lookup import short

    more = {"message": ", and all below it", "thread": ", with all that is in it", "judgment": ""}[named.kind]
    text = f"“{one_line(named.text, 50)}” " if named.text else ""
    return f"{named.kind.capitalize()} {text}({short(named.id)}){_of(named)}{more}"


def _of(named: Named) -> str:
    """Many judgments say the same: the question tells them apart."""
    return f" of “{one_line(named.question, 60)}”" if named.question else ""


def counts(seen: Preview | Forgotten) -> str:
    """ "9 messages and 5 judgments"."""
    return f"{_many(seen.messages, 'message')} and {_many(seen.judgments, 'judgment')}"


def report(done: Forgotten) -> list[str]:
    """What was done, and what is left to do by hand."""
    from storage.lookup import short

    files = done.files
    lines = [f"Forgotten: {counts(done)}, in the database, its caches and {_many(len(files.backups), 'backup')}."]
    if done.copies:
        ids = " ".join(short(id) for id in done.copies[:5]) + (" ..." if len(done.copies) > 5 else "")
        lines.append(
            f"Exactly the same text still stands in {_many(len(done.copies), 'other message')}: `hone forget {ids}`"
        )
    lines += [f"{kept.why.capitalize()}: `hone forget {short(kept.id)}`" for kept in done.kept]
    lines += _remembering(done)
    lines += _reward_models(done)
    if files.run is not None:
        if files.run_ended:
            lines.append(f"Training run {files.run} was learning from it and was ended: `hone train` begins another.")
        else:
            lines.append(
                f"Training run {files.run} was learning from it, was told to end, and has not yet: its files are "
                "cleaned when the chat starts next, or by the same command."
            )
    lines += [f"The backup {path} could not be cleaned and was deleted." for path in files.deleted]
    for copy in files.unreached:
        if copy.told:  # every time, of a file that was deleted, is noise
            continue
        lines.append(
            f"The backup at {copy.path}, written on {copy.made_at}, could not be reached and still holds the text: "
            f"{copy.why}"
        )
    for path in files.damaged:
        lines.append(f"{path} is the damaged database of an earlier day and may hold the text: delete it by hand.")
    return lines


def _remembering(done: Forgotten) -> list[str]:
    """Of the versions that may still know it."""
    rest = [version for version in done.versions if not version.live]
    lines = []
    if done.live:
        still = "is in use and may still remember" if len(done.live) == 1 else "are in use and may still remember"
        lines.append(
            f"{_names(done.live)} {still}: `hone train` makes a version that does not, `hone adapters rollback` "
            "goes back to the one before."
        )
    if rest:
        lines.append(f"{_names(rest)} may remember too: `hone adapters remove {rest[0].name}` deletes its files.")
    return lines


def _reward_models(seen: Preview | Forgotten) -> list[str]:
    """Those that go: they learned from it, or were tested on it."""
    runs = [str(number) for number in seen.reward_models]
    if not runs:
        return []
    which = f"of run {runs[0]} is" if len(runs) == 1 else f"of runs {', '.join(runs[:-1])} and {runs[-1]} are"
    models = "model" if len(runs) == 1 else "models"
    return [f"The reward {models} {which} deleted. Where none is left, `hone train --method reward --wait` makes one."]


def _names(versions: list[Version]) -> str:
    return ", ".join(version.name for version in versions)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


class OpenThread:
    """What becomes of the thread that a chat shows when it, or another program, forgets a part of it."""

    def __init__(self, session: ChatSession) -> None:
        self.session = self._session = session
        self._seen: tuple[str, int] | None = None  # thread, forgotten messages in it

    def named(self, whole: bool) -> str:
        """The id of the thread, or of the current question. Raises SessionError where there is none."""
        session = self._session
        if session.busy:
            raise SessionError("Still answering. Esc stops it.")
        if session.thread is None or (not whole and session.turn is None):
            raise SessionError("There is nothing to forget yet: ask something first.")
        return session.thread.id if whole or session.turn is None else session.turn.prompt_id

    def question(self, id: str) -> str:
        """To be answered by yes or no."""
        return short_question(self._session.store, id)

    def forget(self, id: str, say: Callable[[str], None]) -> tuple[list[str], View]:
        """Forget it; returns what there is to say, and the chat as it is then."""
        from storage.forgetting import forget

        session = self._session
        done = forget(session.store, [id], progress=say)
        return report(done), self._again()

    def elsewhere(self) -> View | None:
        """The chat as it is now, if some of what it shows was forgotten by another program."""
        session = self._session
        if session.thread is None or session.busy:
            return None
        seen = self._count(session.thread.id)
        before, self._seen = self._seen, seen
        return self._again() if before is not None and before[0] == seen[0] and before[1] != seen[1] else None

    def _again(self) -> View:
        session = self._session
        if session.thread is None:  # what was forgotten is of another one
            return session.view()
        self._seen = self._count(session.thread.id)
        gone = session.store.threads.get(session.thread.id).deleted_at is not None
        return session.new() if gone else session.open(session.thread.id)

    def _count(self, thread: str) -> tuple[str, int]:
        sql = "SELECT count(*) FROM messages WHERE thread_id = ? AND forgotten_at IS NOT NULL"
        return thread, int(self._session.store.value(sql, [thread]))
