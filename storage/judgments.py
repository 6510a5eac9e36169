"""Judgments: recorded once, never changed. Undo retracts, an edit supersedes; both can be looked up for ever."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from storage.errors import InvalidJudgment, NotFound
from storage.ids import new_id, now
from storage.preferences import Derived, Item, Judgment, Pair, Taught, derive_turn, explain
from storage.threads import Message
from storage.wording import describe, letter

if TYPE_CHECKING:
    from storage.store import Store

KINDS = ("ranking", "pick", "all_bad", "thumb", "rating", "correction", "flag", "note", "duel")
#: kinds that a training run can learn from
LEARNABLE = ("ranking", "pick", "all_bad", "thumb", "rating", "correction")
#: verdicts on the answers of a turn as a whole: the newest replaces the one before
OVERALL = ("ranking", "pick", "all_bad")
OWN_SOURCES = ("chat", "judge")
PIECE = 20_000  #: rows read at a time
#: live: neither retracted nor superseded by a live one; in no deleted, private or forgotten place
LIVE = """
j.retracted_at IS NULL
AND NOT EXISTS (SELECT 1 FROM judgments s WHERE s.supersedes = j.id AND s.retracted_at IS NULL)
"""
USABLE = (
    LIVE
    + """
AND j.prompt_message_id NOT IN (SELECT m.id FROM messages m WHERE m.content IS NULL)
AND j.prompt_message_id NOT IN (SELECT m.id FROM messages m WHERE m.thread_id IN (
  SELECT t.id FROM threads t WHERE t.deleted_at IS NOT NULL OR t.private
  UNION ALL SELECT thread_id FROM import_threads))
