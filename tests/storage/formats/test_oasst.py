"""Open Assistant's trees: what they rank, what is left out, and the hundred real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.formats import oasst
from storage.formats.files import Source
from storage.formats.turn import Turn
from tests.storage.formats.read_only import GOOD_QUESTION, LIGHT, NO_IDEA, WHY, message, ranks, refused, tree

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


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
