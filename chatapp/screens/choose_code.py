"""Which block of code of an answer is meant."""

from __future__ import annotations

from typing import Any

from textual.app import App

from chatapp.prose.blocks import CodeBlock, code_blocks
from chatapp.screens.dialogs import Choose


async def choose_code(app: App[Any], text: str, name: str) -> CodeBlock | str:
    """The block of code in text; of several the one that is chosen. Or what to say when there is none."""
    blocks = code_blocks(text)
    if not blocks:
        return f"There is no block of code in {name}. y copies all of it."
    if len(blocks) == 1:
        return blocks[0]
    choices = []
    for number, block in enumerate(blocks):
        first = next(line for line in block.code.split("\n") if line.strip())
        choices.append((str(number), f"{block.language or 'no language'}: {first.strip()}"))
    chosen = await app.push_screen_wait(Choose(f"Which block of code of {name}?", choices))
    return "Nothing was copied." if chosen is None else blocks[int(chosen)]
