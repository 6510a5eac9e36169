"""The formats that are only read: what their rows say, in the shapes that their programs write."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from storage.errors import RecordError
from storage.formats import READ_ONLY, arena, argilla, module, oasst, open_webui
from storage.formats.files import Source
from storage.formats.turn import Mark, Said, Turn

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

HI = {"role": "user", "content": "Hi."}
HELLO = {"role": "assistant", "content": "Hello!"}
WHY = {"role": "user", "content": "Why is the sky blue?"}
LIGHT, NO_IDEA, GOOD_QUESTION = "Blue light scatters more.", "No idea.", "Good question!"


def ranks(*values: int) -> Said:
    return Said("ranking", tuple(Mark(index, rank=rank) for index, rank in enumerate(values)))


def refused(parse: Any, row: Any) -> str:
    with pytest.raises(RecordError) as error:
        parse(row)
    return str(error.value)


def test_there_is_a_parse_for_each() -> None:
    for name in READ_ONLY:
        assert callable(module(name).parse)


# Open Assistant


def message(text: str, role: str = "assistant", rank: int | None = None, *replies: Any, **more: Any) -> dict[str, Any]:
    return {
        "message_id": text,
        "text": text,
        "role": role,
        "lang": "en",
        "rank": rank,
        "replies": list(replies),
        **more,
    }


def tree(*replies: Any) -> dict[str, Any]:
    prompt = message(WHY["content"], "prompter", None, *replies, deleted=False)
    return {"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": prompt}


def test_a_tree_is_a_ranking_for_each_place_where_replies_were_ranked() -> None:
    thanks = message(
        "Thanks!", "prompter", 0, message("Sure.", "assistant", 1), message("You are welcome.", "assistant", 0)
    )
    row = tree(
        message(LIGHT, "assistant", 1, thanks),
        message(NO_IDEA, "assistant", 3),
        message(GOOD_QUESTION, "assistant", 0, deleted=True),
        message("An answer nobody ranked."),
    )
    after = [WHY, {"role": "assistant", "content": LIGHT}, {"role": "user", "content": "Thanks!"}]
    assert oasst.parse(row) == [
        Turn([WHY], (LIGHT, NO_IDEA), (ranks(0, 1),)),
        Turn(after, ("You are welcome.", "Sure."), (ranks(0, 1),)),
    ]


def test_what_hangs_below_a_deleted_message_is_left_out() -> None:
    gone = message("Thanks!", "prompter", 0, message("A", "assistant", 0), message("B", "assistant", 1), deleted=True)
    row = tree(message(LIGHT, "assistant", 0, gone), message(NO_IDEA, "assistant", 1))
    assert [turn.answers for turn in oasst.parse(row)] == [(LIGHT, NO_IDEA)]


def test_two_replies_that_say_the_same_count_once() -> None:
    row = tree(message("Same.", rank=2), message("Other.", rank=1), message("Same.", rank=0))
    assert oasst.parse(row)[0].answers == ("Same.", "Other.")
    assert "(of 1 answered messages)" in refused(oasst.parse, tree(message("A", rank=0), message("A", rank=1)))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"message_id": "m", "text": "a flat file's line"}, "the field 'prompt' is missing"),
        (tree(), "nowhere in it are two ranked replies of the assistant (of 0 answered"),
        (tree(message("A", rank=0), message("B")), "(of 1 answered messages)"),
        (tree(message("A", "model", 0)), "the role 'model'"),
        (tree({"role": "assistant"}), "the field 'text' is missing"),
        (tree(message("A", rank="0"), message("B", rank=1)), "rank is '0'"),  # type: ignore[arg-type]
        ({"prompt": {"role": "prompter", "text": "A", "replies": None}}, "(of 0 answered messages)"),
        ({"prompt": {"role": "prompter", "text": "A", "replies": "B"}}, "replies is 'B'"),
    ],
)
def test_a_tree_that_says_nothing_is_refused(row: Any, why: str) -> None:
    assert why in refused(oasst.parse, row)


def test_the_hundred_real_trees() -> None:
    path = DATA / "oasst-en-100-trees.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the checkout")
    places: list[tuple[str, list[str]]] = []

    def count(node: Any) -> None:  # recursive, and by hand
        ranked = [n for n in node["replies"] if n["role"] == "assistant" and n.get("rank") is not None]
        ranked = sorted((n for n in ranked if not n["deleted"]), key=lambda n: n["rank"])
        if node["role"] == "prompter" and len(ranked) > 1:
            places.append((node["text"], [n["text"] for n in ranked]))
        for reply in node["replies"]:
            count(reply)

    for line in path.read_text(encoding="utf-8").splitlines():
        count(json.loads(line)["prompt"])
    source = Source(path)
    turns = [turn for _, turn in source.turns(oasst.parse)]
    assert [(turn.prompt[-1]["content"], list(turn.answers)) for turn in turns] == places
    assert len(turns) == 212
    assert sum(len(turn.answers) for turn in turns) == 641
    assert (source.read, source.skipped.count) == (100, 0)
    assert all(turn.said == (ranks(*range(len(turn.answers))),) for turn in turns)


# the Chatbot Arena


def battle(winner: str, a: str = LIGHT, b: str = NO_IDEA, before: Any = (), **more: Any) -> dict[str, Any]:
    return {
        "question_id": "q",
        "model_a": "alpha",
        "model_b": "beta",
        "winner": winner,
        "judge": "arena_user_1",
        "conversation_a": copy.deepcopy([*before, WHY, {"role": "assistant", "content": a}]),
        "conversation_b": copy.deepcopy([*before, WHY, {"role": "assistant", "content": b}]),
        "turn": 1,
        "anony": True,
        "language": "English",
        **more,
    }


def test_a_battle_is_a_pair_a_tie_or_two_bad_answers() -> None:
    assert arena.parse(battle("model_a")) == [Turn([WHY], (LIGHT, NO_IDEA), (ranks(0, 1),))]
    assert arena.parse(battle("model_b")) == [Turn([WHY], (NO_IDEA, LIGHT), (ranks(0, 1),))]
    assert arena.parse(battle("tie")) == [Turn([WHY], (LIGHT, NO_IDEA), (ranks(0, 0),))]
    bad = Said("all_bad", (Mark(0, value=-1), Mark(1, value=-1)))
    for winner in ("tie (bothbad)", "both_bad"):
        assert arena.parse(battle(winner)) == [Turn([WHY], (LIGHT, NO_IDEA), (bad,))]
    assert arena.parse(battle("both_bad", b=LIGHT))[0].answers == (LIGHT,)


def test_a_battle_of_several_turns_is_read_where_only_the_last_answers_differ() -> None:
    assert arena.parse(battle("model_a", before=[HI, HELLO]))[0].prompt == [HI, HELLO, WHY]
    row = battle("model_a", before=[HI, HELLO])
    row["conversation_b"][1] = {"role": "assistant", "content": "What?"}
    assert "differ before their last answers (they have 4 and 4 messages)" in refused(arena.parse, row)


def test_the_newer_files_with_contents_in_parts() -> None:
    def parts(text: str) -> list[dict[str, Any]]:
        return [{"type": "text", "text": text, "image": None, "mimeType": None}]

    row = battle("model_b", evaluation_order=1, conv_metadata={"turns": 1})
    for side in ("a", "b"):
        for said in row[f"conversation_{side}"]:
            said |= {"content": parts(said["content"]), "num_tokens": 3}
    whole = {
        "user": row["conversation_a"][0],
        "model_side_a": row["conversation_a"][1],
        "model_side_b": row["conversation_b"][1],
    }
    row["full_conversation"] = [whole]
    assert arena.parse(row) == [Turn([WHY], (NO_IDEA, LIGHT), (ranks(0, 1),))]
    row["full_conversation"] = [whole, whole]
    assert "judged after 1 earlier turns" in refused(arena.parse, row)
    row["conversation_a"][0]["content"].append({"type": "image", "text": None, "image": "x", "mimeType": "image/png"})
    assert "holds a part of the type 'image'" in refused(arena.parse, row)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (battle("model_c"), "winner is 'model_c'; there are model_a"),
        (battle(["model_a"]), "winner is ['model_a']"),  # type: ignore[arg-type]
        (battle("model_a", b=LIGHT), "chosen and rejected are the same text"),
        (battle("model_a", b=" "), "rejected is empty"),
        ({**battle("tie"), "conversation_b": "[]"}, "conversation_b is '[]'; it must be a list of messages"),
        ({**battle("tie"), "conversation_b": [WHY]}, "conversation_b ends with a message of the user"),
        ({"winner": "tie"}, "the field 'conversation_a' is missing"),
    ],
)
def test_a_battle_that_cannot_be_used(row: Any, why: str) -> None:
    assert why in refused(arena.parse, row)


# Open WebUI


def feedback(rating: Any = 1, siblings: Any = ("beta", "beta"), **data: Any) -> dict[str, Any]:
    """The rating of the answer `a1` of a chat of three answers to the second message."""
    messages = {
        "u1": {"id": "u1", "parentId": None, "childrenIds": ["a0"], "role": "user", "content": "Hi."},
        "a0": {"id": "a0", "parentId": "u1", "childrenIds": ["u2"], "role": "assistant", "content": "Hello!"},
        "u2": {
            "id": "u2",
            "parentId": "a0",
            "childrenIds": ["a1", "a2", "a3"],
            "role": "user",
            "content": WHY["content"],
        },
        "a1": answered("a1", LIGHT, "alpha", annotation={"rating": rating}),
        "a2": answered("a2", NO_IDEA, "beta"),
        "a3": answered("a3", GOOD_QUESTION, "arena-model", selectedModelId="beta", arena=True),
    }
    history = {"messages": messages, "currentId": "a1"}
    chat = {"id": "", "title": "Sky", "models": ["alpha", "beta"], "params": {}, "history": history, "messages": []}
    return {
        "id": "f1",
        "user_id": "someone",
        "version": 0,
        "type": "rating",
        "data": {
            "rating": rating,
            "model_id": "alpha",
            "sibling_model_ids": list(siblings) if siblings is not None else None,
            "reason": "accurate_information",
            "comment": "",
            "tags": ["science"],
            "details": {"rating": 9},
            **data,
        },
        "meta": {"arena": False, "model_id": "alpha", "message_id": "a1", "message_index": 4, "chat_id": "c1"},
        "snapshot": {"chat": {"id": "c1", "user_id": "someone", "title": "Sky", "chat": chat, "archived": False}},
        "created_at": 1,
        "updated_at": 2,
    }


def answered(id: str, content: str, model: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "parentId": "u2",
        "childrenIds": [],
        "role": "assistant",
        "content": content,
        "model": model,
        "done": True,
        **more,
    }


def chat_of(row: dict[str, Any]) -> dict[str, Any]:
    return row["snapshot"]["chat"]["chat"]


def messages_of(row: dict[str, Any]) -> dict[str, Any]:
    return chat_of(row)["history"]["messages"]


PICK = Said("pick", (Mark(0, rank=0), Mark(1, rank=1), Mark(2, rank=1)))
UP, DOWN = Said("thumb", (Mark(0, value=1),)), Said("thumb", (Mark(0, value=-1),))
THREE = (LIGHT, NO_IDEA, GOOD_QUESTION)


def test_a_thumb_up_is_a_pick_among_the_siblings() -> None:
    for rating in (1, "1"):
        assert open_webui.parse(feedback(rating)) == [Turn([HI, HELLO, WHY], THREE, (PICK, UP))]


def test_a_thumb_down_sets_each_sibling_above_and_none_above_another() -> None:
    above = tuple(Said("ranking", (Mark(other, rank=0), Mark(0, rank=1))) for other in (1, 2))
    assert open_webui.parse(feedback(-1)) == [Turn([HI, HELLO, WHY], THREE, (*above, DOWN))]


def test_an_answer_without_siblings_is_a_thumb_and_a_comment_a_note() -> None:
    (turn,) = open_webui.parse(feedback(siblings=None, comment="Well said."))
    assert turn == Turn([HI, HELLO, WHY], (LIGHT,), (UP, Said("note", (Mark(0),), {"text": "Well said."})))


def test_siblings_that_cannot_be_compared_are_left_out() -> None:
    for change in (
        {"annotation": {"rating": 1}},
        {"error": {"content": "out of memory"}},
        {"done": False},
        {"content": ""},
        {"content": LIGHT},
        {"content": ["?"]},
        {"model": "gamma"},
        {"files": [{"type": "image"}]},
        {"content": '<details type="tool_calls" done="true">\n</details>\n4'},
        {"role": "user"},
    ):
        row = feedback()
        messages_of(row)["a2"] |= change
        assert open_webui.parse(row)[0].answers == (LIGHT, GOOD_QUESTION), change
    row = feedback()
    messages_of(row)["a2"]["annotation"] = {"rating": -1}
    assert open_webui.parse(row)[0].answers == THREE


def test_thoughts_are_no_part_of_an_answer() -> None:
    row = feedback(siblings=None)
    thought = '<details type="reasoning" done="true" duration="3">\n<summary>Thought</summary>\n> hm\n</details>\n'
    messages_of(row)["a1"]["content"] = f"{thought}Blue light\n{thought} scatters more."
    assert open_webui.parse(row)[0].answers == ("Blue light\n\n scatters more.",)
    messages_of(row)["a1"]["content"] = thought
    assert "the rated answer is empty" in refused(open_webui.parse, row)
    unclosed = '<details type="reasoning" done="false">'
    messages_of(row)["a1"]["content"] = unclosed
    assert open_webui.parse(row)[0].answers == (unclosed,)


def test_a_system_prompt_and_merged_answers_are_part_of_the_conversation() -> None:
    row = feedback()
    chat_of(row)["params"] = {"system": "Be brief.", "temperature": 0.2}
    messages_of(row)["a0"]["merged"] = {"status": True, "content": "Hello, all of us!"}
    merged = {"role": "assistant", "content": "Hello, all of us!"}
    assert open_webui.parse(row)[0].prompt == [{"role": "system", "content": "Be brief."}, HI, merged, WHY]


def change(path: str, value: Any) -> dict[str, Any]:
    row = feedback()
    *folders, name = path.split("/")
    part: Any = row
    for folder in folders:
        part = part[folder]
    if value is KeyError:
        del part[name]
    else:
        part[name] = value
    return row


HISTORY = "snapshot/chat/chat/history"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (feedback(0), "data.rating is 0; it must be 1 (good) or -1 (bad)"),
        (feedback(True), "data.rating is True"),
        (feedback(None), "data.rating is None"),
        ({"id": "c1", "title": "Sky", "chat": {}}, "the field 'data' is missing"),
        (change("snapshot", None), "snapshot is None; it must be an object"),
        (change("snapshot/chat", None), "snapshot.chat is None"),
        (change("meta/message_id", "gone"), "the rated answer ('gone') is not in the chat"),
        (change("meta/message_id", ["a1"]), "the rated answer (['a1']) is not in the chat"),
        (change("meta/message_id", "u2"), "the rated message is of the role 'user'"),
        (change(f"{HISTORY}/messages/u1", KeyError), "a message before the rated answer ('u1') is not in the chat"),
        (change(f"{HISTORY}/messages/u1/parentId", "a1"), "go round in a circle"),
        (change(f"{HISTORY}/messages/u1/parentId", "u1"), "go round in a circle"),
        (change(f"{HISTORY}/messages/a1/parentId", "a1"), "go round in a circle"),
        (change(f"{HISTORY}/messages/a1/parentId", None), "was answered (None) is not in the chat"),
        (change(f"{HISTORY}/messages/u2/content", ""), "the prompt ends with a message of the assistant"),
        (change(f"{HISTORY}/messages/u2/files", [{"type": "file"}]), "has files"),
        (change(f"{HISTORY}/messages/u1/role", "tool"), "the role 'tool'"),
        (change(f"{HISTORY}/messages/a1/content", None), "the rated answer is null"),
        (change(f"{HISTORY}/messages", []), "history.messages is []"),
    ],
)
def test_feedback_that_cannot_be_used(row: Any, why: str) -> None:
    assert why in refused(open_webui.parse, row)


# Argilla

FIELDS = {"prompt": WHY["content"], "response-1": LIGHT, "response-2": NO_IDEA}


def record(fields: dict[str, Any] | None = None, **questions: Any) -> dict[str, Any]:
    """A record of Argilla 2's records.to_json, one annotator."""
    return {
        "id": "r1",
        "fields": FIELDS if fields is None else fields,
        "metadata": {},
        "suggestions": {},
        "responses": {name.replace("__", "-"): [{"value": value, "user_id": "u"}] for name, value in questions.items()},
        "vectors": {},
        "_server_id": "s",
    }


def older(values: dict[str, Any], fields: dict[str, Any] | None = None, status: str = "submitted") -> dict[str, Any]:
    """A record of a FeedbackDataset of Argilla 1, one annotator."""
    values = {name: {"value": value} for name, value in values.items()}
    response = {"user_id": None, "values": values, "status": status}
    return {"fields": FIELDS if fields is None else fields, "responses": [response], "suggestions": []}


RANKED = [{"value": "response-2", "rank": 2}, {"value": "response-1", "rank": 1}]
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
