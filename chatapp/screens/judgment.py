"""One judgment, looked at closely: all of the texts, what it teaches, who learned from it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from chatapp.clean import clean, one_line
from chatapp.looking import View, sections
from chatapp.screens.dialogs import Dialog
from chatapp.times import when
from chatapp.turn import FORGOTTEN
from chatapp.widgets.panel import Hint, Panel
from chatapp.widgets.scroller import Scroller


class JudgmentPanel(Dialog):
    """What is to be done with the judgment ("edit", "retract", "forget", "go"), or None."""

    DEFAULT_CSS = """
    JudgmentPanel {
        & > Panel { width: 100; padding: 0 2; }
        & VerticalScroll { height: auto; }
        & .title { text-style: bold; }
        & .heading { text-style: bold; color: $text-accent; margin: 1 0 0 0; }
        & .text { padding: 0 0 0 2; }
        & .answer { text-style: bold; padding: 0 0 0 2; }
        & .quiet { color: $text-muted; padding: 0 0 0 2; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,q", "cancel", "Close", id="judgment.close", tooltip="Back to the list"),
        Binding("e", "wish('edit')", "Edit", id="judgment.edit", tooltip="Say it anew"),
        Binding("x", "wish('retract')", "Take back", id="judgment.retract", tooltip="It teaches nothing any more"),
        Binding("F,delete", "wish('forget')", "Forget", id="judgment.forget", tooltip="It goes for good"),
        Binding("g", "wish('go')", "Thread", id="judgment.go", tooltip="Open its thread in the chat"),
    ]

    def __init__(self, view: View) -> None:
        super().__init__("")
        self.view = view

    def compose(self) -> ComposeResult:
        page = self.view.page
        kind = page["kind"].replace("_", " ")
        said = f"{kind}: {page['said'].removeprefix(f'{kind}: ')}"
        source = "" if page["source"] == "chat" else f", from {page['source']}"
        about = f"{page['short']}, {when(page['created_at'])}{source} · in “{page['thread']['title'] or 'untitled'}”"
        with Panel():
            yield Static(Content(one_line(said, 300)), classes="title")
            yield Static(Content(one_line(about, 200)), classes="quiet")
            with Scroller():
                if page["kind"] == "note":
                    yield Static(Content(clean(str(page["payload"].get("text", "")))), classes="text")
                yield Static(Content("The question"), classes="heading")
                yield _text(page["prompt"]["text"])
                yield Static(Content("The answers"), classes="heading")
                for answer in page["answers"]:
                    yield Static(Content(_name(answer)), classes="answer")
                    yield _text(answer["text"])
                for heading, lines in sections(self.view):
                    yield Static(Content(one_line(heading[:1].upper() + heading[1:], 300)), classes="heading")
                    for line in lines:
                        yield Static(Content(one_line(line, 300)), classes="text")
            yield Hint(
                "↑↓ scroll",
                ("e edit", "wish('edit')"),
                ("x take back", "wish('retract')"),
                ("F forget", "wish('forget')"),
                ("g thread", "wish('go')"),
                ("Esc close", "cancel"),
            )

    def on_mount(self) -> None:
        self.query_one(Scroller).focus()

    def action_wish(self, wish: str) -> None:
        self.dismiss(wish)


def _text(text: str | None) -> Static:
    return Static(Content(FORGOTTEN if text is None else clean(text)), classes="text" if text else "quiet")


def _name(answer: dict[str, object]) -> str:
    """ "B, 1st", "A, 6 of 7"."""
    rank, score, value = answer["rank"], answer["score"], answer["value"]
    place = ""
    if not answer["judged"]:
        place = ", shown beside them"
    elif isinstance(rank, int):
        place = f", place {rank + 1}"
    elif score is not None:
        place = f", {score} of 7"
    elif value == 1:
        place = ", good"
    elif value == -1:
        place = ", bad"
    return one_line(f"{answer['name']}{place}", 80)
