"""One turn as the chat shows it: the question, its alternatives, and what was said about them. Values only.

`Turn` is what the session hands to the screen and the plain chat; rankings are tuples of groups of answer indexes,
best first, so that ties are possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Groups = tuple[tuple[int, ...], ...]
#: in the place of a text that was forgotten
FORGOTTEN = "(forgotten)"


def label(index: int) -> str:
    """A, B, C ... of the answer at index."""
    return chr(ord("A") + index)


@dataclass(frozen=True, slots=True)
class Answer:
    """One alternative."""

    message_id: str
    text: str
    finish_reason: str = "stop"  #: stop, length or cancelled
    tokens: int = 0
    forgotten: bool = False  #: its text is a stand-in, and it cannot be judged
    version: str = "base"  #: who answered: "v3", or the base; not shown before the choice


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and the alternatives that are shown for it, with the judgments in force."""

    prompt_id: str
    prompt: str
    answers: tuple[Answer, ...] = ()
    picked: int | None = None
    groups: Groups | None = None  #: the ranking in force
    all_bad: bool = False
    thumbs: Mapping[int, int] = field(default_factory=dict)  #: index -> +1 or -1
    ratings: Mapping[int, int] = field(default_factory=dict)  #: index -> 1..7
    corrections: Mapping[int, str] = field(default_factory=dict)  #: index -> the better text
    notes: Mapping[int, str] = field(default_factory=dict)  #: index -> remark
    flags: Mapping[int, Mapping[str, bool]] = field(default_factory=dict)  #: index -> rule id -> violated?
    preferred: int | None = None  #: the reward model's favourite; None: it was not asked
    chosen: int | None = None  #: whose text the chat goes on from; None: none was, so `preferred`, else the first
    continues_id: str | None = None  #: message that the next question follows
    version: int = 1  #: this branch is number ...
    versions: int = 1  #: ... of so many that part here: other answers, other questions after the same answers

    @property
    def judged(self) -> bool:
        return self.picked is not None or bool(
            self.groups or self.all_bad or self.thumbs or self.ratings or self.corrections or self.flags or self.notes
        )

    @property
    def decided(self) -> bool:
        """Whether one was chosen, or all were compared: what was hidden so that the choice is fair can be shown."""
        return self.picked is not None or bool(self.groups or self.all_bad)

    def text_of(self, index: int) -> str:
        """What answer index says now: its correction, if it has one."""
        return self.corrections.get(index, self.answers[index].text)


@dataclass(frozen=True, slots=True)
class PastTurn:
    """An earlier turn: the question and the one answer that the chat went on from."""

    prompt_id: str
    prompt: str
    answer: str
    mark: str  #: "B, picked of 3"; empty when there was one answer and no judgment


def start_order(turn: Turn) -> Groups:
    """Where a ranking by hand begins: the ranking in force, else the pick first, else the order shown."""
    if turn.groups:
        return turn.groups
    order = list(range(len(turn.answers)))
    if turn.picked is not None:
        order.remove(turn.picked)
        order.insert(0, turn.picked)
    return tuple((index,) for index in order)


def _locate(groups: Groups, index: int) -> int:
    return next(at for at, group in enumerate(groups) if index in group)


def move(groups: Groups, index: int, step: int) -> Groups:
    """groups with answer index one place better (step -1) or worse (+1). One that is tied leaves its tie first."""
    at = _locate(groups, index)
    rest = [list(group) for group in groups]
    if len(rest[at]) > 1:
        rest[at].remove(index)
        rest.insert(at if step < 0 else at + 1, [index])
    else:
        del rest[at]
        rest.insert(max(0, min(len(rest), at + step)), [index])
    return tuple(tuple(sorted(group)) for group in rest)


def tie(groups: Groups, index: int) -> Groups:
    """groups with answer index tied with those above it (the best one: with those below); a tied one is untied."""
    at = _locate(groups, index)
    rest = [list(group) for group in groups]
    if len(rest[at]) > 1:
        rest[at].remove(index)
        rest.insert(at + 1, [index])
    elif len(rest) > 1:
        other = at - 1 if at else 1
        rest[other].append(index)
        del rest[at]
    return tuple(tuple(sorted(group)) for group in rest)


def put(groups: Groups, index: int, other: int) -> Groups:
    """groups with answer index in the place of another one, which makes room."""
    before = _locate(groups, index) > _locate(groups, other)
    rest = [group for group in (tuple(one for one in group if one != index) for group in groups) if group]
    at = _locate(tuple(rest), other)
    rest.insert(at if before else at + 1, (index,))
    return tuple(rest)


def places(groups: Groups) -> dict[int, str]:
    """index -> "1st", "tied 2nd" ... (ties share the better place)."""
    result: dict[int, str] = {}
    place = 1
    for group in groups:
        for index in group:
            result[index] = ("tied " if len(group) > 1 else "") + _ordinal(place)
        place += len(group)
    return result


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def in_words(groups: Groups) -> str:
    """ "B > A = C"."""
    return " > ".join(" = ".join(label(index) for index in group) for group in groups)


def parse_ranking(text: str, count: int) -> Groups | None:
    """ "2>1=3" or "b > a = c" as groups; who is not named comes last, tied. None when it is no ranking of 1..count."""
    seen: set[int] = set()
    groups: list[tuple[int, ...]] = []
    for part in text.replace(" ", "").split(">"):
        group: list[int] = []
        for name in part.split("="):
            if name.isascii() and name.isdigit():
                index = int(name) - 1
            elif len(name) == 1 and name.isascii() and name.isalpha():
                index = ord(name.upper()) - ord("A")
            else:
                return None
            if not 0 <= index < count or index in seen:
                return None
            seen.add(index)
            group.append(index)
        groups.append(tuple(sorted(group)))
    rest = tuple(index for index in range(count) if index not in seen)
    return (*groups, rest) if rest else tuple(groups)
