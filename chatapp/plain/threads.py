"""Threads by lines: new, listed, opened, renamed, deleted, saved; the system prompt; old questions."""

from __future__ import annotations

from chatapp import slash
from chatapp.clean import clean, one_line
from chatapp.finding import open_at, pieces
from chatapp.plain.answering import ask, show
from chatapp.plain.talk import Talk, numbered
from chatapp.privacy import MARK, next_is_private, toggle_open
from chatapp.session import SessionError

LISTED = 30
WIDE = 100  #: cells of a line of text with the words


def new(talk: Talk, rest: str) -> None:
    talk.session.new()
    private = next_is_private(talk.session.store)
    talk.say(f"A new thread{', private as you chose before' if private else ''}. Ask something.")


def system(talk: Talk, rest: str) -> None:
    session = talk.session
    if not rest:
        talk.out(clean(slash.told_first(session)))
        return
    empty = session.thread is None
    if not empty:
        session.new()
    talk.say(slash.tell_first(session, rest, empty))


def listed(talk: Talk, rest: str) -> None:
    from storage.search import threads

    session = talk.session
    found = threads(session.store, rest, limit=LISTED)
    talk.threads = [one.thread.id for one in found]
    talk.found = {one.thread.id: one.message_id for one in found}
    for number, one in enumerate(found, 1):
        thread = one.thread
        here = " (this one)" if session.thread and thread.id == session.thread.id else ""
        talk.out(f"{number}. {one_line(thread.title or 'untitled')}{MARK if thread.private else ''}{here}")
        if one.snippet:
            line = "".join(text for text, _ in pieces(one.snippet, WIDE))
            talk.out(f"   In it: {one_line(line, 2 * WIDE)}")
    talk.say("/open and a number opens one." if found else "No thread.")


def open_one(talk: Talk, rest: str) -> None:
    id = numbered(rest, talk.threads, "/open", "/threads")
    if talk.session.store.threads.get(id).deleted_at is not None:  # since it was listed
        back = "/undelete brings it back" if id == talk.deleted else "/threads lists those there are"
        raise SessionError(f"That thread was deleted: {back}.")
    show(talk, open_at(talk.session, id, talk.found.get(id)))


def rename(talk: Talk, rest: str) -> None:
    session, id = talk.session, _here(talk)
    slash.rename(session.store, id, rest)
    session.thread = session.store.threads.get(id)
    talk.say("Renamed.")


def private(talk: Talk, rest: str) -> None:
    talk.say(toggle_open(talk.session))
    talk.lessons.recount()


def export(talk: Talk, rest: str) -> None:
    talk.out(slash.save(talk.session.store, talk.session.thread, rest))


def delete(talk: Talk, rest: str) -> None:
    talk.deleted = _here(talk)
    talk.session.store.threads.delete(talk.deleted)
    talk.threads = []
    talk.session.new()
    talk.lessons.recount()
    talk.say("Deleted; its judgments are no longer learned from. /undelete brings it back.")


def undelete(talk: Talk, rest: str) -> None:
    if talk.deleted is None:
        raise SessionError("No thread was deleted here.")
    talk.session.store.threads.undelete(talk.deleted)
    talk.lessons.recount()
    show(talk, talk.session.open(talk.deleted))
    talk.deleted = None


def forget(talk: Talk, rest: str) -> None:
    """Remove this turn, or this thread, for good."""
    if rest not in ("turn", "thread"):
        raise SessionError("Write /forget turn (this question and all below it) or /forget thread.")
    open_thread = talk.open_thread
    id = open_thread.named(rest == "thread")
    if talk.agreed(open_thread.question(id)):
        talk.threads = []
        try:
            lines, view = open_thread.forget(id, talk.say)
        except BaseException:
            if (left := open_thread.elsewhere()) is not None:  # it is gone, and cleaning the files was left
                talk.lessons.recount()
                talk.say("It is forgotten; what is left of it in the files goes when the chat starts next.")
                show(talk, left)
            raise
        for line in lines:
            talk.say(line)
        talk.lessons.recount()
        show(talk, view)


def asked_before(talk: Talk, rest: str) -> None:
    """List the questions of all threads, or ask one of them here."""
    if rest:
        ask(talk, numbered(rest, talk.questions, "/asked", "/asked"))
        return
    talk.questions = talk.session.history()[:LISTED]
    for number, question in enumerate(talk.questions, 1):
        talk.out(f"{number}. {one_line(question, 200)}")
    talk.say("/asked and a number asks one again, here." if talk.questions else "Nothing was asked yet.")


def _here(talk: Talk) -> str:
    if talk.session.thread is None:
        raise SessionError(slash.NO_THREAD)
    return talk.session.thread.id
