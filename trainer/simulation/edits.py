"""How simulated users write an answer better: fixed edits, the same for the same text. One that has nothing to do
gives the text back as it is."""

from __future__ import annotations

import re

from trainer.simulation.text import finished, is_heading, lines, sentences, usable, without_mark, words

#: words that take back half of what is said
HEDGE = re.compile(
    r"\b(?:may|might|could|perhaps|maybe|possibly|probably|likely|often|usually|generally|typically|sometimes|"
    r"somewhat|relatively|tends? to|seems? to|appears? to|in some cases)\b",
    re.I,
)
#: words that add nothing
FILLER = re.compile(r"\b(?:very|really|just|quite|also|overall|simply|actually|truly|certain|in general)\b", re.I)
#: both, and words that leave open what is meant
VAGUE = re.compile(
    f"{HEDGE.pattern}|{FILLER.pattern}|"
    r"\b(?:can|some|many|several|various|different|variety|a number of|a range of|things?|something|etc|and so on|"
    r"and more|aspects?|factors?|important|essential|crucial|ensure)\b",
    re.I,
)
_PREAMBLE = re.compile(
    r"\s*(?:(?:sure|certainly|of course|absolutely|great|okay|ok|well|yes|hello|hi|dear|wow|ah)\b[ ,!.]|"
    r"(?:here(?:'s|’s| is| are)|let(?:'s|’s| us| me)|as an? |when it comes to|in (?:this|the|today)|what a |"
    r"the (?:art|world) of|thank you for|i(?:'m|’m| am) |i(?:'d|’d| would)|there are (?:many|several|a few|some)|"
    r"to begin|first of all|before (?:we|you)|imagine|have you ever|"
    r"it(?:'s|’s| is) (?:important|essential|great|wonderful|a (?:great|good)))\b)",
    re.I,
)
_QUESTIONS = (
    "What would you like to know more about?",
    "What have you tried so far?",
    "How does that sound to you?",
    "Which part of it matters most to you?",
)
_KIND_OPENING = ("I am glad that you asked.", "What a lovely question, dear friend.", "Thank you for sharing this.")
_KIND_END = (
    "I hope that this helps, and I wish you a happy day.",
    "Please enjoy it, and take good care of yourself.",
    "With warm wishes and a smile.",
)
_LONG = {
    "can't": "cannot", "won't": "will not", "shan't": "shall not", "let's": "let us", "i'm": "I am", "it's": "it is",
    "that's": "that is", "there's": "there is", "here's": "here is", "what's": "what is", "he's": "he is",
    "she's": "she is", "who's": "who is", "how's": "how is",
}  # fmt: skip
_ENDINGS = {"n't": " not", "'re": " are", "'ll": " will", "'ve": " have", "'d": " would"}


def is_preamble(sentence: str) -> bool:
    """Whether a sentence only opens: "Sure!", "When it comes to ...", "Here are some ...", or it ends with a colon."""
    return _PREAMBLE.match(sentence) is not None or sentence.rstrip().endswith(":")


def two_sentences(text: str) -> str:
    """The first two sentences that say something; more where those are no answer yet."""
    found = sentences(text)
    told = [sentence for sentence in found if not is_preamble(sentence)] or found
    for count in range(2, len(told) + 1):
        short = _whole(" ".join(without_mark(sentence) for sentence in told[:count]))
        if usable(short):
            return short
    return finished(text)


def split_sentences(text: str) -> str:
    """New sentences at semicolons, and before but, so and while."""
    cut = re.sub(
        r"(?:;\s+|,\s+(?=(?:but|so|while|which means)\s))([a-z])", lambda m: ". " + m[1].upper(), finished(text)
    )
    return re.sub(r",\s+and\s+(it|they|you|we|he|she|this|that)\b", lambda m: ". " + m[1].capitalize(), cut)


def without_preamble(text: str) -> str:
    """Without the sentences that only open it."""
    found = sentences(text)
    rest = next((i for i, sentence in enumerate(found) if not is_preamble(sentence)), 0)
    if not rest:
        return finished(text)
    start = text.find(found[rest])
    return finished(text[start:]) if start > 0 else finished(text)


def without_hedges(text: str) -> str:
    """Says that it is so: "may" and "can" as "will"; other hedges and words that add nothing go."""
    cut = re.sub(r"\b(?:may|might|could|can) be\b", "is", finished(text))
    cut = re.sub(r"\b(?:may|might|could|can)\b", "will", cut)
    cut = re.sub(r"\b(?:seem|tend|appear)s? to be\b", "is", cut)
    cut = re.sub(rf"(?:{HEDGE.pattern}|{FILLER.pattern}),?\s?", "", cut, flags=re.I)
    return re.sub(r"(^|[.!?]\s+)([a-z])", lambda m: m[1] + m[2].upper(), cut).strip()


def without_repeats(text: str) -> str:
    """Each sentence once, and none whose words nearly all stood before."""
    kept: list[str] = []
    seen: set[str] = set()
    for sentence in sentences(text):
        mine = set(words(sentence))
        if not mine or len(mine - seen) / len(mine) >= 0.4:
            kept.append(sentence)
        seen |= mine
    return _whole(" ".join(kept))


def running_text(text: str) -> str:
    """Items of lists become sentences of one paragraph; headings go."""
    kept = [without_mark(line) for line in lines(finished(text)) if not is_heading(line)]
    return " ".join(part if re.search(r"[.!?:;,]$", part) else part + "." for part in kept if part)


def with_question(text: str) -> str:
    """A question at the end, unless it has one."""
    cut = finished(text)
    return cut if cut.endswith("?") else f"{cut} {_QUESTIONS[len(text) % len(_QUESTIONS)]}"


def long_forms(text: str) -> str:
    """Short forms written out, exclamation marks as full stops."""

    def long(found: re.Match[str]) -> str:
        word = found[0].replace("’", "'")
        low = word.lower()
        new = _LONG.get(low) or next((word[: -len(e)] + full for e, full in _ENDINGS.items() if low.endswith(e)), word)
        return new[0].upper() + new[1:] if word[0].isupper() else new

    return re.sub(r"\b\w+(?:['’]\w+)\b", long, finished(text)).replace("!", ".")


def with_kind_words(text: str) -> str:
    """A kind opening and a kind end."""
    opening = _KIND_OPENING[len(text) % len(_KIND_OPENING)]
    return f"{opening} {finished(text)} {_KIND_END[len(text) % len(_KIND_END)]}"


def as_whole(text: str) -> str:
    """No edit but that a cut-off end goes: what a user says of another candidate must not teach to break off."""
    return finished(text)


def _whole(text: str) -> str:
    return text if not text or text[-1] in '.!?…"”)' else text + "."
