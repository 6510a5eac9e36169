"""Conversations that were not had in the chat: what the shell asked and judged. The same one is stored once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.store import Store


def add_prompt(store: Store, conversation: Sequence[Mapping[str, str]], origin: str) -> str:
    """The id of the last message of a conversation from outside; the same conversation is stored once an origin."""
    parent: str | None = None
    thread: str | None = None
    for end in range(1, len(conversation) + 1):
        beginning = [dict(message) for message in conversation[:end]]
        text = json.dumps([origin, beginning], sort_keys=True, ensure_ascii=False)
        key = hashlib.sha256(text.encode()).hexdigest()
        found = store.threads.by_key(key)
        if found is not None and found.content is None:
            # forgotten, and asked again: a new conversation, which takes the key over
            with store.write() as db:
                db.execute("UPDATE messages SET key = NULL WHERE id = ?", [found.id])
            found = None
        if found is None:
            if thread is None:
                title = next((m["content"] for m in conversation if m["role"] == "user"), "")
                thread = store.threads.new(title[:80], origin=origin).id
            message = conversation[end - 1]
            found = store.threads.add_message(thread, parent, message["role"], message["content"], key=key)
        parent, thread = found.id, found.thread_id
    assert parent is not None, "the caller has checked that the conversation is not empty"
    return parent
