"""What was judged: how often, how consistently, and who won. One pass over the judgments, turn by turn.

A million judgments take no more memory than a thousand: everything but the agreement is a handful of sums
(`storage.tallies`), and that is sorted in a temporary database on the disk, of hashes without any text.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from storage import reasking
from storage.importing import imports
from storage.preferences import Derived, Judgment, derive_turn
from storage.tallies import Agreement, Shown, Sums, Version, wilson

if TYPE_CHECKING:
    from storage.store import Store

#: turns looked at together: few enough to be small, enough to ask the database seldom
CHUNK = 400


def statistics(
    store: Store, include: Sequence[str] = (), progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Everything that `hone stats --json` prints; its docstring names the keys. include as for `Judgments.live`.

    progress gets the number of judgments so far, every few hundred turns; what it raises ends the pass.
    """
    sums, agreed = Sums(), Agreement()
    counted = 0
    try:
        for turns in _chunks(store.judgments.each_turn(include)):
            derived = Derived([], [], [], [])
            for turn in turns:
                derive_turn(turn, derived)
            judgments = [judgment for turn in turns for judgment in turn]
            ids = {item.message_id for judgment in judgments for item in judgment.items}
            texts, shown = store.threads.contents(ids), _shown(store, ids)
            sums.add_judgments(judgments, shown)
            sums.add_examples(derived, texts, shown)
            agreed.add(judgments, _prompts(store, [turn[0].prompt_id for turn in turns]), texts)
            counted += len(judgments)
            if progress is not None:
                progress(counted)
        report = {"include": list(include), **_report(store, sums)}
        return {**report, "agreement": agreed.result(), "asked_again": reasking.agreed(store)}
    finally:
        agreed.close()


def _chunks(turns: Iterable[list[Judgment]]) -> Iterator[list[list[Judgment]]]:
    chunk: list[list[Judgment]] = []
    for turn in turns:
        chunk.append(turn)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _prompts(store: Store, ids: Sequence[str]) -> dict[str, bytes]:
    """A hash of each conversation: the same question after other answers is another one."""
    return {
        id: hashlib.blake2b(json.dumps(messages, sort_keys=True).encode(), digest_size=16).digest()
        for id, messages in store.threads.conversations(ids).items()
    }


def _shown(store: Store, ids: Iterable[str]) -> dict[str, Shown]:
    found, unique = {}, list(ids)
    for start in range(0, len(unique), 500):
        piece = unique[start : start + 500]
        for id, batch, position, model, adapter in store.tuples(
            "SELECT message_id, batch_id, position, model_hash, adapter_id FROM generations "
            f"WHERE message_id IN ({','.join('?' * len(piece))})",
            piece,
        ):
            found[id] = Shown(batch, position, (model, adapter))
    return found


# -- the report --------------------------------------------------------------------------------------------------------


def _report(store: Store, sums: Sums) -> dict[str, Any]:
    pairs = sums.lengths
    n = sum(sums.scores.values())
    return {
        "judgments": _judgments(sums.judgments),
        "not_counted": _not_counted(store),
        "examples": {name: sums.examples[name] for name in ("pairs", "unpaired", "demonstrations", "rule_labels")},
        "win_rates": _matches(store, sums.wins, Counter()),
        "duels": _matches(store, sums.duels, sums.duel_ties),
        "length": {
            "pairs": pairs,
            "longer": sums.longer,
            "equal": sums.equal,
            "share": sums.longer / pairs if pairs else None,
            "ratio": math.exp(sums.log_ratio / pairs) if pairs else None,
        },
        "position": [
            {"position": place + 1, "n": int(n), "wins": won, "share": won / n, "expected": expected / n}
            for place, (n, won, expected) in sorted(sums.places.items())
        ],
        "rules": _rules(store, sums.labels),
        "ratings": {
            "n": n,
            "mean": sum(score * count for score, count in sums.scores.items()) / n if n else None,
            "counts": [sums.scores[score] for score in range(1, 8)],
        },
        "prompts": {
            split: int(store.value("SELECT count(*) FROM splits WHERE split = ?", [split]))
            for split in ("train", "held_out")
        },
        "imports": [
            {name: row[name] for name in ("name", "format", "state", "records", "created_at")} for row in imports(store)
        ],
    }


