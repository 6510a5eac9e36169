"""The records of Argilla: rankings, ratings, labels and texts, in the shapes that its versions write."""

from __future__ import annotations

from typing import Any

import pytest

from storage.formats import argilla
from storage.formats.turn import Mark, Said, Turn
from tests.storage.formats.read_only import (
    FIELDS,
    GOOD_QUESTION,
    HELLO,
    HI,
    LIGHT,
    NO_IDEA,
    RANKED,
    THREE,
    WHY,
    older,
    ranks,
    record,
    refused,
)

SCORED = Said("rating", (Mark(0, score=6), Mark(1, score=2)))


@pytest.mark.parametrize(
    "row",
    [
        older({"preference": RANKED}),
        record(preference=RANKED),
        record(preference=["response-1", "response-2"]),
        {**FIELDS, "preference": [{"user_id": "u", "value": RANKED, "status": "submitted"}], "metadata": "{}"},
        {
            **FIELDS,
            "preference": [
                {
                    "user_id": "u",
                    "value": {"value": ["response-2", "response-1"], "rank": [2, 1]},
                    "status": "submitted",
                }
            ],
        },
        {
            **FIELDS,
            "preference.responses": [["response-1", "response-2"]],
            "preference.responses.users": ["u"],
            "preference.responses.status": ["submitted"],
        },
    ],
)
def test_a_ranking_in_all_the_shapes_that_records_come_in(row: Any) -> None:
    assert argilla.parse(row) == [Turn([WHY], (LIGHT, NO_IDEA), (ranks(0, 1),))]


def test_ranks_may_be_tied_and_an_answer_may_be_left_out() -> None:
    fields = {**FIELDS, "response-3": GOOD_QUESTION, "response-4": ""}
    values = [{"value": f"response-{n}", "rank": rank} for n, rank in ((1, 2), (2, 1), (3, 2))]
    assert argilla.parse(record(fields, preference=values)) == [Turn([WHY], THREE, (ranks(1, 0, 1),))]
    row = record(fields, preference=[*values[:2], {"value": "response-3", "rank": None}])
    assert argilla.parse(row)[0].said == (Said("ranking", (Mark(0, rank=1), Mark(1, rank=0))),)


def test_a_rating_belongs_to_the_answer_that_its_question_names() -> None:
    rows = [
        record(rating__response__1=4, rating__response__2=2),
        record({"instruction": WHY["content"], "generations-0": LIGHT, "generations-1": NO_IDEA})
        | {"responses": {"generations-0-rating": [{"value": 4}], "generations-1-rating": [{"value": 2}]}},
        record({"question": WHY["content"], "response_a": LIGHT, "response_b": NO_IDEA}, rating_a=4, rating_b=2),
        record({"input": WHY["content"], "response1": LIGHT, "response2": NO_IDEA}, rating_1=4, rating_2=2),
    ]
    for row in rows:
        if "generations-0-rating" in row["responses"]:
            for given in row["responses"].values():
                given[0]["user_id"] = "u"
        assert argilla.parse(row) == [Turn([WHY], (LIGHT, NO_IDEA), (SCORED,))], row


def test_the_scale_of_a_rating() -> None:
    one = {"prompt": WHY["content"], "response": LIGHT}
    for value, score in ((1, 1), (2, 2), (3, 4), (4, 6), (5, 7), (6, 6), (7, 7)):
        assert argilla.parse(record(one, quality=value))[0].said == (Said("rating", (Mark(0, score=score),)),)
    assert argilla.parse(record(rating_1=6, rating_2=3))[0].said[0].marks == (Mark(0, score=6), Mark(1, score=3))
    for value in (0, 8, 10, -1):
        assert f"a rating is {value}; ratings of 1 to 5 or 1 to 7 can be read" in refused(
            argilla.parse, record(one, quality=value)
        )


def test_of_several_questions_of_a_kind_the_overall_one_counts() -> None:
    one = {"prompt": WHY["content"], "response": LIGHT}
    assert argilla.parse(record(one, helpfulness=1, honesty=2, overall=5))[0].said[0].marks == (Mark(0, score=7),)
    assert "no question ('helpfulness', 'honesty')" in refused(argilla.parse, record(one, helpfulness=1, honesty=2))
    other = [{"value": "response-1", "rank": 2}, {"value": "response-2", "rank": 1}]
    assert argilla.parse(record(honesty=other, preference=RANKED))[0].said == (ranks(0, 1),)
    assert "no question" in refused(argilla.parse, record(honesty=other, length=RANKED))


def test_a_label_that_names_an_answer_is_a_pick() -> None:
    pick = Said("pick", (Mark(1, rank=0), Mark(0, rank=1)))
    assert argilla.parse(record(preference="response-2"))[0].said == (pick,)
    fields = {"prompt": WHY["content"], "chosen": LIGHT, "rejected": NO_IDEA}
    assert argilla.parse(record(fields, better="rejected"))[0].said == (pick,)
    assert "no question ('topic')" in refused(argilla.parse, record(topic="physics"))


