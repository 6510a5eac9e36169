"""What the reader says of the current turn, recorded; and how that is told. The session's other half.

Each method blocks for one transaction and gives back what is to be said. Where the thread goes on from moves with the
verdict, but not while an earlier turn is looked at: that is judged, and the thread stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chatapp import dueling, judging
from chatapp.engine.base import PromptTooLong
from chatapp.reading import read_branch
from chatapp.turn import Groups, Turn
from chatapp.view import Said

if TYPE_CHECKING:
    from storage.preferences import Judgment
    from storage.store import Store
    from storage.threads import Thread


#: said in the place of a choice that would teach nothing
ALONE = "There is one answer: + says that it is good, - that it is bad, Ctrl+R draws others."


def skipped(turn: Turn | None) -> str:
    """What is said when the reader judges nothing more here."""
    if turn is not None and turn.judged:
        return "What you recorded stays; u takes it back."
    return "Skipped: nothing is recorded for these answers."


class SessionError(RuntimeError):
    """Something that cannot be done now; the text says why."""


class NotSaved(SessionError, OSError):
    """The answers came and could not be stored. They are kept in memory; asking again tries to store them."""

    def __init__(self, reason: str, texts: Sequence[str]) -> None:
        super().__init__(f"{reason} The answers are kept here; asking again tries to save them again.")
        self.texts = list(texts)


class TakenBack(PromptTooLong):
    """The question is too long for the context, and is not stored: the chat is where it was before."""


class Verdicts:
    """Judges `turn`. A session is one."""

    store: Store
    thread: Thread | None
    turn: Turn | None
    visiting: bool  #: an earlier turn is looked at

    def _current(self) -> Turn:
        if self.turn is None or not self.turn.answers:
            raise SessionError("There are no answers to judge yet.")
        return self.turn

    def _record(self, record: Callable[..., Judgment], *arguments: object) -> Said:
        """Record a judgment of the current turn and move the tip with it, in one transaction."""
        turn = self._current()
        with self.store.write():
            judgment = record(self.store, turn, *arguments)
            won = dueling.record(self.store, turn, judgment)
            self._settle()
        assert self.turn is not None
        line = self._told(judgment) + (f" · {won}" if won else "")
        return Said(line, self.turn if self.turn.prompt_id == turn.prompt_id else turn)

    def reread(self) -> None:
        """Read the turn anew: another program may have judged it, or taken a judgment back."""
        if self.turn is not None and self.turn.answers:
            prompt = self.store.threads.message(self.turn.prompt_id)
            self.turn = read_branch(self.store, prompt, self.turn.answers[0].message_id)

    def _settle(self) -> None:
        """Read the turn again and let the thread go on from what is chosen now."""
        visited = self.visiting
        self._current()
        self.reread()
        assert self.thread is not None
        assert self.turn is not None
        if not visited:
            self.store.threads.set_tip(self.thread.id, self.turn.continues_id)

    def _told(self, judgment: Judgment) -> str:
        """What is said of a judgment that was just recorded."""
        private = self.thread is not None and self.thread.private and judgment.kind != "note"
        return self._describe(judgment) + ("; this thread is private, so it teaches nothing" if private else "")

    def _describe(self, judgment: Judgment) -> str:
        """ "B > A = C: 2 pairs, weight 1"."""
        line = self.store.judgments.describe(judgment)
        taught = self.store.judgments.explain(judgment.prompt_id).get(judgment.id)
        if taught is None or not taught.pairs:
            return line
        return f"{line}, weight {sum(pair.weight for pair in taught.pairs):.2g}"

    def _said_before(self, record: Callable[..., Judgment], *arguments: object) -> Said:
        """The verdict on the answers as a whole, which is in force already; where another program took it back
        meanwhile, it is recorded again."""
        turn = self._current()
        said = judging.in_force(self.store, turn, judging.OVERALL)
        return Said(self._told(said[-1]), turn) if said else self._record(record, *arguments)

    def pick(self, index: int) -> Said:
        turn = self._current()
        if len(turn.answers) == 1:
            return Said(ALONE, turn)
        same = turn.picked == index and turn.chosen == index  # not where a correction came since
        return (self._said_before if same else self._record)(judging.pick, index)

    def rank(self, groups: Groups) -> Said:
        turn = self._current()
        if len(turn.answers) == 1:
            return Said(ALONE, turn)
        same = turn.groups == groups and (turn.chosen is None or turn.chosen in groups[0]) and not turn.corrections
        return (self._said_before if same else self._record)(judging.rank, groups)

    def all_bad(self) -> Said:
        return (self._said_before if self._current().all_bad else self._record)(judging.all_bad)

    def thumb(self, index: int, value: int) -> Said:
        """+1 or -1; the same one again takes it back."""
        turn = self._current()
        if turn.thumbs.get(index) == value:
            return self._take_all_back(index, "thumb")
        return self._record(judging.thumb, index, value)

    def rate(self, index: int, score: int) -> Said:
        """1 to 7. The scores of one turn are one judgment, so that they can be compared."""
        return self._record(judging.rate, index, score)

    def correct(self, index: int, text: str) -> Said:
        return self._record(judging.correct, index, text)

    def note(self, index: int, text: str) -> Said:
        """An empty text takes the note back."""
        turn, text = self._current(), text.strip()
        if text == turn.notes.get(index, ""):
            return Said("The note is as it was.", turn)
        if not text:
            return self._take_all_back(index, "note")
        return self._record(judging.note, index, text)

    def flag(self, index: int, rule_id: str, violated: bool) -> Said:
        return self._record(judging.flag, index, rule_id, violated)

    def undo(self) -> Said:
        """Take the newest judgment of this turn back."""
        turn = self._current()
        said = judging.in_force(self.store, turn)
        return self._take_back(said[-1]) if said else Said("Nothing to undo in this turn.", turn)

    def _take_all_back(self, index: int, kind: str) -> Said:
        """The thumb or the note of an answer, and those that it replaced: none of them comes up again."""
        line = ""
        with self.store.write():
            while said := judging.said_of(self.store, self._current(), index, kind):
                line = line or self._describe(said[-1])
                self.store.judgments.retract(said[-1].id)
            self._settle()
        return Said(f"Taken back: {line}", self._current())

    def _take_back(self, judgment: Judgment) -> Said:
        from storage.duels import withdraw

        line = self._describe(judgment)
        with self.store.write():
            self.store.judgments.retract(judgment.id)
            withdraw(self.store, judgment)
            self._settle()
        return Said(f"Taken back: {line}", self._current())