AND (j.source NOT LIKE 'import:%' OR j.source IN (SELECT 'import:' || i.name FROM imports i WHERE i.state = 'complete'))
"""
)


class Judgments:
    """Records judgments and reads them back."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # recording

    def record(
        self,
        prompt_id: str,
        kind: str,
        items: Sequence[Item],
        payload: Mapping[str, Any] | None = None,
        *,
        source: str = "chat",
        supersedes: str | None = None,
        key: str | None = None,
    ) -> Judgment:
        """Record one judgment of the answers below prompt_id.

        Raises InvalidJudgment when an answer is named twice or is not an answer to that prompt.
        """
        if kind not in KINDS:
            raise InvalidJudgment(f"{kind!r} is no kind of judgment; there are {', '.join(KINDS)}")
        ids = [item.message_id for item in items]
        if len(set(ids)) != len(ids):
            raise InvalidJudgment(f"a {kind} names the same answer twice")
        with self._store.write() as db:
            messages = self._store.threads.messages([prompt_id, *ids])
            if prompt_id not in messages:
                raise NotFound(f"there is no message {prompt_id}")
            for id in ids:
                if id not in messages or messages[id].parent_id != prompt_id:
                    raise InvalidJudgment(f"message {id} is not an answer to message {prompt_id}")
            if gone := [message.id for message in messages.values() if message.forgotten_at]:
                raise InvalidJudgment(f"message {gone[0]} was forgotten and cannot be judged")
            judgment = Judgment(new_id(), prompt_id, kind, now(), tuple(items), dict(payload or {}), source, supersedes)
            db.execute(
                "INSERT INTO judgments(id, prompt_message_id, kind, payload, source, supersedes, key, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    judgment.id,
                    prompt_id,
                    kind,
                    json.dumps(judgment.payload, sort_keys=True, ensure_ascii=False),
                    source,
                    supersedes,
                    key,
                    judgment.created_at,
                ],
            )
            db.conn.executemany(
                "INSERT INTO judgment_items(judgment_id, message_id, rank, score, value) VALUES (?, ?, ?, ?, ?)",
                [(judgment.id, i.message_id, i.rank, i.score, i.value) for i in items],
            )
        return judgment

    def rank(self, prompt_id: str, groups: Sequence[Sequence[str]], **about: Any) -> Judgment:
        """Best group first; answers in one group are tied."""
        if not any(groups):
            raise InvalidJudgment("a ranking names no answer")
        items = [Item(id, rank=rank) for rank, group in enumerate(g for g in groups if g) for id in group]
        return self.record(prompt_id, "ranking", items, **about)

    def pick(self, prompt_id: str, best_id: str, candidate_ids: Iterable[str], **about: Any) -> Judgment:
        """One answer is better than each of the others."""
        others = [id for id in candidate_ids if id != best_id]
        return self.record(prompt_id, "pick", [Item(best_id, rank=0), *(Item(id, rank=1) for id in others)], **about)

    def all_bad(self, prompt_id: str, candidate_ids: Iterable[str], **about: Any) -> Judgment:
        return self.record(prompt_id, "all_bad", [Item(id, value=-1) for id in candidate_ids], **about)

    def thumb(self, prompt_id: str, message_id: str, value: int, **about: Any) -> Judgment:
        """1 is up, -1 is down."""
        if value not in (1, -1):
            raise InvalidJudgment(f"a thumb is {value!r}; it must be 1 (up) or -1 (down)")
        return self.record(prompt_id, "thumb", [Item(message_id, value=value)], **about)

    def rate(self, prompt_id: str, scores: Mapping[str, int], **about: Any) -> Judgment:
        """Scores 1 (worst) to 7 (best) by answer."""
        if not scores:
            raise InvalidJudgment("a rating names no answer")
        for score in scores.values():
            if isinstance(score, bool) or not isinstance(score, int) or not 1 <= score <= 7:
                raise InvalidJudgment(f"a rating is {score!r}; it must be a whole number from 1 to 7")
        return self.record(prompt_id, "rating", [Item(id, score=score) for id, score in scores.items()], **about)

    def correct(
        self, prompt_id: str, of_id: str, text: str, candidate_ids: Iterable[str], **about: Any
    ) -> tuple[Judgment, Message]:
        """A better text than every candidate of the turn; it becomes a message of its own."""
        if not text.strip():
            raise InvalidJudgment("the correction is empty; write the answer that you wanted")
        candidates = list(dict.fromkeys([*candidate_ids, of_id]))
        with self._store.write():
            prompt = self._store.threads.message(prompt_id)
            message = self._store.threads.add_message(prompt.thread_id, prompt_id, "assistant", text)
            items = [Item(message.id, rank=0), *(Item(id, rank=1) for id in candidates)]
            judgment = self.record(prompt_id, "correction", items, {"of": of_id}, **about)
        return judgment, message

    def flag(self, prompt_id: str, message_id: str, rule_id: str, violated: bool, **about: Any) -> Judgment:
        """Whether an answer breaks a rule."""
        return self.record(prompt_id, "flag", [Item(message_id, value=int(violated))], {"rule": rule_id}, **about)

    def note(self, prompt_id: str, message_id: str, text: str, **about: Any) -> Judgment:
        return self.record(prompt_id, "note", [Item(message_id)], {"text": text}, **about)

    def duel(self, prompt_id: str, winner_id: str, loser_id: str, tie: bool = False, **about: Any) -> Judgment:
        """Which of two adapters' answers was better; the answers' generations say whose they were."""
        items = [Item(winner_id, rank=0), Item(loser_id, rank=0 if tie else 1)]
        return self.record(prompt_id, "duel", items, **about)

    # taking back

    def retract(self, id: str) -> bool:
        """Take one back; what it superseded counts again. False if it was retracted already.

        Raises InvalidJudgment when a live one stands in its place.
        """
        with self._store.write() as db:
            if self.get(id).retracted_at is not None:
                return False
            by = self.replaced_by(id)
            if by is not None:
                raise InvalidJudgment(f"judgment {id} was replaced by {by}: take that one back first")
            db.execute("UPDATE judgments SET retracted_at = ? WHERE id = ?", [now(), id])
        return True

    def replaced_by(self, id: str) -> str | None:
        """The judgment that stands in its place, if that one was not taken back."""
        sql = "SELECT id FROM judgments WHERE supersedes = ? AND retracted_at IS NULL ORDER BY seq DESC LIMIT 1"
        found = self._store.value(sql, [id])
        return None if found is None else str(found)

    def undo_last(self, prompt_id: str, source: str = "chat") -> Judgment | None:
        """Retract the newest live judgment of a turn and return it, or None if there is none."""
        with self._store.write():
            id = self._store.value(
                f"SELECT j.id FROM judgments j WHERE j.prompt_message_id = ? AND j.source = ? AND {LIVE} "
                "ORDER BY j.seq DESC LIMIT 1",
                [prompt_id, source],
            )
            if id is None:
                return None
            judgment = self.get(str(id))
            self.retract(judgment.id)
        return judgment

    # reading

    def get(self, id: str) -> Judgment:
        found = self._select("WHERE j.id = ?", [id])
        if not found:
            raise NotFound(f"there is no judgment {id}")
        return found[0]

    def many(self, ids: Iterable[str]) -> dict[str, Judgment]:
        """Many judgments by id; unknown ids are left out."""
        found = self._select("WHERE j.id IN (SELECT value FROM json_each(?))", [json.dumps(list(ids))])
        return {judgment.id: judgment for judgment in found}

    def for_prompt(self, prompt_id: str, live_only: bool = True) -> list[Judgment]:
        """The judgments of one turn, oldest first."""
        return self._select(f"WHERE j.prompt_message_id = ? AND {LIVE if live_only else '1'}", [prompt_id])

    def live(self, include: Sequence[str] = ()) -> list[Judgment]:
        """Judgments to learn from: one's own; include adds "imports", "import:NAME", "ai" or "ai:MODEL"."""
        where, parameters = _sources(include)
        return self._select(f"WHERE {USABLE} AND ({where})", parameters)

    def own(self, prompt_ids: Sequence[str]) -> list[Judgment]:
        """What `live` gives of these turns, with nothing included."""
        where, parameters = _sources(())
        wanted = "j.prompt_message_id IN (SELECT value FROM json_each(?))"
        return self._select(f"WHERE {USABLE} AND ({where}) AND {wanted}", [*parameters, json.dumps(list(prompt_ids))])

    def each_turn(self, include: Sequence[str] = ()) -> Iterator[list[Judgment]]:
        """What `live` gives, turn by turn in the order of prompt ids: a million judgments take no more memory than ten.

        Read in pieces; no transaction stays open between them, so a turn judged meanwhile may or may not be among them.
        """
        where, parameters = _sources(include)
        after, limit = "", PIECE
        while True:
            # by the prompts' own index: any other would sort all that is left for each piece
            rows = self._rows(
                f"WHERE {USABLE} AND ({where}) AND j.prompt_message_id > ?",
                [*parameters, after],
                f"ORDER BY j.prompt_message_id, j.seq, i.rank, i.message_id LIMIT {limit}",
                "INDEXED BY judgments_by_prompt",
            )
            whole = len(rows) < limit
            turns: list[list[Judgment]] = []
            for judgment in _judgments(rows):
                if turns and turns[-1][0].prompt_id == judgment.prompt_id:
                    turns[-1].append(judgment)
                else:
                    turns.append([judgment])
            if not whole:
                turns.pop()  # it may have been cut; it begins the next piece
                limit = PIECE if turns else 2 * limit
            yield from turns
            if whole:
                return
            if turns:
                after = turns[-1][0].prompt_id

    def derived(self, include: Sequence[str] = ()) -> Derived:
        """The training examples that `live` gives."""
        result = Derived([], [], [], [])
        for derived in self.each_derived(include):
            for name in ("pairs", "unpaired", "demonstrations", "rule_labels"):
                getattr(result, name).extend(getattr(derived, name))
        return result

    def each_derived(self, include: Sequence[str] = ()) -> Iterator[Derived]:
        """`derived`, in parts of some thousand turns."""
        part = Derived([], [], [], [])
        for count, turn in enumerate(self.each_turn(include), 1):
            derive_turn(turn, part)
            if count % 2000 == 0:
                yield part
                part = Derived([], [], [], [])
        yield part

    def pairs(self, include: Sequence[str] = ()) -> Iterator[Pair]:
        """The pairs of `derived`, one by one."""
        for part in self.each_derived(include):
            yield from part.pairs

    def explain(self, prompt_id: str) -> dict[str, Taught]:
        """What each judgment of a turn teaches, by its id; empty where a turn teaches nothing (private, deleted)."""
        sql = f"SELECT j.id FROM judgments j WHERE j.prompt_message_id = ? AND {USABLE}"
        usable = {row["id"] for row in self._store.rows(sql, [prompt_id])}
        return explain(j for j in self.for_prompt(prompt_id) if j.id in usable)

    def any_forgotten(self, ids: Iterable[str]) -> bool:
        """Whether a text of any of these judgments has been forgotten."""
        return bool(
            self._store.value(
                "SELECT EXISTS (SELECT 1 FROM json_each(?) w JOIN judgments j ON j.id = w.value "
                "LEFT JOIN judgment_items i ON i.judgment_id = j.id "
                "LEFT JOIN messages m ON m.id IN (i.message_id, j.prompt_message_id) "
                "WHERE j.forgotten_at IS NOT NULL OR m.forgotten_at IS NOT NULL)",
                [json.dumps(list(ids))],
            )
        )

    def waiting(self, model_hash: str) -> int:
        """How many of one's own judgments would teach a model something new; see `storage.waiting`."""
        from storage.waiting import waiting  # it reads through this

        return waiting(self._store, model_hash)

    def describe(self, judgment: Judgment | str, labels: Mapping[str, str] | None = None) -> str:
        """What was recorded, in one line: "B > A, C: 2 pairs". labels name answers; by default their letters."""
        if isinstance(judgment, str):
            judgment = self.get(judgment)
        names = {**self.labels(judgment.prompt_id), **(labels or {})}
        if judgment.kind == "flag":
            names |= {rule.id: f"the rule {rule.name!r}" for rule in self._store.rules.list(active_only=False)}
        return describe(judgment, names)

    def labels(self, prompt_id: str) -> dict[str, str]:
        """A letter for each answer of a turn in the order shown; corrections are "correction"."""
        answers = self._store.threads.children(prompt_id, role="assistant")
        corrections = {
            row["message_id"]
            for row in self._store.rows(
                "SELECT i.message_id FROM judgment_items i JOIN judgments j ON j.id = i.judgment_id "
                "WHERE j.prompt_message_id = ? AND j.kind = 'correction' AND i.rank = 0",
                [prompt_id],
            )
        }
        made = self._store.threads.generations([a.id for a in answers])
        shown: dict[str, list[str]] = {}
        for answer in answers:  # each regeneration starts again at A
            if answer.id not in corrections:
                batch = made[answer.id].batch_id if answer.id in made else ""
                shown.setdefault(batch, []).append(answer.id)
        names = dict.fromkeys(corrections, "correction")
        for ids in shown.values():
            ids.sort(key=lambda id: made[id].position if id in made else 0)
            names.update({id: letter(index) for index, id in enumerate(ids)})
        return names

    def _select(self, where: str, parameters: Sequence[Any]) -> list[Judgment]:
        return _judgments(self._rows(where, parameters, "ORDER BY j.seq, i.rank, i.message_id"))

    def _rows(self, where: str, parameters: Sequence[Any], order: str, index: str = "") -> list[tuple[Any, ...]]:
        return self._store.tuples(
            "SELECT j.id, j.prompt_message_id, j.kind, j.created_at, j.payload, j.source, j.supersedes, "
            "j.retracted_at, j.forgotten_at, i.message_id, i.rank, i.score, i.value "
            f"FROM judgments j {index} LEFT JOIN judgment_items i ON i.judgment_id = j.id {where} {order}",
            parameters,
        )


