"""Commands that are typed where a question would be: /train, /model, /system ... for hands that stay in the prompt.

A text that begins with / and is none of them is given back, so that a misspelt command is not asked as a question;
with // it is asked.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from textual import on

from chatapp.screens.model_actions import ModelActions
from chatapp.session import SessionError
from chatapp.view import Note
from chatapp.widgets.prompt import Prompt

#: command -> what follows it, what it does, the action that it stands for (empty: a method here)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "/help": ("", "all keys and commands", "help"),
    "/new": ("", "a new thread", "new_thread"),
    "/clear": ("", "the same", "new_thread"),
    "/system": ("TEXT", "begin a thread in which the model is told this first; without TEXT, show it", ""),
    "/again": ("", "other answers to the same question", "again"),
    "/train": ("", "learn from the judgments now", "learn"),
    "/rollback": ("", "answer with the version before the live one", "rollback"),
    "/duel": ("", "two versions answer blind", "duel"),
    "/model": ("[NAME]", "answer with another model: one of a list, a file, ollama:NAME", ""),
    "/settings": ("", "how answers are drawn", "generation"),
    "/export": ("[FILE]", "this thread as Markdown", ""),
    "/rename": ("TITLE", "rename this thread", ""),
    "/threads": ("", "the list of threads", "threads"),
    "/training": ("", "the lessons", "page('training')"),
    "/versions": ("", "what was learned, version by version", "page('versions')"),
    "/judgments": ("", "what was judged", "page('judgments')"),
    "/insights": ("", "what the judgments show", "page('insights')"),
    "/quit": ("", "leave", "app.quit"),
}


class SlashActions(ModelActions):
    """Reads commands off the prompt, and does what has no key."""

    def _is_command(self, text: str) -> bool:
        text = text.strip()
        if not text.startswith("/") or text.startswith("//") or "\n" in text:
            return False
        word, _, rest = text.partition(" ")
        rest = rest.strip()
        if word not in COMMANDS:
            near = difflib.get_close_matches(word, COMMANDS, 1)
            self.prompt.give_back(text)
            hint = f"Did you mean {near[0]}?" if near else "/help lists them."
            self.say(f"There is no command {word}. {hint} With // it is asked as a question.", error=True)
            return True
        follows, _, action = COMMANDS[word]
        if rest and not follows:
            self.prompt.give_back(text)
            self.say(f"{word} takes nothing behind it.", error=True)
        elif action:
            self.run_worker(self.run_action(action), group="slash", name=word)
        else:
            done: dict[str, Callable[[str], object]] = {
                "/system": self._system,
                "/model": lambda spec: self.jobs.start(self._model(spec), "dialog"),
                "/export": lambda file: self.jobs.start(self._export(file), "store"),
                "/rename": lambda title: self._with_current(partial(self._retitle, title=title), "store"),
            }
            done[word](rest)
        return True

    @on(Prompt.Changed)
    def hint_commands(self, event: Prompt.Changed) -> None:
        """Which commands begin like what is typed."""
        text = event.text_area.text
        if not text.startswith("/") or text.startswith("//") or "\n" in text:
            if self._hinted:
                self._hinted = False
                self.say("")
            return
        word, blank, _ = text.partition(" ")
        found = [name for name in COMMANDS if (name == word if blank else name.startswith(word))]
        if not found:
            return  # what was said of it stays
        if len(found) == 1:
            follows, about, _ = COMMANDS[found[0]]
            line = f"{found[0]} {follows}".strip() + f": {about}"
        else:
            line = "  ".join(found)
        self._hinted = True
        self.say(line, quiet=True, whole=True)

    _hinted = False  #: the line beneath the answers is about commands

    # -- what has no key ---------------------------------------------------------------------------------------------

    def _system(self, text: str) -> None:
        if not text:
            self.jobs.start(self._show_system(), "store")
        else:
            self.jobs.start(self._begin_with(text), "turn")

    async def _show_system(self) -> None:
        session = self.session
        said = session.thread.system_prompt if session.thread else session.system_prompt
        self.tell(
            Note(f"The model is told first: {said}" if said else "The model is told nothing before your questions.")
        )

    async def _begin_with(self, text: str) -> None:
        """A system prompt stands at the beginning of a thread, so it begins one."""
        empty = self.session.thread is None
        if not empty:
            await self._go(self.session.new)
        self.session.system_prompt = text
        self.say(
            f"{'This' if empty else 'A new'} thread: the model is told this before your first question.", quiet=True
        )

    def action_generation(self) -> None:
        if self.opened is not None:
            self.jobs.start(self._generation(), "dialog")

    async def _generation(self) -> None:
        from chatapp.screens.generation import Generation

        changed = await self.app.push_screen_wait(Generation(self.session.settings))
        if changed is not None:
            self.settings = self.session.settings = self.session.frequency.settings = changed
            self.say("From the next question on, answers are drawn so.", quiet=True)

    def action_export_thread(self) -> None:
        self.jobs.start(self._export(""), "store")

    async def _export(self, file: str) -> None:
        from chatapp.conversation import read
        from chatapp.markdown import document
        from storage.ids import now

        thread = self.session.thread
        if thread is None:
            raise SessionError("There is no thread yet: ask something first.")
        path = Path(file).expanduser() if file else Path(f"hone-{now()[:10]}-{thread.id[-6:]}.md")
        store = self.session.store
        text = await self.jobs.call(lambda: document(read(store, store.threads.get(thread.id))))
        try:
            await self.jobs.call(partial(_write_new, path, text))
        except FileExistsError:
            raise SessionError(f"{path} is there already. Name another: /export FILE") from None
        except OSError as error:
            raise SessionError(
                f"{path} cannot be written: {error.strerror or error}. Name another: /export FILE"
            ) from None
        self.tell(Note(f"This thread was saved as {path.absolute()}"))

    async def _retitle(self, id: str, title: str) -> None:
        if not title:
            raise SessionError("Write the title behind /rename.")
        await self.jobs.call(self.session.store.threads.rename, id, title)
        self.status.heading = title
        self.threads.refresh_rows()

    def action_rollback(self) -> None:
        self.jobs.start(self._rollback(), "store")

    async def _rollback(self) -> None:
        session = self.session
        before = await self.jobs.call(session.store.adapters.rollback, session.model.hash)
        name = before.name if before is not None else "the base model"
        self.tell(Note(f"Rolled back: {name} answers from the next question on. Learning waits for new judgments."))
        await self._refresh_status()


def _write_new(path: Path, text: str) -> None:
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
