"""What one chat does: its thread, its current turn, the answers of the engine and the judgments of the reader.

No widgets and no event loop here: methods block (quickly, but for `answer`) and raise StorageError or EngineError;
the screens call them from worker threads, the plain chat directly. Training is `chatapp.lessons`.

Left out on purpose: judgments across tries. Answers of an earlier try are another branch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chatapp import judging
from chatapp.answering import draw
from chatapp.choosing import Choosing, favourite
from chatapp.clean import one_line
from chatapp.config import Settings
from chatapp.engine.base import Engine, EngineError, Message
from chatapp.reading import branch_ends, past_turns, read_branch, tip_turn
from chatapp.turn import Groups, PastTurn, Turn
from chatapp.view import Model, Note, NotSaved, Outcome, Said, SessionError, View

if TYPE_CHECKING:
    from storage.adapters import Adapter
    from storage.preferences import Judgment
    from storage.store import Store
    from storage.threads import Message as StoredMessage
    from storage.threads import NewAnswer, Thread

__all__ = ["SHOWN_TURNS", "ChatSession", "Model", "NotSaved", "Note", "Outcome", "Said", "SessionError", "View"]

#: earlier turns that are shown; the others stay in the database
SHOWN_TURNS = 24
INTERRUPTED = "The last session ended before an answer was complete. Press r to ask again."


class ChatSession:
    """One chat on one store and one engine."""

    def __init__(self, store: Store, engine: Engine | None, settings: Settings, model: Model) -> None:
        self.store = store
        self.engine = engine
        self.settings = settings
        self.model = model
        self.choosing = Choosing(settings, store, model.hash)
        self.engine_error: str | None = None  #: why there is no engine
        self.adapter: Adapter | None = None  #: what answers now
        self.thread: Thread | None = None
        self.turn: Turn | None = None
        self._busy = threading.Lock()  # held while the engine answers or swaps
        self._answering = False
        self._loading = threading.Lock()
        self._loaded = False
        self._refused: str | None = None  # an adapter that the engine could not load
        self._unsaved: tuple[str, list[NewAnswer]] | None = None

    # -- threads ---------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an answer is under way."""
        return self._answering

    def load(self) -> None:
        """Wait until the model is loaded, and register it. Raises EngineError."""
        if self.engine is None:
            return
        with self._loading:
            if self._loaded:
                return
            info = self.engine.info
            model = self.model
            self.store.add_model(
                model.hash, info.name or model.name, info.architecture, info.chat_template_hash, model.path
            )
            self._loaded = True

    def _not_busy(self) -> None:
        if self.busy:
            raise SessionError("Still answering. Esc stops it.")

    def resume(self) -> tuple[View, tuple[Note, ...]]:
        """Open the thread of the last session, and say what became of it."""
        notes: list[Note] = []
        id = self.store.meta_get("chat.thread")
        view = self.view()
        if id:
            try:
                if self.store.threads.get(id).deleted_at is None:
                    view = self.open(id)
            except KeyError:
                pass
        if view.turn is not None and not view.turn.answers:
            notes.append(Note(INTERRUPTED))
        return view, tuple(notes)

    def new(self) -> View:
        """An empty chat. Its thread is stored with the first question."""
        self._not_busy()
        self.thread = self.turn = None
        self.store.meta_set("chat.thread", None)
        return self.view()

    def open(self, thread_id: str) -> View:
        self._not_busy()
        self.thread = self.store.threads.get(thread_id)
        self.store.meta_set("chat.thread", thread_id)
        return self._go_to_tip()

    def _go_to_tip(self) -> View:
        assert self.thread is not None
        self.thread = self.store.threads.get(self.thread.id)
        self.turn = tip_turn(self.store, self.thread)
        return self.view()

    def view(self, shown: int = SHOWN_TURNS) -> View:
        """The thread as it is; of the earlier turns the last `shown`."""
        draft = self.store.meta_get(self._draft_key()) or ""
        if self.thread is None:
            return View(None, "", draft=draft)
        past: tuple[PastTurn, ...] = ()
        hidden = 0
        if self.turn is not None:
            past, hidden = past_turns(self.store, self.turn.prompt_id, shown)
        title = f"{self.thread.title} (private)" if self.thread.private else self.thread.title
        return View(self.thread.id, title, past, hidden, self.turn, draft)

    def questions(self) -> list[tuple[str, str]]:
        """(id, text) of the questions on the way to the current one, the newest first."""
        if self.turn is None:
            return []
        path = self.store.threads.path(self.turn.prompt_id)
        return [(message.id, message.text) for message in reversed(path) if message.role == "user"]

    def save_draft(self, text: str) -> None:
        """Keep what is typed and not sent."""
        key = self._draft_key()
        if (self.store.meta_get(key) or "") != text:
            self.store.meta_set(key, text or None)

    def _draft_key(self) -> str:
        return f"draft:{self.thread.id if self.thread else 'new'}"

    # -- turns -----------------------------------------------------------------------------------------------------

    def ask(self, text: str) -> Turn:
        """Store a question below the answer that the chat goes on from. `answer` answers it."""
        self._ready_to_ask()
        text, threads = text.strip(), self.store.threads
        with self.store.write():
            thread = self.thread or threads.new(system_prompt=self.settings.system_prompt)
            if not thread.title:  # new, or it went with what was forgotten
                threads.rename(thread.id, one_line(text, 48))
            parent = thread.tip_message_id
            if self.turn is not None:
                # a question without an answer is replaced: it has no text to go on from
                parent = self.turn.continues_id or threads.message(self.turn.prompt_id).parent_id
            message = threads.add_message(thread.id, parent, "user", text, tip=True)
            self.store.meta_set(self._draft_key(), None)
            self.store.meta_set("chat.thread", thread.id)
        return self._asked(thread.id, message)

    def edit(self, question_id: str, text: str) -> View:
        """Ask another question in the place of an earlier one: a branch of its own."""
        self._ready_to_ask()
        threads = self.store.threads
        old = threads.message(question_id)
        with self.store.write():
            message = threads.add_message(old.thread_id, old.parent_id, "user", text.strip(), tip=True)
            self.store.meta_set(self._draft_key(), None)
        self._asked(old.thread_id, message)
        return self.view()

    def _ready_to_ask(self) -> None:
        self._not_busy()
        if self.engine is None:
            raise SessionError(self.engine_error or "The model is still being opened.")

    def _asked(self, thread_id: str, message: StoredMessage) -> Turn:
        self.thread = self.store.threads.get(thread_id)
        self.turn = Turn(message.id, message.text)
        return self.turn

    def answer(self, on_token: Callable[[int, str], None] | None = None) -> Outcome:
        """Have the current question answered (again): blocks, streams, stores. Raises EngineError, NotSaved."""
        turn, thread = self.turn, self.thread
        if turn is None or thread is None:
            raise SessionError("There is no question to answer.")
        with self.taken() as engine:
            notes = [] if (line := self._swap_if_changed()) is None else [line]
            speed = 0.0
            if self._unsaved is None or self._unsaved[0] != turn.prompt_id:
                messages: list[Message] = [
                    {"role": m["role"], "content": m["content"]}
                    for m in self.store.threads.conversation(turn.prompt_id)
                ]
                if not messages:
                    raise SessionError("This was forgotten and cannot be asked again. Ctrl+N begins a new thread.")
                if self.settings.reward_picks:
                    self.choosing.begin()
                drawn = draw(
                    engine,
                    messages,
                    self.settings.alternatives,
                    self.settings.sampling,
                    on_token,
                    model_hash=self.model.hash,
                    adapter_id=self.adapter.id if self.adapter else None,
                )
                speed = drawn.tokens_per_second
                notes += [Note(remark) for remark in drawn.remarks]
                self._unsaved = (turn.prompt_id, drawn.answers)
                if self.settings.reward_picks:
                    answers, said = self.choosing.rank(messages, drawn.answers)
                    self._unsaved = (turn.prompt_id, answers)
                    notes += [] if said is None else [Note(said, error=True)]
            stored = self._store(thread.id, turn.prompt_id, self._unsaved[1])
            self._unsaved = None
            self.turn = read_branch(self.store, self.store.threads.message(turn.prompt_id), stored[0].id)
            return Outcome(self.turn, tuple(notes), speed)

    @contextmanager
    def taken(self) -> Iterator[Engine]:
        """The engine, for one answer or comparison at a time: no other swaps it. Raises SessionError, EngineError."""
        self._not_busy()
        if not self._busy.acquire(timeout=60):  # a swap under way is waited for
            raise SessionError("The engine is busy with something else. Press r to ask again.")
        self._answering = True
        try:
            if self.engine is None:
                raise SessionError(self.engine_error or "The model is still being opened.")
            self.load()
            yield self.engine
        finally:
            self._answering = False
            self._busy.release()

    def _store(self, thread_id: str, prompt_id: str, answers: Sequence[NewAnswer]) -> list[StoredMessage]:
        from storage.errors import StorageError

        try:
            with self.store.write():
                messages = self.store.threads.add_answers(thread_id, prompt_id, answers)
                self.store.threads.set_tip(thread_id, messages[favourite(answers)].id)
            return messages
        except StorageError as error:
            raise NotSaved(str(error), [answer.content for answer in answers]) from error

    def stop(self) -> None:
        """End the answer under way; its text so far is kept."""
        if self.engine is not None and self.busy:
            self.engine.stop()
            self.choosing.stop()

    def step_version(self, step: int) -> View:
        """Go to the branch before (-1) or after (+1) the current one."""
        self._not_busy()
        if self.thread is None or self.turn is None:
            return self.view()
        ends = branch_ends(self.store, self.thread.id)
        at = self.turn.version - 1 + step
        if not 0 <= at < len(ends):
            raise SessionError(
                "There is no other branch on that side." if len(ends) > 1 else "There is one branch only."
            )
        prompt_id, batch = ends[at]
        turn = read_branch(self.store, self.store.threads.message(prompt_id), batch[0] if batch else None)
        self.store.threads.set_tip(self.thread.id, turn.continues_id or prompt_id)
        return self._go_to_tip()

    # -- judgments -------------------------------------------------------------------------------------------------

    def _current(self) -> Turn:
        if self.turn is None or not self.turn.answers:
            raise SessionError("There are no answers to judge yet.")
        return self.turn

    def _record(self, record: Callable[..., Judgment], *arguments: object) -> Said:
        """Record a judgment of the current turn and move the tip with it, in one transaction."""
        turn = self._current()
        with self.store.write():
            judgment = record(self.store, turn, *arguments)
            self._settle()
        assert self.turn is not None
        return Said(self._describe(judgment), self.turn if self.turn.prompt_id == turn.prompt_id else turn)

    def _settle(self) -> None:
        """Read the turn again and let the thread go on from what is chosen now."""
        turn = self._current()
        self.turn = read_branch(self.store, self.store.threads.message(turn.prompt_id), turn.answers[0].message_id)
        assert self.thread is not None
        self.store.threads.set_tip(self.thread.id, self.turn.continues_id)

    def _describe(self, judgment: Judgment) -> str:
        return self.store.judgments.describe(judgment)

    def _said_before(self) -> Said:
        """The verdict on the answers as a whole, which is in force already."""
        turn = self._current()
        return Said(self._describe(judging.in_force(self.store, turn, judging.OVERALL)[-1]), turn)

    def pick(self, index: int) -> Said:
        return self._said_before() if self._current().picked == index else self._record(judging.pick, index)

    def rank(self, groups: Groups) -> Said:
        return self._said_before() if self._current().groups == groups else self._record(judging.rank, groups)

    def all_bad(self) -> Said:
        return self._said_before() if self._current().all_bad else self._record(judging.all_bad)

    def thumb(self, index: int, value: int) -> Said:
        """+1 or -1; the same one again takes it back."""
        turn = self._current()
        if turn.thumbs.get(index) == value:
            return self._take_back(judging.said_of(self.store, turn, index, "thumb")[-1])
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
            return self._take_back(judging.said_of(self.store, turn, index, "note")[-1])
        return self._record(judging.note, index, text)

    def flag(self, index: int, rule_id: str, violated: bool) -> Said:
        return self._record(judging.flag, index, rule_id, violated)

    def undo(self) -> Said:
        """Take the newest judgment of this turn back."""
        turn = self._current()
        said = judging.in_force(self.store, turn)
        return self._take_back(said[-1]) if said else Said("Nothing to undo in this turn.", turn)

    def _take_back(self, judgment: Judgment) -> Said:
        line = self._describe(judgment)
        with self.store.write():
            self.store.judgments.retract(judgment.id)
            self._settle()
        return Said(f"Taken back: {line}", self._current())

    def waiting(self) -> int:
        """Judgments that no lesson has seen."""
        return self.store.judgments.waiting(self.model.hash)

    # -- the adapter -----------------------------------------------------------------------------------------------

    def sync_adapter(self) -> Note | None:
        """Use the adapter that is live now, unless an answer is under way. Says so when it changed."""
        if not self._busy.acquire(blocking=False):
            return None
        try:
            return self._swap_if_changed()
        finally:
            self._busy.release()

    def _swap_if_changed(self) -> Note | None:
        live = self.store.adapters.live(self.model.hash)
        live_id, current = (live.id if live else None), (self.adapter.id if self.adapter else None)
        if self.engine is None or live_id == current or (live_id is not None and live_id == self._refused):
            return None
        try:
            self.engine.swap(self.store.adapters.gguf(live) if live else None)
        except EngineError as error:
            if live is None:
                raise
            self._refused = live.id
            now = f"v{self.adapter.number}" if self.adapter else "the base model"
            return Note(f"v{live.number} could not be used: {error} Still answering with {now}.", error=True)
        self.adapter, self._refused = live, None
        if live is None:
            return Note("Now answering with the base model.")
        return Note(f"Now answering with v{live.number}.")

    def close(self) -> None:
        """Stop what is under way (its text is stored), end the engine, close the store. Nothing works afterwards."""
        self.stop()
        # never let go of again: nobody may use a connection that is closed under them
        quiet = self._busy.acquire(timeout=5)
        if self.engine is not None:
            self.engine.close()
        self.choosing.close()
        if self._loading.acquire(timeout=5) and quiet:
            self.store.close()
