"""What changed from one text to another, word by word. Pure, but for how it is shown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Literal, TypeAlias

from chatapp.clean import clean

if TYPE_CHECKING:
    from textual.content import Content

Kind: TypeAlias = Literal["same", "gone", "new"]
Piece: TypeAlias = tuple[Kind, str]

CONTEXT = 8  #: words that are kept around a change
_WORD = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")  # a word with what parts it from the one before
FEW = 4  #: words
MATCHES = 12_000  #: places where two texts say the same: some tenths of a second
_MARKS = {"gone": ("[-", "-]", "strike $text-error"), "new": ("{+", "+}", "bold underline $text-success")}


def word_diff(before: str, after: str) -> list[Piece]:
    """The pieces of both texts in order. Those "same" and "gone" make before, those "same" and "new" after."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    # most of a corrected text is as it was: what begins and ends alike needs no search
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    pieces: list[Piece] = [("same", "".join(old[:start]))]
    middle, other = old[start : len(old) - end], new[start : len(new) - end]
    pieces += _between(middle, other)
    pieces.append(("same", "".join(old[len(old) - end :])))
    return _joined(pieces)


def _between(old: list[str], new: list[str]) -> list[Piece]:
    """The pieces of two lists of words: word by word, or line by line, or as wholes where even that would take long."""
    if not _quick(old, new):
        old, new = ("".join(words).splitlines(keepends=True) for words in (old, new))
        if not _quick(old, new):
            return [("gone", "".join(old)), ("new", "".join(new))]
    pieces: list[Piece] = []
    for how, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if how == "equal":
            pieces.append(("same", "".join(old[a:b])))
        else:
            pieces += [("gone", "".join(old[a:b])), ("new", "".join(new[c:d]))]
    return pieces


def _quick(old: list[str], new: list[str]) -> bool:
    """Whether they are matched soon: what the search takes grows with the places where both say the same."""
    often, seen = Counter(old), Counter(new)
    return sum(count * seen[word] for word, count in often.items()) <= MATCHES


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Without empty pieces; a comma between two changes is a part of both, and so are a few words between two that are
    longer: of two answers to one question, which share their small words, each part is read in one."""
    full = [piece for piece in pieces if piece[1]]
    joined: list[Piece] = []
    gone = new = ""
    for at, (kind, text) in enumerate(full):
        between = 0 < at < len(full) - 1 and "\n" not in text
        if kind == "gone":
            gone += text
        elif kind == "new":
            new += text
        elif between and (gone or new) and _lost(text, gone, new, full[at + 1 : at + 3]):
            gone, new = gone + text, new + text
        else:
            joined += [("gone", gone), ("new", new), ("same", text)]
            gone = new = ""
    joined += [("gone", gone), ("new", new)]
    return [piece for piece in joined if piece[1]]


def _lost(same: str, gone: str, new: str, after: Sequence[Piece]) -> bool:
    """Whether it is so little between two changes that it is read with them."""
    here = _words(same)
    later = max((_words(text) for kind, text in after if kind != "same"), default=0)
    return not here or (here <= FEW and here < max(_words(gone), _words(new)) and here < later)


def _words(text: str) -> int:
    return len(re.findall(r"\w+", text))


def around(pieces: Sequence[Piece], words: int = CONTEXT) -> list[Piece]:
    """The changes with some words around them; what is left out is an ellipsis."""
    short: list[Piece] = []
    for at, (kind, text) in enumerate(pieces):
        parts = list(re.finditer(r"\s*\S+", text))
        head = words if at else 0
        tail = words if at + 1 < len(pieces) else 0
        if kind == "same" and len(parts) > head + tail + 2:
            before = text[: parts[head].start()]
            text = f"{before} … {text[parts[-tail].start() :].lstrip() if tail else ''}"
        short.append((kind, text))
    return short


@dataclass(frozen=True, slots=True)
class Change:
    """One place where two texts differ."""

    after: str  #: the last words before it, which both have; empty at the beginning
    gone: str  #: what the first has there; may be empty
    new: str  #: what the other has


def changes(pieces: Sequence[Piece], words: int = 4) -> list[Change]:
    """The changes one by one, each with the words that it follows."""
    found: list[Change] = []
    before = ""
    at = 0
    while at < len(pieces):
        kind, text = pieces[at]
        if kind == "same":
            before = " ".join(text.split()[-words:])
            at += 1
            continue
        gone = text if kind == "gone" else ""
        new = text if kind == "new" else ""
        at += 1
        if gone and at < len(pieces) and pieces[at][0] == "new":
            new = pieces[at][1]
            at += 1
        found.append(Change(before, " ".join(gone.split()), " ".join(new.split())))
    return found


def counted(pieces: Iterable[Piece]) -> str:
    """How much changed: "2 words gone, 1 new"."""
    gone, new = (sum(_words(text) for k, text in pieces if k == kind) for kind in ("gone", "new"))
    return f"{gone} word{'s' if gone != 1 else ''} gone, {new} new"


def shown(pieces: Iterable[Piece]) -> Content:
    """What went struck and in [-…-], what came underlined and in {+…+}: not told by colour alone."""
    from textual.content import Content

    parts: list[str | tuple[str, str]] = []
    for kind, text in pieces:
        text = clean(text)
        if kind == "same":
            parts.append(text)
            continue
        left, right, style = _MARKS[kind]
        body = text.lstrip()
        parts.append(text[: len(text) - len(body)] if body else "")
        # of nothing but space: made visible, and a line break that came breaks the line behind its mark
        parts.append((f"{left}{body or text.replace(chr(10), '¶').replace(' ', '·')}{right}", style))
        if not body and kind == "new":
            parts.append("\n" * text.count("\n"))
    return Content.assemble(*parts)
