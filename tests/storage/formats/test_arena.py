"""The battles of the Chatbot Arena: who won, in the older files and the newer ones."""

from __future__ import annotations

from typing import Any

import pytest

from storage.formats import arena
from storage.formats.turn import Mark, Said, Turn
from tests.storage.formats.read_only import HELLO, HI, LIGHT, NO_IDEA, WHY, battle, ranks, refused


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
