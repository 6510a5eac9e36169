"""Every key there is: gathered from the bindings themselves, for the help, docs/keys.md and the reader's own [keys]."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from textual.binding import Binding, BindingType

NAMES = {
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "slash": "/",
    "question_mark": "?",
    "escape": "Esc",
    "enter": "Enter",
    "space": "Space",
    "delete": "Delete",
    "tab": "Tab",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
}


def key_name(key: str) -> str:
    """A key as people write it: "Ctrl+J"."""
    *held, last = key.strip().split("+") if key not in ("+", "") else [key]
    if last in NAMES:
        last = NAMES[last]
    elif held or (last.startswith("f") and last[1:].isdigit()):
        last = last.capitalize()
    return "+".join([*(name.capitalize() for name in held), last])


def keys_of(binding: Binding, own: Mapping[str, str]) -> str:
    """ "r" or "Ctrl+J, Shift+Enter", as the reader's own settings have it."""
    keys = own.get(binding.id or "", binding.key)
    return ", ".join(key_name(key) for key in keys.split(","))


def key_rows(bindings: Sequence[BindingType], own: Mapping[str, str] | None = None) -> list[tuple[str, str, str]]:
    """(keys, action, what it does) of a widget's bindings; the digits are one row."""
    rows = []
    for binding in bindings:
        assert isinstance(binding, Binding)
        group, _, number = (binding.id or "").rpartition(".")
        if number.isdigit() and number != "1":
            continue
        if number == "1":
            last = max(int((b.id or "").rpartition(".")[2]) for b in bindings if (b.id or "").startswith(f"{group}."))  # type: ignore[union-attr]
            what = "The answer with that number is the best one" if group == "answers.pick" else binding.tooltip
            rows.append((f"1 to {last}", binding.description, what))
        else:
            rows.append((keys_of(binding, own or {}), binding.description, binding.tooltip))
    return rows


def sections() -> list[tuple[str, list[BindingType]]]:
    """All keys, by where they count. Imports every screen."""
    from chatapp.screens.behind import Behind
    from chatapp.screens.chat_keys import CHAT_KEYS
    from chatapp.screens.correct import Correct
    from chatapp.screens.dialogs import CANCEL, Confirm
    from chatapp.screens.diff import Diff
    from chatapp.screens.generation import Generation
    from chatapp.screens.help import Help
    from chatapp.screens.insights import InsightsPage
    from chatapp.screens.judgment import JudgmentPanel
    from chatapp.screens.judgments import JudgmentsPage
    from chatapp.screens.page import Page
    from chatapp.screens.reask import Reask
    from chatapp.screens.remarks import Flag
    from chatapp.screens.teaches import Teaches
    from chatapp.screens.training import TrainingPage
    from chatapp.screens.versions import VersionsPage
    from chatapp.widgets.answers import Answers
    from chatapp.widgets.fields import SafeTextArea
    from chatapp.widgets.judgment_table import JudgmentTable
    from chatapp.widgets.prompt import Prompt
    from chatapp.widgets.threads import ThreadList, Threads

    return [
        ("With the answers", [*Answers.BINDINGS]),
        ("In the prompt", [*Prompt.BINDINGS, *SafeTextArea.BINDINGS]),
        ("In the list of threads", [*Threads.BINDINGS, *ThreadList.BINDINGS]),
        ("In the chat, wherever the focus is", [*CHAT_KEYS]),
        ("Everywhere", [*EVERYWHERE]),
        ("Correcting an answer", [*Correct.BINDINGS]),
        ("Comparing two answers", [*Diff.BINDINGS]),
        ("Flagging a rule", [*Flag.BINDINGS]),
        ("What a turn teaches", [*Teaches.BINDINGS]),
        ("How answers are drawn", [*Generation.BINDINGS]),
        ("Any question over the chat", [CANCEL, *Confirm.BINDINGS]),
        ("The keys", [*Help.BINDINGS]),
        ("On every page", [*Page.BINDINGS]),
        ("Training", [*TrainingPage.BINDINGS]),
        ("Versions", [*VersionsPage.BINDINGS, *Behind.BINDINGS]),
        ("Judgments", [*JudgmentsPage.BINDINGS, *JudgmentTable.BINDINGS]),
        ("One judgment", [*JudgmentPanel.BINDINGS]),
        ("Insights", [*InsightsPage.BINDINGS]),
        ("A pair that comes back", [*Reask.BINDINGS]),
    ]


#: Textual's own, which stay what they are
EVERYWHERE = (
    Binding("ctrl+p", "app.command_palette", "Palette", tooltip="Every command by name, with its key"),
    Binding("tab", "app.focus_next", "Next", tooltip="The next part of the screen; Shift+Tab: the one before"),
    Binding("ctrl+c", "app.help_quit", "Stop", tooltip="Stop the answers, as Esc does; copy what is selected"),
    Binding("ctrl+q", "app.quit", "Quit", tooltip="Leave; what is typed and judged is kept"),
)


QUITS = "Ctrl+Q quits."  #: for whoever presses Ctrl+C where there is nothing to stop


def known() -> set[str]:
    """The ids that [keys] can name."""
    return {b.id for _, bindings in sections() for b in bindings if isinstance(b, Binding) and b.id}


def strangers(own: Mapping[str, str], ids: Collection[str]) -> list[str]:
    """A line for each id of [keys] that names nothing."""
    lines = []
    for id in own:
        if id not in ids:
            near = difflib.get_close_matches(id, ids, 1)
            hint = f"did you mean {near[0]}?" if near else "`docs/keys.md` lists those there are."
            lines.append(f"[keys] names {id!r}, and nothing has that id; {hint}")
    return lines


MADE = (
    "Made from the bindings by `python -m chatapp.keys > docs/keys.md`; a test says when it is old. `[keys]` in the "
    'settings gives an action other keys by its id: `"answers.correct" = "c"` (`hone config init` shows how).'
)


def document() -> str:
    """docs/keys.md."""
    parts = [
        "# Keys",
        MADE,
    ]
    for title, bindings in sections():
        rows = []
        for keys, name, what in key_rows(bindings):
            rows.append(f"| {_cell(keys)} | {name} | {what} |")
        ids = [b.id for b in bindings if isinstance(b, Binding) and not _numbered(b)]
        rows = [f"{row} {f'`{id}`' if id else ''} |" for row, id in zip(rows, ids, strict=True)]
        parts.append("\n".join([f"## {title}", "", "| key | does | | id |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _numbered(binding: Binding) -> bool:
    last = (binding.id or "").rpartition(".")[2]
    return last.isdigit() and last != "1"


def _cell(keys: str) -> str:
    return " ".join(f"`{key}`" if key != "|" else "`\\|`" for key in keys.split(", "))


if __name__ == "__main__":
    print(document(), end="")
