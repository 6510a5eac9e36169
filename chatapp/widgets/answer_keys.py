"""The keys of the answers: what each does, as the footer, the help and the palette say it."""

from __future__ import annotations

from typing import Literal

from textual.binding import Binding

from chatapp.turn import label

#: what is no judgment
Wish = Literal[
    "undo",
    "copy",
    "copy_code",
    "diff",
    "duel",
    "skip",
    "teaches",
    "frequency",
    "edit_question",
    "earlier_version",
    "later_version",
    "earlier_turn",
    "later_turn",
]

#: ids of the keys that compare answers
_COMPARING = ("answers.best", "answers.lower", "answers.tie")
_ALONE = ("answers.good", "answers.bad")


def at_foot(binding: Binding, alone: bool, drafted: bool) -> str:
    """What a key is called at the foot. alone: there is one answer; drafted: a ranking is not recorded yet."""
    if alone and binding.id in (*_COMPARING, *_ALONE):
        return binding.description if binding.id in _ALONE else ""
    if drafted and binding.id in ("answers.enter", "answers.best"):
        return "Record" if binding.id == "answers.enter" else ""  # in 80 columns there is room for one of them
    return binding.description if binding.show else ""


KEYS = [
    Binding(
        "space",
        "pick_focused",
        "Pick",
        key_display="1-9",
        id="answers.best",
        tooltip="The focused answer is the best one",
    ),
    *(
        Binding(
            str(number),
            f"pick({number})",
            "Pick",
            show=False,
            id=f"answers.pick.{number}",
            tooltip=f"Answer {label(number - 1)} is the best one",
        )
        for number in range(1, 10)
    ),
    Binding(
        "left,h",
        "focus_card(-1)",
        "Previous answer",
        show=False,
        id="answers.left",
        tooltip="Look at the one before",
    ),
    Binding("right,l", "focus_card(1)", "Next answer", show=False, id="answers.right", tooltip="Look at the next one"),
    Binding(
        "J,alt+down",
        "rank(1)",
        "Rank",
        key_display="J K",
        id="answers.lower",
        tooltip="Move the focused answer one place down in the ranking",
    ),
    Binding(
        "K,alt+up",
        "rank(-1)",
        "Rank higher",
        show=False,
        id="answers.higher",
        tooltip="Move the focused answer one place up in the ranking",
    ),
    Binding(
        "=",
        "tie",
        "Tie",
        key_display="=",
        id="answers.tie",
        tooltip="As good as the one above it, the first as the one below; again: untie",
    ),
    Binding("x", "all_bad", "All bad", id="answers.all_bad", tooltip="None of these answers is good"),
    Binding("e", "correct", "Correct", id="answers.correct", tooltip="Write what the focused answer should have said"),
    Binding(
        "+",
        "thumb(1)",
        "Good",
        show=False,
        id="answers.good",
        tooltip="The focused answer is good",
    ),
    Binding("-", "thumb(-1)", "Bad", show=False, id="answers.bad", tooltip="The focused answer is bad"),
    Binding(
        "r",
        "rate",
        "Rate",
        id="answers.rate",
        tooltip="Then 1 (worst) to 7 (best): points for the focused answer",
    ),
    Binding("s", "wish('skip')", "Skip", show=False, id="answers.skip", tooltip="Judge nothing here, and write on"),
    Binding(
        "d", "wish('diff')", "Differences", show=False, id="answers.diff", tooltip="What two answers say otherwise"
    ),
    Binding("n", "note", "Note", show=False, id="answers.note", tooltip="Write a remark on the focused answer"),
    Binding(
        "f",
        "flag",
        "Flag",
        show=False,
        id="answers.flag",
        tooltip="Say that the focused answer breaks a rule, or keeps it",
    ),
    Binding("u", "wish('undo')", "Undo", id="answers.undo", tooltip="Take the newest judgment of this turn back"),
    Binding(
        "w",
        "wish('teaches')",
        "What it teaches",
        show=False,
        id="answers.teaches",
        tooltip="Which pairs and examples this turn gives, and what overrides what",
    ),
    Binding("y", "wish('copy')", "Copy", show=False, id="answers.copy", tooltip="Copy the focused answer"),
    Binding(
        "Y",
        "wish('copy_code')",
        "Copy code",
        show=False,
        id="answers.copy_code",
        tooltip="Copy a block of code of the focused answer",
    ),
    Binding(
        "E",
        "wish('edit_question')",
        "Edit a question",
        show=False,
        id="answers.edit",
        tooltip="Change a question and go on from there, in a branch of its own",
    ),
    Binding(
        "less_than_sign,left_square_bracket",
        "wish('earlier_version')",
        "Earlier branch",
        key_display="<",
        show=False,
        id="answers.earlier",
        tooltip="What stands beside this turn: other answers to its question, or another question in its place",
    ),
    Binding(
        "greater_than_sign,right_square_bracket",
        "wish('later_version')",
        "Later branch",
        key_display=">",
        show=False,
        id="answers.later",
        tooltip="The branch after this one; where none part here, those of the nearest turn before it",
    ),
    Binding(
        "p",
        "wish('earlier_turn')",
        "Earlier turn",
        show=False,
        id="answers.back",
        tooltip="The turn before this one: look at it, judge it again, go on from it",
    ),
    Binding("P", "wish('later_turn')", "Later turn", show=False, id="answers.forth", tooltip="The turn after this one"),
    Binding(
        "v",
        "wish('duel')",
        "Duel",
        show=False,
        id="answers.duel",
        tooltip="Two versions answer blind, one each, until you end it",
    ),
    Binding(
        "m",
        "wish('frequency')",
        "How often",
        show=False,
        id="answers.frequency",
        tooltip="When alternatives are drawn: always, sometimes, or only when Ctrl+R asks for them",
    ),
    Binding(
        "enter",
        "confirm",
        "Write",
        key_display="⏎",
        id="answers.enter",
        tooltip="Record the new ranking; where there is none, write on",
    ),
    Binding(
        "i",
        "to_prompt",
        "To the prompt",
        show=False,
        id="answers.prompt",
        tooltip="Write the next question",
    ),
    Binding(
        "escape", "drop", "Drop ranking", show=False, id="answers.drop", tooltip="Forget a ranking not yet recorded"
    ),
]
