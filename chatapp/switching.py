"""Which version answers: one back, one forward, or one that is named. For the page of versions and the plain chat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from chatapp.verdicts import SessionError

if TYPE_CHECKING:
    from storage.adapters import Adapter
    from storage.store import Store

#: what choosing a version by hand means for lessons, wherever it is said
HELD = "learning waits for a new judgment"

#: makes another version live and returns it; None is the base
Changing = Callable[["Store", str], "Adapter | None"]


@dataclass(frozen=True, slots=True)
class Switched:
    """Who answers now, who did before, and what brings that one back."""

    now: str
    before: str
    undo: Literal["back", "forward", "use"]

    def words(self, undo: str) -> str:
        """undo: how that is done here, "v3 is one key away: f"."""
        return f"{self.now} answers from now on; {undo}. {HELD[0].upper()}{HELD[1:]}."


def back(store: Store, model_hash: str) -> Adapter | None:
    return store.adapters.rollback(model_hash)


def forward(store: Store, model_hash: str) -> Adapter | None:
    from storage.versions import way_forward

    found = way_forward(store, model_hash)
    if found is None:
        raise SessionError("There is no version to go forward to: nothing newer was in use after this one.")
    return store.adapters.use(found.id, model_hash)


def use(adapter: Adapter | None) -> Changing:
    """adapter: None is the base."""

    def change(store: Store, model_hash: str) -> Adapter | None:
        live = store.adapters.live(model_hash)
        if (live.id if live else None) == (adapter.id if adapter else None):
            raise SessionError(f"{adapter.name if adapter else 'The base'} answers already.")
        return store.adapters.use(adapter.id if adapter else None, model_hash)

    return change


def switch(store: Store, model_hash: str, change: Changing) -> Switched:
    """Have another version answer."""
    from storage.versions import way_forward

    adapters = store.adapters
    before = adapters.live(model_hash)
    now = change(store, model_hash)
    was, is_ = (before.name if before else "the base"), (now.name if now else "The base")
    id = before.id if before else None
    ahead = way_forward(store, model_hash)
    if ahead is not None and ahead.id == id:  # nobody goes forward to the base
        return Switched(is_, was, "forward")
    behind = adapters.way_back(model_hash)[0] if now is not None else None
    if now is not None and (behind.id if behind else None) == id:
        return Switched(is_, was, "back")
    return Switched(is_, was, "use")
