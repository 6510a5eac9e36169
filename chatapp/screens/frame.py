"""The chat's screen as it is seen: its widgets, how they share the terminal, a thread shown, a line said."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from chatapp.branches import in_words
from chatapp.clean import clean
from chatapp.config import Settings
from chatapp.opening import Opened
from chatapp.reading import turns_between
from chatapp.screens.jobs import Jobs
from chatapp.session import ChatSession, SessionError
from chatapp.turn import PastTurn, Turn
from chatapp.view import Note, View
from chatapp.widgets.answers import Answers
from chatapp.widgets.keys_line import KeysLine
from chatapp.widgets.past import Line
from chatapp.widgets.prompt import HINT, SHORT_HINT, Prompt
from chatapp.widgets.status import StatusLine
from chatapp.widgets.threads import ThreadList
from chatapp.widgets.transcript import Transcript

SIDEBAR = 30  #: cells
VISITING = "From this turn · Enter branches off here · Esc returns to the latest"


class ChatFrame(Screen[None]):
    """What all parts of the chat's screen have in common. On it stand TurnActions, ThreadActions and ChatScreen."""

    DEFAULT_CSS = """
    ChatFrame {
        layers: base over;
        & > #small { display: none; width: 1fr; height: 1fr; content-align: center middle; text-align: center; }
        &.-small > * { display: none; }
        &.-small > #small { display: block; }
        & > #body { height: 1fr; }
        & #main { width: 1fr; height: 1fr; }
        & #said {
            height: 1; width: 1fr; padding: 0 2; color: $text-success;
            text-wrap: nowrap; text-overflow: ellipsis;
            link-color: $text-muted; link-background: transparent; link-style: bold;
            link-color-hover: $text-accent; link-background-hover: transparent; link-style-hover: bold underline;
        }
        &.-covered #said { visibility: hidden; }
        & #said.-whole { height: auto; max-height: 6; text-wrap: wrap; }
        & #said.-error { color: $text-error; }
        & #said.-quiet { color: $text-muted; }
        & Question, & PastTurns, & Line { max-width: 120; }
    }
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.opened: Opened | None = None
        self.generating = False
        self.editing: str | None = None  #: the question that the prompt replaces
        self.visiting = False  #: an earlier turn is shown, and later ones are not
        self.jobs = Jobs(self, self.say, self.note)
        self._saved_draft = ""
        self.said_now = ""  #: in that line
        self._told_here: list[Line] = []  # of the conversation, not shown there while they are said beneath it
        self._sidebar: bool | None = None  # whether the list is shown; None: as the width has it
        self._focus_before: Widget | None = None

    def compose(self) -> ComposeResult:
        self.status = StatusLine()
        self.threads = ThreadList()
        self.transcript = Transcript(self.settings.alternatives)
        self.answers = self.transcript.answers
        self.prompt = Prompt(id="prompt")
        yield self.status
        with Horizontal(id="body"):
            yield self.threads
            with Vertical(id="main"):
                yield self.transcript
                yield Static(id="said", markup=False)
                yield self.prompt
        yield KeysLine(palette=True)
        yield Static(
            Content("This terminal is too small for the chat.\nMake it at least 30 by 9, or use: hone chat --plain"),
            id="small",
        )

    @property
    def is_open(self) -> bool:
        return self.opened is not None

    @property
    def session(self) -> ChatSession:
        if self.opened is None:
            raise SessionError("Hone is still opening. One moment.")
        return self.opened.session

    @property
    def on_top(self) -> bool:
        """Whether keys come here. To Textual the screen below a dialog is current, too."""
        return self.is_current and self.app.screen is self

    @property
    def answers_have_focus(self) -> bool:
        """Whether a key pressed now is for the answers."""
        return self.on_top and self.focused is not None and self.focused is self.answers

    def at_foot(self, binding: Binding) -> str:
        """What a key is called at the foot: other answers are drawn where there is one alone."""
        asks = binding.id == "chat.again" and self.answers_have_focus and self.answers.alone
        return binding.description if binding.show or asks else ""

    # -- showing ---------------------------------------------------------------------------------------------------

    async def _show(self, view: View, judge: bool = True) -> None:
        judging = judge and self.answers_have_focus
        self.status.heading = view.title
        self.editing = None
        self.visiting = bool(view.later)
        self.prompt.border_title = VISITING if view.later else ""
        if not self.prompt.text:
            self.prompt.put(view.draft)
        self._saved_draft = view.draft
        self.say("")
        await self.transcript.show(view)
        self._way_out()
        self._hint_branch(view.turn)
        if view.later:
            said = f"An earlier turn, {view.later} more after it. p and P go on, Esc returns. {in_words(view.turn)}"
            self.say(said, quiet=True, whole=True)
        free = not self.prompt.text and (judge or (view.turn is not None and not view.turn.answers))
        if view.turn is not None and (judging or free):
            self.set_focus(self.answers, scroll_visible=False)
        else:
            self.set_focus(self.prompt)

    def _way_out(self) -> None:
        self.visiting = self.opened is not None and not self.generating and self.opened.session.visiting
        if self.editing is None:
            self.prompt.border_title = VISITING if self.visiting else ""
        self.prompt.way_out = self.generating or self.editing is not None or self.answers.turn is not None
        self.refresh_bindings()

    def _hint_branch(self, turn: Turn | None) -> None:
        """Say which branch this is where branches part."""
        if said := in_words(turn):
            self.say(said, quiet=True)

    def say(self, text: str | Content, error: bool = False, quiet: bool = False, whole: bool = False) -> None:
        """The one line beneath the answers (in the list, where that lies over it); whole: as many as it needs."""
        said = self.query_one("#said", Static)
        said.set_class(error, "-error")
        said.set_class(quiet, "-quiet")
        said.set_class(whole or error, "-whole")  # what went wrong is not cut short
        if isinstance(text, str):
            text = Content(("! " if error else "") + " ".join(clean(text).split()))
        said.update(text)
        said.tooltip = None
        self.said_now = str(text)
        for line in self._told_here:
            line.display = True
        self._told_here.clear()
        self.threads.tell(text, "-error" if error else "-quiet" if quiet else "")

    def note(self, note: Note) -> None:
        """A line in the conversation."""
        self.transcript.say(note)

    def tell(self, note: Note) -> None:
        """What came of something that was asked for."""
        self.note(note)
        self._tell_here([note])

    def _tell_here(self, notes: Sequence[Note]) -> None:
        """Where the eye is. In the conversation, which has them too, they are seen from when that line says more."""
        self.say(" ".join(note.text for note in notes), any(note.error for note in notes), quiet=True, whole=True)
        self._told_here = [line for line in self.transcript.query(Line) if any(line.note is note for note in notes)]
        for line in self._told_here:
            line.display = False

    async def _refresh_status(self) -> None:
        if self.opened is None:
            return
        progress = await self.jobs.call(self.opened.lessons.progress)
        session = self.opened.session
        self.status.lesson = progress.text if session.engine is not None else ""
        live = f"v{session.adapter.number}" if session.adapter else "base" if session.engine else ""
        self.status.version = live if session.duel is None else "duel"

    def _mark_changed(self) -> None:
        if self.opened is not None:
            self.opened.lessons.recount()

    @on(Transcript.Wanted)
    def turns_wanted(self, event: Transcript.Wanted) -> None:
        if self.is_open and self.session.turn is not None:
            self.jobs.start("past", self._bring, event, self.session.turn.prompt_id)

    async def _bring(self, wanted: Transcript.Wanted, prompt_id: str) -> None:
        turns: tuple[PastTurn, ...] = ()
        try:
            turns = await self.jobs.call(turns_between, self.session.store, prompt_id, wanted.first, wanted.end)
        finally:
            await self.transcript.bring(wanted, turns)

    # -- size ------------------------------------------------------------------------------------------------------

    def on_resize(self, event: Resize) -> None:
        self._lay_out(event.size)

    def _lay_out(self, size: Size | None = None) -> None:
        width, height = size or self.app.size
        small = width < 30 or height < 9
        if small and not self.has_class("-small"):
            self._focus_before = self.focused
        elif not small and self.has_class("-small") and self._focus_before is not None:
            # what was hidden lost the focus
            self.call_after_refresh(self.set_focus, self._focus_before, scroll_visible=False)
        self.set_class(small, "-small")
        prompt = self.query_one(Prompt)
        prompt.set_class(height < 16, "-short")
        prompt.placeholder = HINT if width >= 60 else SHORT_HINT
        # unasked it stands beside the chat, never over it
        roomy = width >= 100 and (width - SIDEBAR - 3) // self.settings.alternatives >= Answers.MIN_COLUMN
        threads = self.query_one(ThreadList)
        shown = roomy if self._sidebar is None else self._sidebar
        if not shown and threads.has_class("-shown"):
            threads.closed()
        threads.set_class(shown, "-shown")
        threads.set_class(shown and width < 100, "-over")
        self.set_class(shown and width < 100, "-covered")
