"""The line beneath a thread that was searched for."""

from __future__ import annotations

import pytest

from chatapp.finding import pieces
from storage.search import MARKS


def snippet(text: str) -> str:
    return text.replace("[", MARKS[0]).replace("]", MARKS[1])


def line(text: str, width: int = 24) -> str:
    return "".join(f"[{piece}]" if sought else piece for piece, sought in pieces(snippet(text), width))


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ("it is [Haskell] code", "it is [Haskell] code"),
        ("[Haskell] is a language of many words", "[Haskell] is a language of many words"),
        ("a language of many words is [Haskell]", "…many words is [Haskell]"),
        ("a language of many words is [Haskell] and what is more", "…words is [Haskell] and what is more"),
        ("two\n\n lines of [Haskell]\tand  one", "…lines of [Haskell] and one"),
        ("both [Haskell] and [C]", "both [Haskell] and [C]"),
        ("nothing marked", "nothing marked"),
        ("", ""),
    ],
)
def test_the_word_is_near_the_beginning_of_one_line(found: str, shown: str) -> None:
    assert line(found) == shown


def test_a_word_without_blanks_before_it_is_cut_all_the_same() -> None:
    assert line("x" * 90 + "[Haskell]") == "…" + "x" * 16 + "[Haskell]"
    assert line("京" * 40 + "[東京]") == "…" + "京" * 9 + "[東京]", "by cells, not by letters"


def test_what_a_terminal_would_obey_is_seen() -> None:
    assert line("a \x1b[31m [Has\x1bkell]".replace("[31m", "31m")) == "a ␛31m [Has␛kell]"
