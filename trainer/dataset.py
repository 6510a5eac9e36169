"""From judgments to token ids, grouped by turn: a prompt once, each distinct answer once, preferences as indexes.

An answer's stored token ids are used as they are: tokenising its text again could give others, and whether it ended
by itself (and so carries its end-of-turn token) is known only there. Texts that this model did not generate
(corrections, imports, what was judged from the shell) are tokenised as whole answers. Answers to the same
conversation, asked twice, are one turn: the split and the bootstrap count prompts.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from chatapp.engine.base import Message
from chatapp.engine.vocab import Vocab
from storage.preferences import Derived
from trainer.logprobs import TokenTurn

if TYPE_CHECKING:
    from storage.store import Store
    from storage.threads import Generation

OWN = ("chat", "judge")
#: beyond these a temperature says nothing of a distribution: 0 is greedy
COLDEST, HOTTEST = 0.5, 1.5


@dataclass(frozen=True, slots=True)
class PairRef:
    """A preference between two responses of one turn, by their indexes."""

    chosen: int
    rejected: int
    weight: float
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class SingleRef:
    """A response that is good or bad by itself."""

    response: int
    good: bool
    weight: float


@dataclass(frozen=True, slots=True)
class DemoRef:
    """A response to imitate."""

    response: int
    weight: float


@dataclass(frozen=True, slots=True)
class LabelRef:
    """Whether a response breaks a rule."""

    response: int
    rule: str
    violated: bool
    weight: float = 1.0
    own: bool = True  #: said by the user himself


@dataclass(slots=True)
class Turn:
    """Everything learned from the answers to one conversation."""

    key: str  #: of the conversation: the same text has the same key
    split: str  #: "train" or "held_out"
    messages: list[Message]
    prompt: list[int]
    responses: list[list[int]] = field(default_factory=list)
    pairs: list[PairRef] = field(default_factory=list)
    demos: list[DemoRef] = field(default_factory=list)
    singles: list[SingleRef] = field(default_factory=list)
    judgments: set[str] = field(default_factory=set)
    from_base: list[int] = field(default_factory=list)  #: indexes of the responses that the base itself gave
    temperature: float = 1.0  #: at which the responses were drawn
    drawers: dict[int, str] = field(default_factory=dict)  #: adapters, of any model, by the response that they drew
    labels: list[LabelRef] = field(default_factory=list)  #: where they were asked for
    corrections: set[str] = field(default_factory=set)  #: of the judgments, those that gave demonstrations

    @property
    def tokens(self) -> TokenTurn:
        return TokenTurn(self.prompt, self.responses, self.temperature)

    @property
    def weight(self) -> float:
        return sum(x.weight for group in (self.pairs, self.demos, self.singles) for x in group)

    def index(self, response: Sequence[int]) -> int:
        """The place of a response, adding it if it is new."""
        ids = list(response)
        if ids not in self.responses:
            self.responses.append(ids)
        return self.responses.index(ids)


def best_and_worst(turn: Turn) -> Turn:
    """The turn with one of its pairs, the one between answers that are furthest apart, at the weight of all.

    Of a ranking of four that is the first against the last: half of the tokens for nine tenths of the signal. (At the
    base, DPO's gradient gives the four answers the weights 3, 1, -1, -3; 3 and -3 are 18 of the squares' sum of 20.)
    A good and a bad answer that are a pair too are left to the pair, with their weight. What is a demonstration, or is
    otherwise judged by itself, stays.
    """
    good, bad = ({s.response for s in turn.singles if s.good is kind} for kind in (True, False))
    said = {i for p in turn.pairs if p.chosen in good and p.rejected in bad for i in (p.chosen, p.rejected)}
    alone = [s for s in turn.singles if s.response not in said]
    if len(turn.pairs) < 2 and len(alone) == len(turn.singles):
        return turn
    standing = [0.0] * len(turn.responses)
    for pair in turn.pairs:
        standing[pair.chosen] += pair.weight
        standing[pair.rejected] -= pair.weight
    best = max(turn.pairs, key=lambda p: standing[p.chosen] - standing[p.rejected])
    kept = {best.chosen, best.rejected, *(d.response for d in turn.demos), *(s.response for s in alone)}
    place = {old: new for new, old in enumerate(sorted(kept))}
    weight = turn.weight - sum(d.weight for d in turn.demos) - sum(s.weight for s in alone)
    return replace(
        turn,
        responses=[turn.responses[i] for i in sorted(kept)],
        pairs=[replace(best, chosen=place[best.chosen], rejected=place[best.rejected], weight=weight)],
        demos=[replace(d, response=place[d.response]) for d in turn.demos],
        singles=[replace(s, response=place[s.response]) for s in alone],
        from_base=[place[i] for i in turn.from_base if i in place],
        drawers={place[i]: adapter for i, adapter in turn.drawers.items() if i in place},
    )


@dataclass(slots=True)
class Dataset:
    turns: list[Turn]
    judgments: list[tuple[str, str]]  #: (judgment, split) of all that the turns come from
    dropped: dict[str, int]  #: what could not be used and why: "forgotten", "too_long", "empty", "identical"
    unused: list[str] = field(default_factory=list)  #: one's own judgments that could not be used at all

    @property
    def train(self) -> list[Turn]:
        return [t for t in self.turns if t.split == "train"]

    @property
    def held_out(self) -> list[Turn]:
        return [t for t in self.turns if t.split == "held_out"]

    def counts(self) -> dict[str, float]:
        """For the run's metrics."""
        return {
            "data.prompts": len(self.turns),
            "data.held_out_prompts": len(self.held_out),
            "data.pairs": sum(len(t.pairs) for t in self.turns),
            "data.demonstrations": sum(len(t.demos) for t in self.turns),
            "data.unpaired": sum(len(t.singles) for t in self.turns),
            "data.responses": sum(len(t.responses) for t in self.turns),
            "data.tokens": sum(t.tokens.tokens for t in self.turns),
            **{f"dropped.{why}": count for why, count in self.dropped.items()},
        }


