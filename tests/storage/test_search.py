"""Search: which messages are found, in which order, and that it stays quick."""

from __future__ import annotations

from typing import Any

import pytest

from storage.errors import StorageError
from storage.search import HITS, IN_THREADS, MARKS, Hit, search, threads
from storage.store import Store


def message(store: Store, text: str, origin: str = "chat", **about: bool) -> str:
    thread = store.threads.new(f"About {text[:8]}", origin=origin, private=about.get("private", False))
    id = store.threads.add_message(thread.id, None, "user", text).id
    if about.get("deleted"):
        store.threads.delete(thread.id)
    if about.get("archived"):
        store.threads.archive(thread.id)
    return id


def found(store: Store, *words: str, limit: int = 20) -> list[str]:
    return [hit.message_id for hit in search(store, words, limit)]


def test_all_words_the_newest_first(store: Store) -> None:
    first = message(store, "red apples and green pears")
    second = message(store, "green apples")
    message(store, "pears")
    assert found(store, "apples") == [second, first]
    assert found(store, "apples", limit=1) == [second]
    assert found(store, "pears", "apples") == [first]
    assert found(store, "APPLES green") == [second, first]


def test_the_last_word_may_be_a_beginning(store: Store) -> None:
    apple, chinese = message(store, "an apple a day"), message(store, "日本語の文章")
    assert found(store, "app") == found(store, "day", "appl") == [apple]
    assert found(store, "appl", "day") == [], "only the last one"
    assert found(store, "ap") == [], "two letters begin too many words"
    assert found(store, "a") == [apple]
    assert found(store, "日本") == [chinese]


@pytest.mark.parametrize(
    "typed", ['"quoted" OR', "AND NOT", "content:x", "a*b -c", "NEAR(a b)", "(", '"', "'; --", "^a"]
)
def test_operators_are_plain_text(store: Store, typed: str) -> None:
    plain = message(store, f"he typed {typed} here")
    message(store, "nothing of the kind")
    hits = found(store, typed)
    assert hits == ([plain] if any(c.isalnum() for c in typed) else [])


def test_what_is_visible(store: Store) -> None:
    shown = [message(store, "word"), message(store, "word", private=True), message(store, "word", archived=True)]
    message(store, "word", deleted=True)
    for name, state in (("done", "complete"), ("half", "running"), ("gone", "undone")):
        with store.write() as db:
            db.execute(
                "INSERT INTO imports(id, name, format, file, state, created_at) VALUES (?, ?, 'x', 'x', ?, 'x')",
                [name, name, state],
            )
        id = message(store, "word", origin=f"import:{name}")
        shown += [id] * (state == "complete")
    message(store, "word", origin="import:unknown")
    assert found(store, "word") == shown[::-1]
    private = next(hit for hit in search(store, ["word"]) if hit.private)
    assert private.message_id == shown[1]
    assert [hit.archived for hit in search(store, ["word"])] == [False, True, False, False]


def test_threads_of_an_exchange_that_is_still_read_are_hidden(store: Store) -> None:
    with store.write() as db:
        columns = "(id, name, format, file, state, created_at)"
        db.execute(f"INSERT INTO imports{columns} VALUES ('i', 'i', 'hone', 'x', 'running', 'x')")
    message(store, "word", origin="import:i")
    with store.write() as db:
        db.execute("INSERT INTO import_threads(thread_id, import_id, origin) SELECT id, 'i', 'chat' FROM threads")
    assert found(store, "word") == []


def test_the_snippet_marks_the_words(store: Store) -> None:
    message(store, "before " * 40 + "the needle stands here" + " after" * 40)
    (hit,) = search(store, ["needle"])
    assert isinstance(hit, Hit)
    assert "the [needle] stands" in hit.snippet
    assert len(hit.snippet) < 200
    assert hit.snippet.startswith("…")


@pytest.mark.parametrize("words", [[], [""], ["  "], ["\0"]])
def test_nothing_to_search_for(store: Store, words: list[str]) -> None:
    with pytest.raises(StorageError, match="name a word"):
        search(store, words)
    with pytest.raises(StorageError, match="limit is 0"):
        search(store, ["x"], limit=0)
    assert search(store, ["\ud83d", "x"]) == []


