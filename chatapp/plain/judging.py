"""Lines that say something of the answers, and lines of one letter: those that are keys in the full-screen chat."""

from __future__ import annotations

import re
from collections.abc import Callable

from chatapp.clean import one_line
from chatapp.plain import turns
from chatapp.plain.answering import again, sources
from chatapp.plain.drawing import how_many
from chatapp.plain.talk import Talk, for_the_ear
from chatapp.plain.versions import duel
from chatapp.session import Note, SessionError
from chatapp.turn import Turn, label, parse_ranking
from chatapp.view import Said

#: an answer by its number or its letter
_ONE = r"(?: ?(?:1[0-6]|[1-9])| [A-Pa-p])"
#: one of two: d12 is d 1 2
_OF_TWO = r"(?: ?[1-9]| ?1[0-6]| [A-Pa-p])"
_JUDGING = re.compile(
    r"(?P<sign>[+-]) ?(?P<thumb>1[0-6]|[1-9A-Pa-p])|(?P<pick>1[0-6]|[1-9A-Pabc])"
    rf"|e(?P<correct>{_ONE})|[rs](?P<rate>{_ONE}) (?P<points>[0-9]{{1,6}})|n(?P<note>{_ONE})(?: (?P<remark>.+))?"
    rf"|f(?P<flag>{_ONE})(?: (?P<rule>[0-9]{{1,6}})(?: (?P<how>broken|kept))?)?|d(?P<a>{_OF_TWO})(?P<b>{_OF_TWO})?"
)
_RANKING = re.compile(r"(?:1[0-6]|[0-9A-Za-z])(?: ?[>=] ?(?:1[0-6]|[0-9A-Za-z]))+")
_POINTLESS = re.compile(rf"[rs]{_ONE}")
_HOW = re.compile(rf"f{_ONE} [0-9]{{1,6}} [a-z]+")
#: begins as a judgment does, and holds nothing but letters and numbers of one
_HALF = re.compile(
    r"[+-] ?(?:\d+|[A-Pa-p])(?:[ ,]+(?:\d+|[A-Pa-p]))*|[defrs](?: ?\d+| [A-Pa-p])(?:[ ,]+(?:\d+|[A-Pa-p]))*"
    r"|(?:\d{1,2}|[A-Pa-p])(?:[ ,]+(?:\d{1,2}|[A-Pa-p]))+|([uxswpPvm<>])(?:[ ,]+\1)+"
)
#: a ranking with something missing or too much: signs, and answers all by number or all by letter (a = 1, b = 2 is
#: algebra); the sign in the wrong direction between two of them
_HALF_RANKING = re.compile(r"=|(?=.*[<>=])[ ,>=]*(?:\d{1,2}(?:[ ,<>=]+\d{1,2})*|[A-Pa-p](?:[ ,<>=]+[A-Pa-p])*)[ ,>=]*")
#: letters that need an answer behind them, where there are several
_ALONE = {"e": "e 1", "n": "n 1 TEXT", "f": "f 1 3", "+": "+1", "-": "-1"}


def _skip(talk: Talk, rest: str) -> None:
    talk.say("Skipped: nothing is recorded for these answers.")


def _often(talk: Talk, rest: str) -> None:
    talk.session.frequency.change()
    talk.say(how_many(talk))


#: letter -> what it does
LETTERS: dict[str, Callable[[Talk, str], None]] = {
    "x": lambda talk, _: verdict(talk, talk.session.all_bad),
    "u": lambda talk, _: _record(talk, talk.session.undo()),
    "s": _skip,
    "r": again,
    "w": turns.teaches,
    "d": turns.differences,
    "p": turns.earlier,
    "P": turns.later,
    "<": turns.earlier_branch,
    ">": turns.later_branch,
    "v": duel,
    "m": _often,
}


def judged(talk: Talk, text: str) -> bool:
    """Whether a line was a judgment or a letter, and no question; it is carried out then."""
    turn = talk.session.turn
    if text in LETTERS:
        if turn is None and text not in "vm":
            raise SessionError(f"There is no question yet. /text {text} asks this.")
        LETTERS[text](talk, "")
        return True
    if turn is not None and len(turn.answers) == 1 and text in _ALONE:
        text += "1"
    match = _JUDGING.fullmatch(text)
    ranking = turn is not None and _RANKING.fullmatch(text) is not None
    if match is None and not ranking and text not in _ALONE:
        if turn is not None and turn.answers:
            _no_half(turn, text)
        return False
    if turn is None or not turn.answers:
        how = "r asks again, " if turn is not None else ""
        raise SessionError(f"There are no answers to judge yet: {how}/text {text} asks this.")
    if ranking:
        _rank(talk, turn, text)
    elif match is None:
        raise SessionError(f"Which answer? Write it behind {text}: {_ALONE[text]}. /text {text} asks this.")
    else:
        _one(talk, turn, match, text)
    return True


