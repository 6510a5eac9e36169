"""Judgments of a turn, as they are recorded: which older ones a new one replaces, and which were said before.

Functions of a store and a turn, without state of their own; `chatapp.reading` reads what they write. Where the thread
goes on from after a judgment is for the session, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chatapp.turn import Groups, Turn

if TYPE_CHECKING:
    from storage.preferences import Judgment
    from storage.store import Store

#: what is said of the answers as a whole (storage.judgments.OVERALL, which nothing imports before the first paint)
OVERALL = ("pick", "ranking", "all_bad")
KINDS = (*OVERALL, "thumb", "rating", "correction", "flag", "note")


def in_force(store: Store, turn: Turn, kinds: Sequence[str] = KINDS) -> list[Judgment]:
    """What was said in the chat of the answers that are shown, oldest first; but for pairs that were asked again."""
    shown = set(_ids(turn))
    return [
        judgment
        for judgment in store.judgments.for_prompt(turn.prompt_id)
        if judgment.kind in kinds
        and judgment.source == "chat"
        and judgment.reasked is None
        and any(item.message_id in shown for item in judgment.items)
    ]


def said_of(store: Store, turn: Turn, index: int, kind: str) -> list[Judgment]:
    """The thumb, the note or the flags that answer index has."""
    id = turn.answers[index].message_id
    return [judgment for judgment in in_force(store, turn, (kind,)) if judgment.items[0].message_id == id]


def pick(store: Store, turn: Turn, index: int) -> Judgment:
    ids = _ids(turn)
    return store.judgments.pick(turn.prompt_id, ids[index], _alive(turn), **_replacing(in_force(store, turn, OVERALL)))


def rank(store: Store, turn: Turn, groups: Groups) -> Judgment:
    ids, alive = _ids(turn), _alive(turn)
    ranked = [[ids[index] for index in group if ids[index] in alive] for group in groups]
    return store.judgments.rank(turn.prompt_id, ranked, **_replacing(in_force(store, turn, OVERALL)))


def all_bad(store: Store, turn: Turn) -> Judgment:
    return store.judgments.all_bad(turn.prompt_id, _alive(turn), **_replacing(in_force(store, turn, OVERALL)))


def thumb(store: Store, turn: Turn, index: int, value: int) -> Judgment:
    """value: +1 or -1."""
    id = turn.answers[index].message_id
    return store.judgments.thumb(turn.prompt_id, id, value, **_replacing(said_of(store, turn, index, "thumb")))


def rate(store: Store, turn: Turn, index: int, score: int) -> Judgment:
    """score: 1 to 7. The scores of one turn are one judgment, so that they can be compared."""
    scores = {turn.answers[at].message_id: given for at, given in {**turn.ratings, index: score}.items()}
    return store.judgments.rate(turn.prompt_id, scores, **_replacing(in_force(store, turn, ("rating",))))


def correct(store: Store, turn: Turn, index: int, text: str) -> Judgment:
    ids = _ids(turn)
    before = [j for j in in_force(store, turn, ("correction",)) if j.payload.get("of") == ids[index]]
    judgment, _ = store.judgments.correct(turn.prompt_id, ids[index], text, _alive(turn), **_replacing(before))
    return judgment


def note(store: Store, turn: Turn, index: int, text: str) -> Judgment:
    id = turn.answers[index].message_id
    return store.judgments.note(turn.prompt_id, id, text, **_replacing(said_of(store, turn, index, "note")))


def flag(store: Store, turn: Turn, index: int, rule_id: str, violated: bool) -> Judgment:
    """What is said of an answer and a rule replaces what was said of the two before."""
    before = [j for j in said_of(store, turn, index, "flag") if j.payload.get("rule") == rule_id]
    id = turn.answers[index].message_id
    return store.judgments.flag(turn.prompt_id, id, rule_id, violated, **_replacing(before))


def _ids(turn: Turn) -> list[str]:
    return [answer.message_id for answer in turn.answers]


def _alive(turn: Turn) -> list[str]:
    """Those that were not forgotten."""
    return [answer.message_id for answer in turn.answers if not answer.forgotten]


def _replacing(judgments: Sequence[Judgment]) -> dict[str, Any]:
    return {"supersedes": judgments[-1].id} if judgments else {}
