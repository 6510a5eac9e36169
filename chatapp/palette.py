"""The palette, before anything is typed: what there is in the order in which it is given, and not from A to Z."""

from __future__ import annotations

from textual.command import DiscoveryHit, Hits
from textual.system_commands import SystemCommandsProvider


class InOrder(SystemCommandsProvider):
    """Searches as Textual does."""

    async def discover(self) -> Hits:
        for title, about, command, discover in self.app.get_system_commands(self.screen):
            if discover:
                yield DiscoveryHit(title, command, help=about)
