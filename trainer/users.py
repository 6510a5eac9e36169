"""Scripted users with a known taste: each a function from a text to a score, higher is better.

They stand in for people where a measurement needs thousands of consistent judgments. A score is rounded to what a
person would notice, so ties happen. What is no answer (a few words, the same words over and over) is worst for
everybody: nobody can be pleased by saying nothing. That an answer was cut off by the limit is not held against it: an
unfinished last sentence is passed over where sentences are looked at.

`common` marks a taste that most answers show: hardly a turn is tied, and at most a fifth of the pairs of answers to one
prompt, measured on the base's answers (`hone simulate --survey 60`). Where it is False, up to half of the turns are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from trainer.errors import BadSetting
from trainer.simulation import edits
from trainer.simulation.text import (
    is_heading,
    is_item,
    lines,
    per_hundred,
    sentences,
    usable,
    without_mark,
    words,
)

#: the score of what is no answer
UNUSABLE = -1e6


@dataclass(frozen=True, slots=True)
class User:
    """One taste. Call `score`, not `taste_of`."""

    name: str
    taste: str  #: in one line, for `--list`
    common: bool
    taste_of: Callable[[str], float]  #: of a usable text
    edit: Callable[[str], str] | None = None  #: how he writes an answer better; None: he takes another candidate

    def score(self, text: str) -> float:
        """How well he likes an answer; UNUSABLE for what is none."""
        return self.taste_of(text) if usable(text) else UNUSABLE


def letters_a_word(text: str) -> float:
    """Mean letters a word, apostrophes are none; a text without words has 100."""
    found = words(text)
    return sum(sum(map(str.isalpha, word)) for word in found) / len(found) if found else 100.0


def concise(text: str) -> float:
    """Fewer words, in steps of ten."""
    return -float(len(words(text)) // 10)


def plain_words(text: str) -> float:
    """Fewer letters a word, to a hundredth."""
    return -round(letters_a_word(text), 2)


def short_sentences(text: str) -> float:
    """Fewer words a sentence, to one word. Items of a list are sentences."""
    found = sentences(text)
    return -float(round(sum(len(words(s)) for s in found) / max(1, len(found))))


def no_lists(text: str) -> float:
    """Running text: many words a line, in steps of five; an item of a list or a heading counts as three lines."""
    count = sum(3 if is_item(line) or is_heading(line) else 1 for line in lines(text))
    return float(len(words(text)) // count // 5)


def asks_back(text: str) -> float:
    """Turns to the reader: questions (up to three), then "you" and "your" by the hundred words (up to six)."""
    questions = min(3, len(re.findall(r"\?(?=\s|$|[\"'”’)*])", text)))
    you = sum(word.split("'")[0] in ("you", "your", "yours", "yourself") for word in words(text.replace("’", "'")))
    return 10.0 * questions + min(6.0, round(per_hundred(you, text)))


def formal(text: str) -> float:
    """Long forms and linking words, no exclamation marks and nothing casual; by the hundred words."""
    plain = text.replace("’", "'")
    casual = len(re.findall(_CONTRACTION, plain, re.I)) + len(re.findall(rf"\b(?:{_CASUAL})\b", plain, re.I))
    linking = len(re.findall(rf"\b(?:{_LINKING})\b", plain, re.I))
    return float(round(per_hundred(linking - casual - plain.count("!"), text)))


def warm(text: str) -> float:
    """Kind words, each different one counted once: eight at most."""
    return float(min(8, len(set(words(text)) & _KIND)))


def concrete(text: str) -> float:
    """Examples and figures: words that begin an example, and numbers that number no item; ten at most."""
    examples = len(re.findall(rf"\b(?:{_EXAMPLE})\b", text, re.I))
    figures = sum(len(re.findall(r"(?<![\w.,])\d", without_mark(line))) for line in lines(text))
    return float(min(10, 2 * examples + figures))


def to_the_point(text: str) -> float:
    """Begins with the answer: a short first sentence, in steps of two words; an opening that says nothing costs 16."""
    first = sentences(text)[0]
    return -float((max(4, len(words(first))) + 16 * edits.is_preamble(first)) // 2)


def definite(text: str) -> float:
    """Says it straight: fewer of may, can, some, many, very, important ... by the hundred words, to a half."""
    return -round(2 * per_hundred(len(edits.VAGUE.findall(text)), text)) / 2


def varied(text: str) -> float:
    """Different words: their share among the first sixty, to a twentieth; shorter texts are taken for half empty."""
    found = words(text)[:60]
    return round(20 * len(set(found)) / max(45, len(found))) / 20


_CONTRACTION = (
    r"\b\w+n't\b|\b\w+'(?:re|ll|ve|d)\b|\b(?:i'm|it's|that's|there's|here's|what's|let's|he's|she's|who's|how's)\b"
)
_CASUAL = (
    "ok|okay|yeah|yep|hey|hi|wow|guys|kids|stuff|cool|awesome|gonna|wanna|gotta|kinda|sort of|kind of|a lot|lots|"
    "pretty much|super|totally|basically|anyway"
)
_LINKING = (
    "therefore|thus|hence|however|moreover|furthermore|consequently|nevertheless|additionally|in addition|"
    "in conclusion|in contrast|accordingly|subsequently|notably|regarding|whereas|one should"
    "|it is essential|it is important"
)
_KIND_WORDS = """
    care caring cherish cheer cheerful comfort comforting dear delight delighted delightful enjoy enjoyable friend
    friendly friends fun gentle glad grateful happiness happy heart heartfelt help hope hug joy joyful kind kindness
    laugh laughter love loved lovely loving peace peaceful please pleasure proud share smile smiles support sweet
    thank thanks together treasure warm warmth welcome wish wishes wonderful
"""
_KIND = frozenset(_KIND_WORDS.split())
_EXAMPLE = "for example|for instance|such as|e\\.g|an example|say,|imagine|like when|including"

USERS = {
    user.name: user
    for user in (
        User("concise", "short answers: the fewer words, the better", True, concise, edits.two_sentences),
        User("plain-words", "plain words: few letters a word", True, plain_words),
        User("short-sentences", "short sentences", True, short_sentences, edits.split_sentences),
        User("to-the-point", "begins with the answer: a short first sentence, no opening phrase", True,
             to_the_point, edits.without_preamble),
        User("definite", "says it straight: no may, can, some, many, very, important", True,
             definite, edits.without_hedges),
        User("varied", "different words: does not say the same again", True, varied, edits.without_repeats),
        User("no-lists", "running text: long paragraphs, no lists or headings", True, no_lists, edits.running_text),
        User("asks-back", "turns to the reader: questions, and you rather than one", False,
             asks_back, edits.with_question),
        User("formal", "formal: no short forms or casual words, linking words", False, formal, edits.long_forms),
        User("warm", "warm: kind words", False, warm, edits.with_kind_words),
        User("concrete", "examples and figures", False, concrete),
    )
}  # fmt: skip


def user(name: str) -> User:
    """By name. BadSetting names those there are."""
    if name not in USERS:
        raise BadSetting(f"there is no simulated user {name!r}; there are {', '.join(USERS)}, and all")
    return USERS[name]
