"""Which prompts are held out: decided once for each prompt, and for ever.

The key is the conversation's text, so the same question asked twice never lies on both sides.
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


class Splits:
    def __init__(self, store: Store) -> None:
        self._store = store

    def assign(self, prompt_ids: Iterable[str]) -> dict[str, str]:
        """The side ("train" or "held_out") of each prompt message, drawing for those that have none yet.

        A prompt with a forgotten message in its path is left out.
        """
        keys = {
            id: hashlib.sha256(json.dumps(c, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
            for id, c in self._store.threads.conversations(prompt_ids).items()
        }
        known = {row["key"]: row["split"] for row in self._store.rows("SELECT key, split FROM splits")}
        if any(key not in known for key in keys.values()):
            with self._store.write() as db:
                known = {row["key"]: row["split"] for row in self._store.rows("SELECT key, split FROM splits")}
                seed = self._store.meta_get("store_id") or ""
                for key in keys.values():
                    if key in known:
                        continue
                    # a draw without replacement: block by block, one place of five, unpredictable but stable
                    block, place = divmod(len(known), BLOCK)
                    drawn = hashlib.sha256(f"{seed}:{block}".encode()).digest()[0] % BLOCK
                    known[key] = "held_out" if place == drawn else "train"
                    db.execute("INSERT INTO splits(key, split, created_at) VALUES (?, ?, ?)", [key, known[key], now()])
        return {id: known[key] for id, key in keys.items()}
