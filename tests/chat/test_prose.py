"""How the text of a model is laid out: what is formatted, that no word is lost, that growing changes nothing."""

from __future__ import annotations

import re
from time import perf_counter

from hypothesis import example, given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Offset
from textual.selection import Selection

from chatapp.clean import clean
from chatapp.prose.blocks import CodeBlock, code_blocks
from chatapp.widgets.prose import Prose, formatted

CODE = "```python\ndef f(x):\n    return x\n```"
TABLE = "| Name | Points |\n|:-----|-------:|\n| Ann | 3 |\n| **Bo** | 12 |"


def shown(text: str, width: int = 80) -> list[str]:
    return [line.content.plain.rstrip() for line in formatted(text).lines(width)]


def styled(text: str, width: int = 80) -> list[tuple[str, str]]:
    contents = [line.content for line in formatted(text).lines(width)]
    return [(c.plain[span.start : span.end], str(span.style)) for c in contents for span in c.spans]


# -- what is formatted -----------------------------------------------------------------------------------------------


def test_the_formatting_within_lines() -> None:
    text = "# Title\n* **one** two\n> said\nuse `x_y` and _z_, ~~no~~, ***both***, 2*3*4, snake_case_name, 1\\*2"
    assert shown(text) == [
        "Title",
        "• one two",
        "▏ said",
        "use x_y and z, no, both, 2*3*4, snake_case_name, 1*2",
    ]
    for part in (("one", "bold"), ("Title", "bold"), ("x_y", "$text-accent"), ("z", "italic"), ("no", "strike")):
        assert part in styled(text)
    assert ("code", "$text-accent") in styled("**bold with `code`**")
    assert not any("3" in part for part, _ in styled(text))


def test_what_is_not_understood_is_shown_as_written() -> None:
    for text in ("<b>x</b>", "** not bold **", "[red]x[/red]", "![i](x)", "a[i](x)", "**", "`", "a\n  b\n\nc", "a | b"):
        assert shown(text) == text.split("\n")


def test_a_link_is_text_with_its_address_behind_it() -> None:
    assert shown("see [the docs](https://a.b/c_(d)) and [x.org](x.org)") == [
        "see the docs (https://a.b/c_(d)) and x.org"
    ]
    assert not any("link" in style or "click" in style for _, style in styled("[a](http://b.c)"))


def test_lists_and_quotes_hang() -> None:
    text = "1. one two three four\n   - five six seven eight\n12) x\n> nine ten eleven twelve"
    assert shown(text, 16) == [
        "1. one two three",
        "   four",
        "   ◦ five six",
        "     seven eight",
        "12) x",
        "▏ nine ten",
        "▏ eleven twelve",
    ]


def test_a_rule_is_as_wide_as_the_text() -> None:
    assert shown("a\n\n***\n\nb", 12) == ["a", "", "─" * 12, "", "b"]


def test_code_is_a_block_that_names_its_language() -> None:
    assert shown(f"so:\n{CODE}\nend") == ["so:", "▎ python", "▎ def f(x):", "▎     return x", "end"]
    lines = formatted(CODE).lines(30)
    assert {line.content.cell_length for line in lines} == {30}
    assert all(("on $surface") in [str(span.style) for span in line.content.spans] for line in lines)
    assert ("def", "bold $text-primary") in styled(CODE)
    assert shown("~~~\na*b*c\n~~~") == ["▎ a*b*c"]
    assert shown("```no-such-language\na*b\n```") == ["▎ no-such-language", "▎ a*b"]
    # within a list, and a fence within a longer one
    assert shown("1. so\n   ```\n   a\n     b\n   ```\n2. x") == ["1. so", "▎ a", "▎   b", "2. x"]
    assert shown("````\n```\nx\n```\n````") == ["▎ ```", "▎ x", "▎ ```"]


def test_the_colours_of_code_reach_over_blank_lines() -> None:
    text = 'x = """if\n\nfor"""\n\nfor x in y: pass'
    inside = styled(f"```py\n{text}\n```")
    assert ("for", "$text-success") in inside
    assert ("for", "bold $text-primary") in inside


def test_a_table_has_aligned_columns() -> None:
    assert shown(TABLE) == [
        "Name │ Points",
        "─────┼───────",
        "Ann  │      3",
        "Bo   │     12",
    ]
    assert ("Bo", "bold") in styled(TABLE)
    assert shown("a | b\n--|--\n1 | 2 \\| 3 | 4") == ["a │ b     │", "──┼───────┼──", "1 │ 2 | 3 │ 4"]


def test_a_table_fits_its_width() -> None:
    text = "| Key | What it does |\n|---|---|\n| u | takes the newest judgment back |\n| w | shows |"
    assert shown(text, 24) == [
        "Key │ What it does",
        "────┼───────────────────",
        "u   │ takes the newest",
        "    │ judgment back",
        "────┼───────────────────",
        "w   │ shows",
    ]
    wide = "| First name | Second name | Third name |\n|---|---|---|\n| one | two | three |\n| four | five | six |"
    assert shown(wide, 20) == [
        "First name: one",
        "Second name: two",
        "Third name: three",
        "────────────",
        "First name: four",
        "Second name: five",
        "Third name: six",
    ]


def test_a_table_that_is_coming_never_turns_back_into_text() -> None:
    for end in range(1, len(TABLE) + 1):
        assert not any("|" in line for line in shown(TABLE[:end])), TABLE[:end]


def test_nothing_that_a_terminal_obeys_passes() -> None:
    text = "a\x1b[31mb `c\x9bd`\n```\x1bpy\nx\x07\u202e\n```\n| \x1b | \x08 |\n|--|--|\n[l\x1b](http://\x1b)"
    drawn = "".join(shown(text))
    assert not any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 or letter == "\u202e" for letter in drawn)
    assert drawn.count("␛") == 5


