"""What stands in the frame of an answer: what was said of it, and how it came to be. Nothing but words and signs."""

from __future__ import annotations

from chatapp.turn import Groups, Turn, places

ENDS = {"length": "cut at the limit", "cancelled": "stopped"}


def marks(turn: Turn, index: int, draft: Groups | None) -> list[str]:
    """Behind the letter: "1st", "✓ picked", "✎ corrected" ... draft: a ranking that is not recorded yet."""
    said: list[str] = []
    if draft:
        said.append(places(draft)[index] + "?")
    elif turn.groups:
        said.append(places(turn.groups)[index])
    elif turn.picked == index:
        said.append("✓ picked")
    elif turn.all_bad:
        said.append("✗ bad")
    if index in turn.corrections:
        said.append("✎ corrected")
    if index in turn.thumbs:
        said.append("+ good" if turn.thumbs[index] > 0 else "− bad")
    if index in turn.ratings:
        said.append(f"{turn.ratings[index]}/7")
    if index in turn.notes:
        said.append("note")
    if index in turn.flags:
        broken = sum(turn.flags[index].values())
        said.append(f"⚑ {broken} broken" if broken else f"⚑ {len(turn.flags[index])} kept")
    if index == turn.preferred:
        said.append("◇ reward model's choice")
    end = ENDS.get(turn.answers[index].finish_reason, "")
    if end and index not in turn.corrections:
        said.append(end)
    return said


def about(turn: Turn, index: int) -> str:
    """Below the text: how long it is; and who answered, once that cannot sway the choice any more."""
    answer = turn.answers[index]
    parts = [f"{answer.tokens} tokens"] if answer.tokens else []
    if turn.decided:
        parts.append(answer.version)
    return " · ".join(parts)
