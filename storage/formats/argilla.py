"""Argilla's records: a turn for each annotator who submitted something. Drafts and what was discarded are left out.

Read are the records of Argilla 2 (`records.to_json`, which does not say who submitted, and flat as
`to_list(flatten=True)` or the hub has them) and those of a FeedbackDataset of Argilla 1 (as JSON, and flat as the hub
has them). The settings of the dataset are not in the records, so what fields and questions mean is told by their
names, as in Argilla's own templates and distilabel's:

- the prompt is a field prompt, instruction, question, query, input or a chat (conversation, chat, messages, history);
  input and context are added below it, a chat and system stand before it. Answers are response-1, response2,
  generation_a, chosen, rejected and the like;
- a ranking (1 is the best, ties are allowed) is one; a label that names an answer is a pick;
- a rating belongs to the answer that its question names (response-1-rating, rating_1; with one answer any rating does
  that does not name the prompt). How far its scale goes is not said: a record without a rating above 5 is read as
  1 to 5, Argilla's usual scale, and spread over Hone's seven steps as 1, 2, 4, 6, 7; one with a 6 or 7 is taken as it
  is. 0 and what is above 7 is refused: ten steps would not stay apart;
- a text is a correction where its question is named for an answer (response, corrected-response, improved_answer): of
  the one answer that it names or of all, a demonstration where there was none. A rationale, a comment and the like are
  notes;
- several rankings, or several ratings of one answer, are left out unless one of them is the overall one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from storage.errors import RecordError
from storage.formats import turn
from storage.formats.turn import Conversation, Mark, Said, Turn

_PROMPTS = ("prompt", "instruction", "question", "query", "input")
_CHATS = ("conversation", "chat", "messages", "history")
_BESIDE = ("input", "context")
_SYSTEM = ("system", "system_prompt", "system-prompt")
_ANSWERS = frozenset(
    word + plural
    for word in ("response", "generation", "completion", "answer", "output", "candidate", "reply", "option")
    for plural in ("", "s")
) | {"replies"}
_SIDES = frozenset(("chosen", "rejected"))
#: words of questions that ask about something else than an answer
_ELSEWHERE = frozenset((*_PROMPTS, *_CHATS, "context", "system", "document", "retrieved"))
_REMARKS = frozenset(
    ("rationale", "reason", "reasons", "comment", "comments", "feedback", "explanation", "note", "notes", "critique")
)
_REWORDED = frozenset(
    ("corrected", "correction", "improved", "edited", "rewritten", "revised", "better", "new", "final")
)
#: of several questions of a kind the one that is named so counts
_OVERALL = ("overall", "preference", "rating", "score")
#: by a rating of 1 to 5
_OF_FIVE = (1, 2, 4, 6, 7)


@dataclass
class _Asked:
    """A record: what was asked and answered, each answer once."""

    prompt: Conversation
    answers: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)  #: by field

    def about(self, question: str) -> int | None:
        """The answer that a question names, by its field or by its number or letter; None if it names none."""
        words = _words(question)
        named = [name for name in self.places if _within(_words(name), words)]
        if named:
            longest = max(len(_words(name)) for name in named)
            found = {self.places[name] for name in named if len(_words(name)) == longest}
            return found.pop() if len(found) == 1 else None
        if _ELSEWHERE.intersection(words):
            return None
        marks = [word for word in words if _is_mark(word)]
        found = {place for name, place in self.places.items() if marks and _words(name)[-1:] == marks}
        return found.pop() if len(found) == 1 else None

    def only(self, question: str) -> int | None:
        """The answer that a question names, or the only one there is, unless the question is about something else."""
        found = self.about(question)
        if found is None and len(self.answers) == 1 and not _ELSEWHERE.intersection(_words(question)):
            return 0
        return found


def parse(row: Any) -> list[Turn]:
    if not isinstance(row, dict):
        turn.fields(row, "fields", "responses")
    fields, annotators = _record(row)
    asked = _asked(fields)
    found = []
    for values in annotators:
        answers, said = _said(asked, values)
        if any(one.kind != "note" for one in said):
            found.append(Turn(turn.checked(asked.prompt), tuple(answers), tuple(said)))
    if not annotators:
        raise RecordError("nobody submitted a response")
    if not found:
        names = ", ".join(dict.fromkeys(f"{name!r:.40}" for values in annotators for name in values)) or "none"
        there = ", ".join(f"{name!r:.40}" for name in asked.places) or "none"
        raise RecordError(f"no question ({names:.200}) ranks, rates or corrects an answer (fields: {there:.200})")
    return found


# the shapes that records come in


def _record(row: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The fields, and by annotator the values by question."""
    found: dict[str, dict[str, Any]] = {}
    if "fields" not in row:
        for who, question, value in _flat(row):
            found.setdefault(who, {})[question] = value
        return row, list(found.values())
    if not isinstance(row["fields"], dict):
        raise RecordError(f"fields is {turn.shown(row['fields'])}; it must be an object")
    responses = row.get("responses")
    if isinstance(responses, dict):
        for question, given in responses.items():
            for who, value in _given(given):
                found.setdefault(who, {})[question] = value
    elif isinstance(responses, list):
        for place, response in enumerate(responses):
            if isinstance(response, dict) and _submitted(response.get("status")):
                values = response.get("values")
                for part in values if isinstance(values, list) else [values]:
                    for question, given in part.items() if isinstance(part, dict) else ():
                        if isinstance(given, dict) and given.get("value") is not None:
                            found.setdefault(str(place), {})[question] = given["value"]
    elif responses is not None:
        raise RecordError(f"responses is {turn.shown(responses)}; it must be a list or an object")
    return row["fields"], list(found.values())


