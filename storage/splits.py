"""Which prompts are held out: decided once for each prompt, and for ever.

The key is the conversation's text, so the same question asked twice never lies on both sides (but see `apart`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from storage.ids import now

if TYPE_CHECKING:
    from storage.store import Store

#: of every five new prompts one is held out
BLOCK = 5
#: the key of a prompt message begins with this if it is a question of its own
APART = "apart:"


class Splits:
    def __init__(self, store: Store) -> None:
        self._store = store

    def assign(self, prompt_ids: Iterable[str]) -> dict[str, str]:
        """The side ("train" or "held_out") of each prompt message, drawing for those that have none yet.

        A prompt with a forgotten message in its path is left out.
        """
        conversations = self._store.threads.conversations(prompt_ids)
        apart = self.apart(conversations)
        keys = {
            id: apart.get(id) or hashlib.sha256(json.dumps(c, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
            for id, c in conversations.items()
        }
        known = {row["key"]: row["split"] for row in self._store.rows("SELECT key, split FROM splits")}
        if any(key not in known for key in keys.values()):
            with self._store.write() as db:
                known = {row["key"]: row["split"] for row in self._store.rows("SELECT key, split FROM splits")}
                seed = self._store.meta_get("store_id") or ""
                for _, key in sorted(keys.items()):  # the oldest first: at one call the same for the same prompts
                    if key in known:
                        continue
                    # a draw without replacement: block by block, one place of five, unpredictable but stable
                    block, place = divmod(len(known), BLOCK)
                    drawn = hashlib.sha256(f"{seed}:{block}".encode()).digest()[0] % BLOCK
                    known[key] = "held_out" if place == drawn else "train"
                    db.execute("INSERT INTO splits(key, split, created_at) VALUES (?, ?, ?)", [key, known[key], now()])
        return {id: known[key] for id, key in keys.items()}

    def apart(self, prompt_ids: Iterable[str]) -> dict[str, str]:
        """The key of each prompt that is a question of its own though others have its text.

        Labelled texts without a prompt answer one common instruction, which says nothing of which belong together.
        """
        found = self._store.threads.keys(prompt_ids)
        return {id: key for id, key in found.items() if key.startswith(APART)}
