"""Keys take effect one after the other, however fast they come.

Textual runs a binding when its key has come back through all widgets, while letters are written where they first
arrive: in a burst (a macro, a text expander, a line that lags) `d` overtakes the Backspace before it, and what follows
a Tab goes to the field that was left. Here keys behind one that is on its way wait until it is done. A message sent
behind it through the same widgets says when that is; a second one, when what it set off has come up too.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any, ClassVar

from textual import on
from textual.app import App
from textual.events import Event, Key, Paste
from textual.message import Message
from textual.widgets import Input, TextArea


class Behind(Message):
    """Comes up behind a key (trip 1), then behind what that set off (trip 2)."""

    def __init__(self, key: Key, trip: int) -> None:
        super().__init__()
        self.key = key
        self.trip = trip


class KeysInTurn(App[int]):
    """An app whose subclass says in `take` what a key does when its turn has come."""

    PATIENCE: ClassVar[float] = 1.0  #: seconds after which the next key waits no longer; a closed widget brings nothing

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._on_its_way: Key | None = None
        self._waiting: deque[Key | Paste] = deque()

    async def on_event(self, event: Event) -> None:
        if not isinstance(event, Key | Paste) or event.is_forwarded:
            await super().on_event(event)
        elif self._on_its_way is None:
            await self._begin(event)
        else:
            self._waiting.append(event)
            if len(self._waiting) == 1:
                self._lose_patience_later()

    async def take(self, event: Key | Paste) -> bool:
        """Hand it to whatever has the focus. True: it has done already all that it does."""
        written = isinstance(self.focused, Input | TextArea) and (isinstance(event, Paste) or event.is_printable)
        await super().on_event(event)
        return written or isinstance(event, Paste)  # a field's own queue keeps these in their order

    async def _begin(self, event: Key | Paste) -> None:
        if not await self.take(event):
            assert isinstance(event, Key)
            self._on_its_way = event
            self._send_behind(event, 1)
            if self._waiting:
                self._lose_patience_later()

    def _send_behind(self, key: Key, trip: int) -> None:
        if not (self.focused or self.screen).post_message(Behind(key, trip)):
            self.call_later(self._go_on, key)

    @on(Behind)
    def come_up(self, event: Behind) -> None:
        if event.key is not self._on_its_way:
            return
        if event.trip == 1:
            self._send_behind(event.key, 2)
        else:
            self.call_later(self._go_on, event.key)  # behind a change of the focus, which comes later too

    def _lose_patience_later(self) -> None:
        self.set_timer(self.PATIENCE, partial(self._go_on, self._on_its_way))

    async def _go_on(self, key: Key | None) -> None:
        if key is self._on_its_way:
            self._on_its_way = None
            while self._waiting and self._on_its_way is None:
                await self._begin(self._waiting.popleft())
