"""Looking back by lines: what was judged, one of it closely or taken back, a pair that comes back, insights."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from chatapp.clean import one_line
from chatapp.insights import NO_PAIR, in_all, outcome, panels, waits
from chatapp.judged import lines_of, may_retract, retract
from chatapp.looking import sections, view
from chatapp.plain.lines import whole
from chatapp.plain.talk import Talk, numbered
from chatapp.session import SessionError
from chatapp.times import when

LISTED = 20
EARLIER = 2  #: messages before the question of a pair that are said
CHOICES = {"1": 1, "a": 1, "2": -1, "b": -1, "=": 0}


def rules(talk: Talk, rest: str) -> None:
    for rule in talk.session.store.rules.list():
        talk.out(f"{rule.number}. {rule.name}: {rule.text}")


# -- judgments ---------------------------------------------------------------------------------------------------------


def judgments(talk: Talk, rest: str) -> None:
    """The newest, or the newest that have these words."""
    found = lines_of(talk.session.store, LISTED, None, rest, False)
    talk.judgments = [line.id for line in found]
    for number, line in enumerate(found, 1):
        why = f" It teaches nothing: {line.reasons}." if line.reasons else ""
        said = line.said if line.said.startswith(line.kind) else f"{line.kind}: {line.said}"
        talk.out(f"{number}. {line.when}, {said}. Question: {one_line(line.question, 80)}{why}")
    if found:
        talk.say("/judgment and a number tells of one, /takeback and a number takes one back.")
    else:
        talk.say(f"No judgment has “{one_line(rest, 40)}”." if rest else "Nothing is judged yet.")


def judgment(talk: Talk, rest: str) -> None:
    store = talk.session.store
    found = view(store, store.judgments.get(_numbered(talk, rest, "/judgment")))
    page = found.page
    kind = page["kind"].replace("_", " ")
    talk.out(f"{kind} of {when(page['created_at'])}: {page['said'].removeprefix(f'{kind}: ')}")
    if kind == "note":
        talk.out(f"Its text: {one_line(str(page['payload'].get('text') or '(forgotten)'), 2000)}")
    talk.out(f"Question: {one_line(page['prompt']['text'] or '(forgotten)', 300)}")
    for answer in page["answers"]:
        talk.out(f"{answer['name']}: {one_line(answer['text'] or '(forgotten)', 300)}")
    for heading, lines in sections(found):
        talk.out(f"{heading[:1].upper()}{heading[1:]}{':' if lines else '.'}")
        for line in lines:
            talk.out(f"  {line}")


def take_back(talk: Talk, rest: str) -> None:
    session, id = talk.session, _numbered(talk, rest, "/takeback")
    thread_id, question = may_retract(session.store, id)
    if not talk.agreed(question.replace("\n", " ")):
        return
    talk.say(f"{retract(session.store, id)}.")
    talk.lessons.recount()
    if session.thread is not None and session.thread.id == thread_id:
        visiting = session.visiting
        session.open(thread_id)  # it may go on from another answer now
        if visiting:
            talk.say("This is the latest turn again.")


def _numbered(talk: Talk, rest: str, command: str) -> str:
    return numbered(rest, talk.judgments, command, "/judgments")


# -- a pair again, and what it all shows -------------------------------------------------------------------------------


def again(talk: Talk, rest: str) -> None:
    """A pair that was judged days ago: it says neither what was said then nor whose answers they are."""
    from storage import reasking

    store, now = talk.session.store, datetime.now(UTC)
    pair = reasking.due(store, now, Random())
    if pair is None:
        raise SessionError(NO_PAIR)
    talk.say(f"{waits(pair.judged_at, now)}.")
    *before, question = pair.conversation
    for message in [message for message in before if message["role"] != "system"][-EARLIER:]:
        whole(talk.out, "You" if message["role"] == "user" else "Answer", message["content"])
    whole(talk.out, "You", question["content"])
    for name, text in zip("AB", pair.texts, strict=True):
        whole(talk.out, name, text)
    said = talk.ask("Which answer is better? Write 1 for A, 2 for B, = for neither; anything else leaves it for later.")
    better = CHOICES.get((said or "").casefold())
    if better is None:
        talk.say("It can wait.")
        return
    reasking.answer(store, pair, better)
    talk.say(outcome(pair.first, better, "/judgments and /takeback, then judging the turn again,"))


def insights(talk: Talk, rest: str) -> None:
    from storage.statistics import statistics

    talk.say("Counting. Ctrl+C stops it.")
    report = statistics(talk.session.store)
    talk.say(in_all(report) if report["judgments"]["total"] else "Nothing is judged yet.")
    for panel in panels(report):
        talk.say(f"{panel.title}: {' '.join(panel.says)}")
