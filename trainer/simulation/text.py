"""Looks at a text: its words, its finished sentences, its list items, and whether it is an answer at all."""

from __future__ import annotations

import re

MIN_WORDS = 12  #: a text with fewer answers nothing
MAX_REPEATED = 0.5  #: share of word triples that stood before in the same text
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_ITEM = re.compile(r"^[ \t]*(?:[-*•+]|\(?\d{1,2}[.):]|[a-z][.)])[ \t]+(?=\S)")
_HEADING = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|\*\*[^*]{1,80}\*\*:?[ \t]*$)")
#: a full stop ends a sentence where space or the end follows; an initial or a number's point does not
_END = re.compile(r"(?<!\b[A-Za-z])(?<!\b\d)(?<!\b\d\d)[.!?…]+[\"'”’)\]]*(?=\s|$)")


def words(text: str) -> list[str]:
    """In small letters; "don't" is one word, digits are none."""
    return [word.lower() for word in _WORD.findall(text)]


def lines(text: str) -> list[str]:
    """Those that hold something."""
    return [line for line in text.splitlines() if line.strip()]


def is_item(line: str) -> bool:
    """Whether a line is an item of a list."""
    return _ITEM.match(line) is not None


def is_heading(line: str) -> bool:
    return _HEADING.match(line) is not None


def without_mark(line: str) -> str:
    """A line without its bullet, number, hashes or asterisks."""
    return re.sub(r"\*\*|__", "", re.sub(r"^[ \t]*#{1,6}[ \t]+", "", _ITEM.sub("", line, count=1))).strip()


def sentences(text: str) -> list[str]:
    """The sentences, line by line: an item of a list and a heading are one each, with a full stop or not.

    One without an end at the very end of the text was cut off and is left out, unless it is all there is.
    """
    found: list[str] = []
    finished = True
    for line in lines(text):
        start = 0
        for end in _END.finditer(line):
            found.append(line[start : end.end()].strip())
            start = end.end()
        rest = line[start:].strip()
        finished = not rest
        if rest:
            found.append(rest)
    found = [sentence for sentence in found if _WORD.search(sentence)]
    return found if finished or len(found) < 2 else found[:-1]


def finished(text: str) -> str:
    """The text up to the end of its last whole sentence; all of it where none ends."""
    ends = [found.end() for found in _END.finditer(text)]
    return text[: ends[-1] if ends else None].rstrip()


def repeated(text: str) -> float:
    """Share of word triples that stood before in the text; 0 for a short one."""
    found = words(text)
    triples = list(zip(found, found[1:], found[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if triples else 0.0


def usable(text: str) -> bool:
    """Long enough to be an answer, and not the same words over and over."""
    return len(words(text)) >= MIN_WORDS and repeated(text) <= MAX_REPEATED


def per_hundred(count: float, text: str) -> float:
    """A count by the hundred words."""
    return 100 * count / max(1, len(words(text)))