def gather(
    store: Store, include: Sequence[str], most: int, *, labels: bool = False
) -> tuple[Derived, dict[str, float]]:
    """The examples to learn from: all of one's own, and those of at most `most` prompts of others.

    Read in parts, so a million imported pairs take no more memory than what is kept. Which prompts those are is a
    random draw by a hash of their ids: it is the same in every run, so that a version can be gone on from. Their
    total weight is capped in `build`, so leaving some out lets the others weigh more. labels: what was flagged too.
    Returns how many there were too.
    """
    names = ("pairs", "unpaired", "demonstrations", *(("rule_labels",) if labels else ()))
    kept = Derived([], [], [], [])
    drawn: list[tuple[int, str]] = []  # a heap with the largest hash first, negated
    others: dict[str, list[tuple[str, Any]]] = {}
    prompts = 0
    for part in store.judgments.each_derived(include):
        theirs: dict[str, list[tuple[str, Any]]] = {}
        for name in names:
            for example in getattr(part, name):
                if example.source in OWN:
                    getattr(kept, name).append(example)
                else:
                    theirs.setdefault(example.prompt_id, []).append((name, example))
        for id, examples in theirs.items():  # all examples of one prompt are in one part
            prompts += 1
            place = -int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "big")
            out = None
            if len(drawn) < most:
                heapq.heappush(drawn, (place, id))
            else:
                _, out = heapq.heappushpop(drawn, (place, id))
            if out != id:
                others[id] = examples
                others.pop(out or "", None)
    for id in sorted(others):
        for name, example in others[id]:
            getattr(kept, name).append(example)
    counts = {"included.prompts": float(prompts), "included.left_out": float(prompts - len(others))}
    return kept, counts if prompts else {}


