"""Pairs judged days ago, to be judged again: does one agree with oneself?

The second judgment is a ranking of the two answers that names the first in its payload ("reasked"). It measures and
teaches nothing: `storage.preferences` passes over it, and the chat does not show it in its turn. Three other ways were
weighed. As a ranking like any other it would be the latest of its turn and win, so that a moment's second look, without
the conversation around it, would undo what was said in the middle of it; where the first was a pick, the pair would
count beside the pick's others at the weight of a whole turn; and in the place of the first (`supersedes`) it would hide
what it is compared with. Who has changed his mind edits the first judgment, which then is the one that is learned from.

Compared are judgments that both are in force. If the first was edited or taken back, there is nothing to agree with:
an edit made after the second look would be no opinion of its own. `Agreement` in `storage.tallies` counts the two as
it counts every pair of texts that was judged twice, on the same day too; `agreed` counts those alone.

The sides are those of the first time, swapped: who always likes what stands left disagrees with himself here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from storage.errors import InvalidJudgment
from storage.judgments import USABLE
from storage.preferences import Judgment
from storage.tallies import statements, wilson

if TYPE_CHECKING:
    from storage.store import Store

#: days that a judgment rests before it is asked again, and that its turn rests afterwards
OLD, REST = timedelta(days=3), timedelta(days=14)
#: candidates looked at: of most the texts are there
LOOKS = 50
_DUE = f"""
SELECT j.id FROM judgments j WHERE {USABLE} AND j.source = 'chat' AND j.kind IN ('pick', 'ranking')
AND j.created_at <= ? AND json_extract(j.payload, '$.reasked') IS NULL
AND NOT EXISTS (SELECT 1 FROM judgments r WHERE r.prompt_message_id = j.prompt_message_id AND r.created_at > ?
  AND json_extract(r.payload, '$.reasked') IS NOT NULL)
ORDER BY j.seq
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers of a turn, in the order in which they are to be shown now."""

    judgment_id: str  #: the first one
    judged_at: str
    prompt_id: str
    conversation: list[dict[str, str]]  #: ends with the question
    ids: tuple[str, str]
    texts: tuple[str, str]
    first: int  #: what was said then: 1 for the one that now comes first, -1 for the other, 0 for a tie


def due(store: Store, now: datetime, rng: Random) -> Pair | None:
    """A pair to be asked again, chosen by chance; None where none is old enough. now has a time zone."""
    ids = [row[0] for row in store.tuples(_DUE, [_text(now - OLD), _text(now - REST)])]
    for id in rng.sample(ids, min(LOOKS, len(ids))):
        pair = _pair(store, store.judgments.get(id), rng)
        if pair is not None:
            return pair
    return None


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _pair(store: Store, judgment: Judgment, rng: Random) -> Pair | None:
    """One of the pairs that a judgment speaks of, if its texts and what came before them are there and differ."""
    conversation = store.threads.conversation(judgment.prompt_id)
    items = [item.message_id for item in judgment.items]
    texts = {id: text for id, text in store.threads.contents(items).items() if text is not None}
    said = [(a, b, way) for a, b, way in statements(judgment) if a in texts and b in texts and texts[a] != texts[b]]
    if not conversation or not said:
        return None
    a, b, way = rng.choice(said)
    made = store.threads.generations((a, b))
    places = [made[id].position if id in made else at for at, id in enumerate((a, b))]
    if places[0] < places[1]:  # a stood left of b
        a, b, way = b, a, -way
    return Pair(judgment.id, judgment.created_at, judgment.prompt_id, conversation, (a, b), (texts[a], texts[b]), way)


def answer(store: Store, pair: Pair, better: int) -> Judgment:
    """Record what is said this time: 1 for the one that comes first, -1 for the other, 0 for a tie.

    Raises InvalidJudgment where one of the texts, or the judgment to compare with, is gone by now.
    """
    a, b = pair.ids
    groups: Sequence[Sequence[str]] = ([a, b],) if better == 0 else ([a], [b]) if better > 0 else ([b], [a])
    with store.write():
        first = store.judgments.get(pair.judgment_id)
        if first.retracted_at or first.forgotten_at or store.judgments.replaced_by(first.id):
            raise InvalidJudgment("the first judgment of this pair was taken back or replaced: nothing was recorded")
        return store.judgments.rank(pair.prompt_id, groups, payload={"reasked": first.id})


def agreed(store: Store) -> dict[str, Any]:
    """How often the second judgment said what the first had: pairs, same (a tie and a winner agree by half), share
    (null for none), low and high (the 95 % interval)."""
    ids = store.tuples(
        f"SELECT j.id, json_extract(j.payload, '$.reasked') FROM judgments j WHERE {USABLE} "
        "AND j.source = 'chat' AND json_extract(j.payload, '$.reasked') IS NOT NULL ORDER BY j.seq"
    )
    usable = {
        row[0]
        for row in store.tuples(
            f"SELECT j.id FROM judgments j WHERE j.id IN (SELECT value FROM json_each(?)) AND {USABLE}",
            [json.dumps([first for _, first in ids])],
        )
    }
    said = store.judgments.many(id for pair in ids for id in pair)
    n, same = 0, 0.0
    for again, first in ids:
        if first not in usable:
            continue
        ways = {(a, b): way for a, b, way in statements(said[first])}
        for a, b, way in statements(said[again]):
            before = ways[a, b] if (a, b) in ways else -ways[b, a] if (b, a) in ways else None
            if before is not None:
                n += 1
                same += 1.0 if before == way else 0.5 if 0 in (before, way) else 0.0
    low, high = wilson(same, n)
    return {"pairs": n, "same": same, "share": same / n if n else None, "low": low, "high": high}
