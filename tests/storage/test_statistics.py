"""The statistics, against a slow count of the same thing that shares no code with them."""

from __future__ import annotations

import math
import random
import tracemalloc
from collections import Counter, defaultdict
from datetime import date
from itertools import combinations
from typing import Any

import pytest

from chatapp.commands.stats import WIDTH, in_words
from storage.preferences import Item, Judgment
from storage.statistics import statistics
from storage.store import Store
from storage.tallies import Shown, agreement, best_places, iso_week, statements, wilson
from storage.threads import NewAnswer

MODEL = "m" * 64
TEXTS = ["yes", "no", "perhaps so", "certainly", "I cannot say", "ask again", ""]


def make_import(store: Store, name: str, state: str = "complete") -> None:
    with store.write() as db:
        db.execute(
            "INSERT INTO imports(id, name, format, file, state, created_at) VALUES (?, ?, 'arena', 'x', ?, 'now')",
            [name, name, state],
        )


def turn(store: Store, texts: list[str], prompt: str, adapters: list[str | None] | None = None, **thread: Any) -> tuple:
    made = store.threads.new("t", **thread)
    message = store.threads.add_message(made.id, None, "user", prompt)
    if adapters is None:
        return message.id, [store.threads.add_message(made.id, message.id, "assistant", t).id for t in texts]
    new = [
        NewAnswer(text, at, MODEL, adapter, {}, 1, [1], 1, "stop")
        for at, (text, adapter) in enumerate(zip(texts, adapters, strict=True))
    ]
    return message.id, [answer.id for answer in store.threads.add_answers(made.id, message.id, new)]


def fill(store: Store, seed: int, turns: int = 60) -> None:
    """Judgments of every kind and source, some replaced, taken back, private or deleted."""
    rng = random.Random(seed)
    store.add_model(MODEL, "tiny", "llama", "t", "x")
    for number in (1, 2):
        store.adapters.register(f"adapter-{number}", model_hash=MODEL, files={}, state="retired")
    make_import(store, "crowd")
    make_import(store, "half", "running")
    for _ in range(turns):
        n = rng.randint(2, 4)
        adapters = rng.choice([None, [rng.choice([None, "adapter-1", "adapter-2"]) for _ in range(n)]])
        private = rng.random() < 0.1
        prompt, ids = turn(store, rng.sample(TEXTS, n), rng.choice("pq"), adapters, private=private)
        source = rng.choice(["chat", "chat", "judge", "import:crowd", "import:half", "ai:x"])
        said = []
        for _ in range(rng.randint(1, 4)):
            kind = rng.choice(["rank", "pick", "rate", "thumb", "all_bad", "flag", "note", "correct", "duel"])
            about: dict[str, Any] = {"source": source}
            if said and rng.random() < 0.3:
                about["supersedes"] = rng.choice(said).id
            if kind == "rank":
                places = [rng.randint(0, 2) for _ in ids]
                groups = [[id for id, p in zip(ids, places, strict=True) if p == place] for place in range(3)]
                said.append(store.judgments.rank(prompt, groups, **about))
            elif kind == "pick":
                said.append(store.judgments.pick(prompt, rng.choice(ids), ids, **about))
            elif kind == "rate":
                said.append(
                    store.judgments.rate(prompt, {id: rng.randint(1, 7) for id in ids[: rng.randint(1, n)]}, **about)
                )
            elif kind == "thumb":
                said.append(store.judgments.thumb(prompt, rng.choice(ids), rng.choice([1, -1]), **about))
            elif kind == "all_bad":
                said.append(store.judgments.all_bad(prompt, ids, **about))
            elif kind == "flag":
                rule = rng.choice(["rule-insult", "rule-harm", "unknown"])
                said.append(store.judgments.flag(prompt, rng.choice(ids), rule, rng.random() < 0.5, **about))
            elif kind == "note":
                said.append(store.judgments.note(prompt, rng.choice(ids), "hm", **about))
            elif kind == "correct":
                said.append(store.judgments.correct(prompt, ids[0], rng.choice(TEXTS[:6]), ids, **about)[0])
            else:
                said.append(store.judgments.duel(prompt, *rng.sample(ids, 2), tie=rng.random() < 0.3, **about))
        live = [j.id for j in store.judgments.for_prompt(prompt)]
        if live and rng.random() < 0.2:
            store.judgments.retract(rng.choice(live))
        if rng.random() < 0.1:
            store.threads.delete(store.threads.message(prompt).thread_id)
    with store.write() as db:
        for (seq,) in db.execute("SELECT seq FROM judgments").fetchall():
            db.execute(
                "UPDATE judgments SET created_at = ? WHERE seq = ?",
                [f"2026-{1 + seq % 12:02d}-{1 + seq % 28:02d}T10:00:00.{seq:06d}+00:00", seq],
            )


