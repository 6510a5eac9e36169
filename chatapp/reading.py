"""Turns as they are in the store: which answers were shown together, what was said of them, which branches there are.

Functions of a store, without state of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from chatapp.branches import Branch, Tree
from chatapp.turn import FORGOTTEN, Answer, PastTurn, Turn, label

if TYPE_CHECKING:
    from storage.preferences import Judgment
    from storage.store import Store
    from storage.threads import Message as StoredMessage
    from storage.threads import Thread


def read_turn(store: Store, prompt: StoredMessage, answer_id: str | None) -> Turn:
    """The turn of a question, with the answers that were shown together with answer_id (None: the newest)."""
    children = store.threads.children(prompt.id, role="assistant")
    made = store.threads.generations([child.id for child in children])
    judgments = store.judgments.for_prompt(prompt.id)
    if answer_id is not None and answer_id not in made:
        # a correction is shown in the place of the answer that it corrects
        of = [j.payload.get("of") for j in judgments if j.kind == "correction" and j.items[0].message_id == answer_id]
        answer_id = of[0] if of else None
    # answers that were all forgotten are as if never given; one of several keeps its place
    living = [child.id for child in children if child.id in made and child.content is not None]
    alive = {made[id].batch_id for id in living}
    newest = living[-1] if living else None
    shown_with = answer_id if answer_id in made and made[answer_id].batch_id in alive else newest
    batch = made[shown_with].batch_id if shown_with is not None else ""
    shown = sorted(
        (c for c in children if c.id in made and made[c.id].batch_id == batch), key=lambda c: made[c.id].position
    )
    by = _versions(store, {made[c.id].adapter_id for c in shown})
    answers = tuple(
        Answer(c.id, _text(c), g.finish_reason, g.answer_tokens, c.content is None, by.get(g.adapter_id, "base"))
        for c, g in ((c, made[c.id]) for c in shown)
    )
    favourites = [
        i for i, c in enumerate(shown) if made[c.id].sampling.get("reward_rank") == 0 and c.content is not None
    ]
    turn = Turn(prompt.id, _text(prompt), answers, preferred=favourites[0] if favourites else None)
    return with_judgments(turn, judgments, {c.id: _text(c) for c in children})


def _versions(store: Store, ids: set[str | None]) -> dict[str | None, str]:
    """Names of adapters by id; one whose row is gone has its number no more."""
    found = [id for id in ids if id is not None]
    if not found:
        return {}
    rows = store.rows(f"SELECT id, number FROM adapters WHERE id IN ({','.join('?' * len(found))})", found)
    return dict.fromkeys(found, "a version") | {row["id"]: f"v{row['number']}" for row in rows}


def _text(message: StoredMessage) -> str:
    return FORGOTTEN if message.content is None else message.content


def read_branch(store: Store, prompt: StoredMessage, answer_id: str | None) -> Turn:
    """`read_turn`, with the number of its branch."""
    turn = read_turn(store, prompt, answer_id)
    tree = Tree(store.threads.tree(prompt.thread_id))
    here = tree.beside(prompt.id, tree.batch(turn.answers[0].message_id) if turn.answers else "")
    return replace(turn, version=here.at + 1, versions=len(here.branches)) if here.branches else turn


def tip_turn(store: Store, thread: Thread) -> Turn | None:
    """The turn that a thread goes on from; without answers when its question has none yet."""
    tip = thread.tip_message_id
    if tip is None:
        return None
    message = store.threads.message(tip)
    if message.role == "assistant" and message.parent_id:
        return read_branch(store, store.threads.message(message.parent_id), tip)
    return read_branch(store, message, None) if message.role == "user" else None


def visited_turn(store: Store, thread: Thread, prompt_id: str) -> tuple[Turn, int] | None:
    """A turn on the way to the thread's tip, with the answer that the way goes through; and how many come after it.

    None where the way does not go through it.
    """
    path = store.threads.path(thread.tip_message_id) if thread.tip_message_id else []
    at = next((i for i, message in enumerate(path) if message.id == prompt_id), None)
    if at is None:
        return None
    answer = path[at + 1].id if at + 1 < len(path) else None
    later = sum(message.role == "user" for message in path[at + 1 :])
    return read_branch(store, path[at], answer), later


def way_to(store: Store, thread: Thread, message_id: str) -> tuple[str, str | None] | None:
    """(its question, where the thread has to go on from) so that the way leads through the turn of a message.

    The second is None where it does already; else it is the end of the latest branch that holds the turn. None for a
    message that is in no turn, or is there no more.
    """
    messages = store.threads.tree(thread.id)
    tree, nodes = Tree(messages), {node.id: node for node in messages if not node.forgotten}
    message = nodes.get(message_id)
    prompt_id = message.parent_id if message is not None and message.role == "assistant" else message_id
    if prompt_id is None or prompt_id not in nodes or nodes[prompt_id].role != "user":
        return None
    batch = tree.batch(message_id) if prompt_id != message_id else None
    seen, end = None, thread.tip_message_id
    while end is not None and end != prompt_id:
        seen, end = end, nodes[end].parent_id if end in nodes else None
    if end == prompt_id and (batch is None or (seen is not None and tree.batch(seen) == batch)):
        return prompt_id, None
    last = tree.end(tree.newest(prompt_id) if batch is None else Branch(prompt_id, batch, message_id))
    turn = read_branch(store, store.threads.message(last.prompt_id), last.answer_id)
    return prompt_id, turn.continues_id or turn.prompt_id


def way(store: Store, thread: Thread) -> list[str]:
    """The questions on the way to the thread's tip, oldest first."""
    path = store.threads.path(thread.tip_message_id) if thread.tip_message_id else []
    return [message.id for message in path if message.role == "user"]


