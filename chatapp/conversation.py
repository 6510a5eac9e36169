"""A thread as one reads it: its turns down to where it goes on, each with the answers that were shown together.

Whatever a thread's origin: a chat, the shell, an import. `chatapp.reading` reads one turn for the chat's screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.history import turn_names

if TYPE_CHECKING:
    from storage.store import Store
    from storage.threads import Message, Node, Thread


@dataclass(frozen=True, slots=True)
class Shown:
    """One of the answers that were shown together, or the correction of one."""

    id: str
    name: str
    text: str | None  #: None: forgotten
    created_at: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, its answers, and what was said of them."""

    question: Message
    answers: tuple[Shown, ...]
    follows: str | None  #: the name of the answer that the conversation goes on from; None: it ends with the question
    said: tuple[str, ...]  #: the judgments in force, in words
    notes: tuple[tuple[str, str], ...]  #: answer's name, text
    tries: int  #: how often it was answered

    @property
    def summary(self) -> str:
        """ "A, B, C were shown; B > A, C: 2 pairs"; empty for one answer of which nothing was said."""
        shown = [answer.name for answer in self.answers if not answer.name.startswith("correction")]
        parts = [f"{', '.join(shown)} were shown"] if len(shown) > 1 else []
        parts += self.said
        if self.tries > 1:
            parts.append(f"answered {self.tries} times")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A thread's text."""

    thread: Thread
    system: str | None
    exchanges: tuple[Exchange, ...]
    loose: tuple[Message, ...]  #: answers without a question, as some imports begin with


def read(store: Store, thread: Thread) -> Conversation:
    """The branch that the thread goes on from; where none was chosen the latest one."""
    tree = store.threads.tree(thread.id)
    path = store.threads.path(end) if (end := _end(thread, tree)) else []
    nodes = {node.id: node for node in tree}
    answers: dict[str, list[Node]] = {}
    for node in tree:
        if node.role == "assistant" and node.parent_id is not None:
            answers.setdefault(node.parent_id, []).append(node)
    system = next((message.content for message in path if message.role == "system"), thread.system_prompt)
    exchanges, loose = [], []
    for at, message in enumerate(path):
        after = path[at + 1] if at + 1 < len(path) else None
        if message.role == "user":
            follows = after if after is not None and after.role == "assistant" else None
            exchanges.append(_exchange(store, message, follows, nodes, answers.get(message.id, ())))
        elif message.role == "assistant" and (at == 0 or path[at - 1].role != "user"):
            loose.append(message)
    return Conversation(thread, system, tuple(exchanges), tuple(loose))


def _end(thread: Thread, tree: Sequence[Node]) -> str | None:
    if thread.tip_message_id is not None:
        return thread.tip_message_id
    questions = [node.id for node in tree if node.role == "user"]
    return questions[-1] if questions else tree[-1].id if tree else None


def _exchange(
    store: Store, question: Message, follows: Message | None, nodes: dict[str, Node], below: Sequence[Node]
) -> Exchange:
    seen = nodes[follows.id] if follows is not None else below[-1] if below else None
    ids = [id for id in (seen.id, seen.corrects) if id] if seen is not None else []
    names = turn_names(store, question.id, ids)
    texts = store.threads.messages(names.here)
    judgments = [
        judgment
        for judgment in store.judgments.for_prompt(question.id)
        if any(item.message_id in names.here for item in judgment.items)
    ]
    return Exchange(
        question,
        tuple(Shown(id, name, texts[id].content, texts[id].created_at) for id, name in names.here.items()),
        names.here.get(follows.id) if follows is not None else None,
        tuple(store.judgments.describe(judgment, names.all) for judgment in judgments if judgment.kind != "note"),
        tuple(
            (names.all.get(judgment.items[0].message_id, "?"), str(judgment.payload.get("text", "")))
            for judgment in judgments
            if judgment.kind == "note" and judgment.items
        ),
        len({node.batch_id for node in below if node.batch_id}),
    )


@dataclass(frozen=True, slots=True)
class Line:
    """A message in the drawn tree."""

    id: str
    depth: int  #: branches that it stands beside the main one
    name: str  #: You, System, A, correction
    text: str | None
    on_path: bool  #: on the way to where the thread goes on


def branches(store: Store, thread: Thread) -> list[Line]:
    """All messages, each branch that ends elsewhere before the one that goes on, and further in."""
    tree = store.threads.tree(thread.id)
    children: dict[str | None, list[Node]] = {}
    for node in tree:
        children.setdefault(node.parent_id, []).append(node)
    path = {message.id for message in store.threads.path(end)} if (end := _end(thread, tree)) else set()
    size: dict[str, int] = {}
    for node in reversed(tree):  # children come after their parents
        size[node.id] = 1 + sum(size[child.id] for child in children.get(node.id, ()))
    texts = store.threads.contents(node.id for node in tree)
    labels: dict[str, str] = {}
    for node in tree:
        if node.role == "user":
            labels |= store.judgments.labels(node.id)
    lines: list[Line] = []
    waiting = [(node, 0) for node in reversed(children.get(None, []))]
    while waiting:
        node, depth = waiting.pop()
        name = {"user": "You", "system": "System"}.get(node.role) or labels.get(node.id, "Answer")
        lines.append(Line(node.id, depth, name, texts.get(node.id), node.id in path))
        below = sorted(children.get(node.id, ()), key=lambda child: (child.id in path, size[child.id]))
        # the last of them goes on at the same depth; a stack gives back last what was put first
        waiting += [(child, depth + (child is not below[-1])) for child in reversed(below)]
    return lines
