"""The keys of the chat's screen, wherever the focus is, and what is done by name alone."""

from __future__ import annotations

from textual.binding import Binding

CHAT_KEYS = [
    Binding("f1,question_mark", "help", "Help", key_display="F1", id="chat.help", tooltip="All keys"),
    Binding("ctrl+n", "new_thread", "New", id="chat.new", tooltip="Begin a new thread"),
    Binding("ctrl+t", "threads", "Threads", id="chat.threads", tooltip="Show or hide the list of threads"),
    Binding(
        "ctrl+r",
        "again",
        "Ask again",
        show=False,
        id="chat.again",
        tooltip="New answers to the same question, with alternatives",
    ),
    Binding("f2", "rename_thread", "Rename", show=False, id="chat.rename", tooltip="Rename this thread"),
    Binding("ctrl+l", "learn", "Learn now", show=False, id="chat.learn", tooltip="Start a lesson with what was judged"),
    Binding(
        "alt+pageup",
        "earlier_turns",
        "Show earlier turns",
        show=False,
        id="chat.earlier",
        tooltip="Go back by many turns at once; Home goes to the first",
    ),
    Binding("escape", "stop", "Stop", show=False, id="chat.stop", tooltip="Stop the answers; their text is kept"),
    Binding(
        "f3",
        "page('training')",
        "Training",
        show=False,
        id="chat.training",
        tooltip="The lessons, and the one under way",
    ),
    Binding(
        "f4",
        "page('versions')",
        "Versions",
        show=False,
        id="chat.versions",
        tooltip="What was learned, version by version; roll back and forward",
    ),
    Binding(
        "f5",
        "page('judgments')",
        "Judgments",
        show=False,
        id="chat.judgments",
        tooltip="Search, open, change and take back what was judged",
    ),
    Binding(
        "f9",
        "page('insights')",
        "Insights",
        show=False,
        id="chat.insights",
        tooltip="What your judgments show: who wins, how consistent they are",
    ),
    Binding(
        "f8",
        "generation",
        "How answers are drawn",
        show=False,
        id="chat.generation",
        tooltip="Number of answers, temperature, length, seed",
    ),
]

#: what has no key of its own: title, help, action
KEYLESS: list[tuple[str, str, str]] = [
    ("Make this thread private, or not", "Never learned from; before its first question too", "private_thread"),
    ("Archive this thread", "Put it away; the list can show archived threads", "archive_thread"),
    ("Delete this thread", "Its judgments are no longer learned from; can be undone", "delete_thread"),
    ("Bring back the deleted thread", "Undo the last deletion", "undelete_thread"),
    ("Save this thread as Markdown", "A file in the folder where Hone was started", "export_thread"),
    ("Forget this turn", "Remove the question, its answers and all that followed for good", "forget_turn"),
    ("Forget this thread", "Remove all its text for good, from the backups too", "forget_thread"),
    ("Pause learning, or go on", "Whether lessons start by themselves", "toggle_learning"),
    ("Stop the lesson", "Cancel the training run under way", "cancel_lesson"),
    ("Answer with another model", "Those on this disk; each has its own versions", "model"),
    ("Roll back", "Answer with the version before the live one", "rollback"),
]