def _judgments(counts: Counter[tuple[str, str, str]]) -> dict[str, Any]:
    kinds: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    weeks: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for (week, kind, source), count in counts.items():
        kinds[kind] += count
        sources[source] += count
        by_kind, by_source = weeks.setdefault(week, (Counter(), Counter()))
        by_kind[kind] += count
        by_source[source] += count
    return {
        "total": sum(kinds.values()),
        "kinds": dict(kinds.most_common()),
        "sources": dict(sources.most_common()),
        "weeks": [
            {
                "week": week,
                "total": sum(by_kind.values()),
                "kinds": dict(by_kind.most_common()),
                "sources": dict(by_source.most_common()),
            }
            for week, (by_kind, by_source) in sorted(weeks.items())
        ],
    }


def _not_counted(store: Store) -> dict[str, int]:
    """One's own judgments that count no more, or not; each under the first reason that holds."""
    (row,) = store.rows(
        "SELECT coalesce(sum(forgotten), 0) AS forgotten, coalesce(sum(retracted), 0) AS retracted, "
        "coalesce(sum(replaced), 0) AS replaced, coalesce(sum(hidden), 0) AS private_or_deleted FROM ("
        "SELECT j.forgotten_at IS NOT NULL AS forgotten, "
        "j.forgotten_at IS NULL AND j.retracted_at IS NOT NULL AS retracted, "
        "j.forgotten_at IS NULL AND j.retracted_at IS NULL AND s.id IS NOT NULL AS replaced, "
        "j.forgotten_at IS NULL AND j.retracted_at IS NULL AND s.id IS NULL AND "
        "(t.private OR t.deleted_at IS NOT NULL) AS hidden "
        "FROM judgments j JOIN messages m ON m.id = j.prompt_message_id JOIN threads t ON t.id = m.thread_id "
        "LEFT JOIN judgments s ON s.supersedes = j.id AND s.retracted_at IS NULL "
        "WHERE j.source IN ('chat', 'judge') GROUP BY j.id)"
    )
    return {name: int(count) for name, count in row.items()}


def _rules(store: Store, labels: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    known = {rule.id: rule for rule in store.rules.list(active_only=False)}
    rows = []
    for id, (n, violated) in labels.items():
        rule = known.get(id)
        rows.append(
            {
                "number": rule.number if rule else None,
                "name": rule.name if rule else id,
                "flags": n,
                "violated": violated,
                "share": violated / n,
            }
        )
    return sorted(rows, key=lambda row: (row["number"] is None, row["number"] or 0, row["name"]))


def _matches(
    store: Store, wins: Counter[tuple[Version, Version]], ties: Counter[tuple[Version, Version]]
) -> list[dict[str, Any]]:
    """Who met whom, the newer version first: its wins, its share (ties half) and the interval of that."""
    if not wins and not ties:
        return []
    adapters = {adapter.id: adapter for adapter in store.adapters.list()}
    models = {row["hash"]: row["name"] for row in store.rows("SELECT hash, name FROM models")}
    met = {frozenset(match) for match in (*wins, *ties)}
    several = len({version[0] for match in met for version in match}) > 1

    def age(version: Version) -> tuple[str, int, str]:
        adapter = adapters.get(version[1] or "")
        return version[0], adapter.number if adapter else 0, version[1] or ""

    def name(version: Version) -> str:
        model, id = version
        adapter = adapters.get(id or "")
        said = "base" if id is None else adapter.name if adapter else id[-8:]
        return f"{said} of {models.get(model, model[:8])}" if several else said

    rows = []
    for match in sorted(met, key=lambda match: sorted(map(age, match), reverse=True), reverse=True):
        a, b = sorted(match, key=age, reverse=True)
        won, lost, tied = wins[a, b], wins[b, a], ties[a, b] + ties[b, a]
        n = won + lost + tied
        low, high = wilson(won + tied / 2, n)
        rows.append(
            {
                "a": name(a),
                "b": name(b),
                "wins": won,
                "ties": tied,
                "n": n,
                "share": (won + tied / 2) / n,
                "low": low,
                "high": high,
            }
        )
    return rows
