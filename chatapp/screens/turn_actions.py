"""What the chat's screen does with the current turn: ask, show the answers as they come, judge them, ask otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.message import Message

from chatapp.config import Settings
from chatapp.screens.correct import Correct
from chatapp.screens.dialogs import AskText, Choose, Score
from chatapp.screens.frame import ChatFrame
from chatapp.screens.remarks import Flag
from chatapp.screens.teaches import Teaches
from chatapp.session import NotSaved
from chatapp.teaching import explain_turn
from chatapp.turn import in_words, label
from chatapp.view import Note, Outcome, Said
from chatapp.widgets.answers import Answers
from chatapp.widgets.prompt import Prompt

FRAMES = 10  #: a second, while answers stream


class TurnActions(ChatFrame):
    """The prompt and the answers with their wishes."""

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
        self._last_question = ""
        self._asked_early = False  # before there was anybody to ask

    def on_mount(self) -> None:
        self._frames = self.set_interval(1 / FRAMES, self._frame, pause=True)

    # -- asking ----------------------------------------------------------------------------------------------------

    def _frame(self) -> None:
        if self.answers.flush():
            self.transcript.follow()

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
        self.jobs.start(self._send(text, editing), "turn")

    async def _send(self, text: str, editing: str | None) -> None:
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
        self.jobs.start(self._refresh_status(), "status")

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

    def action_to_prompt(self) -> None:
        """At once and not by a message: the next key may be waiting already."""
        self.set_focus(self.prompt)

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
            self.transcript.action_page_up()
        else:
            self.transcript.action_page_down()

    # -- judging ---------------------------------------------------------------------------------------------------

    async def _judge(self, record: Callable[..., Said], *arguments: Any) -> None:
        said = await self.jobs.call(record, *arguments)
        if self.answers.turn is not None and self.answers.turn.prompt_id == said.turn.prompt_id:
            self.answers.show(said.turn)
        self.say(said.line)
        self._mark_changed()
        await self._refresh_status()

    @on(Answers.Judged)
    def judged(self, event: Answers.Judged) -> None:
        if self.opened is None:
            return
        session, index = self.session, event.index
        if event.kind == "pick":
            self.jobs.start(self._judge(session.pick, index), "store")
        elif event.kind == "thumb":
            self.jobs.start(self._judge(session.thumb, index, event.value), "store")
        elif event.kind == "all_bad":
            self.jobs.start(self._judge(session.all_bad), "store")
        elif event.kind == "correct":
            self.jobs.start(self._correct(index), "dialog")
        elif event.kind == "note":
            self.jobs.start(self._note(index), "dialog")
        elif event.kind == "flag":
            self.jobs.start(self._flag(index), "dialog")
        else:
            self.jobs.start(self._rate(index), "dialog")

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

    async def _note(self, index: int) -> None:
        turn = self.answers.turn
        if turn is None:
            return
        asked = AskText(f"A note on {label(index)}", turn.notes.get(index, ""), "emptied, it takes the note back")
        text = await self.app.push_screen_wait(asked)
        if text is not None:
            await self._judge(self.session.note, index, text)

    async def _flag(self, index: int) -> None:
        rules = await self.jobs.call(self.session.store.rules.list)
        if self.answers.turn is None:
            return
        if not rules:
            self.say("No rule is active. `hone rules` adds and enables them.", quiet=True)
            return
        flags = self.answers.turn.flags.get(index, {})
        choices = [(rule.id, rule.number, rule.name, flags.get(rule.id)) for rule in rules]
        chosen = await self.app.push_screen_wait(Flag(f"Which rule does {label(index)} break, or keep?", choices))
        if chosen is not None:
            how, _, rule_id = chosen.partition(":")
            await self._judge(self.session.flag, index, rule_id, how == "broken")

    @on(Answers.Ranked)
    def ranked(self, event: Answers.Ranked) -> None:
        self.jobs.start(self._judge(self.session.rank, event.groups), "store")

    @on(Answers.Drafted)
    def drafted(self, event: Answers.Drafted) -> None:
        if event.groups is None:
            self.say("The new ranking was dropped.", quiet=True)
        else:
            self.say(f"{in_words(event.groups)} · Enter records this ranking, Esc drops it.", quiet=True)

    @on(Answers.Wished)
    def wished(self, event: Answers.Wished) -> None:
        if self.opened is None:
            return
        if self.generating:
            self.say("Still answering. Esc stops it.", quiet=True)
        elif event.wish == "undo":
            self.jobs.start(self._judge(self.session.undo), "store")
        elif event.wish == "again":
            self.jobs.start(self._again(), "turn")
        elif event.wish == "teaches":
            self.jobs.start(self._teaches(), "dialog")
        elif event.wish == "edit_question":
            self.jobs.start(self._edit_question(), "dialog")
        elif event.wish == "copy" and self.answers.turn is not None and self.answers.turn.answers:
            self.app.copy_to_clipboard(self.answers.turn.text_of(event.index))
            self.say(f"{label(event.index)} was copied.", quiet=True)
        elif event.wish in ("earlier_version", "later_version"):
            self.jobs.start(self._go_to_version(-1 if event.wish == "earlier_version" else 1), "turn")

    async def _teaches(self) -> None:
        turn, store = self.answers.turn, self.session.store
        if turn is None:
            return
        await self._commit_ranking()
        explained = await self.jobs.call(explain_turn, store, turn.prompt_id)
        private = self.session.thread is not None and self.session.thread.private
        await self.app.push_screen_wait(Teaches(explained, private))

    async def _again(self) -> None:
        await self._commit_ranking()
        if self.session.turn is None:
            self.say("There is no question to ask again.", quiet=True)
        elif not self.generating:
            self._generate()

    async def _go_to_version(self, step: int) -> None:
        await self._commit_ranking()
        await self._show(await self.jobs.call(self.session.step_version, step))

    async def _edit_question(self) -> None:
        questions = await self.jobs.call(self.session.questions)
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