def _no_half(turn: Turn, text: str) -> None:
    """Raise SessionError for a line that lacks something to be a judgment, or has too much for one."""
    again = f"/text {one_line(text, 40)} asks this."
    if _POINTLESS.fullmatch(text):
        raise SessionError(f"Write the points behind the answer: {text} 6. {again}")
    if _HOW.fullmatch(text):
        raise SessionError(f"Write broken or kept behind the rule: {text.rpartition(' ')[0]} kept. {again}")
    if re.fullmatch(r"[ux] ?\d+", text):
        letter = {"u": "u alone takes the newest judgment back", "x": "x alone says that all are bad, -2 that B is"}
        raise SessionError(f"{one_line(text, 40)} is no judgment: {letter[text[0]]}. {again}")
    if _HALF.fullmatch(text):
        how = f": {_how_to_rank(turn)}" if text[0].isdigit() else "; /help lists them"
        raise SessionError(f"{one_line(text, 40)} is no judgment{how}. {again}")
    if _HALF_RANKING.fullmatch(text):
        raise SessionError(f"{one_line(text, 40)} is no ranking: {_how_to_rank(turn)}. {again}")


def _how_to_rank(turn: Turn) -> str:
    if len(turn.answers) < 2:
        return "there is one answer"
    return f"write > or = between the answers, the best first, as in {'2>1=3' if len(turn.answers) > 2 else '2>1'}"


def _rank(talk: Talk, turn: Turn, text: str) -> None:
    groups = parse_ranking(text, len(turn.answers))
    if groups is None:
        names = ", ".join(label(index) for index in range(len(turn.answers)))
        raise SessionError(
            f"{text} is no ranking: name each of {names} at most once, the best first. /text {text} asks this."
        )
    verdict(talk, lambda: talk.session.rank(groups))


def _one(talk: Talk, turn: Turn, match: re.Match[str], text: str) -> None:
    """A line about one answer (d: about two)."""
    session = talk.session
    named = {
        name: _index(turn, match[name], text)
        for name in ("thumb", "pick", "correct", "rate", "note", "flag", "a", "b")
        if match[name]
    }
    if "pick" in named:
        verdict(talk, lambda: session.pick(named["pick"]))
    elif "thumb" in named:
        _record(talk, session.thumb(named["thumb"], 1 if match["sign"] == "+" else -1))
    elif "rate" in named:
        _record(talk, session.rate(named["rate"], int(match["points"])))
    elif "note" in named:
        _note(talk, turn, named["note"], match["remark"] or "")
    elif "flag" in named:
        _flag(talk, named["flag"], match["rule"], match["how"] != "kept")
    elif "a" in named:
        turns.compare(talk, turn, named["a"], named.get("b"))
    else:
        _correct(talk, named["correct"])


def _index(turn: Turn, name: str, text: str) -> int:
    name = name.strip()
    index = int(name) - 1 if name.isdigit() else ord(name.upper()) - ord("A")
    if index >= len(turn.answers):
        there = "there is A alone" if len(turn.answers) == 1 else f"the last is {label(len(turn.answers) - 1)}"
        raise SessionError(f"There is no answer {name}: {there}. /text {text} asks this.")
    return index


def _note(talk: Talk, turn: Turn, index: int, remark: str) -> None:
    if not remark and index not in turn.notes:
        raise SessionError(f"Write the note behind the answer: n {index + 1} TEXT.")
    _record(talk, talk.session.note(index, remark))


def _flag(talk: Talk, index: int, number: str | None, violated: bool) -> None:
    rules = talk.session.store.rules.list()
    rule = next((rule for rule in rules if number is not None and rule.number == int(number)), None)
    if rule is not None:
        _record(talk, talk.session.flag(index, rule.id, violated))
    elif number is None:
        raise SessionError(f"Write the number of the rule: f {index + 1} 3. /rules lists them.")
    else:
        raise SessionError(f"There is no rule {number} to flag; /rules lists those there are.")


def _correct(talk: Talk, index: int) -> None:
    talk.say(f"What should {label(index)} have said? End with a line of a single dot.")
    lines: list[str] = []
    try:
        while (line := talk.read(". ")) is not None:
            if line == ".":
                _record(talk, talk.session.correct(index, "\n".join(lines)))
                return
            lines.append(line)
    except KeyboardInterrupt:
        talk.out("")
        talk.say("No correction was recorded.")
        return
    talk.note(Note("The correction had no end (a line of a single dot): it was not recorded.", error=True))


# -- what came of it ---------------------------------------------------------------------------------------------------


def verdict(talk: Talk, record: Callable[[], Said]) -> None:
    """A word on the answers as a whole. Who answered is said with the first one, and not before."""
    before = talk.session.turn
    said = record()
    blind = before is None or not before.decided
    _record(talk, said, sources(said.turn) if blind and said.turn.decided else "")


def _record(talk: Talk, said: Said, more: str = "") -> None:
    talk.lessons.recount()
    line = for_the_ear(said.line)
    parts = [line if line.endswith(".") else f"{line}.", more, f"{talk.lessons.progress().words}."]
    talk.out(" ".join(part for part in parts if part))
