"""The lines that begin with a slash: every one, what it does, and the help that lists them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chatapp import slash
from chatapp.plain import drawing, looking, threads, turns, versions
from chatapp.plain.answering import again, ask
from chatapp.plain.talk import Talk
from chatapp.session import SessionError

JUDGING = """\
Write a question, and it is asked. The answers are called A, B, C, or 1, 2, 3.
Going on without a choice follows A and records nothing.
To judge the answers:
  2: B is the best one
  2>1=3: a ranking: B, then A and C as equals
  x: all of them are bad
  +1 or -1: A is good, or bad
  r 1 6: A gets 6 of 7 points
  e 1: correct A: write the better answer, end with a line of a single dot
  n 1 TEXT: a note on A; n 1 alone takes it back
  f 1 3: A breaks rule 3; f 1 3 kept: it keeps it
  u: take the newest judgment of this turn back
  s: skip: judge nothing here
To look and to go:
  r: other answers to the same question; so does /again
  w: what this turn teaches
  d 1 2: what two answers say otherwise
  p or P: the turn before, or after
  < or >: other branches
  v: begin a duel of two versions, or end it
  m: how often there are several answers: always, sometimes or never
  an empty line: what is new
  Ctrl+C: stop the answers, and keep their text"""


@dataclass(frozen=True, slots=True)
class Command:
    """What follows the word, what it does, in a line and in fact."""

    follows: str
    about: str
    do: Callable[[Talk, str], None]


def _help(talk: Talk, rest: str) -> None:
    """All lines and the names of the commands; or what one, or those of a group, or all do."""
    wanted = rest.casefold()
    groups = [name for name in GROUPS if wanted and wanted in ("all", name.casefold())]
    word = "/" + wanted.lstrip("/")
    if not rest or wanted == "all":
        for line in JUDGING.split("\n"):
            talk.out(line)
    if not rest:
        for name, commands in GROUPS.items():
            talk.out(f"{name}: {', '.join(one for one, command in commands.items() if command.about)}")
        talk.say("/help and one of these words tells more, as in /help duel or /help threads; /help all tells all.")
    elif word in COMMANDS and not groups:
        talk.out(_line(word, COMMANDS[word]))
    elif not groups:
        raise SessionError(f"There is no help on {rest}: write /help, or /help and a word that it lists.")
    for name in groups:
        talk.out(f"{name}:")
        for one, command in GROUPS[name].items():
            if command.about:
                talk.out(f"  {_line(one, command)}")


def _line(word: str, command: Command) -> str:
    if command.follows.startswith("["):
        return f"{word} or {word} {command.follows.strip('[]')}: {command.about}"
    return f"{word} {command.follows}".rstrip() + f": {command.about}"


def _text(talk: Talk, rest: str) -> None:
    if not rest:
        raise SessionError("Write the question behind /text.")
    ask(talk, rest)


def _quit(talk: Talk, rest: str) -> None:
    talk.over = True


#: group -> word -> command
GROUPS: dict[str, dict[str, Command]] = {
    "Questions": {
        "/text": Command("TEXT", "ask a question that looks like a command; so does // before it", _text),
        "/again": Command("", "other answers to the same question; so does r", again),
        "/edit": Command("TEXT", "ask TEXT in the place of this question, in a branch of its own", turns.edit),
        "/read": Command("[1]", "this turn, or one answer, again", turns.read),
        "/latest": Command("", "back from an earlier turn", turns.latest),
        "/asked": Command("[N]", "questions of before; with N, ask one again", threads.asked_before),
    },
    "Threads": {
        "/new": Command("", "a new thread", threads.new),
        "/clear": Command("", "a new thread", threads.new),
        "/system": Command("TEXT", slash.COMMANDS["/system"][1], threads.system),
        "/threads": Command("[WORDS]", "list them, or those with these words", threads.listed),
        "/find": Command("WORDS", "threads with these words", threads.listed),
        "/open": Command("N", "open one of the list", threads.open_one),
        "/rename": Command("TITLE", "rename this thread", threads.rename),
        "/private": Command("", slash.COMMANDS["/private"][1], threads.private),
        "/export": Command("[FILE]", "this thread as Markdown", threads.export),
        "/delete": Command("", "delete this thread", threads.delete),
        "/undelete": Command("", "bring it back", threads.undelete),
        "/forget": Command("turn", "remove this turn for good; /forget thread the whole thread", threads.forget),
    },
    "What was judged": {
        "/judgments": Command("[WORDS]", "the newest, or those with these words", looking.judgments),
        "/judgment": Command("N", "one of the list, closely", looking.judgment),
        "/takeback": Command("N", "take one of the list back", looking.take_back),
        "/rules": Command("", "the rules that f flags", looking.rules),
        "/reask": Command("", "judge a pair of days ago again: do you agree with yourself?", looking.again),
        "/insights": Command("", "what the judgments show", looking.insights),
    },
    "Learning": {
        "/train": Command("", "learn from the judgments now", versions.train),
        "/cancel": Command("", "end the lesson under way", versions.cancel),
        "/pause": Command("", "no lessons by themselves, or again", versions.pause),
        "/training": Command("", "the lessons, and what came of them", versions.training),
        "/versions": Command("", "what was learned, version by version", versions.versions),
        "/version": Command("v1", "one of them, closely", versions.version),
        "/rollback": Command("", "answer with the version before the live one", versions.rollback),
        "/forward": Command("", "undo a rollback", versions.forward),
        "/use": Command("v1", "answer with this version; base is the model itself", versions.use),
        "/compare": Command("[v1]", "your last questions, before and after it learned", versions.compare),
        "/duel": Command("[N]", "two versions answer blind; again, or /duel end: no longer", versions.duel),
    },
    "The chat": {
        "/often": Command("[never]", "how often there are several answers: always, sometimes or never", drawing.often),
        "/settings": Command("[temperature 0.5]", "how answers are drawn", drawing.settings),
        "/model": Command("[NAME]", slash.COMMANDS["/model"][1], drawing.model),
        "/status": Command("", "who answers, and how far the next lesson is", versions.status),
        "/help": Command("[WORD]", "all lines and commands, or more of one", _help),
        "/quit": Command("", "leave", _quit),
        "/exit": Command("", "leave", _quit),
    },
}
COMMANDS = {word: command for group in GROUPS.values() for word, command in group.items()}


def carry_out(talk: Talk, line: str) -> None:
    """A line that begins with a slash."""
    word, *behind = line.split(maxsplit=1)
    rest = "".join(behind).strip()
    if word not in COMMANDS:
        raise SessionError(slash.unknown(word, COMMANDS))
    if rest and not COMMANDS[word].follows:
        raise SessionError(slash.nothing_behind(word))
    COMMANDS[word].do(talk, rest)
