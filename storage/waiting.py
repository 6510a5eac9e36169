"""Which judgments a lesson would learn something new from, and whether one says what was said already."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from storage.judgments import LEARNABLE, OWN_SOURCES, USABLE
from storage.preferences import Judgment, derive

if TYPE_CHECKING:
    from storage.store import Store

#: turns that are looked at together
_PIECE = 1000
_OWN = f"""
{USABLE} AND j.source IN {OWN_SOURCES} AND j.kind IN {LEARNABLE} AND json_extract(j.payload, '$.reasked') IS NULL
"""
#: by a finished run that trained a version: learned from, tested on, or put aside since it was of no use
_SEEN = """
EXISTS (SELECT 1 FROM run_judgments rj JOIN runs r ON r.id = rj.run_id
  WHERE rj.judgment_id = j.id AND r.kind <> 'reward' AND r.model_hash = :model AND r.state IN ('done', 'rejected'))
OR j.id IN (SELECT u.value FROM runs r, json_each(r.result, '$.unused') u
  WHERE r.kind <> 'reward' AND r.model_hash = :model AND r.state IN ('done', 'rejected'))
"""
#: of each turn with something new: how many judgments, how many new ones, whether a single one teaches by itself
_TURNS = f"""
SELECT j.prompt_message_id, count(*), sum(NOT ({_SEEN})),
  max(j.kind IN ('all_bad', 'thumb')
    OR EXISTS (SELECT 1 FROM judgment_items i WHERE i.judgment_id = j.id AND j.kind <> 'rating' AND i.rank > 0))
FROM judgments j WHERE {_OWN} AND j.prompt_message_id IN (
  SELECT j.prompt_message_id FROM judgments j WHERE {_OWN} AND NOT ({_SEEN}))
GROUP BY j.prompt_message_id
"""


def waiting(store: Store, model_hash: str) -> int:
    """How many of one's own judgments teach something that no finished run has used to train a version of this model.

    What another judgment overrides teaches nothing, and never waits; nor does what a run could not use.
    """
    several: list[str] = []
    count = 0
    for prompt_id, judged, new, plain in store.tuples(_TURNS, {"model": model_hash}):
        if new and judged == 1 and plain:
            count += 1  # nothing beside it could override it: by the hundred thousand, too many to look into
        elif new:
            several.append(prompt_id)
    for start in range(0, len(several), _PIECE):
        taught = derive(store.judgments.own(several[start : start + _PIECE]))
        examples: list[Any] = [*taught.pairs, *taught.unpaired, *taught.demonstrations]
        ids = json.dumps(list({example.judgment_id for example in examples}))
        unseen = f"SELECT count(*) FROM judgments j WHERE j.id IN (SELECT value FROM json_each(:ids)) AND NOT ({_SEEN})"
        count += int(store.value(unseen, {"ids": ids, "model": model_hash}))
    return count


def repeats(turn: Sequence[Judgment], judgment: Judgment) -> Judgment | None:
    """The live judgment of the turn that a new one says again, where saying it again changes nothing.

    Where something else was said in between, the new one counts: it is the later word.
    """
    same = (judgment.kind, frozenset(judgment.items), dict(judgment.payload))
    known = [old for old in turn if (old.kind, frozenset(old.items), dict(old.payload)) == same]
    if not known or _substance([*turn, judgment]) != _substance(turn):
        return None
    return known[-1]


def _substance(turn: Sequence[Judgment]) -> list[object]:
    """What a turn teaches, whichever judgment says it."""
    taught = derive(turn)
    return [
        [(pair.chosen_id, pair.rejected_id, pair.margin, pair.weight, pair.kind) for pair in taught.pairs],
        [(single.message_id, single.good, single.weight, single.kind) for single in taught.unpaired],
        [(shown.message_id, shown.weight) for shown in taught.demonstrations],
        [(label.message_id, label.rule_id, label.violated) for label in taught.rule_labels],
    ]