def test_a_text_is_a_correction_of_all_answers_or_of_the_one_it_names() -> None:
    better = "Air scatters blue light more than red light."
    everything = Said("correction", (Mark(2, rank=0), Mark(0, rank=1), Mark(1, rank=1)))
    for question in ("response", "corrected-response", "improved_answer", "correction"):
        row = record() | {"responses": {question: [{"value": better, "user_id": "u"}]}}
        assert argilla.parse(row) == [Turn([WHY], (LIGHT, NO_IDEA, better), (everything,))]
    row = older({"corrected-response-2": better, "preference": RANKED, "rationale": "Too short."})
    second = Said("correction", (Mark(2, rank=0), Mark(1, rank=1)))
    note = Said("note", (Mark(0), Mark(1)), {"text": "Too short."})
    assert argilla.parse(row) == [Turn([WHY], (LIGHT, NO_IDEA, better), (ranks(0, 1), second, note))]
    for question in ("corrected-prompt", "new-instruction", "response-topic", "title"):
        row = record() | {"responses": {question: [{"value": better, "user_id": "u"}]}}
        assert "no question" in refused(argilla.parse, row)
    assert "no question" in refused(argilla.parse, record(response=LIGHT))


def test_a_text_for_a_prompt_alone_is_a_demonstration() -> None:
    row = older({"response": LIGHT}, {"prompt": "Why?", "context": "The sky is blue."})
    prompt = [{"role": "user", "content": "Why?\nThe sky is blue."}]
    assert argilla.parse(row) == [Turn(prompt, (LIGHT,), (Said("correction", (Mark(0, rank=0),)),))]


def test_a_rationale_is_a_note_on_the_answer_it_names_and_nothing_by_itself() -> None:
    row = older({"rating-response-1": 5, "response-1-rationale": "Right."})
    rated, note = Said("rating", (Mark(0, score=7),)), Said("note", (Mark(0),), {"text": "Right."})
    assert argilla.parse(row)[0].said == (rated, note)
    assert "no question" in refused(argilla.parse, older({"response-1-rationale": "Right."}))


def test_each_annotator_who_submitted_is_a_turn() -> None:
    row = older({"preference": RANKED})
    for status in ("discarded", "draft", "submitted"):
        row["responses"].append(
            {"user_id": status, "values": {"preference": {"value": "response-2"}}, "status": status}
        )
    assert [turn.said[0].kind for turn in argilla.parse(row)] == ["ranking", "pick"]
    assert "nobody submitted a response" in refused(argilla.parse, older({"preference": RANKED}, status="discarded"))
    flat = {
        **FIELDS,
        "preference.responses": ["response-1", "response-2", "response-2"],
        "preference.responses.users": ["u1", "u2", "u3"],
        "preference.responses.status": ["submitted", "draft", "submitted"],
    }
    assert [turn.said[0].marks[0].answer for turn in argilla.parse(flat)] == [0, 1]


def test_a_chat_is_a_prompt_or_holds_the_one_answer() -> None:
    chat = [HI, HELLO, WHY]
    row = record({"chat": chat, "response": LIGHT}, rating=5)
    assert argilla.parse(row)[0].prompt == chat
    row = record({"chat": [*chat, {"role": "assistant", "content": LIGHT}]}, rating=5)
    assert argilla.parse(row) == [Turn(chat, (LIGHT,), (Said("rating", (Mark(0, score=7),)),))]
    row = record(
        {"system_prompt": "Be brief.", "history": [HI, HELLO], "prompt": WHY["content"], "answer": LIGHT}, rating=5
    )
    assert argilla.parse(row)[0].prompt == [{"role": "system", "content": "Be brief."}, *chat]
    row = record({"chat": chat, "prompt": "Why?", "response": LIGHT}, rating=5)
    assert "both 'prompt' and 'chat' are prompts" in refused(argilla.parse, row)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ([], "expected an object with fields, responses"),
        ({}, "no field is a prompt"),
        (record({"text": "A sentence."}, label="good"), "no field is a prompt"),
        (record(), "nobody submitted a response"),
        ({"fields": [], "responses": []}, "fields is []"),
        ({"fields": FIELDS, "responses": "none"}, "responses is 'none'"),
        ({"fields": FIELDS, "responses": {"preference": "response-1"}}, "must be a list"),
        (
            record({"prompt": "Why?"}, prompt=4),
            "no question ('prompt') ranks, rates or corrects an answer (fields: none)",
        ),
        (record({"prompt": "Why?", "response": {"url": "x"}}, rating=4), "response is an object; it must be a text"),
        (record({"query": "Why?", "retrieved_document_1": "x"}, rating_retrieved_document_1=4), "no question"),
        (record({**FIELDS, "prompt": " "}, preference="response-1"), "the user's last message is empty"),
    ],
)
def test_a_record_that_cannot_be_used(row: Any, why: str) -> None:
    assert why in refused(argilla.parse, row)
