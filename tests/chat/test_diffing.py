"""What changed between two texts, and how it is shown."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App
from textual.containers import VerticalScroll
from textual.pilot import Pilot

from chatapp.diffing import around, counted, shown, word_diff
from chatapp.screens.diff import Diff

WORDS = st.lists(st.sampled_from(["one", "two", ",", ".", " ", "\n", "three", "x1", "é", "  "]) | st.text(max_size=3))
TEXTS = WORDS.map("".join)


def test_words_that_went_and_came() -> None:
    assert word_diff("The cat sat.", "The black cat sits.") == [
        ("same", "The"),
        ("new", " black"),
        ("same", " cat"),
        ("gone", " sat"),
        ("new", " sits"),
        ("same", "."),
    ]
    assert word_diff("a", "a") == [("same", "a")]
    assert word_diff("", "") == []
    # a comma that stayed between two changes is read with them
    assert word_diff("red, old house", "blue, new house") == [
        ("gone", "red, old"),
        ("new", "blue, new"),
        ("same", " house"),
    ]


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_both_texts_can_be_read_from_it(before: str, after: str) -> None:
    pieces = word_diff(before, after)
    assert "".join(text for kind, text in pieces if kind != "new") == before
    assert "".join(text for kind, text in pieces if kind != "gone") == after
    shown(pieces)
    shown(around(pieces))


def test_changes_are_told_by_marks_and_style_not_by_colour_alone() -> None:
    content = shown(word_diff("The cat sat\n", "The dog sat"))
    assert content.plain == "The [-cat-] {+dog+} sat[-¶-]"
    styles = {content.plain[span.start : span.end]: str(span.style) for span in content.spans}
    assert styles["[-cat-]"] == "strike $text-error"
    assert styles["{+dog+}"] == "bold underline $text-success"
    assert shown(word_diff("a b", "a\n\nb\n")).plain == "a [-b-]\n\n{+b\n+}"
    assert shown(word_diff("a", "a\n")).plain == "a{+¶+}\n"
    assert counted(word_diff("a b c", "a x")) == "2 words gone, 1 new"


def test_small_words_that_two_answers_share_do_not_tear_their_parts() -> None:
    one = "Write down what you need, then put the heavy things in a small bag."
    other = "Start early and see which clothes go with which, then rolled up tight in rows."
    assert [kind for kind, _ in word_diff(one, other)] == ["gone", "new", "same"]
    # of a text that was mended here and there, each place is told
    assert shown(word_diff("A cat sat on a mat, happy.", "A dog sat on the mat, very glad.")).plain == (
        "A [-cat-] {+dog+} sat on [-a-] {+the+} mat, [-happy-] {+very glad+}."
    )


def test_control_characters_do_not_pass() -> None:
    assert "\x1b" not in shown(word_diff("a \x1b[2J b", "a \x1b[3J b")).plain


def test_only_the_surroundings_of_a_change_are_kept() -> None:
    before = " ".join(f"w{n}" for n in range(100))
    pieces = around(word_diff(before, before.replace("w50", "changed")), words=2)
    assert pieces == [("same", " … w48 w49"), ("gone", " w50"), ("new", " changed"), ("same", " w51 w52 … ")]


def test_five_hundred_words_are_compared_at_once() -> None:
    """Generous: some 20 ms where it was measured."""
    before = " ".join(f"word{n * n % 97} and" for n in range(250))
    after = " ".join(f"word{n * n * n % 89} or" for n in range(250))
    begun = perf_counter()
    word_diff(before, after)
    assert perf_counter() - begun < 0.5


# -- the dialog ------------------------------------------------------------------------------------------------------

ANSWERS = [("A", "The cat sat on the mat."), ("B", "The dog sat on the mat."), ("C", "The cat sat on the mat.")]


async def read(pilot: Pilot[Any], title: str) -> str:
    """The text of the dialog once its title is this one."""
    for _ in range(500):
        await pilot.pause(0.01)
        dialog = pilot.app.screen
        if isinstance(dialog, Diff) and str(dialog.query_one("Vertical").border_title) == title:
            return f"{dialog.query_one('#diff-text').render()} / {dialog.query_one('#diff-said').render()}"
    raise AssertionError(f"never showed {title!r}")


async def test_two_answers_are_compared() -> None:
    app = App[None]()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(Diff(ANSWERS, 0, 1))
        assert (
            await read(pilot, "From A to B")
            == "The [-cat-] {+dog+} sat on the mat. / [-only in A-] {+only in B+} · 1 word gone, 1 new"
        )
        await pilot.press("s")
        assert "[-dog-] {+cat+}" in await read(pilot, "From B to A")
        await pilot.press("right")  # over B itself
        assert "[-dog-]" in await read(pilot, "From B to C")
        await pilot.press("left")
        await read(pilot, "From B to A")
        await pilot.press("s", "left")
        assert (await read(pilot, "From A to C")).endswith("A and C say the same.")
        await pilot.press("d")
        assert not isinstance(app.screen, Diff)


async def test_a_long_comparison_scrolls_and_a_small_terminal_shows_it() -> None:
    app = App[None]()
    async with app.run_test(size=(40, 12)) as pilot:
        long = "\n".join(f"line {n}" for n in range(50))
        await app.push_screen(Diff([("A", long), ("B", long + " end")], 0, 1))
        await read(pilot, "From A to B")
        scroll = app.screen.query_one(VerticalScroll)
        assert scroll.size.height >= 3
        await pilot.press("down", "down", "up")
        assert scroll.scroll_y == 1
        await pilot.press("right")  # there is no third one
        await read(pilot, "From A to B")
        await pilot.press("escape")
        assert not isinstance(app.screen, Diff)


def test_texts_that_repeat_themselves_are_told_as_wholes() -> None:
    before, after = "I am sorry . " * 200, "So I am sorry , but . " * 200
    pieces = word_diff(before, after)
    assert "".join(text for kind, text in pieces if kind != "new") == before
    assert "".join(text for kind, text in pieces if kind != "gone") == after
    assert len(pieces) < 6
