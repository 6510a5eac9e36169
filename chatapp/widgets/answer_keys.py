"""The keys of the answers: what each does, as the footer, the help and the palette say it."""

from __future__ import annotations

from textual.binding import Binding

from chatapp.turn import label

RANK = Binding.Group("Rank", compact=True)
THUMB = Binding.Group("Thumb", compact=True)

KEYS = [
    *(
        Binding(
            str(number),
            f"pick({number})",
            "Pick",
            show=number == 1,
            key_display="1-9",
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
        "Rank lower",
        key_display="J",
        group=RANK,
        id="answers.lower",
        tooltip="Move the focused answer one place down in the ranking",
    ),
    Binding(
        "K,alt+up",
        "rank(-1)",
        "Rank higher",
        key_display="K",
        group=RANK,
        id="answers.higher",
        tooltip="Move the focused answer one place up in the ranking",
    ),
    Binding("=", "tie", "Tie", key_display="=", id="answers.tie", tooltip="As good as the one above it; again: untie"),
    Binding("x", "all_bad", "All bad", id="answers.all_bad", tooltip="None of these answers is good"),
    Binding("e", "correct", "Correct", id="answers.correct", tooltip="Write what the focused answer should have said"),
    Binding(
        "+",
        "thumb(1)",
        "Good",
        key_display="+",
        group=THUMB,
        id="answers.good",
        tooltip="The focused answer is good",
    ),
    Binding(
        "-", "thumb(-1)", "Bad", key_display="-", group=THUMB, id="answers.bad", tooltip="The focused answer is bad"
    ),
    Binding(
        "s", "rate", "Score 1 to 7", show=False, id="answers.rate", tooltip="Give the focused answer 1 to 7 points"
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
    Binding(
        "r",
        "wish('again')",
        "Ask again",
        show=False,
        id="answers.again",
        tooltip="New answers to the same question",
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
        "left_square_bracket",
        "wish('earlier_version')",
        "Earlier branch",
        key_display="[",
        show=False,
        id="answers.earlier",
        tooltip="The branch before: other answers, or another question",
    ),
    Binding(
        "right_square_bracket",
        "wish('later_version')",
        "Later branch",
        key_display="]",
        show=False,
        id="answers.later",
        tooltip="The branch after this one",
    ),
    Binding(
        "enter",
        "confirm",
        "Write",
        key_display="⏎",
        id="answers.enter",
        tooltip="Record the ranking, if there is a new one, and write on",
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
