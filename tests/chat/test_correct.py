"""The editor of a correction: where it begins, and what it shows of the changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import TextArea

from chatapp.screens.correct import Correct

TEXT = "The first line.\nThe second line is here."
WIDE, SMALL, TINY = (140, 45), (80, 24), (40, 12)


@asynccontextmanager
async def correcting(size: tuple[int, int], text: str = TEXT) -> AsyncIterator[tuple[Pilot[Any], TextArea]]:
    app = App[None]()
    async with app.run_test(size=size) as pilot:
        app.push_screen(Correct("A", text))
        await pilot.pause()
        yield pilot, app.screen.query_one(TextArea)


async def differs(pilot: Pilot[Any], text: str) -> None:
    """Wait until the changes are shown so."""
    for _ in range(500):
        await pilot.pause(0.01)
        if text in str(pilot.app.screen.query_one("#correct-diff").render()):
            return
    raise AssertionError(str(pilot.app.screen.query_one("#correct-diff").render()))


@pytest.mark.parametrize("size", [WIDE, SMALL, TINY], ids=["wide", "small", "tiny"])
async def test_it_begins_at_the_end_and_has_keys_to_both_ends(size: tuple[int, int]) -> None:
    async with correcting(size) as (pilot, editor):
        await pilot.press(*"!?")
        assert editor.text == TEXT + "!?"
        await pilot.press("ctrl+home", "x", "ctrl+end", "y")
        assert editor.text == f"x{TEXT}!?y"
        assert editor.size.height >= 4
        assert editor.size.width >= 30


async def test_the_changes_show_as_one_types() -> None:
    async with correcting(SMALL) as (pilot, _):
        await differs(pilot, "Nothing was changed yet.")
        await pilot.press("backspace", *" now", "ctrl+home", "ctrl+shift+right", "delete")
        await differs(pilot, "[-The-] first line.\nThe second line is here[-.-] {+now+}")
        hint = str(pilot.app.screen.query_one("#correct-hint").render())
        assert "1 word gone, 1 new" in hint
        assert "Ctrl+S saves" in hint
        await pilot.press(*["ctrl+z"] * 8)
        await differs(pilot, "Nothing was changed yet.")


async def test_the_changes_of_a_long_answer_are_what_is_seen() -> None:
    async with correcting(SMALL, " ".join(["word"] * 600)) as (pilot, _):
        await pilot.press(*" end")
        await differs(pilot, "… word")
        changes = pilot.app.screen.query_one("#correct-changes")
        assert changes.max_scroll_y == 0


async def test_the_changes_stand_where_there_is_room() -> None:
    for size, beside, seen in ((WIDE, True, True), (SMALL, False, True), (TINY, False, False)):
        async with correcting(size) as (pilot, editor):
            await pilot.press("x")
            await differs(pilot, "x+}")
            changes = pilot.app.screen.query_one("#correct-changes")
            assert changes.display == seen
            if seen:
                assert (changes.region.y == editor.region.y) == beside
                assert (changes.region.x == editor.region.x) != beside


async def test_closing_it_while_the_changes_are_looked_for() -> None:
    for keys in (["ctrl+s"], ["escape", "y"]):
        async with correcting(SMALL) as (pilot, _):
            await pilot.press("x", *keys)
            for _ in range(60):
                await pilot.pause(0.01)
            assert not isinstance(pilot.app.screen, Correct)
