"""Lessons and versions by lines: learn, look, go back and forth, compare, let two of them meet."""

from __future__ import annotations

from chatapp import dueling, lineage, switching, watching
from chatapp.clean import one_line
from chatapp.dueling import Duel
from chatapp.gate_words import as_sentence
from chatapp.lineage import Row
from chatapp.plain.drawing import how_many
from chatapp.plain.lines import whole
from chatapp.plain.talk import Talk, place, stoppable
from chatapp.privacy import next_is_private
from chatapp.session import SessionError
from chatapp.times import when

LESSONS = 10

# -- lessons -----------------------------------------------------------------------------------------------------------


def train(talk: Talk, rest: str) -> None:
    talk.note(talk.lessons.start())


def cancel(talk: Talk, rest: str) -> None:
    talk.note(talk.lessons.cancel())


def pause(talk: Talk, rest: str) -> None:
    talk.note(talk.lessons.toggle())


def training(talk: Talk, rest: str) -> None:
    """The newest lessons, with what came of each."""
    store = talk.session.store
    runs = store.runs.list(limit=LESSONS)
    for run in runs:
        name = f"{watching.kind(run)} {run.number}"
        state = watching.state(run) if run.finished else watching.doing(store, run)
        said = run.error or as_sentence(str(run.result.get("verdict") or ""))
        line = f"{name[0].upper()}{name[1:]}, {when(run.created_at)}: {state}."
        talk.say(f"{line} {one_line(said[:1].upper() + said[1:], 500)}".rstrip())
    talk.say(f"{talk.lessons.progress().words}." if runs else "No lesson yet. Judge some answers; /train begins one.")


# -- versions ----------------------------------------------------------------------------------------------------------


def versions(talk: Talk, rest: str) -> None:
    rows = lineage.rows(talk.session.store, talk.session.model.hash)
    for row in rows:
        made = f", {when(row.adapter.created_at)}" if row.adapter else ""
        talk.say(f"{row.name}: {row.state}{made}.")
    if len(rows) > 1:
        talk.say("/version v1 tells of one, /use v1 answers with it, /rollback and /forward go one back and forth.")
    else:
        talk.say("No version yet: judge some answers, and Hone learns.")


def version(talk: Talk, rest: str) -> None:
    row = _named(talk, rest, "/version")
    for head, text in lineage.details(lineage.look(talk.session.store, talk.session.model.hash, row)):
        if head or text:
            talk.say(f"{head}{text}")


def use(talk: Talk, rest: str) -> None:
    _switch(talk, switching.use(_named(talk, rest, "/use").adapter))


def rollback(talk: Talk, rest: str) -> None:
    _switch(talk, switching.back)


def forward(talk: Talk, rest: str) -> None:
    _switch(talk, switching.forward)


def _switch(talk: Talk, change: switching.Changing) -> None:
    done = switching.switch(talk.session.store, talk.session.model.hash, change)
    name = done.before.removeprefix("the ")
    undo = {"forward": "/forward", "back": "/rollback", "use": f"/use {name}"}[done.undo]
    brings = f"{undo} brings {done.before} back"
    duel = talk.session.duel
    talk.say(done.words(brings) if duel is None else f"{done.now} is live now, but the duel goes on; {brings}.")
    if (swapped := talk.session.sync_adapter()) is not None and swapped.error:
        talk.note(swapped)  # that it answers was just said


def _named(talk: Talk, name: str, command: str) -> Row:
    rows = lineage.rows(talk.session.store, talk.session.model.hash)
    found = next((row for row in rows if row.name.casefold() == name.casefold()), None)
    if found is None:
        names = ", ".join(row.name for row in rows)
        raise SessionError(f"Write {command} and one of {one_line(names, 300)}.")
    return found


def compare(talk: Talk, rest: str) -> None:
    """What a version answers otherwise than the one before it, on the last questions."""
    from chatapp.comparing import begin

    live = talk.session.adapter
    comparing = begin(talk.session, _named(talk, rest, "/compare").adapter if rest else live)
    before = comparing.before.name if comparing.before else "the base"
    talk.say(f"Your last questions, answered by {before} and by {comparing.version.name}. Ctrl+C stops it.")
    try:
        with stoppable(comparing.stop):
            comparing.run()
    finally:
        for tried in comparing.tried:
            if tried.before:
                whole(talk.out, "Question", tried.question)
                whole(talk.out, before[0].upper() + before[1:], tried.before)
            if tried.after:
                same = tried.done and tried.after == tried.before
                whole(talk.out, comparing.version.name, "the same answer" if same else tried.after)
    talk.say(f"{comparing.summary} The chat has its own version back.")


# -- a duel ------------------------------------------------------------------------------------------------------------


def duel(talk: Talk, rest: str) -> None:
    """Begin one, or end the one that goes on."""
    session = talk.session
    if session.duel is not None and rest in ("", "end"):
        over, session.duel = session.duel, None
        talk.say(dueling.ended(over))
        return
    if rest == "end":
        raise SessionError(dueling.NONE_ON)
    found = dueling.matches(session.store, session.model.hash, session.adapter)
    if not found:
        raise SessionError(dueling.NOBODY)
    if not rest and len(found) > 1:
        for number, (one, about) in enumerate(found, 1):
            talk.say(f"{number}. {one.words}{about}")
        talk.duels = [one for one, _ in found]
        talk.say("/duel and a number begins one.")
        return
    session.duel = found[0][0] if not rest else _chosen(talk, rest)
    talk.say(dueling.begun(session.duel))


def _chosen(talk: Talk, rest: str) -> Duel:
    at = place(rest, len(talk.duels))
    if at is None:
        raise SessionError("Write /duel and a number that /duel has listed; /duel end ends one.")
    session, found = talk.session, talk.duels[at]
    for side in (found.a, found.b):
        if side is not None and (side.model_hash != session.model.hash or not session.store.adapters.there(side)):
            raise SessionError(f"{side.name} is not there any more: /duel lists those that can meet.")
    return found


def status(talk: Talk, rest: str) -> None:
    session = talk.session
    who = session.adapter.name if session.adapter else "The base"
    talk.say(f"{who} answers; the model is {session.model.name}. {talk.lessons.progress().words}.")
    if session.duel is not None:
        talk.say(f"Duel: {session.duel.words}.")
    talk.say(how_many(talk))
    if session.thread is not None or next_is_private(session.store):
        talk.out(f"Thread: {one_line(session.view(1).title or 'untitled')}")