def test_forgotten_messages_are_not_found(store: Store) -> None:
    id = message(store, "secret")
    with store.write() as db:
        db.execute("UPDATE messages SET content = NULL, forgotten_at = 'now' WHERE id = ?", [id])
    assert found(store, "secret") == []


def test_a_million_hits_are_not_sorted(store: Store) -> None:
    plan = [row["detail"] for row in store.rows("EXPLAIN QUERY PLAN " + HITS, ['"a"', 20])]
    assert plan[0].startswith("SCAN f VIRTUAL TABLE")
    assert not [step for step in plan if "TEMP B-TREE" in step]


# -- threads -----------------------------------------------------------------------------------------------------------


def titles(store: Store, query: str, **how: Any) -> list[str]:
    return [found.thread.title for found in threads(store, query, **how)]


def thread(store: Store, title: str, *texts: str, **about: Any) -> list[str]:
    """A thread of messages below one another; their ids."""
    made = store.threads.new(title, **about)
    ids: list[str] = []
    for text in texts:
        ids.append(store.threads.add_message(made.id, ids[-1] if ids else None, "user", text, tip=True).id)
    return ids


def test_threads_are_found_by_title_and_by_text(store: Store) -> None:
    thread(store, "Eggs", "how do I boil them?")
    thread(store, "100% search", 'what is "FTS5" AND how?')
    assert titles(store, "boil") == titles(store, "egg") == titles(store, "GG") == ["Eggs"]
    assert titles(store, "100%") == titles(store, '"FTS5" AND') == titles(store, "fts5 how") == ["100% search"]
    assert titles(store, "nowhere") == titles(store, "boil FTS5") == titles(store, "\ud83d") == []
    assert titles(store, "how") == titles(store, "  ") == titles(store, "") == ["100% search", "Eggs"]
    assert titles(store, "how", limit=1) == titles(store, "", limit=1) == ["100% search"]


def test_a_thread_says_where_the_words_stand_last(store: Store) -> None:
    _, last, _ = thread(store, "Languages", "Haskell is one", "before " * 40 + "Haskell, again " + "x " * 40, "and C")
    thread(store, "Haskell in the title", "nothing else")
    named, found = threads(store, "haskell")
    assert (named.message_id, named.snippet) == (None, "")
    assert found.message_id == last
    assert "before {}Haskell{}, again".format(*MARKS) in found.snippet
    assert len(found.snippet) < 200
    assert [one.message_id for one in threads(store, "")] == [None, None]


def test_which_threads_are_searched(store: Store) -> None:
    thread(store, "shown", "word")
    thread(store, "private", "word", private=True)
    thread(store, "from the shell", "word", origin="judge")
    for name, change in (("archived", store.threads.archive), ("deleted", store.threads.delete)):
        (id,) = thread(store, name, "word")
        change(store.threads.message(id).thread_id)
    assert titles(store, "word") == ["private", "shown"]
    assert titles(store, "word", archived=True) == titles(store, "archi", archived=True) == ["archived"]


def test_a_thread_with_most_of_the_hits_hides_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.search.PIECE", 3)
    thread(store, "one", "word")
    ids = thread(store, "many", *["word"] * 40)
    thread(store, "latest", "word")
    assert titles(store, "word") == ["latest", "many", "one"]
    assert threads(store, "word")[1].message_id == ids[-1]
    assert titles(store, "word", limit=2) == ["latest", "many"]


def test_the_hits_of_threads_are_not_sorted(store: Store) -> None:
    sql = IN_THREADS.format(which="t.origin = 'chat'")
    plan = [row["detail"] for row in store.rows("EXPLAIN QUERY PLAN " + sql, ['"a"', 1 << 62, 20])]
    assert plan[0].startswith("SCAN f VIRTUAL TABLE")
    assert not [step for step in plan if "TEMP B-TREE" in step]
