"""Rankings as values, and what is shown of untrusted text."""

from __future__ import annotations

import pytest

from chatapp.clean import clean, one_line
from chatapp.turn import Answer, Turn, in_words, move, parse_ranking, places, start_order, tie

ABC = ((0,), (1,), (2,))


def test_moving_up_and_down() -> None:
    assert move(ABC, 2, -1) == ((0,), (2,), (1,))
    assert move(ABC, 0, -1) == ABC
    assert move(ABC, 0, 1) == ((1,), (0,), (2,))
    assert move(ABC, 2, 1) == ABC


def test_a_tie_is_left_before_the_next_place() -> None:
    tied = tie(ABC, 1)
    assert tied == ((0, 1), (2,))
    assert move(tied, 1, -1) == ((1,), (0,), (2,))
    assert move(tied, 0, 1) == ((1,), (0,), (2,))
    assert tie(tied, 1) == ABC


def test_the_best_one_is_tied_with_those_below() -> None:
    assert tie(ABC, 0) == ((0, 1), (2,))
    assert tie(((0, 1, 2),), 0) == ((1, 2), (0,))


def test_places_and_words() -> None:
    assert places(((1,), (0, 2))) == {1: "1st", 0: "tied 2nd", 2: "tied 2nd"}
    assert places(tuple((i,) for i in range(12)))[11] == "12th"
    assert in_words(((1,), (0, 2))) == "B > A = C"


def test_a_ranking_begins_with_what_was_said() -> None:
    turn = Turn("p", "?", tuple(Answer(str(i), "x") for i in range(3)))
    assert start_order(turn) == ABC
    assert start_order(Turn("p", "?", turn.answers, picked=2)) == ((2,), (0,), (1,))


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("2>1=3", ((1,), (0, 2))),
        ("b > a", ((1,), (0,), (2,))),
        ("3", ((2,), (0, 1))),
        ("1>1", None),
        ("4>1", None),
        ("2 > maybe", None),
        (">", None),
    ],
)
def test_rankings_are_read(text: str, groups: object) -> None:
    assert parse_ranking(text, 3) == groups


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]52;c;AAAA\x07", "␛[31mred␛]52;c;AAAA␇"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\u2066b", "a⟨U+2066⟩b"),
        ("a\x9b1mb\x7f", "a⟨U+009B⟩1mb␡"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("x\U000e0041y", "x⟨U+E0041⟩y"),
        ("a\tb", "a    b"),
        ("[b]bold[/b] 👩‍💻", "[b]bold[/b] 👩‍💻"),
    ],
)
def test_what_could_do_harm_is_made_visible(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_titles_are_one_short_line() -> None:
    assert one_line("  a\n b\x1b ") == "a b␛"
    assert one_line("x" * 80, 10) == "x" * 9 + "…"
