"""What the chat's screen does with the answers that are there: judge, compare, go to other branches and turns."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from textual import on
from textual.content import Content
from textual.style import Style

from chatapp import copying
from chatapp.screens.choose_code import choose_code
from chatapp.screens.correct import Correct
from chatapp.screens.dialogs import AskText, Choose
from chatapp.screens.remarks import Flag
from chatapp.screens.teaches import Teaches
from chatapp.screens.turn_actions import TurnActions
from chatapp.teaching import explain_turn
from chatapp.turn import in_words, label
from chatapp.verdicts import skipped
from chatapp.widgets.answers import ASIDE, Answers
from chatapp.widgets.past import PastTurns

P = ParamSpec("P")


class JudgingActions(TurnActions):
    """The answers with their wishes."""

    @on(Answers.Judged)
    def judged(self, event: Answers.Judged) -> None:
        self._reached(event.kind)
        if self.opened is None:
            return
        session, index = self.session, event.index
        if event.kind == "pick":
            self.jobs.start("store", self._judge, session.pick, index)
        elif event.kind == "thumb":
            self.jobs.start("store", self._judge, session.thumb, index, event.value)
        elif event.kind == "all_bad":
            self.jobs.start("store", self._judge, session.all_bad)
        elif event.kind == "correct":
            self._panel(self._correct, index)
        elif event.kind == "note":
            self._panel(self._note, index)
        elif event.kind == "flag":
            self._panel(self._flag, index)
        else:
            self.jobs.start("store", self._judge, session.rate, index, event.value)

    def _reached(self, what: str) -> None:
        """What blocked the answers on its way has come; a panel blocks them again for as long as it is there."""
        if what in ASIDE:
            self.answers.blocked = False

    def _panel(self, job: Callable[P, Coroutine[Any, Any, None]], *arguments: P.args, **named: P.kwargs) -> None:
        """A panel for the focused answer. Keys behind the one that asked for it are for the panel, or for nobody."""
        self.answers.blocked = True

        async def until_closed() -> None:
            try:
                await job(*arguments, **named)
            finally:
                self.answers.blocked = False

        self.jobs.start("dialog", until_closed)

    async def _correct(self, index: int) -> None:
        turn = self.answers.turn
        if turn is None:
            return
        await self._commit_ranking()
        text = await self.app.push_screen_wait(Correct(label(index), turn.text_of(index)))
        if text is not None:
            await self._judge(self.session.correct, index, text)
        self.set_focus(self.answers, scroll_visible=False)

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
        if self.opened is not None:
            self.jobs.start("store", self._judge, self.session.rank, event.groups)

    @on(Answers.Rating)
    def rating(self, event: Answers.Rating) -> None:
        if event.index is None:
            self.say("")
        else:
            points = [(f" {n} ", Style.from_meta({"@click": f"screen.points({n})"})) for n in range(1, 8)]
            asked = Content.assemble(
                f"How good is {label(event.index)}?", *points, " 1 is worst, 7 is best, Esc leaves it."
            )
            self.say(asked, quiet=True)

    def action_points(self, points: int) -> None:
        """They were clicked."""
        if self.answers.rating:
            self.answers.action_pick(points)

    @on(Answers.Drafted)
    def drafted(self, event: Answers.Drafted) -> None:
        if event.groups is None:
            self.say("The new ranking was dropped.", quiet=True)
        else:
            self.say(f"{in_words(event.groups)} · Enter records this ranking, Esc drops it.", quiet=True)

    @on(Answers.Wished)
    def wished(self, event: Answers.Wished) -> None:
        self._reached(event.wish)
        if self.opened is None:
            return
        if self.generating:
            self.say("Still answering. Esc stops it.", quiet=True)
        elif event.wish == "undo":
            self.jobs.start("store", self._judge, self.session.undo)
        elif event.wish == "skip":
            self._skip()
        elif event.wish == "frequency":
            self.jobs.start("store", self._change_frequency)
        elif event.wish == "duel":
            self._panel(self._duel)
        elif event.wish == "diff":
            self._show_differences(event.index)
        elif event.wish in ("earlier_turn", "later_turn"):
            self.jobs.start("turn", self._go_to_turn, -1 if event.wish == "earlier_turn" else 1)
        elif event.wish == "teaches":
            self._panel(self._teaches)
        elif event.wish == "edit_question":
            self._panel(self._edit_question)
        elif event.wish == "copy":
            self.jobs.start("dialog", self._copy, event.index, code=False)
        elif event.wish == "copy_code":
            self._panel(self._copy, event.index, code=True)
        elif event.wish in ("earlier_version", "later_version"):
            self.jobs.start("turn", self._go_to_version, -1 if event.wish == "earlier_version" else 1)

    async def _duel(self) -> None:
        """`DuelActions` does it."""

    def _skip(self) -> None:
        """Judge nothing here: a ranking that was begun is dropped."""
        self.answers.take_draft()
        self.answers.show(self.answers.turn)
        self.set_focus(self.prompt)
        self.say(skipped(self.answers.turn), quiet=True)

    async def _change_frequency(self) -> None:
        self.say(await self.jobs.call(self.session.frequency.change), quiet=True)

    async def _copy(self, index: int, code: bool) -> None:
        turn = self.answers.turn
        if turn is None or not turn.answers:
            return
        text, what = turn.text_of(index), label(index)
        if code:
            chosen = await choose_code(self.app, text, what)
            if isinstance(chosen, str):
                self.say(chosen, quiet=True)
                return
            text, what = chosen.code, f"The code of {what}"
        self.say(await copying.copy(self.app, text) or f"{what} was copied.", quiet=True)

    def _show_differences(self, index: int) -> None:
        turn = self.answers.turn
        if turn is None or len(turn.answers) < 2:
            self.say("There is one answer: nothing to compare it with.", quiet=True)
            return
        from chatapp.screens.diff import Diff

        others = [other for other in range(len(turn.answers)) if other != index]
        against = turn.chosen if turn.chosen in others else others[0]
        texts = [(label(at), turn.text_of(at)) for at in range(len(turn.answers))]
        self.app.push_screen(Diff(texts, index, against))

    async def _go_to_turn(self, step: int) -> None:
        await self._commit_ranking()
        await self._show(await self.jobs.call(self.session.step_turn, step))

    @on(PastTurns.Opened)
    def past_opened(self, event: PastTurns.Opened) -> None:
        if self.opened is None:
            return
        if self.generating:
            self.say("Still answering. Esc stops it.", quiet=True)
        else:
            self.jobs.start("turn", self._visit, event.prompt_id)

    async def _visit(self, prompt_id: str) -> None:
        await self._commit_ranking()
        await self._show(await self.jobs.call(self.session.visit, prompt_id))

    async def _teaches(self) -> None:
        turn, store = self.answers.turn, self.session.store
        if turn is None:
            return
        await self._commit_ranking()
        explained = await self.jobs.call(explain_turn, store, turn.prompt_id)
        private = self.session.thread is not None and self.session.thread.private
        await self.app.push_screen_wait(Teaches(explained, private))

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
        self._edit(id, dict(questions)[id], "this" if id == questions[0][0] else "an earlier")
