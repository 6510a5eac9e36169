"""A duel: two versions answer the same question, one each, and who they are is said after the choice.

The engine answers with one version, swaps, and answers with the other; which goes first and which stands on which side
is chance. The verdict on the two answers is recorded as any other, and teaches as any other; beside it a judgment of
the kind `duel` says which version won. Only the first verdict is such a vote, since it shows who is who; it goes when
that verdict is taken back.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chatapp.answering import Drawn, Stopped, draw
from chatapp.engine.base import Engine, Message, Sampling
from chatapp.turn import Turn

if TYPE_CHECKING:
    from storage.adapters import Adapter
    from storage.preferences import Judgment
    from storage.store import Store


@dataclass(frozen=True, slots=True)
class Duel:
    """Who meets whom; None is the base."""

    a: Adapter | None
    b: Adapter | None

    @property
    def words(self) -> str:
        """ "v3 against base"."""
        return f"{name(self.a)} against {name(self.b)}"


def name(adapter: Adapter | None) -> str:
    return adapter.name if adapter is not None else "base"


def fight(
    engine: Engine,
    store: Store,
    duel: Duel,
    conversation: list[Message],
    sampling: Sampling,
    on_token: Callable[[int, str], None] | None,
    *,
    model_hash: str,
    current: Adapter | None,
    chance: random.Random | None = None,
) -> Drawn:
    """Both answers, in the order in which they are shown; blocks. The engine has `current` again afterwards.

    Raises EngineError when one of them has no text. Stopped in the first answer, there is that one alone.
    """
    chance = chance or random.Random()
    shown = chance.sample([duel.a, duel.b], 2)
    drawn: dict[int, Drawn] = {}
    engine_has = current.id if current else None
    try:
        for place in chance.sample([0, 1], 2):
            adapter = shown[place]
            if (adapter.id if adapter else None) != engine_has:
                engine.swap(store.adapters.gguf(adapter) if adapter else None)
                engine_has = adapter.id if adapter else None
            tell = None if on_token is None else (lambda _, text, at=place: on_token(at, text))
            try:
                found = draw(engine, conversation, 1, sampling, tell, model_hash=model_hash, adapter_id=engine_has)
            except Stopped:
                if not drawn:
                    raise
                break  # stopped before the second had a word: the first stays
            drawn[place] = found
            if drawn[place].answers[0].finish_reason == "cancelled":
                break  # stopped by the reader: there is no other side, and no duel
    finally:
        if engine_has != (current.id if current else None):
            engine.swap(store.adapters.gguf(current) if current else None)
    answers = [replace(drawn[place].answers[0], position=at) for at, place in enumerate(sorted(drawn))]
    first = next(iter(drawn.values()))
    return Drawn(answers, min(one.tokens_per_second for one in drawn.values()), first.remarks)


def record(store: Store, turn: Turn, verdict: Judgment) -> str | None:
    """Record who won, where turn is a duel and verdict a choice between its answers. What is to be said of it."""
    from storage.duels import follow

    found = follow(store, verdict)
    if found is None:
        return None
    if not found.counts:
        return LATER
    versions = {answer.message_id: answer.version for answer in turn.answers}
    a, b = versions[found.winner], versions[found.loser]
    return (f"{a} and {b} are tied" if found.tie else f"{a} won over {b}") + _so_far(store, turn)


def _so_far(store: Store, turn: Turn) -> str:
    """ ". v3: 5 of 7 so far (36 to 92 %)", from the side of the newer version."""
    from storage.duels import tally

    made = store.threads.generations(answer.message_id for answer in turn.answers)
    sides = [(answer.version, made[answer.message_id].adapter_id) for answer in turn.answers]
    sides.sort(key=lambda side: (side[1] is not None, int(side[0][1:]) if side[0][1:].isdigit() else 0))
    (_, old), (name, new) = sides
    found = tally(store, made[turn.answers[0].message_id].model_hash, new, old)
    low, high = found.interval
    return f". {name}: {found.wins + found.ties / 2:g} of {found.n} so far ({100 * low:.0f} to {100 * high:.0f} %)"


# -- who meets whom ----------------------------------------------------------------------------------------------------


def matches(store: Store, model_hash: str, live: Adapter | None) -> list[tuple[Duel, str]]:
    """Whom the live version can meet, the one before it first; without a live one, whom the base can. With each duel
    stands what is to be told beside its names: how those of before ended."""
    from storage.duels import tally

    adapters = store.adapters
    there = [one for one in adapters.list(model_hash) if adapters.there(one) and one.state != "candidate"]
    others: list[Adapter | None] = [one for one in there if live is None or one.id != live.id]
    if live is not None:
        others.append(None)
    # the one before the live one, the base, then the newest first
    before = live.parent_id if live is not None else None
    others.sort(key=lambda one: (one is None or one.id != before, one is not None, -one.number if one else 0))
    found = []
    for other in others:
        met = tally(store, model_hash, live.id if live else None, other.id if other else None)
        low, high = met.interval
        won = f"{met.wins + met.ties / 2:g} of {met.n} won, {100 * low:.0f} to {100 * high:.0f} %"
        rejected = ", rejected" if other is not None and other.state == "rejected" else ""
        found.append((Duel(live, other), f"{rejected} ({won})" if met.n else rejected))
    return found


LATER = "it teaches, but is no vote in the duel: the first choice was, and showed who is who"
NONE_ON = "No duel goes on: /duel begins one."
NOBODY = "There is no version yet to meet the base: judge some answers, and Hone learns."


def begun(duel: Duel) -> str:
    return (
        f"Duel: {duel.words}. Each question gets one answer of each, in places by chance; "
        "who is who is said when you have chosen. /duel ends it."
    )


def ended(duel: Duel) -> str:
    return f"The duel of {duel.words} has ended: the live version answers."
