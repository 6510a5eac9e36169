"""Judgments to look back on: which there are, where each one stands, and what is said in its place.

`storage.judgments` records; here is what a list, a closer look and an edit need of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage import duels
from storage.errors import InvalidJudgment
from storage.judgments import KINDS, OWN_SOURCES
from storage.lookup import short
from storage.preferences import Item, Judgment
from storage.threads import fts_query, like
from storage.wording import letter

if TYPE_CHECKING:
    from storage.store import Store

#: not deleted, and of no import that is under way or was taken back; one's own word on an import's answers outlives it
VISIBLE = (
    "(t.deleted_at IS NULL AND t.id NOT IN (SELECT thread_id FROM import_threads) AND (j.source NOT LIKE 'import:%' "
    "OR substr(j.source, 8) IN (SELECT name FROM imports WHERE state = 'complete')))"
)
#: of a judgment j of a prompt m in a thread t
IN_FORCE = (
    f"j.retracted_at IS NULL AND j.forgotten_at IS NULL AND m.content IS NOT NULL AND {VISIBLE} AND NOT EXISTS "
    "(SELECT 1 FROM judgments s WHERE s.supersedes = j.id AND s.retracted_at IS NULL)"
)
#: once and for all judgments: asked of the index for each one, a common word among 100 000 judgments took 17 s, not 0.3
_HITS = "WITH hits(seq) AS MATERIALIZED (SELECT rowid FROM messages_fts WHERE messages_fts MATCH :words)"
#: the words stand in the title, the kind, the note, the question or one of the answers
_SAYS = """
(t.title LIKE :like ESCAPE '\\' OR replace(j.kind, '_', ' ') LIKE :like ESCAPE '\\'
OR (j.kind = 'note' AND json_extract(j.payload, '$.text') LIKE :like ESCAPE '\\')
OR m.seq IN (SELECT seq FROM hits)
OR EXISTS (SELECT 1 FROM judgment_items i CROSS JOIN messages a ON a.id = i.message_id
  WHERE i.judgment_id = j.id AND +a.seq IN (SELECT seq FROM hits)))
"""
_STANDING = f"""
SELECT j.seq, j.id, j.retracted_at, j.forgotten_at, m.content IS NULL AS prompt_forgotten,
  json_extract(j.payload, '$.reasked') AS reasked,
  (SELECT s.id FROM judgments s WHERE s.supersedes = j.id AND s.retracted_at IS NULL
   ORDER BY s.seq DESC LIMIT 1) AS replaced_by,
  t.id AS thread_id, t.title, t.private, t.deleted_at, {VISIBLE} AS visible