def _judgment(row: tuple[Any, ...], items: Sequence[Item]) -> Judgment:
    id, prompt, kind, created, payload, source, supersedes, retracted, forgotten = row[:9]
    said = {} if payload == "{}" else json.loads(payload)
    return Judgment(id, prompt, kind, created, tuple(items), said, source, supersedes, retracted, forgotten)


def _judgments(rows: Iterable[tuple[Any, ...]]) -> list[Judgment]:
    """Rows of `_rows`, in which a judgment's items stand together."""
    found: list[Judgment] = []
    items: list[Item] = []
    last: tuple[Any, ...] = ("",)
    for row in rows:
        if row[0] != last[0]:
            if last[0]:
                found.append(_judgment(last, items))
            last, items = row, []
        if row[9] is not None:
            items.append(Item(row[9], row[10], row[11], row[12]))
    if last[0]:
        found.append(_judgment(last, items))
    return found


def _sources(include: Sequence[str]) -> tuple[str, list[Any]]:
    where, parameters = ["j.source IN ('chat', 'judge')"], []
    for name in include:
        if name == "imports":
            where.append("j.source LIKE 'import:%'")
        elif name == "ai":
            where.append("j.source LIKE 'ai:%'")
        elif name.startswith(("import:", "ai:")):
            where.append("j.source = ?")
            parameters.append(name)
        else:
            raise InvalidJudgment(f"cannot include {name!r}; use imports, import:NAME, ai or ai:MODEL")
    return " OR ".join(where), parameters