def slow(store: Store, include: list[str]) -> dict[str, Any]:
    """The same numbers, one question after the other, with everything in memory."""
    live, derived = store.judgments.live(include), store.judgments.derived(include)
    text = {row["id"]: row["content"] for row in store.rows("SELECT id, content FROM messages")}
    made = {row["message_id"]: row for row in store.rows("SELECT * FROM generations")}
    result: dict[str, Any] = {
        "total": len(live),
        "kinds": dict(Counter(j.kind for j in live)),
        "weeks": dict(Counter(date.fromisoformat(j.created_at[:10]).strftime("%G-W%V") for j in live)),
        "scores": Counter(i.score for j in live if j.kind == "rating" for i in j.items),
        "longer": sum(len(text[p.chosen_id]) > len(text[p.rejected_id]) for p in derived.pairs),
        "labels": {},
        "agreement": {},
        "wins": defaultdict(lambda: [0, 0]),
        "places": defaultdict(list),
        "pairs": len(derived.pairs),
        "unpaired": len(derived.unpaired),
    }  # fmt: skip
    logs = [math.log(max(1, len(text[p.chosen_id])) / max(1, len(text[p.rejected_id]))) for p in derived.pairs]
    result["ratio"] = math.exp(sum(logs) / len(logs))
    for label in derived.rule_labels:
        result["labels"].setdefault(label.rule_id, []).append(label.violated)
    for pair in derived.pairs:
        if pair.chosen_id in made and pair.rejected_id in made:
            a, b = made[pair.chosen_id]["adapter_id"], made[pair.rejected_id]["adapter_id"]
            if a != b:
                newer, older = sorted((a or "", b or ""), reverse=True)
                result["wins"][newer, older][0 if (a or "") == newer else 1] += 1
    groups: dict[Any, list[tuple[str, str | None]]] = defaultdict(list)
    for judgment in live:
        if judgment.kind not in ("ranking", "pick", "correction", "rating"):
            continue
        for x, y in combinations(judgment.items, 2):
            a, b = text[x.message_id], text[y.message_id]
            if judgment.kind in ("pick", "correction") and 0 not in (x.rank, y.rank):
                continue
            if a == b:
                continue
            better = (x.score or 0) - (y.score or 0) if judgment.kind == "rating" else (y.rank or 0) - (x.rank or 0)
            source = "own" if judgment.source in ("chat", "judge") else judgment.source
            prompt = str(store.threads.conversation(judgment.prompt_id))
            groups[source, prompt, frozenset((a, b))].append(
                (judgment.id, None if not better else a if better > 0 else b)
            )
    for (source, _, _), said in groups.items():
        if len(said) > 1:
            twos = [1.0 if a == b else 0.5 if None in (a, b) else 0.0 for (_, a), (_, b) in combinations(said, 2)]
            result["agreement"].setdefault(source, []).append(sum(twos) / len(twos))
    for judgment in live:
        if judgment.kind in ("ranking", "pick") and all(i.message_id in made for i in judgment.items):
            top = [i for i in judgment.items if i.rank == min(i.rank for i in judgment.items)]
            if 0 < len(top) < len(judgment.items):
                for item in judgment.items:
                    won = 1 / len(top) if item in top else 0
                    result["places"][made[item.message_id]["position"] + 1].append((won, 1 / len(judgment.items)))
    return result


