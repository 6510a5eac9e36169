"""Going through a thread by lines: its turns, its branches; what a turn teaches, what two answers say otherwise."""

from __future__ import annotations

from chatapp.clean import one_line
from chatapp.diffing import Change, changes, counted, word_diff
from chatapp.plain.answering import answer, say_answer, say_branch, say_turn
from chatapp.plain.lines import whole
from chatapp.plain.talk import Talk
from chatapp.reading import way
from chatapp.session import SessionError, View
from chatapp.teaching import explain_turn, told
from chatapp.turn import Turn, label

CHANGES = 30  #: places that are told of two answers


# -- turns and branches ------------------------------------------------------------------------------------------------


def earlier(talk: Talk, rest: str) -> None:
    _visited(talk, talk.session.step_turn(-1))


def later(talk: Talk, rest: str) -> None:
    _visited(talk, talk.session.step_turn(1))


def latest(talk: Talk, rest: str) -> None:
    talk.turn()
    _visited(talk, talk.session.latest())


def _visited(talk: Talk, view: View) -> None:
    session = talk.session
    if view.turn is None or session.thread is None:
        return
    turns = way(session.store, session.thread)
    at = turns.index(view.turn.prompt_id) + 1 if view.turn.prompt_id in turns else len(turns)
    where = f"Turn {at} of {len(turns)}"
    if view.later:
        talk.say(f"{where}. Judge it again, or ask from here in a branch of its own; P goes on, /latest returns.")
        say_branch(talk, view.turn)
        say_turn(talk, view.turn)
        return
    talk.say(f"{where}, the latest. /read says its answers again.")  # they were heard
    whole(talk.out, "You", view.turn.prompt)


def earlier_branch(talk: Talk, rest: str) -> None:
    _branched(talk, talk.session.step_version(-1))


def later_branch(talk: Talk, rest: str) -> None:
    _branched(talk, talk.session.step_version(1))


def _branched(talk: Talk, view: View) -> None:
    if view.later:
        _visited(talk, view)
    elif view.turn is not None:
        say_branch(talk, view.turn)
        say_turn(talk, view.turn)


def read(talk: Talk, rest: str) -> None:
    """Say the turn again, or one of its answers."""
    turn = talk.turn()
    if not rest:
        say_turn(talk, turn)
        return
    names = [str(index + 1) for index in range(len(turn.answers))] + [label(i) for i in range(len(turn.answers))]
    if rest.upper() not in names:
        raise SessionError(f"There is no answer {rest}: write /read and one of {', '.join(names)}.")
    say_answer(talk, turn, names.index(rest.upper()) % len(turn.answers))


def edit(talk: Talk, rest: str) -> None:
    """Ask another question in the place of the one that is looked at."""
    if talk.session.turn is None or not rest:
        raise SessionError("Write /edit and the new question, after one was asked.")
    talk.session.edit(talk.session.turn.prompt_id, rest)
    answer(talk)


# -- looking closely ---------------------------------------------------------------------------------------------------


def teaches(talk: Talk, rest: str) -> None:
    turn, thread = talk.turn(), talk.session.thread
    explained = explain_turn(talk.session.store, turn.prompt_id)
    talk.say("What this turn teaches:")
    for _, line in told(explained, thread is not None and thread.private):
        talk.out(one_line(line, 300))


def differences(talk: Talk, rest: str) -> None:
    """Of two answers; where there are more, the chosen one is compared with the first other."""
    turn = talk.turn()
    if len(turn.answers) > 2 and turn.chosen is None:
        raise SessionError("Which two? Write d 1 2.")
    compare(talk, turn, turn.chosen or 0, None)


def compare(talk: Talk, turn: Turn, first: int, second: int | None) -> None:
    if not turn.answers:
        raise SessionError("There is no answer yet: r asks again.")
    if len(turn.answers) < 2:
        raise SessionError("There is one answer: nothing to compare it with.")
    if second is None:
        others = [other for other in range(len(turn.answers)) if other != first]
        second = turn.chosen if turn.chosen in others else others[0]
    if first == second:
        raise SessionError(f"{label(first)} and {label(second)} are the same answer: write two, d 1 2.")
    a, b = label(first), label(second)
    before, after = turn.text_of(first), turn.text_of(second)
    if before == after:
        talk.say(f"{a} and {b} say the same.")
        return
    pieces = word_diff(before, after)
    found = changes(pieces)
    talk.say(f"From {a} to {b}: {counted(pieces)}.")
    for number, change in enumerate(found[:CHANGES], 1):
        talk.out(f"{number}. {_words(change, a, b)}")
    if len(found) > CHANGES:
        talk.say(f"And {len(found) - CHANGES} more places.")


def _words(change: Change, a: str, b: str) -> str:
    where = f"After “{one_line(change.after, 80)}”" if change.after else "At the beginning"
    gone, new = (one_line(text, 300) for text in (change.gone, change.new))
    if not change.new:
        return f"{where}, only {a} has “{gone}”."
    if not change.gone:
        return f"{where}, only {b} has “{new}”."
    return f"{where}, {a} has “{gone}”, {b} has “{new}”."
