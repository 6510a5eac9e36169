"""What the chat's screen does to have a question answered: ask, show the answers as they come, stop, ask again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, ClassVar

from textual import on
from textual.message import Message
from textual.widgets import Input, TextArea

from chatapp.config import Settings
from chatapp.engine.base import PromptTooLong
from chatapp.history import History
from chatapp.keys import QUITS
from chatapp.screens.frame import ChatFrame
from chatapp.session import INTERRUPTED, NotSaved
from chatapp.verdicts import TakenBack
from chatapp.view import Note, Outcome, Said
from chatapp.widgets.answers import Answers
from chatapp.widgets.prompt import Prompt

FRAMES = 10  #: a second, while answers stream
BELOW = "{} answers, one below the other. "
TO_THEM = "Esc goes to them, ← and → through them.", "Esc goes to the answers."  #: one below the other, or beside


class TurnActions(ChatFrame):
    """The prompt, and the answers that grow."""

    TELL: ClassVar[float] = 1.0  #: seconds between two words about how far the answers are

    @dataclass
    class Answered(Message):
        """The engine is done."""

        outcome: Outcome

    @dataclass
    class Failed(Message):
        """The engine, or storing its answers, failed."""

        error: Exception
        loading: bool = False  #: the model could not be loaded, and nothing was asked of it yet

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._history = History()
        self._asked: tuple[str, str | None] = ("", None)  # the last question as it was typed, and what it replaced
        self._grown = 0  # tokens of the answers that come
        self._progress = 0.0, ""  # when it was said how many tokens there are, and what was said
        self._asked_early = False  # before there was anybody to ask

    def on_mount(self) -> None:
        self._frames = self.set_interval(1 / FRAMES, self._frame, pause=True)

    # -- asking ----------------------------------------------------------------------------------------------------

    def _frame(self) -> None:
        if self.answers.flush():
            self.transcript.follow()
        self._tell_progress()

    def _tell_progress(self) -> None:
        """What grows may be below the screen: say once a second how far it is, unless something else is said there."""
        begun, said = self._progress
        if self._grown and monotonic() - begun >= self.TELL and self.said_now == said:
            self.say(f"Answering: {self._grown:,} tokens so far. Esc stops it.", quiet=True)
            self._progress = monotonic(), self.said_now

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
        if editing is None and self._is_command(text):
            return
        self._history.forget()
        self.generating = True
        self.jobs.start("turn", self._send, text, editing)

    async def _send(self, typed: str, editing: str | None) -> None:
        text = typed.removeprefix("/") if typed.startswith("//") else typed
        try:
            await self._commit_ranking()
            if editing is not None:
                view = await self.jobs.call(self.session.edit, editing, text)
                await self._show(view)
            else:
                answered = self.session.turn is not None and bool(self.session.turn.answers)
                await self.jobs.call(self.session.ask, text)
                view = await self.jobs.call(self.session.view, 1)
                await self.transcript.leave_behind(view.past[-1:] if answered else ())
                self.transcript.ask(text.strip())
            self._asked = typed, editing
        except BaseException:
            # nothing typed is lost
            self.generating = False
            self.prompt.give_back(typed)
            raise
        self._saved_draft = ""
        self.status.heading = view.title
        self.threads.refresh_rows()
        self._generate()

    async def _judge(self, record: Callable[..., Said], *arguments: Any) -> None:
        said = await self.jobs.call(record, *arguments)
        if self.answers.turn is not None and self.answers.turn.prompt_id == said.turn.prompt_id:
            self.answers.show(said.turn)
        self.say(said.line, whole=True)
        self._mark_changed()
        await self._refresh_status()

    async def _commit_ranking(self) -> None:
        """A ranking that was made and not confirmed counts when the chat goes on."""
        draft = self.answers.take_draft()
        if draft is not None:
            await self._judge(self.session.rank, draft)

    def _is_command(self, text: str) -> bool:
        """Whether text is a command and no question; it is carried out then."""
        return False

    def _generate(self, again: bool = False) -> None:
        """Have the question answered; again: alternatives were asked for."""
        self.generating = True
        count = self.session.how_many(again)
        self._way_out()
        self.answers.begin(count)
        self.transcript.follow(start=True)
        self.set_focus(self.prompt)
        more = self.session.draws_more(count)
        said = f"Drawing {more} answers, to show the {count} that would teach most." if more else "Answering."
        self.say(f"{said} Esc stops it.", quiet=True)
        self._progress = monotonic() + self.TELL, self.said_now
        self._grown = 0
        self._frames.resume()
        answer = partial(self._answer, count)
        self.run_worker(answer, thread=True, group="engine", name="answer", exit_on_error=False)

    def _answer(self, count: int) -> None:
        try:
            outcome = self.session.answer(self._feed, count)
        except Exception as error:  # whatever it was, the chat goes on
            self.post_message(self.Failed(error))
        else:
            self.post_message(self.Answered(outcome))

    def _feed(self, index: int, text: str) -> None:
        self._grown += 1
        self.answers.feed(index, text)

    def _stopped_generating(self) -> None:
        self.generating = False
        self._frames.pause()

    @on(Answered)
    async def answered(self, event: Answered) -> None:
        self._stopped_generating()
        self.answers.show(event.outcome.turn, fresh=True)
        self._way_out()
        self.transcript.follow()
        self._offer_focus()
        if self.focused is self.prompt:  # who types has the keys of the prompt
            self._say_answers(*TO_THEM)
        else:
            self._say_answers("← and → go through them.", "")
            self._hint_branch(event.outcome.turn)
        for line in event.outcome.notes:
            self.note(line)
        speed = event.outcome.tokens_per_second
        self.status.speed = f"{speed:.0f} tok/s" if speed else ""
        self.jobs.start("status", self._refresh_status)

    def _say_answers(self, stacked: str, beside: str) -> None:
        below = BELOW.format(len(self.answers.cards)) + stacked
        self.say(below if self.answers.partly_hidden else beside, quiet=True)

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
            self.say("Ctrl+R tries to save them again.", quiet=True)
            self.set_focus(self.answers, scroll_visible=False)
            return
        if isinstance(error, TakenBack):
            self.generating = True  # until it is back
            self.jobs.start("turn", self._give_question_back, text)
            return
        self.note(Note(text, error=True))
        if was_answering and self.opened is not None:
            self.answers.show(self.session.turn, fresh=True)
            self._way_out()
            if isinstance(error, PromptTooLong):
                self.say(text, error=True)  # again it would not fit
            else:
                self.say("Ctrl+R asks again.", quiet=True)
            self._offer_focus()

    async def _give_question_back(self, why: str) -> None:
        """It is too long, and was not stored: it stands in the prompt again, to be shortened."""
        typed, editing = self._asked
        try:
            await self.jobs.call(self.session.save_draft, self.prompt.text)  # what was typed since
            said = self.transcript.said
            await self._show(await self.jobs.call(self.session.view), judge=False)
            for note in said:  # a verdict that was not read yet, perhaps
                self.note(note)
        finally:
            self.generating = False
            if editing is not None:
                self._edit(editing, typed)
            else:
                self.prompt.give_back(typed)
        self._way_out()
        self.threads.refresh_rows()
        self.set_focus(self.prompt)
        self.say(why, error=True)

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
        elif self.visiting:
            self.jobs.start("turn", self._to_latest)

    def interrupted(self) -> None:
        """Ctrl+C, with nothing selected."""
        if self.generating:
            self.action_stop()
        else:
            self.say(QUITS, quiet=True)

    async def _to_latest(self) -> None:
        await self._commit_ranking()
        await self._show(await self.jobs.call(self.session.latest))

    @on(Answers.Stop)
    def answers_stop(self) -> None:
        self.action_stop()

    def action_again(self) -> None:
        """New answers to the question that is shown, with alternatives."""
        if self.opened is None:
            return
        if self.generating:
            self.say("Still answering. Esc stops it.", quiet=True)
        else:
            self.jobs.start("turn", self._again)

    async def _again(self) -> None:
        await self._commit_ranking()
        if self.session.turn is None:
            self.say("There is no question to ask again.", quiet=True)
        elif not self.generating:
            self.transcript.unsay(INTERRUPTED)
            self._generate(again=True)

    def action_to_prompt(self) -> None:
        """At once and not by a message: the next key may be waiting already."""
        self.set_focus(self.prompt)

    def make_way_for_paste(self) -> None:
        """A paste that no field has the focus for is for the prompt: who pastes means to write."""
        if self.on_top and not self.answers.blocked and not isinstance(self.focused, Input | TextArea):
            self.set_focus(self.prompt)

    @on(Prompt.Left)
    def prompt_left(self) -> None:
        if self.generating:
            self.action_stop()
        elif self.editing is not None:
            self._leave_editing()
        elif self.visiting:
            self.jobs.start("turn", self._to_latest)
        elif self.answers.turn is not None:
            self.set_focus(self.answers, scroll_visible=False)
            self.transcript.show_focused()
            if self.said_now.endswith(TO_THEM):
                self._say_answers("← and → go through them.", "")  # that is done

    @on(Prompt.Recall)
    def recall(self, event: Prompt.Recall) -> None:
        if self.opened is not None:
            self.jobs.start("recall", self._recall, event.step)

    async def _recall(self, step: int) -> None:
        """Questions asked before, of all threads, the newest first; then what was typed."""
        if not self._history.begun:
            self._history.begin(await self.jobs.call(self.session.history), self.prompt.text)
        found = self._history.step(step)
        if found is not None:
            self.prompt.recall(found)

    @on(Prompt.Elsewhere)
    def prompt_elsewhere(self) -> None:
        from chatapp.editing import edited

        text, said = edited(self.app, self.prompt.text)
        if text is not None:
            self.prompt.put_instead(text)
        self.say(said, quiet=True)

    @on(Prompt.Scrolled)
    def scroll_chat(self, event: Prompt.Scrolled) -> None:
        if event.pages < 0:
            self.transcript.action_page_up()
        else:
            self.transcript.action_page_down()

    def _edit(self, id: str, text: str, which: str = "an earlier") -> None:
        """The prompt replaces a question until Enter or Esc."""
        self.editing = id
        self.prompt.way_out = True
        self.prompt.border_title = f"Editing {which} question · Enter asks it in a branch of its own · Esc leaves"
        self.prompt.put(text)
        self.set_focus(self.prompt)

    def _leave_editing(self) -> None:
        self.editing = None
        self.prompt.border_title = ""
        self.prompt.put(self._saved_draft)
        self.set_focus(self.answers, scroll_visible=False)