FROM judgments j JOIN messages m ON m.id = j.prompt_message_id JOIN threads t ON t.id = m.thread_id
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a judgment counts, and in which thread it stands."""

    id: str
    thread_id: str
    title: str
    retracted_at: str | None
    replaced_by: str | None  #: a judgment in force that was given in its place
    forgotten: bool  #: it, or the question
    private: bool
    deleted: bool  #: its thread
    visible: bool  #: False: its thread is deleted, or belongs to an import that is under way or was taken back
    reasked: str | None = None  #: the judgment that it says again, to see whether one agrees with oneself

    @property
    def in_force(self) -> bool:
        """Whether it is said still, though perhaps where nothing is learned from."""
        return self.retracted_at is None and self.replaced_by is None and not self.forgotten and self.visible

    @property
    def reasons(self) -> list[str]:
        """Why it teaches nothing; empty where it does."""
        return self.why(lambda time: time[:10])

    def why(self, day: Callable[[str], str]) -> list[str]:
        """`reasons`, with days as the reader has them."""
        found = []
        if self.forgotten:
            found.append("it was forgotten")
        elif self.retracted_at is not None:
            found.append(f"it was taken back on {day(self.retracted_at)}")
        if self.replaced_by is not None:
            found.append(f"judgment {short(self.replaced_by)} was given in its place")
        if self.private:
            found.append("its thread is private")
        if self.deleted:
            found.append("its thread is deleted")
        elif not self.visible:
            found.append("its import is not complete")
        if self.reasked is not None:
            found.append("the pair was asked again, to compare only")
        return found


def standing(store: Store, id: str) -> Standing:
    (row,) = store.rows(_STANDING + "WHERE j.id = ?", [id])
    return _standing(row)


def _standing(row: dict[str, Any]) -> Standing:
    return Standing(
        row["id"],
        row["thread_id"],
        row["title"],
        row["retracted_at"],
        row["replaced_by"],
        row["forgotten_at"] is not None or bool(row["prompt_forgotten"]),
        bool(row["private"]),
        row["deleted_at"] is not None,
        bool(row["visible"]),
        row["reasked"],
    )


def latest(
    store: Store,
    limit: int,
    *,
    kind: str | None = None,
    source: str | None = None,
    thread_id: str | None = None,
    all: bool = False,
) -> list[tuple[Judgment, Standing]]:
    """The newest first; without all only those in force. Raises InvalidJudgment for an impossible kind or source."""
    where, parameters = ["1"], []
    if kind is not None:
        if kind not in KINDS:
            raise InvalidJudgment(f"{kind!r} is no kind of judgment; there are {', '.join(KINDS)}")
        where.append("j.kind = ?")
        parameters.append(kind)
    if source is not None:
        if source not in OWN_SOURCES and not source.startswith(("import:", "ai:")):
            raise InvalidJudgment(f"{source!r} is no source; use {', '.join(OWN_SOURCES)}, import:NAME or ai:MODEL")
        where.append("j.source = ?")
        parameters.append(source)
    if thread_id is not None:
        where.append("j.prompt_message_id IN (SELECT id FROM messages WHERE thread_id = ?)")
        parameters.append(thread_id)
    if not all:
        where.append(IN_FORCE)
    sql = f"{_STANDING} WHERE {' AND '.join(where)} ORDER BY j.seq DESC LIMIT ?"
    return [(store.judgments.get(row["id"]), _standing(row)) for row in store.rows(sql, [*parameters, limit])]


@dataclass(frozen=True, slots=True)
class Row:
    """One judgment of a page."""

    seq: int  #: its number: the next page is of those before it
    judgment: Judgment
    standing: Standing


def page(store: Store, limit: int, *, before: int | None = None, query: str = "", all: bool = False) -> list[Row]:
    """The newest first, from a number on; without all only those in force; those that have the words of a query.

    In the answers and the question a query is looked for as in `storage.threads.fts_query`, else as it stands.
    """
    where = ["j.seq < :before", *([] if all else [IN_FORCE]), *([_SAYS] if query.strip() else [])]
    rows = store.rows(
        f"{_HITS if query.strip() else ''} {_STANDING} WHERE {' AND '.join(where)} ORDER BY j.seq DESC LIMIT :limit",
        {
            "before": before if before is not None else 1 << 62,
            "limit": limit,
            "like": f"%{like(query.strip())}%",
            "words": fts_query(query),
        },
    )
    said = store.judgments.many(row["id"] for row in rows)
    return [Row(row["seq"], said[row["id"]], _standing(row)) for row in rows]


@dataclass(frozen=True, slots=True)
class Names:
    """What the answers of a turn are called where one judgment is looked at."""

    all: dict[str, str]  #: message id -> name, of every answer below the prompt
    here: dict[str, str]  #: those among them that were judged, or shown together with those

    def find(self, name: str) -> str:
        """The message id of a name that a person typed. Raises InvalidJudgment with the names there are."""
        for id, known in self.here.items():
            if known.casefold() == name.strip().casefold():
                return id
        raise InvalidJudgment(f"there is no answer {name.strip()!r}; there are {', '.join(self.here.values())}")


def names(store: Store, judgment: Judgment) -> Names:
    """Letters as they were shown, as far as they tell the judged answers apart; else in the order of the answers."""
    return turn_names(store, judgment.prompt_id, [item.message_id for item in judgment.items])


def turn_names(store: Store, prompt_id: str, ids: Sequence[str]) -> Names:
    """`names`, of some answers of a turn."""
    answers = store.threads.children(prompt_id, role="assistant")
    labels = store.judgments.labels(prompt_id)
    made = store.threads.generations(answer.id for answer in answers)
    batch = {answer.id: made[answer.id].batch_id if answer.id in made else "" for answer in answers}
    judged = set(ids)
    corrections = [answer.id for answer in answers if labels.get(answer.id) == "correction"]
    batches = {batch[id] for id in judged if id in batch and id not in corrections}
    shown = [a.id for a in answers if batch[a.id] in batches and a.id not in corrections]
    shown.sort(key=lambda id: (batch[id], made[id].position if id in made else 0))
    here = {id: labels[id] for id in shown}
    if len(set(here.values())) < len(here):  # answers of several tries, or none that was generated
        here = {id: letter(index) for index, id in enumerate(shown)}
    better = [id for id in corrections if id in judged]
    here |= {id: f"correction {n}" if len(better) > 1 else "correction" for n, id in enumerate(better, 1)}
    others = {id: f"{label} (not judged here)" for id, label in labels.items() if id not in here}
    return Names({**others, **here}, here)


def runs(store: Store, id: str) -> list[dict[str, Any]]:
    """The training runs that a judgment took part in: run, number, state, split; adapter ("v3") where it made one."""
    return store.rows(
        "SELECT r.id AS run, r.number, r.state, rj.split, 'v' || a.number AS adapter, a.state AS adapter_state "
        "FROM run_judgments rj JOIN runs r ON r.id = rj.run_id LEFT JOIN adapters a ON a.run_id = r.id "
        "WHERE rj.judgment_id = ? ORDER BY r.number",
        [id],
    )


def restate(
    store: Store, old: Judgment, kind: str, items: Sequence[Item], *, payload: dict[str, Any], text: str | None = None
) -> Judgment:
    """Give another judgment in the place of one that is in force; text is that of a correction, a message of its own.

    It is of the same source, but for one of others: what replaces that is the user's own word. Raises InvalidJudgment
    where the old one is not in force.
    """
    with store.write():
        state = standing(store, old.id)
        if state.replaced_by is not None:
            raise InvalidJudgment(
                f"judgment {short(old.id)} was replaced by {short(state.replaced_by)} already: edit that one"
            )
        if not state.in_force:
            raise InvalidJudgment(f"judgment {short(old.id)} cannot be edited: {state.reasons[0]}")
        if state.reasked is not None:
            raise InvalidJudgment(
                f"judgment {short(old.id)} was asked again to compare it with {short(state.reasked)}: "
                "edit that one, or take this one back"
            )
        if text is not None:
            thread = store.threads.get(state.thread_id)
            message = store.threads.add_message(thread.id, old.prompt_id, "assistant", text)
            items = [Item(message.id, rank=0), *(item for item in items if item.rank != 0)]
            if thread.tip_message_id in [item.message_id for item in old.items if item.rank == 0]:
                store.threads.set_tip(thread.id, message.id)
        source = old.source if old.source in OWN_SOURCES else "judge"
        new = store.judgments.record(old.prompt_id, kind, items, payload, source=source, supersedes=old.id)
        duels.follow(store, new)
        return new


def _asked_again(store: Store, id: str) -> list[str]:
    """Judgments that say this one again, to see whether one agrees with oneself, and were not taken back."""
    sql = "SELECT id FROM judgments WHERE json_extract(payload, '$.reasked') = ? AND retracted_at IS NULL"
    return [str(row["id"]) for row in store.rows(sql, [id])]


def retract(store: Store, judgment: Judgment) -> Judgment | None:
    """Take one back; returns the one that counts again, if it had replaced one.

    A thread that goes on from a correction goes on from the answer that it corrected, or from the correction before.
    """
    with store.write():
        store.judgments.retract(judgment.id)
        duels.withdraw(store, judgment)
        for again in _asked_again(store, judgment.id):  # it compares with nothing any more
            store.judgments.retract(again)
        before = store.judgments.get(judgment.supersedes) if judgment.supersedes else None
        if before is not None and not standing(store, before.id).in_force:
            before = None
        if judgment.kind == "correction":
            thread = store.threads.get(standing(store, judgment.id).thread_id)
            better = [item.message_id for item in judgment.items if item.rank == 0]
            if thread.tip_message_id in better:
                older = [i.message_id for i in before.items if i.rank == 0] if before else []
                older += [i.message_id for i in judgment.items if i.message_id == judgment.payload.get("of")]
                store.threads.set_tip(thread.id, older[0] if older else judgment.prompt_id)
    return before
