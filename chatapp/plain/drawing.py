"""How answers are drawn, by lines: how often there are several, with which settings, by which model."""

from __future__ import annotations

from chatapp import changing_model, generation
from chatapp.config import ConfigError, Settings
from chatapp.frequency import WHEN
from chatapp.plain.talk import Talk, numbered
from chatapp.session import SessionError


def often(talk: Talk, rest: str) -> None:
    frequency = talk.session.frequency
    if rest:
        chosen = next((when for when in WHEN if when == rest.casefold()), None)
        if chosen is None:
            raise SessionError(f"Write /often and one of {', '.join(WHEN)}; {rest} is none of them.")
        frequency.set(chosen)
    talk.say(frequency.words("r"))


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
    before.upkeep.stop()
    before.session.close()
    try:
        talk.opened = talk.reopen(changed)
    except BaseException:
        talk.over = True  # the one before is closed
        raise
    talk.settings = changed
    for note in (*talk.opened.notes, *changing_model.carry(before, talk.opened)):
        talk.note(note)
    talk.upkeep.start()
    talk.session.load()
    talk.note(changing_model.about(spec))