# -- any text --------------------------------------------------------------------------------------------------------

PIECES = ["```", "~~~", "```py\n", "|", "|--|", "| a | b |\n|--|--|\n", "**", "*", "_", "`", "# ", "- ", "1. ", "> "]
PIECES += [
    "\n",
    "\n\n",
    " ",
    "    ",
    "---\n",
    "[x](a.b)",
    "\\|",
    "word",
    "if",
    "'''",
    '"',
    "漢字",
    "e\u0301",
    "\x1b",
    "\r",
    "\t",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=40).map("".join)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(1, 60))
@example(">" * 5000, 20)
@example("*" * 3000 + "a", 20)
@example("**a " * 2000, 20)
@example("|" * 300 + "\n" + "|-" * 300, 20)
def test_any_text_is_laid_out_within_its_width(text: str, width: int) -> None:
    for line in formatted(text).lines(width):
        assert line.content.rstrip().cell_length <= max(width, 2)
        assert "\n" not in line.content.plain


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_no_word_is_lost(text: str) -> None:
    drawn = " ".join(shown(text, 500))
    for word in re.findall(r"[^\W_]+", clean(text)):
        assert word in drawn


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 200), max_size=6))
def test_growing_gives_what_the_whole_gives(text: str, ends: list[int]) -> None:
    typeset = None
    for end in [*sorted(ends), len(text)]:
        typeset = formatted(text[:end], typeset)
        typeset.get_height({}, 30)
    assert typeset is not None
    mine, whole = typeset.lines(30), formatted(text).lines(30)
    assert [line.content.plain for line in mine] == [line.content.plain for line in whole]
    assert all(a.content.is_same(b.content) and a[1:] == b[1:] for a, b in zip(mine, whole, strict=True))


# -- code ------------------------------------------------------------------------------------------------------------


def test_code_blocks_are_given_as_they_were_written() -> None:
    assert code_blocks(f"a\n{CODE}\n\n```\n```\n~~~ Sh x\nls |wc\n") == [
        CodeBlock("python", "def f(x):\n    return x", "python"),
        CodeBlock("Sh", "ls |wc\n", "Sh x", open=True),
    ]
    assert code_blocks("no `code` here") == []


# -- the widget ------------------------------------------------------------------------------------------------------

LONG = f"Some words of a paragraph that is long enough to be wrapped.\n\n- an item\n\n{CODE}\n\n{TABLE}\n\nThe end"


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield Prose()

    @property
    def drawn(self) -> list[str]:
        return [
            "".join(segment.text for segment in strip).rstrip() for strip in self.screen._compositor.render_strips()
        ]

    @property
    def colours(self) -> set[str]:
        segments = [segment for strip in self.screen._compositor.render_strips() for segment in strip]
        return {segment.style.color.name for segment in segments if segment.style and segment.style.color}


async def test_a_growing_text_ends_as_one_shown_at_once() -> None:
    app = Shown()
    async with app.run_test(size=(30, 24)) as pilot:
        prose = app.query_one(Prose)
        for end in range(0, len(LONG), 7):
            prose.grow(LONG[:end])
            await pilot.pause()
        prose.grow(LONG)
        await pilot.pause()
        grown = app.drawn
        assert "The end" in grown
        prose.show(LONG)
        await pilot.pause()
        assert app.drawn == grown
        assert prose.size.height == len(formatted(LONG).lines(30))


async def test_a_changed_theme_and_width_show_at_once() -> None:
    app = Shown()
    async with app.run_test(size=(60, 24)) as pilot:
        prose = app.query_one(Prose)
        prose.show(LONG)
        await pilot.pause()
        assert app.colours & {"#ffc473", "#a86d1c"} == {"#ffc473"}
        app.theme = "textual-light"
        await pilot.pause()
        assert app.colours & {"#ffc473", "#a86d1c"} == {"#a86d1c"}
        await pilot.resize_terminal(40, 24)
        await pilot.pause()
        assert app.drawn[0] == "Some words of a paragraph that is long"


async def test_a_selection_copies_what_was_written() -> None:
    app = Shown()
    async with app.run_test(size=(30, 24)) as pilot:
        prose = app.query_one(Prose)
        prose.show("one two three four five six seven eight\n" + CODE)
        await pilot.pause()
        everything = prose.get_selection(Selection(None, None))
        assert everything is not None
        assert everything[0].split("\n") == [
            "one two three four five six seven eight",
            "",
            "def f(x):",
            "    return x",
        ]
        part = prose.get_selection(Selection.from_offsets(Offset(4, 0), Offset(5, 1)))
        assert part == ("two three four five six seven", "\n")
        # and what is selected is seen to be
        before = app.screen._compositor.render_strips()[0]
        app.screen.selections = {prose: Selection(None, None)}
        await pilot.pause()
        assert app.screen._compositor.render_strips()[0] != before


def test_a_long_answer_costs_little_at_each_step() -> None:
    """Generous: it catches what would be laid out from the beginning each time (some 30 ms), not a slow machine."""
    text = "\n\n".join([LONG] * 60)
    typeset = formatted(text)
    typeset.get_height({}, 80)
    took: list[float] = []
    for end in range(1, 60):
        begun = perf_counter()
        typeset = formatted(text + "\n\nmore words"[:end], typeset)
        typeset.get_height({}, 80)
        took.append(perf_counter() - begun)
    assert sorted(took)[len(took) // 2] < 0.01


def test_plain_text_is_a_content() -> None:
    assert isinstance(Prose("*a*", markdown=False).content, Content)
