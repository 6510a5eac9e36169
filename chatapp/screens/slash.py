"""Commands that are typed where a question would be: /train, /model, /system ... for hands that stay in the prompt.

A text that begins with / and is none of them is given back, so that a misspelt command is not asked as a question;
with // it is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from textual import on

from chatapp import generation, slash
from chatapp.screens.jobs import begin
from chatapp.screens.model_actions import ModelActions
from chatapp.slash import COMMANDS
from chatapp.view import Note
from chatapp.widgets.prompt import Prompt

#: command -> the action that it stands for; those without one are methods here
ACTIONS = {
    "/help": "help('typed')",
    "/new": "new_thread",
    "/clear": "new_thread",
    "/again": "again",
    "/train": "learn",
    "/rollback": "rollback",
    "/duel": "duel",
    "/private": "private_thread",
    "/settings": "generation",
    "/threads": "threads",
    "/training": "page('training')",
    "/versions": "page('versions')",
    "/judgments": "page('judgments')",
    "/insights": "page('insights')",
    "/quit": "app.quit",
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
            self.prompt.give_back(text)
            self.say(slash.unknown(word, COMMANDS), error=True)
        elif word == "/duel" and rest == "end":
            self._panel(self._end_duel)
        elif rest and not COMMANDS[word][0]:
            self.prompt.give_back(text)
            self.say(slash.nothing_behind(word), error=True)
        elif word == "/rename" and not rest:
            self.prompt.give_back("/rename ")
            self.say(slash.NO_TITLE, error=True)
        elif word == "/rename" and (not self.is_open or self.session.thread is None):
            self.prompt.give_back(text)
            self.say(slash.NO_THREAD, error=True)
        elif word in ACTIONS:
            begin(self, "slash", partial(self._act, ACTIONS[word]), name=word)
        else:
            done: dict[str, Callable[[str], object]] = {
                "/system": self._system,
                "/model": lambda spec: self.jobs.start("dialog", self._model, spec),
                "/export": lambda file: self.jobs.start("store", self._export, file),
                "/rename": lambda title: self._with_current(partial(self._retitle, title=title), "store"),
            }
            done[word](rest)
        return True

    async def _act(self, action: str) -> None:
        await self.run_action(action)

    @on(Prompt.Changed)
    def hint_commands(self, event: Prompt.Changed) -> None:
        """Which commands begin like what is typed."""
        text = event.text_area.text
        if text == self.prompt.returned:
            self._hinted = True  # why it came back stays until it is changed
            return
        self.prompt.returned = None
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
            follows, about = COMMANDS[found[0]]
            line = f"{found[0]} {follows}".strip() + f": {about}"
        else:
            line = "  ".join(found)
        self._hinted = True
        self.say(line, quiet=True, whole=True)

    _hinted = False  #: the line beneath the answers is about commands

    # -- what has no key ---------------------------------------------------------------------------------------------

    def _system(self, text: str) -> None:
        if not text:
            self.jobs.start("store", self._show_system)
        else:
            self.jobs.start("turn", self._begin_with, text)

    def action_system_prompt(self) -> None:
        if self.opened is not None:
            self._system("")

    async def _show_system(self) -> None:
        said = slash.told_first(self.session)
        if len(said) < 5 * self.query_one("#said").size.width:  # else it would be cut there
            self.say(said, quiet=True, whole=True)
        else:
            self.tell(Note(said))

    async def _begin_with(self, text: str) -> None:
        """A system prompt stands at the beginning of a thread, so it begins one."""
        empty = self.session.thread is None
        if not empty:
            await self._go(self.session.new)
        self.say(slash.tell_first(self.session, text, empty), quiet=True)
        self.transcript.tell_first(text)

    def action_generation(self) -> None:
        if self.opened is not None:
            self._panel(self._generation)

    async def _generation(self) -> None:
        from chatapp.screens.generation import Generation

        changed = await self.app.push_screen_wait(Generation(self.session.settings))
        if changed is not None:
            self.settings = self.session.settings = self.session.frequency.settings = changed
            self.say(generation.CHANGED, quiet=True)

    def action_export_thread(self) -> None:
        self.jobs.start("store", self._export, "")

    async def _export(self, file: str) -> None:
        session = self.session
        self.tell(Note(await self.jobs.call(slash.save, session.store, session.thread, file)))

    async def _retitle(self, id: str, title: str) -> None:
        await self.jobs.call(slash.rename, self.session.store, id, title)
        await self._retitled(id)

    def action_rollback(self) -> None:
        self.jobs.start("store", self._rollback)

    async def _rollback(self) -> None:
        session = self.session
        self.tell(Note(await self.jobs.call(slash.roll_back, session.store, session.model.hash)))
        await self._refresh_status()
