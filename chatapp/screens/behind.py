"""The judgments behind a version, said in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from chatapp.clean import one_line
from chatapp.lessons import judgments
from chatapp.screens.dialogs import Dialog
from chatapp.times import when
from chatapp.widgets.panel import Hint, Panel
from chatapp.widgets.scroller import Scroller

if TYPE_CHECKING:
    from storage.store import Store
    from storage.versions import Learned

MOST = 300  #: judgments that are shown, the newest


@dataclass(frozen=True, slots=True)
class Told:
    """One of them."""

    when: str
    kind: str
    said: str
    question: str
    held_out: bool


def tell(store: Store, learned: Sequence[Learned]) -> list[Told]:
    """Read the newest of them."""
    found = []
    for one in learned[:MOST]:
        judgment = store.judgments.get(one.id)
        question = store.threads.message(judgment.prompt_id).content
        found.append(
            Told(
                when(one.created_at),
                one.kind.replace("_", " "),
                store.judgments.describe(judgment),
                "(forgotten)" if question is None or one.forgotten else question,
                one.split == "held_out",
            )
        )
    return found


class Behind(Dialog):
    """Nothing is given back: it is for reading."""

    DEFAULT_CSS = """
    Behind {
        & > Panel { width: 92; }
        & VerticalScroll { height: auto; max-height: 60vh; margin: 1 0 0 0; }
        & .judgment { margin: 0 0 1 0; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o,q", "cancel", "Close", id="behind.close", tooltip="Back to the versions")
    ]

    def __init__(self, name: str, told: Sequence[Told], count: int, held_out: int = 0) -> None:
        test = f", and {held_out} held out to test with" if held_out else ""
        super().__init__(f"What {name} learned from: {judgments(count - held_out)}{test}")
        self.told = told
        self.count = count

    def compose(self) -> ComposeResult:
        with Panel():
            yield Static(Content(self.question))
            with Scroller():
                for one in self.told:
                    held = " · held out, to test with" if one.held_out else ""
                    yield Static(
                        Content.assemble(
                            (f"{one.when} {one.kind}{held}", "$foreground 60%"),
                            (f"\n{one_line(one.said, 160)}", "bold"),
                            f"\n  {one_line(one.question, 160)}",
                        ),
                        classes="judgment",
                    )
                if self.count > len(self.told):
                    left = self.count - len(self.told)
                    yield Static(Content(f"and {left} older: `hone adapters show` lists all"))
            yield Hint("↑↓ scroll", ("Esc closes", "cancel"))

    def on_mount(self) -> None:
        self.query_one(Scroller).focus()
