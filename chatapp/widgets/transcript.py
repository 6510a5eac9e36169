"""The conversation: earlier turns, the current question, its answers, and what the chat says by itself.

It follows the growing answers until the question reaches the top (of a long one its last lines), then stands still so
that they can be read; it never moves once the reader has scrolled. Earlier turns come when they are scrolled to, and
what is seen stays where it is; in a terminal of another size, the focused answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from chatapp.clean import one_line
from chatapp.turn import PastTurn
from chatapp.view import Note, View
from chatapp.welcome import EMPTY, ways
from chatapp.widgets.answers import Answers
from chatapp.widgets.past import LIVE, PIECE, STEP, Line, Past, PastTurns, Question
from chatapp.widgets.scroller import Scroller


class Transcript(Scroller, can_focus=False):
    """Scrolls by the keys of whatever has the focus inside it."""

    DEFAULT_CSS = """
    Transcript {
        height: 1fr;
        width: 1fr;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        & > Vertical { height: auto; width: 1fr; }
        & > #empty { height: auto; width: 1fr; max-width: 76; padding: 1 2; color: $text-muted; display: none; }
        &.-blank > #empty { display: block; }
        & > .elsewhere { height: auto; width: 1fr; padding: 0 1; margin: 1 0 0 0; color: $text-muted; }
        & > .elsewhere.-none { display: none; }
        & > #system { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    SETTLE: ClassVar[float] = 3.0  #: seconds in which what was opened or asked finds its height

    @dataclass
    class Wanted(Message):
        """Earlier turns are to be shown: those from `first` to before `end`, the first of the thread being 0."""

        first: int
        end: int
        brought: bool = False

    def __init__(self, alternatives: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._alternatives = alternatives
        self.past = PastTurns()
        self.question = Question(classes="-hidden", id="question")
        self.answers = Answers(id="answers")
        self._told = False  # there is a system prompt
        self._expected: float | None = None
        self._begun = 0.0
        self._wanted: Transcript.Wanted | None = None  # on its way
        self._owed = 0  # a page up (-1) or down (1), when they are there
        self._moving = False  # turns came, and the screen is not laid out with them yet
        self._laid_out_for = Size(0, 0)
        self._lines = 0  # of the terminal then
        self._answers_seen = True  # some of them, in that size
        self._followed = True  # in that size
        self._looked = -self.SETTLE  # when the reader went to another answer
        self._head: float | None = None  # where that brought the screen

    def compose(self) -> ComposeResult:
        yield Static(Content("\n\n".join(EMPTY).format(count=ways(self._alternatives))), id="empty")
        yield Static(id="system", classes="elsewhere -none", markup=False)
        yield Static(id="earlier", classes="elsewhere -none", markup=False)
        yield self.past
        yield Static(id="later", classes="elsewhere -none", markup=False)
        yield Vertical(id="said-before")
        yield self.question
        yield self.answers
        yield Vertical(id="notes")

    async def show(self, view: View) -> None:
        """Show a thread from its (shown) beginning."""
        self._wanted, self._owed, self._moving = None, 0, False
        async with self.batch():
            self.past.begin(view.past, view.hidden)
            self.tell_first(view.system)
            await self.query_one("#notes", Vertical).remove_children()
            await self._say_before()
            self.ask(view.turn.prompt if view.turn else None)
            self.answers.show(view.turn)
            self._blank()
        self.follow(start=True)

    async def leave_behind(self, turns: Sequence[PastTurn]) -> None:
        """Earlier turns grew by the current one: add it, with what was said beneath it; drop the oldest."""
        self._wanted, self._owed, self._moving = None, 0, False
        notes = self.query_one("#notes", Vertical)
        async with self.batch():
            self.past.grow(turns, [line.note for line in notes.query(Line)])
            await notes.remove_children()
            await self._say_before()

    async def _say_before(self) -> None:
        before = self.query_one("#said-before", Vertical)
        await before.remove_children()
        await before.mount_all([Line(note) for note in self.past.said])
        self._say_elsewhere()

    def tell_first(self, system: str) -> None:
        """What the model is told before the first question: its first line stands above that."""
        self._told = bool(system.strip())
        self.query_one("#system", Static).update(Content("System: " + one_line(system.strip().partition("\n")[0], 300)))
        self._say_elsewhere()

    def _say_elsewhere(self) -> None:
        """How many turns lie above and below those that are shown; at the thread's top what the model is told."""
        self.query_one("#system", Static).set_class(not self._told or self.past.start > 0, "-none")
        for id, count, how in (("earlier", self.past.start, "up"), ("later", self.past.below, "down")):
            line = self.query_one(f"#{id}", Static)
            line.set_class(not count, "-none")
            line.update(Content(f"· {count} {id} turn{'s come' if count > 1 else ' comes'} when you scroll {how}."))

    def ask(self, text: str | None) -> None:
        """Show the current question."""
        self.question.set_class(text is None, "-hidden")
        self.question.show(text or "")
        self._blank()

    def _blank(self) -> None:
        nothing = self.question.has_class("-hidden") and not self.past.turns
        self.set_class(nothing, "-blank")

    def say(self, note: Note) -> None:
        """Add a line beneath everything."""
        line = Line(note)
        self.query_one("#notes", Vertical).mount(line)
        self.call_after_refresh(self.follow)

    def unsay(self, text: str) -> None:
        """Take a line away that is true no longer."""
        for line in self.query_one("#notes", Vertical).query(Line):
            if line.note.text == text:
                line.remove()

    @property
    def said(self) -> list[Note]:
        """The lines around the question in hand, in their order."""
        return [line.note for line in self.query(Line)]

    def follow(self, start: bool = False) -> None:
        """Scroll to the end, but no further than `_limit`. start: whatever the reader did."""
        if start:
            self._expected, self._begun = None, monotonic()
        self.call_after_refresh(self._follow)

    def watch_virtual_size(self) -> None:
        # the cards find out which of them are folded when they are laid out, and a busy screen is laid out late
        if monotonic() - self._begun < self.SETTLE:
            self.follow()
        if monotonic() - self._looked < self.SETTLE:
            self.call_after_refresh(self._look)

    def _limit(self) -> float:
        """Where following ends. A question too long to leave room for its answers is seen by its last lines alone."""
        question, page = self.question.virtual_region, self.size.height
        return float(question.y if question.height <= page // 2 else question.bottom - max(2, page // 4))

    @property
    def _following(self) -> bool:
        """Whether the reader has not scrolled."""
        return self._expected is None or abs(self.scroll_y - self._expected) <= 1

    def _follow(self) -> None:
        if self._moving or not self._following:
            return  # later, or the reader scrolled
        target = 0.0 if self.has_class("-blank") else float(self.max_scroll_y)
        if not self.question.has_class("-hidden"):
            target = min(target, self._limit())
        self._expected, self._answers_seen, self._followed = target, True, True
        self.scroll_to(y=target, animate=False, immediate=True)
        self._look_around()

    @on(Answers.LookedAt)
    def look(self, event: Answers.LookedAt) -> None:
        """Bring an answer's head in sight, and all of it where there is room."""
        event.stop()
        self._looked, self._head = monotonic(), None
        self._look(again=3)  # the other one folds, which moves what is below it, and is known a layout later

    def _look(self, again: int = 0) -> None:
        card = self.answers.focused_card
        if card is None or self._moving:
            return
        if self._head is not None and abs(self.scroll_y - min(self._head, self.max_scroll_y)) > 1:
            self._looked = -self.SETTLE  # the reader went on
            return
        page, y = self.size.height, float(self.answers.virtual_region.y + card.virtual_region.y)
        over = y + card.outer_size.height - page
        target = min(y, max(self.scroll_y, over))
        if card.index == 0 and y - self._limit() < page // 2:
            target = min(target, self._limit())  # with its question
        self._head = max(0.0, min(target, float(self.max_scroll_y)))
        self.scroll_to(y=self._head, animate=False, immediate=True)
        if again:
            self.call_after_refresh(self._look, again - 1)

    def show_focused(self) -> None:
        """Bring the focused answer in sight, unless much of it is."""
        card = self.answers.focused_card
        if card is None or self._moving:
            return
        page, y = self.size.height, self.answers.virtual_region.y + card.virtual_region.y
        seen = min(self.scroll_y + page, y + card.size.height + 1) - max(self.scroll_y, y)
        if seen < min(card.size.height + 1, page // 2):
            self.scroll_to(y=max(0, min(y, self.max_scroll_y)), animate=False, immediate=True)

    def _look_after_resize(self) -> None:
        """The reader follows still, and sees still what the next key is about."""
        if self._answers_seen and not self._moving:
            self._begun = monotonic()  # the cards fold anew
            if self._followed:
                self._expected = None
            self._follow()
            if self.answers.has_focus:
                self.show_focused()
        self._look_around()

    # -- earlier turns ---------------------------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._expected is not None and abs(old_value - self._expected) <= 1 and new_value >= self.max_scroll_y:
            self._expected = new_value  # there is less than before: not the reader's doing
        if self.size == self._laid_out_for:  # else what is where is known to no one yet
            self._followed = self._following
            answers = self.answers.virtual_region
            self._answers_seen = answers.y < new_value + self.size.height and answers.bottom > new_value
        self._look_around()

    def on_resize(self) -> None:
        # a line more beneath the answers is no reason to move what is read
        lines = self.app.size.height
        resized = self.size.width != self._laid_out_for.width or lines != self._lines
        self._laid_out_for, self._lines = self.size, lines
        self.call_after_refresh(self._look_after_resize if resized else self._look_around)

    def _look_around(self) -> None:
        """Want the turns that are less than a page away."""
        past, page = self.past, self.size.height
        if self._wanted is not None or not page or not (past.start or past.below):
            return
        seen, region = range(int(self.scroll_y), int(self.scroll_y) + page), past.virtual_region
        if past.start and seen.start - region.y < page and seen.stop >= region.y:
            self._want(past.start - STEP, past.start)
        elif past.below and region.bottom <= seen.start < region.bottom + page:
            self._want(past.total - PIECE, past.total)  # from the end upwards
        elif past.below and seen.start < region.bottom < seen.stop + page:
            self._want(past.stop, past.stop + STEP)

    @property
    def at_rest(self) -> bool:
        """Whether no turns are on their way."""
        return self._wanted is None

    def _want(self, first: int, end: int) -> None:
        self._wanted = self.Wanted(max(0, first), min(end, self.past.total))
        self.post_message(self._wanted)

    async def bring(self, wanted: Wanted, turns: Sequence[PastTurn]) -> None:
        """Show the turns that were wanted, if they still are; what is seen stays where it is."""
        async with self.batch():
            if wanted is not self._wanted:
                return
            planned = question = self.question.virtual_region.y
            if turns:  # else they could not be read, and are wanted again at the next step
                self._moving = wanted.brought = True
                anchor, before = self._anchor(wanted)
                far = self._far(wanted)
                self.past.put(turns, wanted.first)
                self.past.drop(far)
                self._say_elsewhere()
                planned = self._top_of(self.question)
                if self._expected is not None:  # where the end is goes with the question
                    self._expected += planned - question
                if anchor is not None:
                    self._move(self._top_of(anchor) - before)
        self.call_after_refresh(self._brought, wanted, planned)

    def _brought(self, wanted: Wanted, planned: int, tries: int = 50) -> None:
        """The turns are there. Where all is was not known until the screen was laid out, which may be still to come."""
        if tries and self.question.virtual_region.y != planned:
            self.call_after_refresh(self._brought, wanted, planned, tries - 1)
            return
        following, self._moving = self._following, False
        self.scroll_y = min(self.scroll_y, self.max_scroll_y)
        if following:
            self._expected = None
            self._follow()
        if wanted is self._wanted:
            self._wanted = None
            owed, self._owed = self._owed, 0
            if owed:
                self._page(owed)
            if wanted.brought:
                self._look_around()

    def validate_scroll_y(self, value: float) -> float:
        return max(0.0, value) if self._moving else super().validate_scroll_y(value)

    def validate_scroll_target_y(self, value: float) -> float:
        return max(0.0, round(value)) if self._moving else super().validate_scroll_target_y(value)

    def _anchor(self, wanted: Wanted) -> tuple[Widget | Past | None, int]:
        """Something that is seen and stays, and where it is."""
        above = self.past.virtual_region.y
        if not self._following and (wanted.end == self.past.start or wanted.first == self.past.stop):
            for block in self.past.turns:
                if above + self.past.span(block).stop > self.scroll_y:
                    return block, above + self.past.reply_of(block).start
        if self._following or wanted.first:
            return self.question, self.question.virtual_region.y
        return None, 0  # at the beginning of the thread

    def _far(self, wanted: Wanted) -> list[Past]:
        """The turns to let go of: those at the other end that are too many, unless they are near to what is seen."""
        turns, page, span = self.past.turns, self.size.height, self.past.span
        top = self.scroll_y - self.past.virtual_region.y
        spare = max(0, len(turns) + wanted.end - wanted.first - LIVE)
        if wanted.end == self.past.start:
            return [block for block in turns[len(turns) - spare :] if span(block).start > top + 3 * page]
        if wanted.first == self.past.stop:
            return [block for block in turns[:spare] if span(block).stop < top - 2 * page]
        return []

    def _top_of(self, part: Widget | Past) -> int:
        """Where something begins once the screen is laid out again; of an earlier turn, where its answer does."""
        tops = {p.widget: p.region.y for p in self.arrange(self.scrollable_content_region.size).placements}
        if isinstance(part, Past):
            return tops[self.past] + self.past.reply_of(part).start
        return tops[part]

    def _move(self, lines: int) -> None:
        """Scroll in the same frame as the turns come, so that nothing is seen to move."""
        self.app.animator.force_stop_animation(self, "scroll_y")
        y = max(0.0, self.scroll_y + lines)
        self.set_scroll(None, y)
        self.set_reactive(Transcript.scroll_target_y, y)
        self.vertical_scrollbar.position = y

    # without a glide: pages of text are read, and each frame of it would be drawn beside three growing answers

    def action_page_up(self) -> None:
        self._page(-1)

    def action_page_down(self) -> None:
        self._page(1)

    def _page(self, way: int) -> None:
        """Scroll by a page, or by what is left of it. At the edge of what is there: once the turns on their way are."""
        left = self.scroll_y if way < 0 else self.max_scroll_y - self.scroll_y
        if self._wanted is not None and left < 1:
            self._owed = way
        else:  # immediate: a place that is worked out now is another one when turns came meanwhile
            page = self.scrollable_content_region.height
            self.scroll_to(y=self.scroll_y + way * page, animate=False, immediate=True)

    def action_scroll_home(self) -> None:
        """To the first turn of the thread."""
        self.scroll_home(animate=False, immediate=True)
        if self.past.start:
            self._want(0, PIECE)

    def action_scroll_end(self) -> None:
        self.scroll_end(animate=False, immediate=True)
        if self.past.below:
            self._want(self.past.total - PIECE, self.past.total)

    def show_earlier(self) -> bool:
        """Go to the oldest turn that is live, and so have those before it come. False: there is none before it."""
        start = self.past.start
        if start and self._wanted is None:
            self._want(start - PIECE, start)
        self.scroll_home(animate=False, immediate=True)
        return bool(start)