def build(
    store: Store,
    derived: Derived,
    vocab: Vocab,
    model_hash: str,
    *,
    max_prompt: int = 1024,
    max_response: int = 1024,
    weight_of_others: float | None = None,
    temperature: float | None = None,
) -> Dataset:
    """Token ids of all examples, split by prompt.

    max_prompt, max_response: tokens. A longer prompt loses its oldest turns (the system prompt stays); a longer
    answer is cut and then carries no end-of-turn token. weight_of_others: of an imported or AI judgment; None caps
    their sum at that of the user's own, or leaves it where there are none of his own. temperature: of every turn's
    log-probabilities; None: that at which its answers were drawn.
    """
    examples: list[Any] = [*derived.pairs, *derived.unpaired, *derived.demonstrations]
    prompts: dict[str, list[Message]] = {
        id: [Message(role=m["role"], content=m["content"]) for m in messages]
        for id, messages in store.threads.conversations(
            {e.prompt_id for e in [*examples, *derived.rule_labels]}
        ).items()
    }
    sides, apart = store.splits.assign(prompts), store.splits.apart(prompts)
    wanted = {id for p in derived.pairs for id in (p.chosen_id, p.rejected_id)}
    alone: list[Any] = [*derived.unpaired, *derived.demonstrations, *derived.rule_labels]
    wanted |= {each.message_id for each in alone}
    texts = {id: m.content for id, m in store.threads.messages(wanted).items() if m.content is not None}
    generations = store.threads.generations(texts)
    scale, flags = _scale(examples, weight_of_others), _scale(derived.rule_labels, weight_of_others)
    dropped = {"forgotten": 0, "too_long": 0, "cut": 0, "empty": 0, "identical": 0}
    responses: dict[str, list[int]] = {}
    for id, text in texts.items():
        ids = answer_ids(vocab, text, generations.get(id), model_hash)
        dropped["cut"] += len(ids) > max_response
        responses[id] = ids[:max_response]

    turns: dict[str, Turn | None] = {}
    drawn: dict[str, dict[str, float]] = {}  # temperatures by turn and answer

    def turn_of(prompt_id: str, *answers: str) -> Turn | None:
        if prompt_id not in prompts or any(a not in responses for a in answers):
            dropped["forgotten"] += 1
            return None
        if not all(responses[a] for a in answers):
            dropped["empty"] += 1
            return None
        key = apart.get(prompt_id) or conversation_key(prompts[prompt_id])
        if key not in turns:
            ids = fit_prompt(vocab, prompts[prompt_id], max_prompt)
            turns[key] = Turn(key, sides[prompt_id], prompts[prompt_id], ids) if ids else None
        turn = turns[key]
        if turn is None:
            dropped["too_long"] += 1
            return None
        for answer in answers:
            made = generations.get(answer)
            at = made.sampling.get("temperature") if made and made.model_hash == model_hash else None
            if isinstance(at, int | float):  # an import may say anything
                drawn.setdefault(key, {})[answer] = at
            known = len(turn.responses)
            if turn.index(responses[answer]) == known and made:
                if made.adapter_id is None:
                    turn.from_base.append(known)
                else:
                    turn.drawers[known] = made.adapter_id
        return turn

    for pair in derived.pairs:
        turn = turn_of(pair.prompt_id, pair.chosen_id, pair.rejected_id)
        if turn is None:
            continue
        chosen, rejected = turn.index(responses[pair.chosen_id]), turn.index(responses[pair.rejected_id])
        turn.judgments.add(pair.judgment_id)
        if chosen == rejected:
            dropped["identical"] += 1
        else:
            turn.pairs.append(PairRef(chosen, rejected, pair.weight * scale[pair.source], pair.margin))
    for single in derived.unpaired:
        if turn := turn_of(single.prompt_id, single.message_id):
            turn.judgments.add(single.judgment_id)
            place = turn.index(responses[single.message_id])
            turn.singles.append(SingleRef(place, single.good, single.weight * scale[single.source]))
    for demo in derived.demonstrations:
        if turn := turn_of(demo.prompt_id, demo.message_id):
            turn.judgments.add(demo.judgment_id)
            turn.corrections.add(demo.judgment_id)
            place = turn.index(responses[demo.message_id])
            turn.demos.append(DemoRef(place, demo.weight * scale[demo.source]))
    for label in derived.rule_labels:
        if turn := turn_of(label.prompt_id, label.message_id):
            turn.judgments.add(label.judgment_id)
            place = turn.index(responses[label.message_id])
            own = label.source in OWN
            turn.labels.append(LabelRef(place, label.rule_id, label.violated, flags[label.source], own))
    kept = [t for t in turns.values() if t is not None and (t.pairs or t.singles or t.demos or t.labels)]
    for turn in kept:
        turn.temperature = temperature or drawn_at(drawn.get(turn.key, {}).values())
    judgments = [(j, t.split) for t in kept for j in sorted(t.judgments)]
    used = {judgment for turn in kept for judgment in turn.judgments}
    unused = sorted({e.judgment_id for e in examples if e.source in OWN} - used)
    return Dataset(kept, judgments, {why: n for why, n in dropped.items() if n}, unused)


