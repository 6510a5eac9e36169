"""Where a conversation parts: the branches that stand beside a turn, which `<` and `>` go through.

Beside a turn stand other answers to its question, and other questions after the same answers. Functions of a store,
without state of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from chatapp.turn import Turn
    from storage.store import Store
    from storage.threads import Node


class Branch(NamedTuple):
    """A question, and answers to it that were shown together."""

    prompt_id: str
    batch: str  #: "": nobody generated them, or there are none
    answer_id: str | None  #: one of them


class Parting(NamedTuple):
    """The branches at a turn; `at` is the one that is gone."""

    branches: list[Branch]
    at: int


class Tree:
    """The messages of a thread as branches. Nothing that was forgotten is in it."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        batches = {node.id: node.batch_id for node in nodes if node.batch_id}
        # a correction is of the answers that it stands beside
        self._batch_of = batches | {node.id: batches[node.corrects] for node in nodes if node.corrects in batches}
        living = [node for node in nodes if not node.forgotten]
        self._follows = {  # question -> the answers that it follows, or that message
            node.id: self._batch_of.get(node.parent_id or "", node.parent_id) for node in living if node.role == "user"
        }
        self._branches: dict[str, dict[str, Branch]] = {id: {} for id in self._follows}
        self._unbatched: dict[str, set[str | None]] = {id: set() for id in self._follows}
        for node in living:
            if node.role == "assistant" and node.parent_id in self._branches:
                batch = self.batch(node.id)
                self._branches[node.parent_id].setdefault(batch, Branch(node.parent_id, batch, node.id))
                if not batch:
                    self._unbatched[node.parent_id].add(node.id)

    def batch(self, message_id: str) -> str:
        return self._batch_of.get(message_id, "")

    def beside(self, prompt_id: str, batch: str) -> Parting:
        """What stands beside answers to a question, these included; oldest question first. Empty: it is not there."""
        if prompt_id not in self._follows:
            return Parting([], 0)
        asked = [id for id, follows in self._follows.items() if follows == self._follows[prompt_id]]
        found = [one for id in asked for one in self._branches[id].values() or [Branch(id, "", None)]]
        at = next((at for at, one in enumerate(found) if one[:2] == (prompt_id, batch)), None)
        return Parting([], 0) if at is None else Parting(found, at)

    def end(self, branch: Branch) -> Branch:
        """The newest turn below a branch, or itself."""
        before = {branch.batch} if branch.batch else self._unbatched[branch.prompt_id]
        after = [id for id, follows in self._follows.items() if follows in before]
        if not after:
            return branch
        return self.end(self.newest(after[-1]))

    def newest(self, prompt_id: str) -> Branch:
        """Of the branches of a question, the latest."""
        found = [*self._branches[prompt_id].values()]
        return found[-1] if found else Branch(prompt_id, "", None)


def parting(store: Store, tree: Tree, turn: Turn) -> Parting:
    """The branches at a turn or, where none part there, at the nearest one before it where some do."""
    batch = tree.batch(turn.answers[0].message_id) if turn.answers else ""
    for message in reversed(store.threads.path(turn.prompt_id)):
        if message.role == "user":
            found = tree.beside(message.id, batch)
            if len(found.branches) > 1:
                return found
        batch = tree.batch(message.id)
    return Parting([], 0)


def in_words(turn: Turn | None) -> str:
    """Which branch this is, where branches part; else nothing."""
    if turn is None or turn.versions < 2:
        return ""
    return f"Branch {turn.version} of {turn.versions}. < and > go to the others."
