"""What one chat does: its thread, its current turn, the answers of the engine and the judgments of the reader.

No widgets and no event loop here: methods block (quickly, but for `answer`) and raise StorageError or EngineError;
the screens call them from worker threads, the plain chat directly. Training is `chatapp.lessons`.

Left out on purpose: judgments across tries. Answers of an earlier try are another branch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from chatapp.answering import Drawn, draw
from chatapp.branches import Tree, parting
from chatapp.choosing import Choosing, favourite
from chatapp.clean import one_line
from chatapp.config import Settings
from chatapp.dueling import Duel, fight
from chatapp.engine.base import Engine, EngineError, Message, PromptTooLong
from chatapp.frequency import Frequency
from chatapp.privacy import heading, take, withdraw
from chatapp.reading import past_turns, read_branch, system_prompt, tip_turn, visited_turn, way
from chatapp.telling import to_show
from chatapp.turn import Turn
from chatapp.verdicts import NotSaved, SessionError, TakenBack, Verdicts
from chatapp.view import Model, Note, Outcome, View

if TYPE_CHECKING:
    from storage.adapters import Adapter
    from storage.store import Store
    from storage.threads import Message as StoredMessage
    from storage.threads import NewAnswer, Thread

__all__ = ["SHOWN_TURNS", "ChatSession", "Model", "NotSaved", "Note", "Outcome", "SessionError", "View"]

#: earlier turns that are shown; the others stay in the database
SHOWN_TURNS = 24
INTERRUPTED = "The last session ended before an answer was complete."


class ChatSession(Verdicts):
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
        self.visiting = False
        self.system_prompt = settings.system_prompt  #: of the next thread
        self.frequency = Frequency(settings, store)
        self.duel: Duel | None = None  #: who answers, in the place of the live version alone
        self._busy = threading.Lock()  # held while the engine answers or swaps
        self._answering = False
        self._loading = threading.Lock()
        self._loaded = self._closed = False
        self._astray = False  # an error left open which adapter the engine has
        self._refused: str | None = None  # an adapter that the engine could not load
        self._unsaved: tuple[str, list[NewAnswer]] | None = None
        # where the chat was before a question: its id, the thread, the earlier turn that was looked at
        self._before: tuple[str, Thread | None, Turn | None] | None = None

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
            info, model = self.engine.info, self.model
            self.store.add_model(
                model.hash, info.name or model.name, info.architecture, info.chat_template_hash, model.path
            )
            self._loaded = True

    def _not_busy(self) -> None:
        if self.busy:
            raise SessionError("Still answering. Esc stops it.")

    def resume(self, thread: str | None = None) -> tuple[View, tuple[Note, ...]]:
        """Open that thread, or the one of the last session, and say what became of it."""
        notes: list[Note] = []
        id = thread or self.store.meta_get("chat.thread")
        view = self.view()
        if id:
            with suppress(KeyError):
                if self.store.threads.get(id).deleted_at is None:
                    view = self.open(id)
        if view.turn is not None and not view.turn.answers:
            notes.append(Note(INTERRUPTED))
        return view, tuple(notes)

    def new(self) -> View:
        """An empty chat. Its thread is stored with the first question."""
        self._not_busy()
        self.thread = self.turn = None
        self.visiting, self.system_prompt = False, self.settings.system_prompt
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
        self.visiting = False
        return self.view()

    def visit(self, prompt_id: str) -> View:
        """Look at an earlier turn, to judge it again or to go on from it. The thread stays where it is."""
        self._not_busy()
        found = visited_turn(self.store, self.thread, prompt_id) if self.thread is not None else None
        if found is None:
            raise SessionError("That turn is not on the way to here any more.")
        if not found[1]:
            return self._go_to_tip()
        self.turn, self.visiting = found[0], True
        return replace(self.view(), later=found[1])

    def step_turn(self, step: int) -> View:
        """Look at the turn before (-1) or after (+1) the one that is looked at."""
        self._not_busy()
        if self.thread is None or self.turn is None:
            return self.view()
        turns = way(self.store, self.thread)
        at = turns.index(self.turn.prompt_id) + step if self.turn.prompt_id in turns else len(turns) - 1
        if not 0 <= at < len(turns):
            raise SessionError("There is no earlier turn." if at < 0 else "This is the latest turn.")
        return self.visit(turns[at])

    def latest(self) -> View:
        """Back from an earlier turn."""
        return self._go_to_tip() if self.visiting else self.view()

    def view(self, shown: int = SHOWN_TURNS) -> View:
        """The thread as it is; of the earlier turns the last `shown`."""
        draft = self.store.meta_get(self._draft_key()) or ""
        if self.thread is None:
            return View(None, heading(self.store, None), draft=draft, system=self.system_prompt or "")
        past, hidden = past_turns(self.store, self.turn.prompt_id, shown) if self.turn is not None else ((), 0)
        title, system = heading(self.store, self.thread), system_prompt(self.store, self.thread)
        return View(self.thread.id, title, past, hidden, self.turn, draft, system)

    def history(self) -> list[str]:
        """Questions asked before, in any thread, the newest first."""
        from storage.asked import asked

        return asked(self.store)

    def questions(self) -> list[tuple[str, str]]:
        """(id, text) of the questions on the way to the current one, the newest first."""
        path = self.store.threads.path(self.turn.prompt_id) if self.turn is not None else []
        return [(message.id, message.text) for message in reversed(path) if message.role == "user"]

    def save_draft(self, text: str) -> None:
        """Keep what is typed and not sent."""
        if (self.store.meta_get(key := self._draft_key()) or "") != text:
            self.store.meta_set(key, text or None)

    def _draft_key(self) -> str:
        return f"draft:{self.thread.id if self.thread else 'new'}"

    # -- turns -----------------------------------------------------------------------------------------------------

    def ask(self, text: str) -> Turn:
        """Store a question below the answer that the chat goes on from. `answer` answers it."""
        self._ready_to_ask()
        text, threads = text.strip(), self.store.threads
        with self.store.write():
            thread = self.thread or threads.new(system_prompt=self.system_prompt, private=take(self.store))
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
        self._asked(old.thread_id, message)
        return self.view()

    def _ready_to_ask(self) -> None:
        self._not_busy()
        if self.engine is None:
            raise SessionError(self.engine_error or "The model is still being opened.")

    def _asked(self, thread_id: str, message: StoredMessage) -> Turn:
        self._before = message.id, self.thread, self.turn if self.visiting else None
        self.thread = self.store.threads.get(thread_id)
        self.turn, self.visiting = Turn(message.id, message.text), False
        return self.turn

    def _withdraw(self, id: str, thread: Thread | None, visited: Turn | None) -> None:
        """A question that cannot be asked leaves nothing: the chat is where it was before."""
        withdraw(self.store, id, thread)
        self.thread = self.store.threads.get(thread.id) if thread else None  # private meanwhile, perhaps
        self.turn, self.visiting, self._before = visited, visited is not None, None
        if thread and not visited:
            self._go_to_tip()

    def how_many(self, again: bool) -> int:
        """Answers that the question about to be answered gets; again: alternatives were asked for."""
        if self.duel is not None:
            return 2
        return self.settings.alternatives if again else self.frequency.next()

    def answer(self, on_token: Callable[[int, str], None] | None = None, count: int | None = None) -> Outcome:
        """Have the current question answered (again): blocks, streams, stores. Raises EngineError, NotSaved.

        count: how many answers; None: `alternatives` of the settings.
        """
        turn, thread = self.turn, self.thread
        if turn is None or thread is None:
            raise SessionError("There is no question to answer.")
        with self.taken():
            notes = [] if (line := self._swap_if_changed()) is None else [line]
            speed = 0.0
            if self._unsaved is None or self._unsaved[0] != turn.prompt_id:
                path = self.store.threads.conversation(turn.prompt_id)
                messages: list[Message] = [{"role": m["role"], "content": m["content"]} for m in path]
                if not messages:
                    raise SessionError("This was forgotten and cannot be asked again. Ctrl+N begins a new thread.")
                if self.settings.reward_picks:
                    self.choosing.begin()
                try:
                    drawn = self._draw(messages, count or self.settings.alternatives, on_token)
                except BaseException as error:
                    self._astray = self.duel is not None or bool(self.settings.drawn)
                    if isinstance(error, PromptTooLong) and self._before and self._before[0] == turn.prompt_id:
                        self._withdraw(*self._before)
                        raise TakenBack(str(error)) from error
                    raise
                speed = drawn.tokens_per_second
                notes += [Note(remark) for remark in drawn.remarks]
                self._unsaved = (turn.prompt_id, drawn.answers)
                if self.settings.reward_picks:
                    answers, said = self.choosing.rank(messages, drawn.answers)
                    self._unsaved = (turn.prompt_id, answers)
                    notes += [] if said is None else [Note(said, error=True)]
            stored = self._store(thread.id, turn.prompt_id, self._unsaved[1])
            self._unsaved = None
            self._before = None
            self.turn = read_branch(self.store, self.store.threads.message(turn.prompt_id), stored[0].id)
            return Outcome(self.turn, tuple(notes), speed)

    @contextmanager
    def taken(self) -> Iterator[Engine]:
        """The engine, for one answer or comparison at a time: no other swaps it. Raises SessionError, EngineError."""
        self._not_busy()
        if not self._busy.acquire(timeout=60):  # a swap under way is waited for
            raise SessionError("The engine is busy with something else. Ask again in a moment.")
        self._answering = True
        try:
            if self.engine is None:
                raise SessionError(self.engine_error or "The model is still being opened.")
            self.load()
            yield self.engine
        finally:
            self._answering = False
            self._busy.release()

    def _draw(self, messages: list[Message], count: int, on_token: Callable[[int, str], None] | None) -> Drawn:
        assert self.engine is not None
        sampling, model_hash = self.settings.sampling, self.model.hash
        if self.duel is not None:
            return fight(
                self.engine, self.store, self.duel, messages, sampling, on_token, model_hash=model_hash,
                current=self.adapter,
            )  # fmt: skip
        adapter_id = self.adapter.id if self.adapter else None
        more = self.draws_more(count)
        if more:
            count, shown, on_token = more, count, None
        drawn = draw(self.engine, messages, count, sampling, on_token, model_hash=model_hash, adapter_id=adapter_id)
        if not more:
            return drawn
        live = self.store.adapters.gguf(self.adapter) if self.adapter else None
        return replace(drawn, answers=to_show(self.engine, self.choosing, live, messages, drawn.answers, shown))

    def draws_more(self, shown: int) -> int:
        """How many answers are drawn so that the most telling are shown; 0 where all that are drawn are."""
        return self.settings.drawn if self.duel is None and 1 < shown < self.settings.drawn else 0

    def _store(self, thread_id: str, prompt_id: str, answers: Sequence[NewAnswer]) -> list[StoredMessage]:
        from storage.errors import StorageError

        try:
            with self.store.write():
                messages = self.store.threads.add_answers(thread_id, prompt_id, answers)
                self.store.threads.set_tip(thread_id, messages[favourite(answers)].id)
            self.visiting, self.thread = False, self.store.threads.get(thread_id)
            return messages
        except StorageError as error:
            raise NotSaved(str(error), [answer.content for answer in answers]) from error

    def stop(self) -> None:
        """End the answer under way; its text so far is kept."""
        if self.engine is not None and self.busy:
            self.engine.stop()
            self.choosing.stop()

    def step_version(self, step: int) -> View:
        """Look at the branch before (-1) or after (+1) this one, where they part last; the thread goes to its end."""
        self._not_busy()
        if self.thread is None or self.turn is None:
            return self.view()
        tree = Tree(self.store.threads.tree(self.thread.id))
        branches, at = parting(self.store, tree, self.turn)
        at += step
        if not 0 <= at < len(branches):
            raise SessionError("There is no other branch on that side." if branches else "There is one branch only.")
        end = tree.end(branches[at])
        turn = read_branch(self.store, self.store.threads.message(end.prompt_id), end.answer_id)
        self.store.threads.set_tip(self.thread.id, turn.continues_id or turn.prompt_id)
        self._go_to_tip()
        return self.visit(branches[at].prompt_id)

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
        if self.engine is not None and self._astray:
            self.engine.swap(self.store.adapters.gguf(self.adapter) if self.adapter else None)
            self._astray = False
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
        if self.duel is not None:
            return Note(f"{live.name if live else 'The base model'} is live now; the duel goes on.")
        return Note(f"Now answering with {live.name if live else 'the base model'}.")

    def close(self) -> None:
        """Stop what is under way (its text is stored), end the engine, close the store. Nothing works afterwards."""
        if self._closed:
            return
        self._closed = True
        self.stop()
        # never let go of again: nobody may use a connection that is closed under them
        quiet = self._busy.acquire(timeout=5)
        if self.engine is not None:
            self.engine.close()
        self.choosing.close()
        if self._loading.acquire(timeout=5) and quiet:
            self.store.close()
