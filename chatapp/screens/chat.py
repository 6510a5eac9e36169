"""The chat's one screen: it puts the widgets together, hands what they post to the session, and shows what comes back.

Calls to the store run one after another in a thread of their own, so that they keep the order of the keys; the
engine has another. Nothing here waits for either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Key, Resize
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Footer, Static

from chatapp.clean import clean
from chatapp.config import Settings
from chatapp.engine.base import EngineError
from chatapp.opening import MakeEngine, Opened, open_chat
from chatapp.screens.correct import Correct
from chatapp.screens.dialogs import Choose, Score
from chatapp.screens.help import Help
from chatapp.screens.thread_actions import ThreadActions
from chatapp.session import ChatSession, Note, NotSaved, Outcome, Said, SessionError, View
from chatapp.turn import Turn, in_words, label
from chatapp.widgets.answers import Answers
from chatapp.widgets.prompt import Prompt
from chatapp.widgets.status import StatusLine
from chatapp.widgets.threads import ThreadList, Threads
from chatapp.widgets.transcript import Transcript

T = TypeVar("T")
SIDEBAR = 30  #: cells
FRAMES = 10  #: a second, while answers stream


class ChatScreen(ThreadActions):
    """Where one writes, reads and judges."""

    DEFAULT_CSS = """
    ChatScreen {
        layers: base over;
        & > #small { display: none; width: 1fr; height: 1fr; content-align: center middle; text-align: center; }
        &.-small > * { display: none; }
        &.-small > #small { display: block; }
        & > #body { height: 1fr; }
        & #main { width: 1fr; height: 1fr; }
        & #said {
            height: 1; width: 1fr; padding: 0 2; color: $text-success;
            text-wrap: nowrap; text-overflow: ellipsis;
        }
        & #said.-error { color: $text-error; }
        & #said.-quiet { color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "Help", key_display="F1", id="chat.help", tooltip="All keys"),
        Binding("ctrl+n", "new_thread", "New", id="chat.new", tooltip="Begin a new thread"),
        Binding("ctrl+t", "threads", "Threads", id="chat.threads", tooltip="Show or hide the list of threads"),
        Binding("f2", "rename_thread", "Rename", show=False, id="chat.rename", tooltip="Rename this thread"),
        Binding(
            "ctrl+l", "learn", "Learn now", show=False, id="chat.learn", tooltip="Start a lesson with what was judged"
        ),
        Binding("escape", "stop", "Stop", show=False, id="chat.stop", tooltip="Stop the answers; their text is kept"),
    ]
    POLL: ClassVar[float] = 1.0  #: seconds between looks at what other processes wrote
    #: what has no key of its own: title, help, action
    KEYLESS: ClassVar[list[tuple[str, str, str]]] = [
        ("Archive this thread", "Put it away; the list can show archived threads", "archive_thread"),
        ("Delete this thread", "Its judgments are no longer learned from; can be undone", "delete_thread"),
        ("Bring back the deleted thread", "Undo the last deletion", "undelete_thread"),
        ("Pause learning, or go on", "Whether lessons start by themselves", "toggle_learning"),
        ("Stop the lesson", "Cancel the training run under way", "cancel_lesson"),
    ]

    @dataclass
    class Answered(Message):
        """The engine is done."""

        outcome: Outcome

    @dataclass
    class Failed(Message):
        """The engine, or storing its answers, failed."""

        error: Exception
        loading: bool = False  #: the model could not be loaded, and nothing was asked of it yet

    def __init__(self, settings: Settings, make_engine: MakeEngine | None = None, **seams: Any) -> None:
        super().__init__()
        self.settings = settings
        self.opened: Opened | None = None
        self.generating = False
        self.editing: str | None = None  #: the question that the prompt replaces
        self._make_engine = make_engine
        self._seams = seams
        self._store_thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._last_key = monotonic()
        self._saved_draft = ""
        self._sidebar: bool | None = None  # None: as the width has it
        self._stale = True  # something was recorded: count again
        self._last_question = ""
        self._polling = False
        self._asked_early = False
        self._left = False
        self._focus_before: Widget | None = None

    # -- set-up ----------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield StatusLine()
        with Horizontal(id="body"):
            yield ThreadList()
            with Vertical(id="main"):
                yield Transcript(self.settings.alternatives)
                yield Static(id="said", markup=False)
                yield Prompt(id="prompt")
        yield Footer(compact=True)
        yield Static(
            Content("This terminal is too small for the chat.\nMake it at least 30 by 9, or use: hone chat --plain"),
            id="small",
        )

    def on_mount(self) -> None:
        self.status = self.query_one(StatusLine)
        self.transcript = self.query_one(Transcript)
        self.answers = self.query_one(Answers)
        self.prompt = self.query_one(Prompt)
        self.threads = self.query_one(ThreadList)
        self.set_focus(self.prompt)
        self._frames = self.set_interval(1 / FRAMES, self._frame, pause=True)
        # the first paint comes before the imports that opening needs
        self.call_after_refresh(self._work, self._open(), "open")

    @property
    def is_open(self) -> bool:
        return self.opened is not None

    @property
    def session(self) -> ChatSession:
        if self.opened is None:
            raise SessionError("Hone is still opening. One moment.")
        return self.opened.session

    def _work(self, job: Coroutine[Any, Any, None], group: str) -> None:
        self.run_worker(self._guarded(job), group=group, name=group)

    async def _guarded(self, job: Coroutine[Any, Any, None]) -> None:
        """Run a job; what storage, engine or session refuse is said, and the chat lives."""
        try:
            await job
        except (SessionError, EngineError) as error:
            self.say(str(error), error=not isinstance(error, SessionError))
        except RuntimeError as error:
            from storage.errors import StorageError

            if not isinstance(error, StorageError):
                self._broken(error)
            else:
                self.say(str(error), error=True)
        except Exception as error:
            self._broken(error)

    def _broken(self, error: Exception) -> None:
        """A mistake of Hone's own: say it, and let the reader go on."""
        self.log.error(error)
        what = f"{type(error).__name__}: {error}"
        self.note(Note(f"Something went wrong inside Hone ({what}). You can go on; please report it.", error=True))

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        """function in the store's thread, after all that was called before."""
        if self._left:
            raise SessionError("Hone is closing.")
        return await asyncio.get_running_loop().run_in_executor(self._store_thread, partial(function, *arguments))

    async def _open(self) -> None:
        try:
            opened = await self._call(partial(open_chat, self.settings, self._make_engine, **self._seams))
        except RuntimeError as error:
            self.app.return_code_on_exit = 1  # type: ignore[attr-defined]
            self.status.model = "not open"
            self.note(Note(str(error), error=True))
            self.say("Hone could not open. Ctrl+Q quits.", error=True)
            return
        self.opened = opened
        self.status.model = opened.session.model.name if opened.session.engine else "no model"
        # who has just started is about to write: bare keys must not judge the turn of yesterday
        await self._show(opened.view, judge=False)
        self.set_interval(self.POLL, self._poll)
        for line in opened.notes:
            self.note(line)
        if opened.session.engine is not None:
            self.status.speed = "loading"
            self.run_worker(self._load, thread=True, group="engine", name="load", exit_on_error=False)
        if self._asked_early and self.prompt.text.strip():
            self.prompt.action_send()
        await self._poll_once()
        self.threads.refresh_rows()

    def _load(self) -> None:
        try:
            self.session.load()
        except RuntimeError as error:
            self.post_message(self.Failed(error, loading=True))
        else:
            self.app.call_later(self._loaded)

    def _loaded(self) -> None:
        self.status.speed = ""

    # -- showing ---------------------------------------------------------------------------------------------------

    async def _show(self, view: View, judge: bool = True) -> None:
        self.status.heading = view.title
        self.editing = None
        self.prompt.border_title = ""
        if not self.prompt.text:
            self.prompt.put(view.draft)
        self._saved_draft = view.draft
        self.say("")
        await self.transcript.show(view)
        self._way_out()
        self._hint_branch(view.turn)
        if view.turn is not None and not self.prompt.text and (judge or not view.turn.answers):
            self.set_focus(self.answers, scroll_visible=False)
        else:
            self.set_focus(self.prompt)

    def _hint_branch(self, turn: Turn | None) -> None:
        if turn is not None and turn.versions > 1:
            self.say(f"Branch {turn.version} of {turn.versions}. [ and ] go to the others.", quiet=True)

    def say(self, text: str, error: bool = False, quiet: bool = False) -> None:
        """The one line beneath the answers."""
        said = self.query_one("#said", Static)
        said.set_class(error, "-error")
        said.set_class(quiet, "-quiet")
        line = " ".join(clean(text).split())
        said.update(Content(("! " if error else "") + line))
        said.tooltip = None

    def note(self, note: Note) -> None:
        """A line in the conversation."""
        self.transcript.say(note)

    async def _refresh_status(self) -> None:
        if self.opened is None:
            return
        progress = await self._call(self.opened.lessons.progress)
        session = self.opened.session
        self.status.lesson = progress.text if session.engine is not None else ""
        self.status.version = f"v{session.adapter.number}" if session.adapter else "base" if session.engine else ""

    def _frame(self) -> None:
        if self.answers.flush():
            self.transcript.follow()

    # -- asking ----------------------------------------------------------------------------------------------------

    @on(Prompt.Sent)
    def prompt_sent(self, event: Prompt.Sent) -> None:
        if self.opened is None:
            # asked as soon as there is somebody to ask
            self.prompt.give_back(event.text)
            self._asked_early = True
            self.say("Opening. Your question is asked in a moment.", quiet=True)
            return
        if self.generating:
            self.prompt.give_back(event.text)
            self.say("Still answering. Esc stops it.", quiet=True)
            return
        text, editing = event.text, self.editing
        self._last_question = text
        self.generating = True
        self._work(self._send(text, editing), "turn")

    async def _send(self, text: str, editing: str | None) -> None:
        try:
            await self._commit_ranking()
            if editing is not None:
                view = await self._call(self.session.edit, editing, text)
                await self._show(view)
            else:
                answered = self.session.turn is not None and bool(self.session.turn.answers)
                await self._call(self.session.ask, text)
                view = await self._call(self.session.view, 1)
                await self.transcript.leave_behind(view.past[-1:] if answered else ())
                self.transcript.ask(text.strip())
        except BaseException:
            # nothing typed is lost
            self.generating = False
            self.prompt.give_back(text)
            raise
        self._saved_draft = ""
        self.status.heading = view.title
        self.threads.refresh_rows()
        self._generate()

    async def _commit_ranking(self) -> None:
        """A ranking that was made and not confirmed counts when the chat goes on."""
        draft = self.answers.take_draft()
        if draft is not None:
            await self._judge(self.session.rank, draft)

    def _way_out(self) -> None:
        self.prompt.way_out = self.generating or self.editing is not None or self.answers.turn is not None
        self.refresh_bindings()

    def _generate(self) -> None:
        self.generating = True
        self._way_out()
        self.answers.begin(self.settings.alternatives)
        self.transcript.follow(start=True)
        self.set_focus(self.prompt)
        self.say("Answering. Esc stops it.", quiet=True)
        self._frames.resume()
        self.run_worker(self._answer, thread=True, group="engine", name="answer", exit_on_error=False)

    def _answer(self) -> None:
        try:
            outcome = self.session.answer(self.answers.feed)
        except Exception as error:  # whatever it was, the chat goes on
            self.post_message(self.Failed(error))
        else:
            self.post_message(self.Answered(outcome))

    def _stopped_generating(self) -> None:
        self.generating = False
        self._frames.pause()

    @on(Answered)
    async def answered(self, event: Answered) -> None:
        self._stopped_generating()
        self.answers.show(event.outcome.turn, fresh=True)
        self._way_out()
        self.transcript.follow()
        self.say("")
        if self.answers.partly_hidden:
            self.say(
                f"{len(event.outcome.turn.answers)} answers, one below the other. ← and → go through them.", quiet=True
            )
        self._hint_branch(event.outcome.turn)
        for line in event.outcome.notes:
            self.note(line)
        speed = event.outcome.tokens_per_second
        self.status.speed = f"{speed:.0f} tok/s" if speed else ""
        self._offer_focus()
        self._work(self._refresh_status(), "status")

    @on(Failed)
    def failed(self, event: Failed) -> None:
        if event.loading and self.generating:
            return  # the answer that waits for the model says it
        was_answering = self.generating
        self._stopped_generating()
        self.status.speed = ""
        error = event.error
        text = str(error) or type(error).__name__
        if isinstance(error, NotSaved):
            self.answers.begin(len(error.texts))
            for index, answer in enumerate(error.texts):
                self.answers.cards[index].finish(answer)
            self.note(Note(text, error=True))
            self.set_focus(self.answers, scroll_visible=False)
            return
        self.note(Note(text, error=True))
        if was_answering and self.opened is not None:
            self.answers.show(self.session.turn)
            self._way_out()
            self.say("" if "Press r" in text else "Press r to ask again.", quiet=True)
            self._offer_focus()

    def _offer_focus(self) -> None:
        """Give the answers the focus, unless the reader is busy elsewhere."""
        focused = self.focused
        if self.app.screen is not self or (focused is self.prompt and self.prompt.text):
            return
        if focused is None or focused is self.prompt:
            self.set_focus(self.answers, scroll_visible=False)

    def action_stop(self) -> None:
        if self.generating and self.opened is not None:
            self.session.stop()
            self.say("Stopping.", quiet=True)

    @on(Answers.Stop)
    def answers_stop(self) -> None:
        self.action_stop()

    @on(Prompt.Left)
    def prompt_left(self) -> None:
        if self.generating:
            self.action_stop()
        elif self.editing is not None:
            self._leave_editing()
        elif self.answers.turn is not None:
            self.set_focus(self.answers, scroll_visible=False)

    @on(Prompt.Recall)
    def recall(self) -> None:
        last = self._last_question or (self.answers.turn.prompt if self.answers.turn else "")
        self.prompt.put(last)

    @on(Prompt.Scrolled)
    def scroll_chat(self, event: Prompt.Scrolled) -> None:
        if event.pages < 0:
            self.transcript.scroll_page_up()
        else:
            self.transcript.scroll_page_down()

    # -- judging ---------------------------------------------------------------------------------------------------

    async def _judge(self, record: Callable[..., Said], *arguments: Any) -> None:
        said = await self._call(record, *arguments)
        if self.answers.turn is not None and self.answers.turn.prompt_id == said.turn.prompt_id:
            self.answers.show(said.turn)
        self.say(said.line)
        self._mark_changed()
        await self._refresh_status()

    def _mark_changed(self) -> None:
        self._stale = True
        if self.opened is not None:
            self.opened.lessons.recount()

    @on(Answers.Judged)
    def judged(self, event: Answers.Judged) -> None:
        if self.opened is None:
            return
        session, index = self.session, event.index
        if event.kind == "pick":
            self._work(self._judge(session.pick, index), "store")
        elif event.kind == "thumb":
            self._work(self._judge(session.thumb, index, event.value), "store")
        elif event.kind == "all_bad":
            self._work(self._judge(session.all_bad), "store")
        elif event.kind == "correct":
            self._work(self._correct(index), "dialog")
        else:
            self._work(self._rate(index), "dialog")

    async def _correct(self, index: int) -> None:
        turn = self.answers.turn
        if turn is None:
            return
        await self._commit_ranking()
        text = await self.app.push_screen_wait(Correct(label(index), turn.text_of(index)))
        if text is not None:
            await self._judge(self.session.correct, index, text)
        self.set_focus(self.answers, scroll_visible=False)

    async def _rate(self, index: int) -> None:
        score = await self.app.push_screen_wait(Score(f"How good is {label(index)}?"))
        if score is not None:
            await self._judge(self.session.rate, index, int(score))

    @on(Answers.Ranked)
    def ranked(self, event: Answers.Ranked) -> None:
        self._work(self._judge(self.session.rank, event.groups), "store")

    @on(Answers.Drafted)
    def drafted(self, event: Answers.Drafted) -> None:
        if event.groups is None:
            self.say("The new ranking was dropped.", quiet=True)
        else:
            self.say(f"{in_words(event.groups)} · Enter records this ranking, Esc drops it.", quiet=True)

    @on(Answers.Wished)
    def wished(self, event: Answers.Wished) -> None:
        if event.wish == "to_prompt":
            self.set_focus(self.prompt)
            return
        if self.opened is None:
            return
        if self.generating:
            self.say("Still answering. Esc stops it.", quiet=True)
        elif event.wish == "undo":
            self._work(self._judge(self.session.undo), "store")
        elif event.wish == "again":
            self._work(self._again(), "turn")
        elif event.wish == "edit_question":
            self._work(self._edit_question(), "dialog")
        elif event.wish == "copy" and self.answers.turn is not None and self.answers.turn.answers:
            self.app.copy_to_clipboard(self.answers.turn.text_of(event.index))
            self.say(f"{label(event.index)} was copied.", quiet=True)
        elif event.wish in ("earlier_version", "later_version"):
            self._work(self._go_to_version(-1 if event.wish == "earlier_version" else 1), "turn")

    async def _again(self) -> None:
        await self._commit_ranking()
        if self.session.turn is None:
            self.say("There is no question to ask again.", quiet=True)
        elif not self.generating:
            self._generate()

    async def _go_to_version(self, step: int) -> None:
        await self._commit_ranking()
        await self._show(await self._call(self.session.step_version, step))

    async def _edit_question(self) -> None:
        questions = await self._call(self.session.questions)
        if not questions:
            return
        id: str | None = questions[0][0]
        if len(questions) > 1:
            id = await self.app.push_screen_wait(Choose("Which question do you want to change?", questions))
        if id is None:
            return
        self.editing = id
        self.prompt.way_out = True
        self.prompt.border_title = "Editing an earlier question · Enter asks it in a branch of its own · Esc leaves"
        self.prompt.put(dict(questions)[id])
        self.set_focus(self.prompt)

    def _leave_editing(self) -> None:
        self.editing = None
        self.prompt.border_title = ""
        self.prompt.put(self._saved_draft)
        self.set_focus(self.answers, scroll_visible=False)

    # -- learning --------------------------------------------------------------------------------------------------

    def on_key(self, event: Key) -> None:
        self._last_key = monotonic()

    @on(Prompt.Changed)
    def typed(self) -> None:
        self._last_key = monotonic()

    def _poll(self) -> None:
        if not self._polling:
            self._work(self._poll_once(), "poll")

    async def _poll_once(self) -> None:
        """Once a second: what changed in the database, what the lessons do, what is typed."""
        if self.opened is None or self._left:
            return
        self._polling = True
        try:
            await self._save_draft()
            idle = not self.generating and monotonic() - self._last_key >= self.settings.idle_seconds
            for line in await self._call(self.opened.lessons.tick, idle):
                self.note(line)
            if not self.generating and not self._left and self.opened.session.engine is not None:
                swapped = await asyncio.to_thread(self.session.sync_adapter)
                if swapped is not None:
                    self.note(swapped)
            await self._refresh_status()
        finally:
            self._polling = False

    def _lesson(self, what: str) -> None:
        if self.opened is not None:
            self._work(self._lesson_now(getattr(self.opened.lessons, what)), "store")

    async def _lesson_now(self, do: Callable[[], Note]) -> None:
        self.note(await self._call(do))
        await self._refresh_status()

    def action_learn(self) -> None:
        self._lesson("start")

    def action_cancel_lesson(self) -> None:
        self._lesson("cancel")

    def action_toggle_learning(self) -> None:
        self._lesson("toggle")

    # -- the rest --------------------------------------------------------------------------------------------------

    def on_resize(self, event: Resize) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        width, height = self.app.size
        small = width < 30 or height < 9
        if small and not self.has_class("-small"):
            self._focus_before = self.focused
        elif not small and self.has_class("-small") and self._focus_before is not None:
            # what was hidden lost the focus
            self.call_after_refresh(self.set_focus, self._focus_before, scroll_visible=False)
        self.set_class(small, "-small")
        self.query_one(Prompt).set_class(height < 16, "-short")
        roomy = (width - SIDEBAR - 3) // self.settings.alternatives >= Answers.MIN_COLUMN
        threads = self.query_one(ThreadList)
        shown = roomy if self._sidebar is None else self._sidebar
        threads.set_class(shown, "-shown")
        threads.set_class(shown and width < 100, "-over")
        self.query_one(Footer).show_command_palette = width >= 120

    def key_sections(self) -> list[tuple[str, list[BindingType]]]:
        """What the help shows."""
        return [
            ("With the answers", Answers.BINDINGS),
            ("In the prompt", Prompt.BINDINGS),
            ("In the list of threads", [*Threads.BINDINGS, *ThreadList.BINDINGS]),
            (
                "Everywhere",
                [*ChatScreen.BINDINGS, Binding("ctrl+p", "", "Every command"), Binding("ctrl+q", "", "Quit")],
            ),
        ]

    def action_help(self) -> None:
        self.app.push_screen(Help(self.key_sections()))

    def commands(self) -> Iterable[SystemCommand]:
        """Every action, for the palette."""
        places = {
            "Answers": self.answers,
            "Prompt": self.prompt,
            "Threads": self.query_one(Threads),
            "Thread list": self.threads,
            "Chat": self,
        }
        for place, widget in places.items():
            for binding in type(widget).BINDINGS:
                assert isinstance(binding, Binding)
                title = binding.description
                if binding.id and binding.id.startswith("answers.pick."):
                    title = f"Pick {label(int(binding.id[-1]) - 1)}"
                    if int(binding.id[-1]) > self.settings.alternatives:
                        continue
                yield SystemCommand(
                    f"{place}: {title}", binding.tooltip, partial(self.app.run_action, binding.action, widget)
                )
        for title, about, action in self.KEYLESS:
            yield SystemCommand(f"Chat: {title}", about, partial(self.app.run_action, action, self))

    async def leave(self) -> None:
        """Before quitting: what was said and typed is kept."""
        if self.opened is None or self._left:
            return
        session = self.opened.session
        session.stop()
        try:
            await self._commit_ranking()
            await self._save_draft()
        except RuntimeError:
            pass  # a full disk is no reason to be held here
        self._left = True
        await asyncio.to_thread(self._store_thread.shutdown)
        await asyncio.to_thread(session.close)
