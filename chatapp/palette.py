"""The palette: before anything is typed, what there is in the order in which it is given, and not from A to Z.

A command is found by the words of its name, by words that people look for it with, and by those that explain it; by
scattered letters of its name, as Textual does it, where no words are found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from textual.command import DiscoveryHit, Hit, Hits
from textual.system_commands import SystemCommandsProvider

#: name -> what people call it too, the words of the prompt's commands (/clear) among them
ALSO = {
    "Chat: Help": "keys shortcuts bindings commands",
    "Chat: New": "clear start conversation",
    "Chat: Threads": "history conversations list sidebar",
    "Chat: Ask again": "regenerate retry redo",
    "Chat: Learn now": "train lesson",
    "Chat: Training": "lessons runs progress loss",
    "Chat: Versions": "adapters checkpoints lineage",
    "Chat: Judgments": "ratings feedback history",
    "Chat: Insights": "statistics stats charts",
    "Chat: How answers are drawn": "settings options preferences temperature sampling seed",
    "Chat: System prompt": "instructions persona",
    "Chat: Save this thread as Markdown": "export download write file",
    "Chat: Make this thread private, or not": "incognito secret",
    "Chat: Answer with another model": "switch change gguf ollama",
    "Chat: Roll back": "undo revert downgrade",
    "Chat: Stop the lesson": "cancel abort training",
    "Chat: Pause learning, or go on": "resume train automatic",
    "Answers: Flag": "rules",
    "Theme": "colours colors dark light appearance",
    "Quit": "exit close leave",
}
#: how good a match is: of the name, of what people call it too, of what explains it
NAME, CALLED, EXPLAINED = 1.0, 0.8, 0.6


class InOrder(SystemCommandsProvider):
    """Hone's commands and Textual's own."""

    async def discover(self) -> Hits:
        for title, about, command, discover in self.app.get_system_commands(self.screen):
            if discover:
                yield DiscoveryHit(title, command, help=about)

    async def search(self, query: str) -> Hits:
        found = False
        matcher = self.matcher(query)
        for title, about, command, _ in self.app.get_system_commands(self.screen):
            if score := how_well(query, title, about):
                found = True
                yield Hit(score, matcher.highlight(title) if score == NAME else title, command, help=about)
        if not found:
            async for hit in super().search(query):
                yield hit


def how_well(query: str, title: str, about: str) -> float:
    """Whether each word of query begins one of the command's; 0: not."""
    typed = _words(query)
    for score, text in ((NAME, title), (CALLED, f"{title} {ALSO.get(title, '')}"), (EXPLAINED, f"{title} {about}")):
        words = _words(text)
        if typed and all(any(word.startswith(begun) for word in words) for begun in typed):
            return score
    return 0.0


def _words(text: str) -> Sequence[str]:
    return re.findall(r"\w+", text.casefold())