@pytest.mark.parametrize("include", [[], ["imports"], ["import:crowd", "ai"]])
@pytest.mark.parametrize("seed", [1, 2])
def test_against_a_slow_count(store: Store, seed: int, include: list[str]) -> None:
    fill(store, seed)
    fast, expected = statistics(store, include), slow(store, include)
    assert fast["judgments"]["total"] == expected["total"]
    assert fast["judgments"]["kinds"] == expected["kinds"]
    assert {week["week"]: week["total"] for week in fast["judgments"]["weeks"]} == expected["weeks"]
    assert sum(fast["judgments"]["sources"].values()) == expected["total"]
    assert (fast["examples"]["pairs"], fast["examples"]["unpaired"]) == (expected["pairs"], expected["unpaired"])
    assert fast["length"]["longer"] == expected["longer"]
    assert fast["length"]["ratio"] == pytest.approx(expected["ratio"])
    assert fast["ratings"]["counts"] == [expected["scores"][score] for score in range(1, 8)]
    names = {"adapter-1": "v1", "adapter-2": "v2", "": "base"}
    assert {(row["a"], row["b"]): (row["wins"], row["n"]) for row in fast["win_rates"]} == {
        (names[a], names[b]): (won, won + lost) for (a, b), (won, lost) in expected["wins"].items()
    }
    assert {row["source"]: (row["pairs"], pytest.approx(row["share"])) for row in fast["agreement"]} == {
        source: (len(shares), sum(shares) / len(shares)) for source, shares in expected["agreement"].items()
    }
    assert [(row["position"], row["n"], row["share"], row["expected"]) for row in fast["position"]] == [
        (place, len(rows), pytest.approx(sum(w for w, _ in rows) / len(rows)),
         pytest.approx(sum(e for _, e in rows) / len(rows)))
        for place, rows in sorted(expected["places"].items())
    ]  # fmt: skip
    assert {row["name"]: (row["flags"], row["violated"]) for row in fast["rules"]} == {
        {"rule-insult": "insults", "rule-harm": "harmful advice"}.get(id, id): (len(said), sum(said))
        for id, said in expected["labels"].items()
    }
    own = store.value("SELECT count(*) FROM judgments WHERE source IN ('chat', 'judge')")
    assert statistics(store)["judgments"]["total"] + sum(fast["not_counted"].values()) == own
    assert max(len(line) for line in in_words(fast)) <= WIDTH


def test_duels_are_counted_apart(store: Store) -> None:
    """v1 beats the base twice, loses once, one tie: (2 + 0.5) / 4; they give no pairs."""
    store.add_model(MODEL, "tiny", "llama", "t", "x")
    store.adapters.register("adapter-1", model_hash=MODEL, files={}, state="live")
    for winner, tie in ((0, False), (0, False), (1, False), (1, True)):
        prompt, ids = turn(store, ["a", "b"], "q", ["adapter-1", None])
        store.judgments.duel(prompt, ids[winner], ids[1 - winner], tie)
    report = statistics(store)
    assert report["win_rates"] == []
    (row,) = report["duels"]
    assert (row["a"], row["b"], row["wins"], row["ties"], row["n"], row["share"]) == ("v1", "base", 2, 1, 4, 0.625)
    assert (row["low"], row["high"]) == wilson(2.5, 4)


def test_the_same_texts_judged_again(store: Store) -> None:
    """Under one question twice the same way and once the other way round: 1 of 3 twos. Another question is another."""
    for better in (0, 0, 1):
        prompt, ids = turn(store, ["yes", "no"], "well?")
        store.judgments.pick(prompt, ids[better], ids)
    prompt, ids = turn(store, ["no", "yes"], "really?")
    store.judgments.pick(prompt, ids[0], ids)
    prompt, ids = turn(store, ["same", "same"], "well?")
    store.judgments.pick(prompt, ids[0], ids)
    assert statistics(store)["agreement"] == [
        {"source": "own", "pairs": 1, "judgments": 3, "share": pytest.approx(1 / 3)}
    ]


def test_what_replaces_another_is_no_second_opinion(store: Store) -> None:
    prompt, ids = turn(store, ["yes", "no"], "well?")
    first = store.judgments.pick(prompt, ids[0], ids)
    store.judgments.pick(prompt, ids[1], ids, supersedes=first.id)
    report = statistics(store)
    assert report["agreement"] == []
    assert report["not_counted"]["replaced"] == 1


def test_splits_and_imports(store: Store) -> None:
    make_import(store, "crowd")
    store.splits.assign([turn(store, ["a"], str(number))[0] for number in range(10)])
    report = statistics(store)
    assert report["prompts"] == {"train": 8, "held_out": 2}
    assert [(row["name"], row["state"]) for row in report["imports"]] == [("crowd", "complete")]


