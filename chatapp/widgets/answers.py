"""The alternatives of the current turn, and the keys that judge them.

Side by side where every column gets 34 cells; otherwise one below the other, the focused one in full and the others
folded to their first lines where there is no room for them. A ranking by J, K and = is a draft until Enter, or until
the chat goes on; Esc drops it. Keys are ignored for half a second after the answers appear, so that a key meant for the
prompt judges nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Any, ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.widgets import Static

from chatapp.turn import Groups, Turn, move, put, start_order, tie
from chatapp.widgets.answer_card import FOLDED, FOLDED_SHORT, AnswerCard
from chatapp.widgets.answer_keys import KEYS, Wish, at_foot
from chatapp.widgets.marks import about, marks

JUDGING = {"pick", "pick_focused", "rank", "tie", "all_bad", "correct", "thumb", "rate", "note", "flag"}
#: judgments and wishes that put something else before the next key
ASIDE = {"correct", "note", "flag", "skip", "teaches", "copy_code", "diff", "duel", "edit_question"}


class Answers(Container, can_focus=True):
    """Shows a Turn; posts what the reader thinks of it."""

    DEFAULT_CSS = """
    Answers {
        height: auto;
        width: 1fr;
        layout: horizontal;
        &.-stacked { layout: vertical; }
        &.-empty { display: none; }
        & > #unanswered { display: none; width: 1fr; height: 1; padding: 0 1; color: $text-warning; }
        &.-unanswered > #unanswered { display: block; }
        &.-unanswered:focus > #unanswered { text-style: bold; }
    }
    """

    MIN_COLUMN: ClassVar[int] = 34  #: cells
    GUARD: ClassVar[float] = 0.5  #: seconds in which judging keys are ignored

    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]

    @dataclass
    class Judged(Message):
        """A judgment of answer index; thumb has a value, +1 or -1; all_bad is of all of them."""

        kind: Literal["pick", "thumb", "correct", "rate", "note", "flag", "all_bad"]
        index: int
        value: int = 0

    @dataclass
    class Ranked(Message):
        """A ranking was confirmed."""

        groups: Groups

    @dataclass
    class Drafted(Message):
        """A ranking is being made (None: it was dropped)."""

        groups: Groups | None

    @dataclass
    class Rating(Message):
        """The next digit rates answer index (None: no longer)."""

        index: int | None

    @dataclass
    class Wished(Message):
        """Something that is no judgment."""

        wish: Wish
        index: int

    @dataclass
    class LookedAt(Message):
        """The reader went to another answer of those that stand one below the other."""

    @dataclass
    class Stop(Message):
        """Esc, with no ranking to drop."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.turn: Turn | None = None
        self.draft: Groups | None = None
        self._drafted_on: Turn | None = None  # the turn as it was when the draft was last changed
        self.cards: list[AnswerCard] = []
        self.focused_index = 0
        self.rating = False  #: the next digit rates the focused answer
        self._ready_at: float | None = None
        self.blocked = False  #: a panel is about to open: keys are for it, or for nobody
        self._fed: deque[tuple[int, str]] = deque()
        self._none = Static(Content("No answer yet. Ctrl+R asks again."), id="unanswered")
        self.add_class("-empty")

    def compose(self) -> ComposeResult:
        yield self._none

    # -- what is shown ---------------------------------------------------------------------------------------------

    def begin(self, count: int) -> None:
        """Empty cards for answers that are on their way."""
        self.turn = self.draft = self._ready_at = None
        self.rating = False
        self._fed.clear()
        self._deal(count)
        self.remove_class("-empty", "-unanswered")
        self.refresh_bindings()

    def _deal(self, count: int) -> None:
        with self.app.batch_update():
            for card in self.cards:
                card.remove()
            self.cards = [AnswerCard(index) for index in range(count)]
            self.focused_index = 0
            self.mount_all(self.cards)
            self._arrange()

    def feed(self, index: int, text: str) -> None:
        """More text of answer index; shown at the next `flush`. May be called from any thread."""
        self._fed.append((index, text))

    def flush(self) -> bool:
        """Show what was fed. True when something was."""
        fresh: dict[int, str] = {}
        while self._fed:
            index, text = self._fed.popleft()
            fresh[index] = fresh.get(index, "") + text
        for index, text in fresh.items():
            if index < len(self.cards):
                self.cards[index].append(text)
        return bool(fresh)

    def show(self, turn: Turn | None, *, fresh: bool = False) -> None:
        """Show a complete turn. fresh: its answers just appeared, so the guard runs."""
        self._fed.clear()
        after, before = ((t.prompt_id, t.version) if t else None for t in (turn, self.turn))
        if after is None or after != before:
            self.draft = None
            grown = fresh and self.turn is None and turn is not None and len(turn.answers) == len(self.cards)
            if not grown:  # who reads one while it grows stays with it
                self.focused_index = (turn.chosen if turn is not None else None) or 0
        self.turn = turn
        count = len(turn.answers) if turn else 0
        self.set_class(turn is None, "-empty")
        self.set_class(turn is not None and not count, "-unanswered")
        if len(self.cards) != count:
            self._deal(count)
        if fresh:
            self._ready_at = monotonic() + self.GUARD
        if turn is not None:
            for index, card in enumerate(self.cards):
                card.finish(turn.text_of(index))
        self._arrange()
        self.refresh_bindings()

    @property
    def ready(self) -> bool:
        """Whether there is something to judge."""
        return self.turn is not None and bool(self.cards)

    @property
    def alone(self) -> bool:
        return self.ready and len(self.cards) == 1

    @property
    def partly_hidden(self) -> bool:
        """Whether some answers show their first lines only."""
        return any(card.has_class("-folded") for card in self.cards)

    @property
    def focused_card(self) -> AnswerCard | None:
        return self.cards[self.focused_index] if self.cards else None

    def take_draft(self) -> Groups | None:
        """The ranking that was made and not yet recorded; it is a draft no more."""
        draft, self.draft = self.draft, None
        self.refresh_bindings()
        return draft

    def on_resize(self, event: Resize) -> None:
        self._arrange()

    def _arrange(self) -> None:
        stacked = bool(self.cards) and self.size.width // len(self.cards) < self.MIN_COLUMN
        self.set_class(stacked, "-stacked")
        for card in self.cards:
            card.set_class(stacked, "-stacked")
            card.set_class(self.has_focus and card.index == self.focused_index, "-focused")
        self._refold()
        if stacked:
            self.call_after_refresh(self._refold)

    def _fold(self) -> None:
        """Of stacked cards the focused one is whole; of the others, in their order, those that there is room for."""
        stacked = self.has_class("-stacked")
        room = self.screen.size.height - 8  # what status, question, said, prompt and footer leave
        lines = FOLDED_SHORT if room < 24 else FOLDED
        heights = [card.prose.virtual_size.height for card in self.cards]
        least = [h if n == self.focused_index else min(h, lines) for n, h in enumerate(heights)]
        spare = room - sum(least) - len(self.cards)  # each has its frame's upper line
        for card, height, shown in zip(self.cards, heights, least, strict=True):
            folded = stacked and height - shown > max(0, spare)
            spare -= 0 if folded else height - shown
            card.set_class(folded, "-folded")
            card.set_class(room < 24, "-short")

    def _refold(self) -> None:
        """Fold them and say so; again once the heights are known."""
        self._fold()
        for card in self.cards:
            card.set_title(*self._marks(card.index))

    def _marks(self, index: int) -> tuple[list[str], str]:
        card = self.cards[index]
        card.set_class(self.turn is not None and self.turn.chosen == index and not self.draft, "-chosen")
        if self.turn is None:
            return [], ""
        said = marks(self.turn, index, self.draft)
        if self.rating and index == self.focused_index:
            said.insert(0, "1 to 7?")
        if card.has_class("-folded") and (more := card.hidden_lines):
            said.append(f"{more} more line{'s' if more != 1 else ''}")
        return said, about(self.turn, index)

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.rating &= has_focus
        self._arrange()

    # -- keys ------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.ready and (action in JUDGING or parameters == ("undo",)):
            return False
        if action == "pick":
            most = 7 if self.rating else max(1, len(self.cards))
            return bool(parameters) and isinstance(parameters[0], int) and parameters[0] <= most
        if action in ("pick_focused", "rank", "tie"):  # while points are asked for, that question stays
            return not self.rating
        return True

    def at_foot(self, binding: Binding) -> str:
        return at_foot(binding, self.alone, self.draft is not None)

    def _settled(self) -> bool:
        return not self.blocked and (self._ready_at is None or monotonic() >= self._ready_at)

    def _may_judge(self) -> bool:
        self._rate(False)
        return self.ready and self._settled()

    def action_pick(self, number: int) -> None:
        rating = self.rating
        if not self._may_judge():
            return
        if rating:
            self.post_message(self.Judged("rate", self.focused_index, number))
        elif number <= len(self.cards):
            self.draft = None
            self._look_at(number - 1)
            self.post_message(self.Judged("pick", number - 1))

    def action_pick_focused(self) -> None:
        self.action_pick(self.focused_index + 1)

    def action_focus_card(self, step: int) -> None:
        if self.cards:
            self._look_at((self.focused_index + step) % len(self.cards))
            if self.rating:
                self.post_message(self.Rating(self.focused_index))

    @on(AnswerCard.Chosen)
    def card_clicked(self, event: AnswerCard.Chosen) -> None:
        event.stop()
        self.focus(scroll_visible=False)
        self._look_at(event.index)
        if event.twice:
            self.action_pick(event.index + 1)

    @on(AnswerCard.Dropped)
    def card_dropped(self, event: AnswerCard.Dropped) -> None:
        """A card was drawn onto another by its frame: it takes that one's place in the ranking."""
        event.stop()
        other = next((card.index for card in self.cards if card.region.contains_point(event.at)), None)
        if other is None or other == event.index or event.index >= len(self.cards):
            return
        if not self._may_judge() or self.turn is None:
            return
        self.focus(scroll_visible=False)
        self._look_at(event.index)
        self._drafted(put(self.draft or start_order(self.turn), event.index, other))

    def _look_at(self, index: int) -> None:
        self.focused_index = index
        self._arrange()
        if self.has_class("-stacked"):
            self.post_message(self.LookedAt())

    def action_rank(self, step: int) -> None:
        if self._may_judge() and self.turn is not None:
            self._drafted(move(self.draft or start_order(self.turn), self.focused_index, step))

    def action_tie(self) -> None:
        if self._may_judge() and self.turn is not None:
            self._drafted(tie(self.draft or start_order(self.turn), self.focused_index))

    def _drafted(self, groups: Groups | None) -> None:
        if groups is not None and self.alone:
            self.post_message(self.Ranked(groups))  # it is no ranking, and that is said
            return
        self.draft, self._drafted_on = groups, self.turn
        self._arrange()
        self.refresh_bindings()
        self.post_message(self.Drafted(groups))

    def action_all_bad(self) -> None:
        if self._may_judge():
            self.draft = None
            self.post_message(self.Judged("all_bad", self.focused_index))

    def action_correct(self) -> None:
        if self._may_judge():
            self._step_aside(self.Judged("correct", self.focused_index))

    def action_thumb(self, value: int) -> None:
        if self._may_judge():
            self.post_message(self.Judged("thumb", self.focused_index, value))

    def action_rate(self) -> None:
        rating = self.rating
        if self._may_judge():
            self._rate(not rating)

    def _rate(self, rating: bool) -> None:
        """Begin to rate the focused answer, or leave it: the digits mean points, or answers."""
        if rating != self.rating:
            self.rating = rating
            self._arrange()
            self.refresh_bindings()
            self.post_message(self.Rating(self.focused_index if rating else None))

    def action_note(self) -> None:
        if self._may_judge():
            self._step_aside(self.Judged("note", self.focused_index))

    def action_flag(self) -> None:
        if self._may_judge():
            self._step_aside(self.Judged("flag", self.focused_index))

    def action_wish(self, wish: Wish) -> None:
        self._rate(False)
        if wish == "undo" and self.draft is not None and self.turn == self._drafted_on:
            self._drafted(None)
        elif self._settled():
            self._step_aside(self.Wished(wish, self.focused_index))

    def _step_aside(self, message: Judged | Wished) -> None:
        """Post it; where it opens a panel, from this key on: that message is read behind the keys of the same burst."""
        kind = message.wish if isinstance(message, self.Wished) else message.kind
        self.blocked = kind in ASIDE
        self.post_message(message)

    async def action_to_prompt(self) -> None:
        if self._settled():
            await self.app.run_action("to_prompt", self.screen)

    async def action_confirm(self) -> None:
        if not self._settled():
            return
        draft = self.take_draft()
        if draft is not None:  # the focus stays: what was recorded is seen, and u takes it back
            self.post_message(self.Ranked(draft))
        else:
            await self.action_to_prompt()

    def action_drop(self) -> None:
        if self.rating:
            self._rate(False)
        elif self.draft is not None:
            self._drafted(None)
        else:
            self.post_message(self.Stop())
