"""How answers are drawn, by lines: how often there are several, with which settings, by which model."""

from __future__ import annotations

from chatapp import changing_model, generation
from chatapp.config import ConfigError, Settings
from chatapp.frequency import WHEN
from chatapp.opening import Opened
from chatapp.plain.talk import Talk, numbered, stoppable
from chatapp.session import INTERRUPTED, Note, SessionError


def often(talk: Talk, rest: str) -> None:
    frequency = talk.session.frequency
    if rest:
        chosen = next((when for when in WHEN if when == rest.casefold()), None)
        if chosen is None:
            raise SessionError(f"Write /often and one of {', '.join(WHEN)}; {rest} is none of them.")
        frequency.set(chosen)
    talk.say(how_many(talk))


def how_many(talk: Talk) -> str:
    """How many answers a question gets."""
    words = talk.session.frequency.words("r")
    if talk.session.duel is None:
        return words
    return f"In the duel each question gets one answer of each version. After it: {words[0].lower()}{words[1:]}"


def settings(talk: Talk, rest: str) -> None:
    """Show them, or change one: /settings temperature 0.5."""
    session = talk.session
    if not rest:
        for field, _, about in generation.FIELDS:
            talk.say(f"{field} is {generation.shown(session.settings, field) or 'not set'}: {about}.")
        talk.say("/settings temperature 0.5 changes one until the chat ends; `hone config init` changes it for good.")
        return
    field, _, value = rest.replace("=", " ", 1).partition(" ")
    fields = [name for name, _, _ in generation.FIELDS]
    if field not in fields:
        raise SessionError(f"There is no setting {field} here: write one of {', '.join(fields)}, and its value.")
    if not value.strip() and field != "seed":
        raise SessionError(f"Write the value behind {field}: /settings {field} VALUE.")
    try:
        changed = generation.changed(session.settings, {field: value})
    except ConfigError as error:
        raise SessionError(f"{error}.") from error
    _take(talk, changed)
    talk.say(f"{field} is {generation.shown(changed, field) or 'not set'}. {generation.CHANGED}")


def _take(talk: Talk, changed: Settings) -> None:
    talk.settings = talk.session.settings = talk.session.frequency.settings = changed


def model(talk: Talk, rest: str) -> None:
    """List those on the disk, or answer with another one. Each has its own versions."""
    if not rest:
        talk.say("Looking for models.")
        found = changing_model.choices(talk.settings)
        talk.models = [spec for spec, _ in found]
        for number, (_, about) in enumerate(found, 1):
            talk.out(f"{number}. {about}")
        talk.say("/model and a number, a file or ollama:NAME answers with another one until the chat ends.")
        return
    spec = numbered(rest, talk.models, "/model", "/model") if rest.isdigit() else rest
    changed = changing_model.with_model(talk.settings, spec)
    before = talk.opened
    talk.say("Opening.")
    try:
        with stoppable(lambda: None):  # half closed, it could neither go on nor be left
            before.upkeep.stop()
            before.session.close()
        talk.opened = talk.reopen(changed)
        talk.session.load()
    except BaseException:
        _go_back(talk, before)
        raise
    talk.settings = changed
    _goes_on(talk, before)
    talk.duels = []  # versions are a model's own
    talk.note(changing_model.about(spec))


def _go_back(talk: Talk, before: Opened) -> None:
    """Open the model before again. Where that fails too, the chat ends, and that is said."""
    try:
        with stoppable(lambda: None):
            talk.session.close()  # that of the other model, where it came so far
            talk.opened = talk.reopen(talk.settings)
    except Exception as error:
        talk.failed = talk.over = True
        talk.note(Note(f"The chat ends: the model before cannot be opened again. {error}", error=True))
        return
    talk.session.duel = before.session.duel
    before.session.duel = None
    _goes_on(talk, before)
    talk.say("The model before goes on answering.")


def _goes_on(talk: Talk, before: Opened) -> None:
    for note in (*talk.opened.notes, *changing_model.carry(before, talk.opened)):
        if note.text != INTERRUPTED:  # the session is the same
            talk.note(note)
    talk.upkeep.start()
