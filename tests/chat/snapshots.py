"""What a screen looks like, kept as SVG files: a change of a screen shows as a change of a file.

`SNAPSHOTS=write pytest tests/chat/test_snapshots.py` takes how it looks now; then look at the files.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, TextArea

FOLDER = Path(__file__).parent / "snapshots"
SIZES = ((80, 24), (140, 45))
THEMES = ("hone-dark", "hone-light")
_CHANGING = (
    (re.compile(r"terminal-\d+-"), "terminal-"),
    (re.compile(r"\d{4}-\d\d-\d\d((?:&#160;| )\d\d:\d\d)?"), lambda m: re.sub(r"\d(?!\d*;)", "0", m[0])),
    (re.compile(r"\d\d-\d\d(?:&#160;| )\d\d:\d\d|took&#160;\d+"), lambda m: re.sub(r"\d(?!\d*;)", "0", m[0])),
    (re.compile(r"from&#160;\d+(?=&#160;days)"), "from&#160;00"),
    (re.compile(r"[0-9a-f]{8}(?=,&#160;0000)"), "00000000"),
    (re.compile(r"\d{4}-W\d\d|W\d\d\b"), lambda m: re.sub(r"\d", "0", m[0])),
    (re.compile(r"/\S*?/(home|cache)\b"), r"/\1"),
)


def steady(svg: str) -> str:
    """Without what differs from run to run: Rich's ids, dates, where the home lies."""
    for pattern, by in _CHANGING:
        svg = pattern.sub(by, svg)
    # the fonts' addresses and faces are the same in every file
    return re.sub(r"<style>\s*(@font-face.*?\}\s*)+", "<style>", svg, flags=re.S)


async def look(chat: Any, name: str) -> None:
    """Compare the screen with its files, in both sizes and both themes."""
    app = chat.app
    app.animation_level = "none"
    wrong = []
    for width, height in SIZES:
        await chat.pilot.resize_terminal(width, height)
        # begin with the theme that is there: changing it styles every widget anew
        for theme in sorted(THEMES, key=lambda theme: theme != app.theme):
            app.theme = theme
            file = FOLDER / f"{name}-{width}-{theme.removeprefix('hone-')}.svg"
            svg = await _settled(chat, name, file)
            if os.environ.get("SNAPSHOTS") == "write":
                FOLDER.mkdir(exist_ok=True)
                file.write_text(svg, encoding="utf-8")
            elif not file.exists() or file.read_text(encoding="utf-8") != svg:
                now = chat.store.home.parent / file.name if chat.screen.is_open else Path(file.name)
                now.write_text(svg, encoding="utf-8")
                wrong.append(f"{file.name} (now: {now})")
    if wrong:
        pytest.fail("looks otherwise: " + ", ".join(wrong) + ". SNAPSHOTS=write takes it as it is.")


async def _settled(chat: Any, name: str, file: Path) -> str:
    """The screen as its file has it, given seconds to become so; else as it stays."""
    writing = os.environ.get("SNAPSHOTS") == "write" or not file.exists()
    wanted = "" if writing else file.read_text(encoding="utf-8")
    svg, same = "", 0
    for tries in range(30 if writing else 80):
        for field in [*chat.app.screen.query(TextArea), *chat.app.screen.query(Input)]:
            field.cursor_blink = False
            field.notify_style_update()  # lines are kept as drawn, maybe in the half of a blink that is not seen
            field.refresh()
        for _ in range(3 if writing else 0):
            await chat.pilot.pause()
        before, svg = svg, steady(chat.app.export_screenshot(title=name))
        same = same + 1 if svg == before else 0
        if svg == (before if writing else wanted) or same == 20:  # two seconds in which nothing changed
            break
        # a picture that is there says by itself when the screen is ready: no waiting until the app is idle, which it
        # hardly is on a busy machine
        await asyncio.sleep(0.1 if writing else min(0.1, 0.02 * (1 + tries)))
    return svg