def past_turns(store: Store, prompt_id: str, shown: int) -> tuple[tuple[PastTurn, ...], int]:
    """The last `shown` turns before a question, and how many came before those."""
    pairs = _pairs(store, prompt_id)
    hidden = max(0, len(pairs) - shown)
    return _as_past(store, pairs[hidden:]), hidden


def turns_between(store: Store, prompt_id: str, start: int, stop: int) -> tuple[PastTurn, ...]:
    """Of the turns before a question those from start to stop, the first of the thread being 0."""
    return _as_past(store, _pairs(store, prompt_id)[start:stop])


def _pairs(store: Store, prompt_id: str) -> list[tuple[StoredMessage, StoredMessage]]:
    """The questions before this one, each with the answer that the chat went on from."""
    path = store.threads.path(prompt_id)[:-1]
    return [(q, a) for q, a in pairwise(path) if q.role == "user" and a.role == "assistant"]


def _as_past(store: Store, pairs: Sequence[tuple[StoredMessage, StoredMessage]]) -> tuple[PastTurn, ...]:
    return tuple(PastTurn(q.id, _text(q), _text(a), _mark(store, q, a)) for q, a in pairs)


def _mark(store: Store, question: StoredMessage, answer: StoredMessage) -> str:
    """How the answer that the thread goes on from was chosen; a later word on the turn may be of another one."""
    turn = read_turn(store, question, answer.id)
    among = len(turn.answers)
    corrected = next((i for i in turn.corrections if turn.chosen == i and turn.continues_id == answer.id), None)
    if corrected is not None:
        return f"{label(corrected)}, corrected"
    index = next((i for i, one in enumerate(turn.answers) if one.message_id == answer.id), None)
    if index is None:
        return "corrected"
    bad = "; all bad" if turn.all_bad else ""
    if turn.chosen is None and index == turn.preferred:
        return f"{label(index)}, the reward model's choice of {among}{bad}"
    if turn.chosen == index and turn.continues_id == answer.id:
        return f"{label(index)}, {'picked' if turn.picked == index else 'ranked first'} of {among}"
    if among == 1:
        return f"{label(index)}, bad" if bad else ""
    first = "the first" if index == 0 else "one"
    since = "" if turn.chosen is None else f"; {label(turn.chosen)} was chosen since"
    return f"{label(index)}, {first} of {among}{since}{bad}"


def system_prompt(store: Store, thread: Thread) -> str:
    """What the model is told first in a thread; imports have it as a message alone."""
    first = "SELECT content FROM messages WHERE thread_id = ? AND role = 'system' AND parent_id IS NULL LIMIT 1"
    return thread.system_prompt or str(store.value(first, [thread.id]) or "")


def _by_itself(turn: Turn) -> str | None:
    """Where the chat goes on from while nothing was chosen."""
    if turn.preferred is not None:
        return turn.answers[turn.preferred].message_id
    return next((answer.message_id for answer in turn.answers if not answer.forgotten), None)


def with_judgments(turn: Turn, judgments: Sequence[Judgment], texts: dict[str, str]) -> Turn:
    """turn with the judgments in force, oldest first; the newest choice says where the chat goes on from."""
    at = {answer.message_id: index for index, answer in enumerate(turn.answers)}
    changes: dict[str, Any] = {
        "thumbs": {},
        "ratings": {},
        "corrections": {},
        "notes": {},
        "flags": {},
        "continues_id": _by_itself(turn),
    }
    for judgment in judgments:
        items = [item for item in judgment.items if item.message_id in at]
        if not items or judgment.source != "chat" or judgment.reasked is not None:
            continue
        if judgment.kind == "pick":
            best = next((at[item.message_id] for item in items if item.rank == 0), None)
            if best is not None:
                changes |= {"picked": best, "chosen": best, "continues_id": turn.answers[best].message_id}
        elif judgment.kind == "ranking":
            ranks = sorted({item.rank or 0 for item in items})
            groups = tuple(tuple(sorted(at[i.message_id] for i in items if (i.rank or 0) == rank)) for rank in ranks)
            # an answer that was forgotten has no rank any more, and comes last
            rest = tuple(index for index, answer in enumerate(turn.answers) if answer.forgotten)
            changes["groups"] = (*groups, rest) if rest else groups
            if len(groups) > 1:
                changes |= {"chosen": groups[0][0], "continues_id": turn.answers[groups[0][0]].message_id}
        elif judgment.kind == "all_bad":
            changes["all_bad"] = True
        elif judgment.kind == "thumb":
            changes["thumbs"][at[items[0].message_id]] = items[0].value
        elif judgment.kind == "rating":
            changes["ratings"] |= {at[item.message_id]: item.score for item in items}
        elif judgment.kind == "note":
            changes["notes"][at[items[0].message_id]] = str(judgment.payload.get("text", ""))
        elif judgment.kind == "flag":
            flags = changes["flags"].setdefault(at[items[0].message_id], {})
            flags[str(judgment.payload.get("rule"))] = bool(items[0].value)
        elif judgment.kind == "correction":
            index = at.get(str(judgment.payload.get("of")))
            better = next((item.message_id for item in judgment.items if item.rank == 0), None)
            if index is not None and better is not None:
                changes["corrections"][index] = texts.get(better, "")
                changes |= {"chosen": index, "continues_id": better}
    return replace(turn, **changes)
