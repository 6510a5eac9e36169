"""Having a question answered, and saying a turn: the answers one after the other, A as it comes, then B, then C."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Sequence

from chatapp.branches import in_words
from chatapp.clean import one_line
from chatapp.plain.lines import Lines, whole
from chatapp.plain.talk import Talk, stoppable
from chatapp.session import NotSaved, Outcome, View
from chatapp.turn import Turn, label
from chatapp.widgets.marks import marks

ENDS = {
    "length": ("was cut at the limit", "were cut at the limit"),
    "cancelled": ("was stopped", "were stopped"),
}
#: what stands in an answer's frame in the full-screen chat, and is not plain without it
_WORDS = [
    ("^✗ bad$", "all bad"),
    (r"^[✓✗✎⚑◇+−] ", ""),
    (r"^(\d)/7$", r"\1 of 7 points"),
    (r"^(\d+) (broken|kept)$", r"rules \2: \1"),
]
RECENT = 2  #: earlier turns that are said when a thread is opened


def ask(talk: Talk, text: str) -> None:
    talk.session.ask(text)
    answer(talk)


def answer(talk: Talk, again: bool = False) -> None:
    """Ask the engine, and say each answer. again: alternatives are asked for."""
    session = talk.session
    count = session.how_many(again)
    if more := session.draws_more(count):
        talk.say(f"Drawing {more} answers, to show the {count} that would teach most. Ctrl+C stops it.")
    elif talk.at_terminal or session.duel is not None:  # that a duel is on is told with each question
        doing = "Answering" if session.duel is None else f"Answering in the duel of {session.duel.words}"
        talk.say(f"{doing}. Ctrl+C stops it." if talk.at_terminal else f"{doing}.")
    first = Lines(talk.out, "A: ")
    outcome = _drawn(talk, count, first)
    first.end()
    if isinstance(outcome, NotSaved):
        _say_texts(talk, outcome.texts, start=int(first.started))
        raise outcome
    if isinstance(outcome, Exception):
        raise outcome
    turn = outcome.turn
    _say_texts(talk, [one.text for one in turn.answers], start=int(first.started))
    _end(talk, turn, session.duel is not None)
    if turn.preferred is not None:
        talk.say(f"{label(turn.preferred)} is the reward model's choice.")
    say_branch(talk, turn)
    for note in outcome.notes:
        talk.note(note)


def _drawn(talk: Talk, count: int, first: Lines) -> Outcome | Exception:
    """What came of it; blocks, and says A while it grows."""
    session = talk.session
    fed: queue.Queue[tuple[int, str] | None] = queue.Queue()
    result: list[Outcome | Exception] = []

    def work() -> None:
        try:
            result.append(session.answer(lambda index, text: fed.put((index, text)), count))
        except Exception as error:  # told by the thread that prints
            result.append(error)
        finally:
            fed.put(None)

    worker = threading.Thread(target=work, name="answer", daemon=True)
    stops: list[None] = []

    def stop() -> None:
        session.stop()
        stops.append(None)

    with stoppable(stop):  # what was said so far is kept
        worker.start()
        while (item := fed.get()) is not None:
            _after_ctrl_c(talk, stops)
            if item[0] == 0:
                first.add(item[1])
        worker.join()
    _after_ctrl_c(talk, stops)
    return result[0]


def _after_ctrl_c(talk: Talk, stops: list[None]) -> None:
    """End the line on which the terminal wrote ^C. Not in the handler, which may come amid a write."""
    if stops and talk.at_terminal:
        talk.out("")
    stops.clear()


def _say_texts(talk: Talk, texts: Sequence[str], start: int) -> None:
    for index, text in enumerate(texts[start:], start):
        whole(talk.out, label(index), text)


def _end(talk: Talk, turn: Turn, duel: bool) -> None:
    """That all is said, for an answer may have any number of lines; the first time also what can be said of them."""
    count = len(turn.answers)
    # stopped in the first, there is no other side, and no duel
    line = f"End of the {count} answers{' of the duel' if duel else ''}." if count > 1 else "End of the answer."
    for reason, (one, several) in ENDS.items():
        names = [label(index) for index, answer in enumerate(turn.answers) if answer.finish_reason == reason]
        if names:
            line += f" {_listed(names)} {one if len(names) == 1 else several}."
    if not talk.hinted:
        line += " " + (
            "The number of the best one picks it" if count > 1 else "+ says that it is good, - that it is bad"
        )
        line += "; /help says what else can be written."
        talk.hinted = True
    talk.say(line)


# -- a turn that is there ----------------------------------------------------------------------------------------------


def name_of(turn: Turn, index: int) -> str:
    """ "B, picked, from v3": the letter, what was said of it, and who answered, once that is to be known."""
    said = []
    for mark in marks(turn, index, None):
        for sign, words in _WORDS:
            mark = re.sub(sign, words, mark)
        said.append(mark)
    if turn.decided:
        said.append(f"from {_source(turn, index)}")
    return ", ".join([label(index), *said])


def _source(turn: Turn, index: int) -> str:
    version = turn.answers[index].version
    return "the base" if version == "base" else version


def _listed(names: Sequence[str]) -> str:
    """ "A, B and C"."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def sources(turn: Turn) -> str:
    """Who answered: "All are from v3."."""
    by: dict[str, list[str]] = {}
    for index in range(len(turn.answers)):
        by.setdefault(_source(turn, index), []).append(label(index))
    if len(by) == 1:
        (version,) = by
        return f"{'All are' if len(turn.answers) > 1 else 'It is'} from {version}."
    parts = [f"{_listed(names)} {'is' if len(names) == 1 else 'are'} from {who}" for who, names in by.items()]
    return ", ".join(parts) + "."


def say_turn(talk: Talk, turn: Turn) -> None:
    """The question and all of its answers, with what was said of them."""
    whole(talk.out, "You", turn.prompt)
    if not turn.answers:
        talk.say("It has no answer yet: r asks again.")
    for index in range(len(turn.answers)):
        say_answer(talk, turn, index)


def say_answer(talk: Talk, turn: Turn, index: int) -> None:
    whole(talk.out, name_of(turn, index), turn.text_of(index))
    if index in turn.notes:
        talk.out(f"Your note on {label(index)}: {one_line(turn.notes[index], 2000)}")


def say_branch(talk: Talk, turn: Turn) -> None:
    """Which branch this is, where branches part."""
    if said := in_words(turn):
        talk.say(said)


def show(talk: Talk, view: View) -> None:
    """Say where a thread stands."""
    if view.thread_id is not None or view.title:  # a new one has a title where it will be private
        talk.out(f"Thread: {one_line(view.title or 'untitled')}")
    if view.thread_id is not None and view.system.strip():
        talk.out(f"System: {one_line(view.system.strip().partition(chr(10))[0], 300)}")
    before = view.hidden + max(0, len(view.past) - RECENT)
    if before:
        talk.say(f"{before} earlier turn{'s are' if before > 1 else ' is'} not read out; p goes back.")
    for past in view.past[-RECENT:]:
        whole(talk.out, "You", past.prompt)
        whole(talk.out, past.mark or "Answer", past.answer)
    if view.later:
        talk.say(f"An earlier turn, {view.later} more after it. P goes on, /latest returns.")
    if view.turn is not None:
        say_turn(talk, view.turn)
        say_branch(talk, view.turn)


def again(talk: Talk, rest: str) -> None:
    talk.turn()
    answer(talk, again=True)