def _flat(row: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Annotator, question, value. Argilla 2 has columns `q.responses`, Argilla 1 lists of {user_id, value, status}."""
    for name, column in row.items():
        if not isinstance(column, list):
            continue
        if name.endswith(".responses"):
            users, statuses = (row.get(f"{name}.{what}") for what in ("users", "status"))
            for place, value in enumerate(column):
                who = _at(users, place)
                if value is not None and _submitted(_at(statuses, place)):
                    yield who if isinstance(who, str) else str(place), name.removesuffix(".responses"), value
        elif column and all(isinstance(one, dict) and "value" in one and "user_id" in one for one in column):
            for who, value in _given(column):
                yield who, name, value


def _given(column: Any) -> Iterator[tuple[str, Any]]:
    """Annotator and value, of a list of {user_id, value, status}. Argilla 2 leaves the status out."""
    if not isinstance(column, list):
        raise RecordError(f"the responses to a question are {turn.shown(column)}; they must be a list")
    for place, one in enumerate(column):
        if isinstance(one, dict) and one.get("value") is not None and _submitted(one.get("status")):
            who = one.get("user_id")
            yield who if isinstance(who, str) else str(place), one["value"]


def _submitted(status: Any) -> bool:
    return status is None or status == "submitted"


def _at(column: Any, place: int) -> Any:
    return column[place] if isinstance(column, list) and place < len(column) else None


# what was asked


def _asked(fields: dict[str, Any]) -> _Asked:
    asks, chat = (next((name for name in names if fields.get(name)), None) for names in (_PROMPTS, _CHATS))
    prompt = turn.messages(fields[chat], chat, role="user") if chat else []
    if asks:
        if chat and prompt[-1]["role"] != "assistant":
            raise RecordError(f"both {asks!r} and {chat!r} are prompts")
        texts = [turn.text(fields[name], name) for name in _BESIDE if name != asks and fields.get(name)]
        last = turn.messages(fields[asks], asks, role="user")
        if texts and len(last) == 1:
            last[0]["content"] = "\n".join([last[0]["content"], *texts])
        prompt += last
    if not prompt:
        there = ", ".join(f"{key!r:.40}" for key in list(fields)[:12]) or "none"
        raise RecordError(f"no field is a prompt ({', '.join((*_PROMPTS, *_CHATS))}); there are {there}")
    system = next((fields[name] for name in _SYSTEM if fields.get(name)), None)
    if system and prompt[0]["role"] != "system":
        prompt.insert(0, {"role": "system", "content": turn.text(system, "system")})
    asked = _Asked(prompt)
    for name, value in fields.items():
        words = _words(name)
        if value and name not in _PROMPTS and (_SIDES.issuperset(words) or _is_answer(words)) and words:
            _add(asked, name, value)
    if not asked.places and prompt[-1]["role"] == "assistant":
        _add(asked, "response", prompt.pop()["content"])
    return asked


def _add(asked: _Asked, name: str, value: Any) -> None:
    if isinstance(value, list):
        if not all(isinstance(part, dict) and "content" in part for part in value):
            return  # the answers to a question of this name
        value = turn.one_answer(turn.messages(value, name), name)
    text = turn.text(value, name)
    if text.strip():
        if text not in asked.answers:
            asked.answers.append(text)
        asked.places[name] = asked.answers.index(text)


def _is_answer(words: list[str]) -> bool:
    """Of an answer's name, maybe with a number or letter: response, response 1, generations b."""
    return words[:1] != [] and words[0] in _ANSWERS and (len(words) == 1 or (len(words) == 2 and _is_mark(words[1])))


def _is_mark(word: str) -> bool:
    return word.isdigit() or len(word) == 1


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+|[0-9]+", name.lower())


def _within(part: list[str], whole: list[str]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


# what was said


def _said(asked: _Asked, values: dict[str, Any]) -> tuple[list[str], list[Said]]:
    """The answers, with corrections among them, and what one annotator said of them."""
    answers = list(asked.answers)
    rankings: dict[str, Said] = {}
    ratings: dict[int, dict[str, int]] = {}
    said: list[Said] = []
    notes: list[Said] = []
    for question, value in values.items():
        words = _words(question)
        if isinstance(value, list | dict):
            if ranked := _ranking(asked, value):
                rankings[question] = ranked
        elif isinstance(value, int) and not isinstance(value, bool):
            if (place := asked.only(question)) is not None:
                ratings.setdefault(place, {})[question] = value
        elif not isinstance(value, str) or not value.strip():
            continue
        elif value in asked.places and len(asked.answers) > 1:
            best = asked.places[value]
            others = (Mark(place, rank=1) for place in range(len(asked.answers)) if place != best)
            said.append(Said("pick", (Mark(best, rank=0), *others)))
        elif _REMARKS.intersection(words):
            place = asked.only(question)
            noted = range(len(asked.answers)) if place is None else (place,)
            if noted:
                notes.append(Said("note", tuple(Mark(at) for at in noted), {"text": turn.text(value, "a note")}))
        elif _rewords(words, asked, question):
            text = turn.answer(value, "a correction")
            if text not in answers:
                place = asked.about(question)
                worse = range(len(asked.answers)) if place is None else (place,)
                answers.append(text)
                marks = (Mark(at, rank=1) for at in worse)
                said.append(Said("correction", (Mark(len(answers) - 1, rank=0), *marks)))
    if overall := _overall(rankings):
        said.insert(0, rankings[overall])
    scores = {place: named[overall] for place, named in sorted(ratings.items()) if (overall := _overall(named))}
    if scores:
        said.append(Said("rating", tuple(Mark(place, score=score) for place, score in _scaled(scores).items())))
    return answers, [*said, *notes]


def _overall(questions: dict[str, Any]) -> str | None:
    """The one question, or the one that asks for the whole."""
    if len(questions) > 1:
        for word in _OVERALL:
            named = [question for question in questions if word in _words(question)]
            if len(named) == 1:
                return named[0]
        return None
    return next(iter(questions), None)


def _ranking(asked: _Asked, value: Any) -> Said | None:
    """Of [{value, rank}], {value: [...], rank: [...]} as the hub has it, or, in Argilla 2, the answers in order."""
    if isinstance(value, dict):
        names, ranks = value.get("value"), value.get("rank")
        if not isinstance(names, list) or not isinstance(ranks, list) or len(names) != len(ranks):
            return None
        pairs = list(zip(names, ranks, strict=True))
    elif all(isinstance(one, dict) for one in value):
        pairs = [(one.get("value"), one.get("rank")) for one in value]
    elif all(isinstance(one, str) for one in value) and len(value) == len(asked.places):
        pairs = list(
            zip(value, range(len(value)), strict=True)
        )  # several labels can look the same, but rarely name all
    else:
        return None
    best: dict[int, int] = {}
    for name, rank in pairs:
        place = asked.places.get(name, asked.about(name)) if isinstance(name, str) else None
        if place is None:
            return None
        if isinstance(rank, int) and not isinstance(rank, bool):
            best[place] = min(rank, best.get(place, rank))
    if len(best) < 2:
        return None
    order = sorted(set(best.values()))
    return Said("ranking", tuple(Mark(place, rank=order.index(rank)) for place, rank in sorted(best.items())))


def _rewords(words: list[str], asked: _Asked, question: str) -> bool:
    """Whether a question asks for an answer as it should be."""
    if _ELSEWHERE.intersection(words) and asked.about(question) is None:
        return False
    left = [word for word in words if word not in _ANSWERS and not _is_mark(word)]
    return _REWORDED.issuperset(left) and bool(words)


def _scaled(scores: dict[int, int]) -> dict[int, int]:
    low, high = min(scores.values()), max(scores.values())
    if low < 1 or high > 7:
        wrong = low if low < 1 else high
        raise RecordError(f"a rating is {turn.shown(wrong)}; ratings of 1 to 5 or 1 to 7 can be read")
    return scores if high > 5 else {place: _OF_FIVE[score - 1] for place, score in scores.items()}