def test_two_models_are_told_apart(store: Store) -> None:
    for hash, name in (("a" * 64, "small"), ("b" * 64, "large")):
        store.add_model(hash, name, "llama", "t", "x")
    made = store.threads.new()
    message = store.threads.add_message(made.id, None, "user", "q")
    ids = [
        store.threads.add_answers(
            made.id, message.id, [NewAnswer("x", 0, hash, None, {}, 1, [1], 1, "stop")]
        )[0].id
        for hash in ("a" * 64, "b" * 64)
    ]  # fmt: skip
    store.judgments.pick(message.id, ids[0], ids)
    (row,) = statistics(store)["win_rates"]
    assert {row["a"], row["b"]} == {"base of small", "base of large"}


def test_memory_does_not_grow_with_the_judgments(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def peak() -> int:
        tracemalloc.start()
        statistics(store)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    def add(count: int) -> None:
        with store.write():
            for number in range(count):
                prompt, ids = turn(store, ["a" * 200, "b" * 200], f"question {number}")
                store.judgments.pick(prompt, ids[0], ids)

    monkeypatch.setattr("storage.judgments.PIECE", 500)
    add(500)
    small = peak()
    add(1500)
    assert peak() < 1.5 * small


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718), (0, 0, 0, 1)],
)
def test_wilson(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_iso_weeks_belong_to_the_year_of_their_thursday() -> None:
    assert [iso_week(day) for day in ("2026-12-31T23:00", "2027-01-01", "2027-01-04")] == [
        "2026-W53", "2026-W53", "2027-W01",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "ties", "share"),
    [(2, 0, 0, 1.0), (1, 1, 0, 0.0), (1, 0, 1, 0.5), (0, 0, 2, 1.0), (2, 1, 0, 1 / 3), (1, 1, 1, 1 / 3)],
)
def test_agreement(first: int, second: int, ties: int, share: float) -> None:
    assert agreement(first, second, ties) == pytest.approx(share)


def test_places_mean_something_only_among_answers_shown_together() -> None:
    def ranking(*ranks: int) -> Judgment:
        items = tuple(Item(name, rank=rank) for name, rank in zip("abc", ranks, strict=False))
        return Judgment("j", "p", "ranking", "2026", items)

    together = {name: Shown("x", place, ("m", None)) for place, name in enumerate("abc")}
    assert best_places(ranking(1, 0, 1), together) == ([1], [0, 1, 2])
    assert best_places(ranking(0, 0, 1), together) == ([0, 1], [0, 1, 2])
    assert best_places(ranking(0, 0, 0), together) is None
    assert best_places(ranking(0), together) is None
    assert best_places(ranking(0, 1), {**together, "b": Shown("y", 0, ("m", None))}) is None
    assert best_places(ranking(0, 1, 2), {"a": together["a"]}) is None


def test_statements_of_one_judgment() -> None:
    items = (Item("a", rank=0), Item("b", rank=1), Item("c", rank=1))
    assert list(statements(Judgment("j", "p", "pick", "", items))) == [("a", "b", 1), ("a", "c", 1)]
    assert list(statements(Judgment("j", "p", "ranking", "", items)))[-1] == ("b", "c", 0)
    scores = (Item("a", score=2), Item("b", score=5))
    assert list(statements(Judgment("j", "p", "rating", "", scores))) == [("a", "b", -1)]
    assert list(statements(Judgment("j", "p", "thumb", "", (Item("a", value=1),)))) == []


def test_the_widest_report_fits_80_columns(store: Store) -> None:
    make_import(store, "a" * 80)
    report = statistics(store) | {
        "agreement": [{"source": "import:" + "x" * 80, "pairs": 1_234_567, "judgments": 9, "share": 1.0}],
        "win_rates": [
            {"a": "v12 of " + "x" * 80, "b": "base of 日本" + "y" * 80, "wins": 1, "ties": 0, "n": 12_345, "share": 1.0,
             "low": 1.0, "high": 1.0}
        ],
        "rules": [{"number": 123, "name": "n" * 60, "flags": 12345, "violated": 12345, "share": 1.0}],
    }  # fmt: skip
    report["judgments"] |= {
        "total": 9_999_999,
        "kinds": {"correction": 9_999_999},
        "sources": {f"import:{'z' * 60}{number}": 9_999_999 for number in range(7)},
        "weeks": [{"week": f"2026-W{number:02d}", "total": 9_999_999} for number in range(30)],
    }
    lines = in_words(report)
    assert max(len(line) for line in lines) <= WIDTH
    assert "by week, the last 12 of 30" in lines
