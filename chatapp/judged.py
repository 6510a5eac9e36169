"""What was judged, in lines, and one judgment taken back. For the page of judgments and the plain chat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatapp.clean import one_line
from chatapp.times import day, when
from chatapp.verdicts import SessionError
from storage.lookup import short

if TYPE_CHECKING:
    from storage.history import Standing
    from storage.preferences import Judgment
    from storage.store import Store


@dataclass(frozen=True, slots=True)
class Line:
    """One judgment, in words."""

    id: str
    seq: int
    thread_id: str
    when: str
    kind: str
    said: str
    question: str
    title: str
    state: str  #: one or two words
    detail: str  #: the same, with a date or the judgment that took its place
    reasons: str  #: why it teaches nothing; empty where it does


def lines_of(store: Store, limit: int, before: int | None, query: str, all: bool) -> list[Line]:
    """The newest first, from a number on; without all only those in force; those that have the words of a query."""
    from storage.history import page

    rows = page(store, limit, before=before, query=query, all=all)
    questions = store.threads.contents(row.judgment.prompt_id for row in rows)
    found = []
    for row in rows:
        judgment, state = row.judgment, row.standing
        words = said(store, judgment)
        if judgment.kind == "note":
            words += f": {judgment.payload.get('text', '')}"
        found.append(
            Line(
                judgment.id,
                row.seq,
                state.thread_id,
                when(judgment.created_at),
                judgment.kind.replace("_", " "),
                one_line(words, 200),
                one_line(questions.get(judgment.prompt_id) or "(forgotten)", 200),
                state.title or "untitled",
                *_state(state),
                "; ".join(state.why(day)),
            )
        )
    return found


def _state(state: Standing) -> tuple[str, str]:
    """In a word or two, and with a detail."""
    if state.forgotten:
        return "forgotten", "forgotten"
    if state.retracted_at is not None:
        return "taken back", f"taken back {day(state.retracted_at)}"
    if state.replaced_by is not None:
        return "replaced", f"replaced by {short(state.replaced_by)}"
    if state.reasked is not None:
        return "compared", "to compare only"
    if state.deleted or not state.visible:
        return ("deleted", "thread deleted") if state.deleted else ("import", "import not complete")
    return ("private", "thread private") if state.private else ("in force", "in force")


def said(store: Store, judgment: Judgment) -> str:
    """What it says, by the names that a closer look gives the answers."""
    from storage import history

    return store.judgments.describe(judgment, history.names(store, judgment).all)


# -- taking it back ----------------------------------------------------------------------------------------------------


def may_retract(store: Store, id: str) -> tuple[str, str]:
    """(its thread, the question whether to take it back). Raises SessionError where that cannot be."""
    from storage import history
    from storage.importing import learned

    judgment, state = store.judgments.get(id), history.standing(store, id)
    if state.replaced_by is not None:
        raise SessionError("Another was given in its place: take that one back first. It stands further up.")
    if judgment.retracted_at is not None or state.forgotten:
        raise SessionError(f"There is nothing to take back: {state.why(day)[0]}.")
    lines = [f"Take back “{one_line(said(store, judgment), 60)}”? It teaches nothing from then on."]
    if judgment.supersedes is not None and store.judgments.get(judgment.supersedes).retracted_at is None:
        lines.append("What it had replaced counts again.")
    if versions := learned(store, "?", [id]):
        lines.append(f"{', '.join(versions)} learned from it; the next lesson learns without it.")
    lines.append("It cannot be brought back; the answers can be judged again in the chat.")
    return state.thread_id, "\n".join(lines)


def retract(store: Store, id: str) -> str:
    """Take it back, and say what came of it."""
    from storage import history

    judgment = store.judgments.get(id)
    words, again = said(store, judgment), history.retract(store, judgment)
    return f"Taken back: {words}" + (f". Counts again: {said(store, again)}" if again is not None else "")
