"""Ids as a person types them."""

from __future__ import annotations

import pytest

from storage.errors import NotFound
from storage.lookup import JUDGMENT, MESSAGE, THREAD, find, short
from storage.store import Store


@pytest.fixture
def ids(store: Store) -> dict[str, str]:
    thread = store.threads.new()
    prompt = store.threads.add_message(thread.id, None, "user", "why?")
    answer = store.threads.add_message(thread.id, prompt.id, "assistant", "so")
    judgment = store.judgments.thumb(prompt.id, answer.id, 1)
    return {THREAD: thread.id, MESSAGE: prompt.id, JUDGMENT: judgment.id}


def test_an_id_is_found_whole_and_by_its_end(store: Store, ids: dict[str, str]) -> None:
    for kind, id in ids.items():
        for text in (id, short(id), id[-6:], id[-20:].upper(), f" {id} "):
            assert find(store, text) == (kind, id)
            assert find(store, text, [kind]) == (kind, id)


def test_an_id_is_found_by_a_beginning_that_is_its_own(store: Store, ids: dict[str, str]) -> None:
    id = "abcdef01-0000-7000-8000-000000000000"
    store.db.execute("UPDATE threads SET id = ? WHERE id = ?", [id, store.threads.new().id])
    assert find(store, "abcdef") == (THREAD, id)


def test_what_fits_several_says_how_many_of_which_kind(store: Store, ids: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="fits 1 thread and 2 messages and 1 judgment: write more of the id"):
        find(store, ids[THREAD][:8])  # made within the same second
    with pytest.raises(NotFound, match="fits 2 messages: write more"):
        find(store, ids[MESSAGE][:8], [MESSAGE])
    assert find(store, ids[THREAD][:8], [THREAD]) == (THREAD, ids[THREAD])


def test_what_is_not_there_says_where_to_look(store: Store, ids: dict[str, str]) -> None:
    with pytest.raises(
        NotFound, match="no thread, message or judgment 'nowhere'; look for it with `hone threads list` or"
    ):
        find(store, "nowhere")
    with pytest.raises(NotFound, match=r"no judgment '.*'; look for it with `hone judgments list`$"):
        find(store, ids[MESSAGE], [JUDGMENT])
    with pytest.raises(NotFound, match="'abc' is too short to name a thread, message or judgment: write 6 or more"):
        find(store, "abc")
    with pytest.raises(NotFound, match="'' is too short"):
        find(store, "  ")
