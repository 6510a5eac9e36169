"""What the pages beside the chat have in common: a title, a body, a line that says things, the keys at the foot.

A page lies over the chat, which goes on beneath it: answers stream, lessons run, and Esc goes back to all of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, Literal, ParamSpec, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from chatapp.clean import clean, one_line
from chatapp.keys import QUITS
from chatapp.screens.jobs import Jobs
from chatapp.view import Note
from chatapp.widgets.keys_line import KeysLine

if TYPE_CHECKING:
    from chatapp.screens.chat import ChatScreen
    from chatapp.session import ChatSession
    from storage.store import Store

T = TypeVar("T")
P = ParamSpec("P")
PageName = Literal["training", "versions", "judgments", "insights"]


class Page(Screen[None]):
    """A full-screen page. A subclass gives NAME and `body`, and reads the store by `await self.call(...)` alone."""

    NAME: ClassVar[str] = ""  #: stands at the top

    DEFAULT_CSS = """
    Page {
        & > .title { height: 1; width: 1fr; padding: 0 1; background: $panel; color: $foreground; text-style: bold; }
        & > #page { height: 1fr; width: 1fr; padding: 0 1; }
        & > #page-said {
            height: auto; min-height: 1; max-height: 3; width: 1fr; padding: 0 2; color: $text-muted;
        }
        & > #page-said.-error { color: $text-error; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "back", "Back", key_display="Esc", id="page.back", tooltip="Back to the chat"),
        Binding("f1,question_mark", "help", "Help", key_display="F1", id="page.help", tooltip="The keys of this page"),
    ]

    def __init__(self, chat: ChatScreen) -> None:
        super().__init__()
        self.chat = chat
        self._jobs = Jobs(self, self.say, self.note)

    def compose(self) -> ComposeResult:
        yield Static(Content(self.NAME), classes="title")
        with Vertical(id="page"):
            yield from self.body()
        yield Static(id="page-said", markup=False)
        yield KeysLine()

    @abstractmethod
    def body(self) -> ComposeResult:
        """The widgets between title and foot."""

    # -- what a page works with --------------------------------------------------------------------------------------

    @property
    def session(self) -> ChatSession:
        return self.chat.session

    @property
    def store(self) -> Store:
        return self.chat.session.store

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """function in the store's thread, after all that was called before."""
        return await self.chat.jobs.call(function, *arguments)

    def start(
        self, group: str, job: Callable[P, Coroutine[Any, Any, None]], *arguments: P.args, **named: P.kwargs
    ) -> None:
        """Run job(*arguments) beside everything else; what storage or session refuse is said on this page."""
        self._jobs.start(group, job, *arguments, **named)

    def heading(self, text: str) -> None:
        """Say more in the title than the name of the page."""
        self.query_one(".title", Static).update(Content(one_line(text, 200)))

    def say(self, text: str, error: bool = False) -> None:
        """Above the keys: in one line, or in as many as it needs."""
        said = self.query_one("#page-said", Static)
        said.set_class(error, "-error")
        said.update(Content(("! " if error else "") + " ".join(clean(text).split())))

    def note(self, note: Note) -> None:
        self.say(note.text, error=note.error)

    # -- keys --------------------------------------------------------------------------------------------------------

    def action_back(self) -> None:
        self.dismiss(None)

    def interrupted(self) -> None:
        """Ctrl+C, with nothing selected."""
        self.say(QUITS)

    def action_help(self) -> None:
        from chatapp.keys import key_rows
        from chatapp.screens.help import Help

        mine = [b for cls in type(self).__mro__ for b in cls.__dict__.get("BINDINGS", []) if issubclass(cls, Page)]
        self.app.push_screen(
            Help([(self.NAME, key_rows(mine, self.chat.settings.keys))], intro=" ".join((self.__doc__ or "").split()))
        )


def page_named(name: PageName) -> type[Page]:
    """Imported when it is opened: the first paint waits for none of what a page needs."""
    if name == "training":
        from chatapp.screens.training import TrainingPage

        return TrainingPage
    if name == "versions":
        from chatapp.screens.versions import VersionsPage

        return VersionsPage
    if name == "judgments":
        from chatapp.screens.judgments import JudgmentsPage

        return JudgmentsPage
    from chatapp.screens.insights import InsightsPage

    return InsightsPage