def drawn_at(temperatures: Iterable[float]) -> float:
    """The temperature of a turn whose answers were drawn at these: their mean, within COLDEST and HOTTEST; none: 1.

    The score of an answer, the gradient of its log-probability, is 0 on average under the distribution that it was
    drawn from, and under no other. Where answers of temperature 0.8 are scored at 1, each has a part in common with
    all: "be as sure as these are". What differs of it between two answers is what they are about, not what was liked
    (docs/experiments.md).
    """
    found = list(temperatures)
    return min(max(sum(found) / len(found), COLDEST), HOTTEST) if found else 1.0


def conversation_key(messages: Sequence[Message]) -> str:
    """The same for the same roles and texts."""
    return hashlib.sha256(json.dumps([[m["role"], m["content"]] for m in messages]).encode()).hexdigest()


def answer_ids(vocab: Vocab, text: str, generation: Generation | None, model_hash: str) -> list[int]:
    """An answer's tokens: the stored ones if this model drew them, else its text's."""
    if generation is None:
        return vocab.response_ids(text)
    if generation.token_ids is not None and generation.model_hash == model_hash:
        return list(generation.token_ids)
    return vocab.response_ids(text) if generation.finish_reason == "stop" else vocab.tokenize(text)


def fit_prompt(vocab: Vocab, messages: Sequence[Message], limit: int) -> list[int] | None:
    """The prompt's tokens, without its oldest turns if it is longer than limit; None if its last message is."""
    system = [m for m in messages[:1] if m["role"] == "system"]
    rest = list(messages[len(system) :])
    while rest:
        ids = vocab.prompt_ids([*system, *rest])
        if len(ids) <= limit:
            return ids
        # a conversation begins with a user's message: go on to the next one
        rest = rest[1:]
        while rest and rest[0]["role"] != "user":
            rest = rest[1:]
    return None


def _scale(examples: Iterable[Any], weight_of_others: float | None) -> dict[str, float]:
    """A factor for each source, so that a million imported pairs do not drown forty of one's own."""
    total: dict[str, float] = {}
    for example in examples:
        total[example.source] = total.get(example.source, 0.0) + getattr(example, "weight", 1.0)  # a flag has none
    own = sum(w for source, w in total.items() if source in OWN)
    others = sum(w for source, w in total.items() if source not in OWN)
    if weight_of_others is not None:
        factor = weight_of_others
    else:
        factor = min(1.0, own / others) if own and others else 1.0
    return {source: 1.0 if source in OWN else factor for source in total}
