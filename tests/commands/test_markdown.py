"""A thread as Markdown: what was written in it stays in its place, whatever it is."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from chatapp.conversation import read
from chatapp.markdown import contained, document, plain, written
from storage.store import Store

#: what would swallow the rest of the document, or end what surrounds it
BREAKING = [
    "```\nno end",
    "~~~~\nno end\n~~~",
    "````\n```\nno end",
    "- a\n- ```\n  x",
    "1. ~~~\n   x",
    "- a\n  ```\n  x",
    "> ```\n> x",
    "   ```\nx",
    "text ``` text\n```",
    "<!-- no end",
    "</details>",
    "before\n</details>\nafter",
    "<script>no end",
    "`\nx ` <script> ` y",
    "\\`<script>\\`",
    "``a` <b> `b``c`",
    "<![CDATA[",
    "<?php",
    "```` ` ```` <details>",
    "`````\n````\n```\n``",
]
CLOSED = [
    "Plain.\n\n# A heading\n\n- a\n- b",
    "```python\nprint('<b>')\n```\n\nand `<div>` too",
    "~~~\n```\n~~~",
    "````\n```\n````",
    "See <https://example.org>: 1 < 2",
    "| a | b |\n|---|---|\n| 1 | 2 |",
]


def turn(store: Store, *answers: str, title: str = "About `things` <b>", **thread: object) -> str:
    made = store.threads.new(title, **thread)
    question = store.threads.add_message(made.id, None, "user", "Why?", tip=True)
    ids = [store.threads.add_message(made.id, question.id, "assistant", text).id for text in answers]
    store.threads.set_tip(made.id, ids[0])
    store.judgments.pick(question.id, ids[0], ids)
    return made.id


@pytest.mark.parametrize("text", BREAKING)
def test_nothing_breaks_out(store: Store, text: str) -> None:
    id = turn(store, text, "other", text, system_prompt=text)
    rendered = MarkdownIt("commonmark").parse(document(read(store, store.threads.get(id))))
    headings = [
        rendered[at + 1].content
        for at, token in enumerate(rendered)
        if token.type == "heading_open" and not token.level
    ]
    assert headings == ["About \\`things\\` &lt;b>", "System prompt", "You", "Answer A"]
    html = [token.content.strip() for token in rendered if token.type == "html_block"]
    assert html == [
        "<details><summary>B</summary>", "</details>", "<details><summary>C</summary>", "</details>",
    ]  # fmt: skip
    inline = [child.content for token in rendered for child in token.children or () if child.type == "html_inline"]
    assert inline == []


@pytest.mark.parametrize("text", CLOSED)
def test_what_is_closed_in_itself_stays_markdown(text: str) -> None:
    assert contained(text)
    assert written(text) == text


@pytest.mark.parametrize("text", BREAKING)
def test_the_fence_is_longer_than_any_in_the_text(text: str) -> None:
    if not contained(text):
        fence, *_, end = written(text).split("\n")
        assert fence == end
        assert set(fence) == {"`"}
        assert all(len(run) < len(fence) for run in re.findall("`+", text))


def test_control_characters_become_visible_and_tabs_stay(store: Store) -> None:
    text = "a\x1b[2J\u202eb\tc\r\nd\x00e\x9bf"
    made = document(read(store, store.threads.get(turn(store, text, title="t\x1b[31m\n# h"))))
    assert "a␛[2J⟨U+202E⟩b\tc\nd␀e⟨U+009B⟩f" in made
    assert not [c for c in made if (c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f"]
    assert made.startswith("# t␛\\[31m \\# h\n")
    assert plain("*a*\n[b](c) <d>") == "\\*a\\* \\[b\\](c) &lt;d>"


def test_the_document(store: Store) -> None:
    id = turn(store, "one", "two", title="Apples", system_prompt="Be brief.")
    thread = store.threads.get(id)
    question = store.threads.path(str(thread.tip_message_id))[1]
    store.judgments.note(question.id, str(thread.tip_message_id), "to the\n\npoint")
    _, better = store.judgments.correct(question.id, str(thread.tip_message_id), "three", [])
    store.threads.set_tip(id, better.id)
    store.threads.add_message(id, better.id, "user", "And then?", tip=True)
    made = document(read(store, store.threads.get(id)))
    assert (
        re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME", made)
        == """\
# Apples

*TIME*

## System prompt

Be brief.

## You

Why?

## Answer correction

three

*A, B were shown; A > B: 1 pair; correction > A: 1 pair*

*Note on A:* to the point

<details><summary>A</summary>

one

</details>

<details><summary>B</summary>

two

</details>

## You

And then?
"""
    )
    with store.write() as db:
        db.execute("UPDATE messages SET content = NULL WHERE id = ?", [better.id])
    assert "*(forgotten)*" in document(read(store, store.threads.get(id)))
