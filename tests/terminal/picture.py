"""The README's picture, made by the chat itself with the real model: `python -m tests.terminal.picture`.

A question, three answers, the second one picked; written to docs/chat.svg. Another run has other answers.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from chatapp.app import HoneApp
from chatapp.config import Settings
from tests.chat.snapshots import steady

FILE = Path(__file__).parents[2] / "docs" / "chat.svg"
QUESTION = "How can I wake up early?"
SIZE = (126, 36)


async def draw() -> None:
    with tempfile.TemporaryDirectory(prefix="hone-picture-") as home:
        settings = Settings.load({"home": home, "seed": 7, "max_tokens": 110, "auto_train": False})
        app = HoneApp(settings)
        async with app.run_test(size=SIZE) as pilot:
            chat = app.chat

            async def until(condition: object, seconds: float = 120) -> None:
                for _ in range(int(seconds * 20)):
                    if condition():  # type: ignore[operator]
                        return
                    await pilot.pause(0.05)
                sys.exit("the chat did not get that far")

            await until(lambda: chat.is_open)
            chat.prompt.put(QUESTION)
            await pilot.press("enter")
            await until(lambda: chat.answers.ready and not chat.generating)
            await pilot.pause(0.6)  # the guard against early keys
            await pilot.press("2")
            await until(lambda: chat.answers.turn is not None and chat.answers.turn.picked == 1)
            chat.prompt.cursor_blink = False
            await pilot.pause(0.2)
            FILE.write_text(steady(app.export_screenshot(title="hone")), encoding="utf-8")
            await chat.leave()


if __name__ == "__main__":
    asyncio.run(draw())
    print(f"{FILE} was drawn")
