"""Text cut into what is laid out as a whole: a line, a block of code, a table. Pure; shared by showing and copying.

Blocks never reach over a blank line outside code, so a text that grows is cut anew from its last one on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

Align: TypeAlias = Literal["left", "right", "center"]

_FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_PIPE = re.compile(r"(?<!\\)\|")
_DELIMITER = re.compile(r"\s*:?-+:?\s*")
_BEGUN_DELIMITER = re.compile(r"[\s|:-]*")


@dataclass(frozen=True)
class TextLine:
    """One line of prose: a paragraph, a heading, an item, a quote."""

    text: str


@dataclass(frozen=True)
class CodeBlock:
    """What stands between two fences."""

    language: str  #: as the fence names it; "" when it does not
    code: str
    info: str = ""  #: all that stands behind the fence
    open: bool = False  #: whether its end has not come yet


@dataclass(frozen=True)
class Table:
    """A table of pipes; rows may be shorter or longer than the header."""

    header: tuple[str, ...]
    aligns: tuple[Align, ...]
    rows: tuple[tuple[str, ...], ...]


Block: TypeAlias = TextLine | CodeBlock | Table


def code_blocks(text: str) -> list[CodeBlock]:
    """The blocks of code in text, as they were written."""
    return [block for block in split(text) if isinstance(block, CodeBlock) and block.code.strip()]


def split(text: str) -> list[Block]:
    """The blocks of text, in their order."""
    lines = text.split("\n")
    blocks: list[Block] = []
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence and not (fence["fence"][0] == "`" and "`" in fence["info"]):
            block, at = _code(lines, at, fence)
            blocks.append(block)
        elif _begins_table(lines, at):
            table, at = _table(lines, at)
            blocks.append(table)
        else:
            blocks.append(TextLine(lines[at]))
            at += 1
    return blocks


def _code(lines: list[str], at: int, fence: re.Match[str]) -> tuple[CodeBlock, int]:
    info = fence["info"].strip()
    language = info.split()[0] if info else ""
    code: list[str] = []
    for end in range(at + 1, len(lines)):
        line = lines[end]
        bare = line.strip()
        if bare and not bare.strip(fence["fence"][0]):
            if len(bare) >= len(fence["fence"]):
                return CodeBlock(language, "\n".join(code), info), end + 1
            if end + 1 == len(lines):
                break  # the closing fence is on its way
        # what the fence is indented by, as in a list, is no part of the code
        indent = len(line) - len(line.lstrip(" "))
        code.append(line[min(indent, len(fence["indent"])) :])
    return CodeBlock(language, "\n".join(code), info, open=True), len(lines)


def _cells(line: str) -> tuple[str, ...]:
    line = line.strip()
    parts = _PIPE.split(line)
    if line.startswith("|"):
        parts = parts[1:]
    if len(parts) > 1 and not parts[-1].strip():
        parts = parts[:-1]
    return tuple(part.strip().replace("\\|", "|") for part in parts)


def _is_delimiter(line: str) -> bool:
    return "|" in line and all(_DELIMITER.fullmatch(cell) for cell in _cells(line))


def _begins_table(lines: list[str], at: int) -> bool:
    """A table that is still coming counts from its first pipe on: it must not be redrawn from text to table."""
    header = lines[at]
    if "|" not in header:
        return False
    if at + 1 < len(lines) and _is_delimiter(lines[at + 1]):
        if len(_cells(header)) == len(_cells(lines[at + 1])):
            return True
    elif at + 1 == len(lines):
        return header.lstrip().startswith("|")
    return (
        at + 2 == len(lines)
        and header.lstrip().startswith("|")
        and _BEGUN_DELIMITER.fullmatch(lines[at + 1]) is not None
    )


def _table(lines: list[str], at: int) -> tuple[Table, int]:
    header = _cells(lines[at])
    marks = _cells(lines[at + 1]) if at + 1 < len(lines) else ()
    aligns: list[Align] = []
    for mark in marks:
        if mark.endswith(":"):
            aligns.append("center" if mark.startswith(":") else "right")
        else:
            aligns.append("left")
    end = at + 2
    while end < len(lines) and "|" in lines[end]:
        end += 1
    return Table(header, tuple(aligns), tuple(_cells(line) for line in lines[at + 2 : end])), min(end, len(lines))
