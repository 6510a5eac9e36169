"""The command line: every subcommand with its arguments, and the module that runs it.

Nothing that a command needs is imported before the command is known: `hone --help` has to be there at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from storage.formats import BOTH, LABELLED, LOSSLESS, READ_ONLY
from storage.methods import METHODS

_SETTINGS: list[tuple[str, type, str, str]] = [
    ("--home", str, "DIR", "folder of the database and the adapters (also HONE_HOME)"),
    ("--model", str, "MODEL", "GGUF path, ollama:NAME or hf:owner/repo/file.gguf (default: the bundled SmolLM2 135M)"),
]
#: of what draws answers, or says how they are drawn
_DRAWING: list[tuple[str, type, str, str]] = [
    ("--alternatives", int, "N", "answers to each prompt (default 3)"),
    ("--temperature", float, "T", "0 is greedy (default 0.8)"),
    ("--top-p", float, "P", "keep the likeliest tokens up to this total probability (default 0.95; 1 is off)"),
    ("--min-p", float, "P", "drop tokens below this share of the likeliest (default 0.05; 0 is off)"),
    ("--repeat-penalty", float, "X", "above 1 discourages repetition (default 1)"),
    ("--max-tokens", int, "N", "longest answer, in tokens (default 512)"),
    ("--seed", int, "N", "the same seed gives the same answers"),
    ("--context-size", int, "N", "tokens of the prompt and all alternatives together (default 4096)"),
    ("--threads", int, "N", "CPU threads of the engine (default: all cores)"),
    ("--gpu-layers", int, "N", "layers on the GPU, where llama.cpp was built for one (default -1: all)"),
]
#: the action of a command where none is given
DEFAULTS = {**dict.fromkeys(("adapters", "judgments", "threads", "rules"), "list"), "config": "show"}
JSON: dict[str, Any] = {"action": "store_true", "help": "print JSON"}
INCLUDE: dict[str, Any] = {
    "action": "append",
    "default": [],
    "metavar": "SOURCE",
    "help": "also imports, import:NAME or ai",
}
#: chatapp.version_export says what each holds; it is not imported, as --help waits for nothing
VERSION_FORMATS = ["peft", "gguf", "ollama", "merged"]


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in two lines, where argparse shows all that there is."""

    def error(self, message: str) -> NoReturn:
        needed = [_shown(action) for action in self._actions if action.required or not action.option_strings]
        self.exit(
            2,
            f"usage: {' '.join([self.prog, '[options]', *needed])}\n"
            f"{self.prog}: {message}; `{self.prog} --help` says what there is\n",
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What this command does not know, none does: the words are its own."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest


def _shown(action: argparse.Action) -> str:
    """As it stands in the line of usage, in brackets where it may be left out."""
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    said = " ".join([*action.option_strings[:1], name])
    return said if action.required else f"[{said}]"


class Lazy:
    """Runs a function of chatapp.commands that is imported when it is called.

    settings: whether it is given them, read and checked; what mends the file of settings has to do without.
    """

    def __init__(self, module: str, function: str = "run", settings: bool = True) -> None:
        self._module, self._function, self._settings = module, function, settings

    def __call__(self, arguments: argparse.Namespace) -> int:
        from importlib import import_module

        from chatapp.cli import settings

        run: Callable[..., int] = getattr(import_module(f"chatapp.commands.{self._module}"), self._function)
        return run(settings(arguments), arguments) if self._settings else run(arguments)


#: `python -m trainer bench` has the same; it is not imported, as --help waits for nothing
BENCHES = ["fooled", "gate", "loop", "parity", "people", "reward", "rollouts", "storage", "train", "ui", "yield"]


def with_list(words: Sequence[str]) -> list[str]:
    """`hone judgments` is `hone judgments list`, with its options; an action that is not there stays an error."""
    found = list(words)
    flags = {flag for flag, *_ in [*_SETTINGS, *_DRAWING]} | {"-r", "--resume"}
    for at, word in enumerate(found):
        if word.startswith("-") or (at and found[at - 1] in flags):
            continue  # a setting, or its value
        rest = found[at + 1 :]
        # a bare word is an action, right or wrong, unless it follows an option
        bare = any(not w.startswith("-") and not b.startswith("-") for b, w in zip([word, *rest], rest, strict=False))
        if word in DEFAULTS and not bare and not {"-h", "--help"} & set(rest):
            found.insert(at + 1, DEFAULTS[word])
        break
    return found


def parser() -> Parser:
    common, drawing = _flags(_SETTINGS), _flags([*_SETTINGS, *_DRAWING])
    main = Parser(
        "hone",
        parents=[drawing, _opening()],
        description="A chat with a model on your own machine that learns from your judgments. It opens where the last "
        "session ended.",
    )
    main.add_argument("--version", action="version", version=_Version())
    main.set_defaults(run=Lazy("chat"), plain=False, newest=False, resume=None)
    commands = main.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: Lazy, text: str, json: bool = True, more: Sequence[Parser] = (common,)) -> Parser:
        sub: Parser = commands.add_parser(name, parents=list(more), help=text, description=text)
        sub.set_defaults(run=run)
        if json:
            sub.add_argument("--json", **JSON)
        return sub

    def actions(sub: Parser, *named: tuple[str, str]) -> dict[str, Parser]:
        group = sub.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
        found = {}
        for name, text in named:
            # both say how answers are drawn: in a file for another program, and which of the settings holds
            flags = drawing if (sub.prog, name) in (("hone adapters", "export"), ("hone config", "show")) else common
            found[name] = group.add_parser(name, parents=[flags], help=text, description=text)
        for action in found.values():
            action.add_argument("--json", **JSON)
        return found

    command("chat", Lazy("chat"), "open the chat where the last session ended", json=False, more=[drawing, _opening()])

    ask = command("ask", Lazy("ask"), "print answers to a prompt, or to each prompt of a file", more=[drawing])
    ask.add_argument("prompt", nargs="?", help="the prompt; without it and --file, it is read from stdin")
    ask.add_argument("--file", metavar="F.jsonl", help='lines of {"prompt": text or messages}')
    ask.add_argument("-n", type=int, metavar="N", help="answers to each prompt (default 1)")
    ask.add_argument("--best-of", type=int, metavar="N", help="draw N, print those that the reward model ranks best")
    ask.add_argument("--adapter", metavar="ID", help="a version, base or live (default: live)")
    ask.add_argument("--no-save", action="store_true", help="do not keep the answers for `hone judge` to find")

    judge = command("judge", Lazy("judge"), "record judgments, one JSON object a line")
    judge.add_argument("--file", metavar="F.jsonl", help="without it, they are read from stdin")

    _learning(command, actions)
    _looking(command, actions)
    _exchange(command)
    _safety(command)

    doctor = command("doctor", Lazy("doctor"), "check the installation, the model and the data")
    doctor.add_argument("--repair", action="store_true", help="make damaged indexes again; messages are never touched")
    command("paths", Lazy("doctor", "paths"), "where everything lies")
    command("models", Lazy("models"), "the models that are on this disk already, and which of them can learn here")
    config = actions(
        command("config", Lazy("config", settings=False), "the settings: show them, write their file", json=False),
        ("show", "every setting, its value, and where it has it from"),
        ("init", "write the file, with every setting explained and commented out"),
        ("path", "where the file lies"),
    )
    config["init"].add_argument("--force", action="store_true", help="in the place of the file that is there")
    return main


def _flags(settings: Sequence[tuple[str, type, str, str]]) -> Parser:
    found = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = found.add_argument_group("settings (flags win over the environment, that over the file)")
    for flag, kind, metavar, text in settings:
        group.add_argument(flag, type=kind, metavar=metavar, help=text)
    return found


def _opening() -> Parser:
    """What the chat opens with; the same on `hone` and on `hone chat`. Each needs its own: set_defaults changes it."""
    opening = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    opening.add_argument("--plain", action="store_true", help="without a full-screen interface: screen readers, pipes")
    which = opening.add_mutually_exclusive_group()
    which.add_argument(
        "-c", "--continue", dest="newest", action="store_true", help="go on with the thread used last, not a new one"
    )
    which.add_argument("-r", "--resume", metavar="ID", help="go on with this thread: as `hone threads list` shows it")
    return opening


def _learning(command: Callable[..., Parser], actions: Callable[..., dict[str, Parser]]) -> None:
    train = command("train", Lazy("train"), "learn from the judgments now, in the background")
    train.add_argument("--method", default="dpo", choices=METHODS, help="how to learn (default dpo)")
    train.add_argument(
        "--include", action="append", default=[], metavar="SOURCE", help="also learn from imports, import:NAME or ai"
    )
    train.add_argument("--weight", type=float, metavar="W", help="total weight of what is included, of one's own")
    train.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the run")
    train.add_argument("--settings", action="store_true", help="only list what --set takes, for that --method")
    how = train.add_mutually_exclusive_group()
    how.add_argument("--wait", action="store_true", help="wait for the verdict")
    how.add_argument("--watch", action="store_true", help="stay, and learn whenever enough is new")

    evaluate = command("eval", Lazy("train", "evaluate"), "how often the model prefers the better answer of a file")
    evaluate.add_argument("file", metavar="FILE", help="preferences")
    evaluate.add_argument("--format", default="trl-preference", choices=[*BOTH, *READ_ONLY], metavar="FORMAT")
    evaluate.add_argument("--adapter", metavar="ID", default="live", help="a version, base, live or all (default live)")
    evaluate.add_argument("--per-pair", action="store_true", help="also the log-probabilities of each pair")

    score = command("score", Lazy("train", "score"), "what the reward model says of an answer")
    score.add_argument("prompt", nargs="?", metavar="PROMPT")
    score.add_argument("response", nargs="?", metavar="RESPONSE", help="taken as a whole answer that ended")
    score.add_argument(
        "--file", metavar="F.jsonl", help='many: {"prompt", "response"} a line; "finished": false of one that was cut'
    )

    adapters = actions(
        command("adapters", Lazy("adapters"), "the versions that your judgments made", json=False),
        ("list", "all versions, the live one marked"),
        ("show", "one version: its verdict and its figures"),
        ("use", "answer with this version (base: none) from now on"),
        ("rollback", "go back to the version before the live one"),
        ("remove", "delete the files of a version that is not in use; its row stays"),
        ("export", "a version for other programs: PEFT, llama.cpp, Ollama, or merged into one GGUF"),
        ("prune", "delete the files of versions that nobody goes back to, and the caches; says what it frees"),
    )
    adapters["prune"].add_argument("--dry-run", action="store_true", help="only say what would be freed")
    taken = adapters["export"]
    taken.set_defaults(run=Lazy("adapter_export"))
    taken.add_argument("adapter", metavar="ID", help="v3, an id or its beginning, or live")
    taken.add_argument("format", metavar="FORMAT", choices=VERSION_FORMATS, help=", ".join(VERSION_FORMATS))
    taken.add_argument("-o", "--output", metavar="PATH", help="default: here, named after the model and the version")
    taken.add_argument("--force", action="store_true", help="replace what an earlier export wrote there")
    for name in ("show", "use", "remove"):
        adapters[name].add_argument("adapter", metavar="ID", help="v3, an id or its beginning, or base")

    runs = command("runs", Lazy("train", "runs"), "the training runs: what they learned from and what came of them")
    runs.add_argument("ids", nargs="*", metavar="[show] RUN", help="one run, by number or id")
    runs.add_argument("--plot", action="store_true", help="what a run earned against how far it drifted (ppo, rlhf)")
    runs.add_argument("--cancel", action="store_true", help="end that run; nothing is changed")

    simulate = command("simulate", Lazy("simulate"), "a scripted user with a known taste closes the whole loop")
    simulate.add_argument("--user", metavar="NAME", help="one, several with commas, or all (default all)")
    simulate.add_argument("--judgments", metavar="N[,N...]", help="turns to judge (default 40); several: a curve")
    simulate.add_argument("--flip", type=float, metavar="SHARE", help="of the judgments are turned round (default 0)")
    simulate.add_argument("--kinds", metavar="KIND", help="rankings (default), thumbs, corrections or mixed")
    simulate.add_argument("--method", metavar="NAME", help="how the runs learn: dpo (default), sft or ppo")
    simulate.add_argument(
        "--rule", metavar="NAME", help="flag answers too: numbered lists, questions, the reader or bold"
    )
    simulate.add_argument("--rounds", type=int, metavar="R", help="the version of one answers the prompts of the next")
    simulate.add_argument("--then", metavar="USER", help="who judges from the second round on")
    simulate.add_argument("--keep", metavar="FOLDER", help="keep one user's rounds there, and go on from it")
    simulate.add_argument("--compare-all", action="store_true", help="compare with the base in every round")
    simulate.add_argument("--prompts", type=int, metavar="M", help="unseen prompts of the comparison (default 80)")
    simulate.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the runs")
    simulate.add_argument("--plot", metavar="FILE.svg", help="draw the win rates by judgments")
    simulate.add_argument("--survey", type=int, metavar="M", help="only say how often answers to M prompts differ")
    simulate.add_argument("--list", action="store_true", help="only name the users")

    bench = command("bench", Lazy("bench"), "measure, beside the usual way of doing the same")
    bench.add_argument("name", metavar="NAME", choices=BENCHES)
    bench.add_argument("--quick", action="store_true", help="smaller: for a first look")
    bench.add_argument("--shape", choices=["1B", "8B", "tiny"], help="train: random weights of that size")
    bench.add_argument("--data", metavar="DIR", help="people: the folder that holds the preference files")
    bench.add_argument("--out", metavar="F.jsonl", help="people: keep each result there, and go on from it")
    bench.add_argument("--only", action="append", default=[], metavar="DATA:PAIRS:SIDE", help="people: this cell alone")
    bench.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="people: a setting of the runs")


def _looking(command: Callable[..., Parser], actions: Callable[..., dict[str, Parser]]) -> None:
    stats = command("stats", Lazy("stats"), "what you judged: how often, how, how consistently, and who won")
    stats.add_argument("--include", **INCLUDE)

    search = command("search", Lazy("search"), "find messages by their words, the newest first")
    search.add_argument("words", nargs="+", metavar="WORD", help="all of them; the last one may be a beginning")
    search.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (default 20)")

    judgments = actions(
        command("judgments", Lazy("judgments"), "look at your judgments, change them, take them back", json=False),
        ("list", "the newest first"),
        ("show", "one judgment: what was judged, what it teaches, and what it overrides"),
        ("edit", "say it again, in its place: the old one is kept, and counts no more"),
        ("retract", "take one back; what it replaced counts again"),
    )
    judgments["list"].add_argument("--kind", metavar="KIND", help="ranking, pick, thumb, ...")
    judgments["list"].add_argument("--source", metavar="SOURCE", help="chat, judge, import:NAME or ai:MODEL")
    judgments["list"].add_argument("--thread", metavar="ID", help="of one thread")
    judgments["list"].add_argument("--all", action="store_true", help="also those retracted or replaced")
    judgments["list"].add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (default 20)")
    for name in ("show", "edit", "retract"):
        judgments[name].add_argument("id", metavar="ID", help="as the list shows it")
    new = judgments["edit"].add_mutually_exclusive_group(required=True)
    new.add_argument("--ranking", metavar="'B > A = C'", help="best first, by the letters that `show` names")
    new.add_argument("--pick", metavar="B", help="this answer is the best one")
    new.add_argument("--all-bad", action="store_true", help="none of the answers is good")
    new.add_argument("--thumb", choices=["up", "down"], help="of the answer that had the thumb")
    new.add_argument("--scores", metavar="'A=6 B=2'", help="1 (worst) to 7 (best)")
    new.add_argument("--text", metavar="TEXT", help="of a correction or a note; - reads it from stdin")
    new.add_argument("--violated", choices=["yes", "no"], help="of a flag")

    threads = actions(
        command("threads", Lazy("threads"), "look at your threads, export one", json=False),
        ("list", "the latest first"),
        ("show", "one thread, with its answers and judgments"),
        ("export", "one thread as Markdown"),
        ("private", "never learn from a thread, and leave it out of hone export"),
    )
    threads["list"].add_argument("--archived", action="store_true", help="those put away")
    threads["list"].add_argument("--deleted", action="store_true", help="those deleted")
    threads["list"].add_argument(
        "--all", action="store_true", help="also those of `hone ask`, `hone judge` and imports"
    )
    threads["list"].add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default 50)")
    for name in ("show", "export", "private"):
        threads[name].add_argument("id", metavar="ID", help="as the list shows it")
    threads["show"].add_argument("--branches", action="store_true", help="all branches, not only the one that goes on")
    threads["export"].add_argument("--markdown", action="store_true", help="as Markdown (the only form so far)")
    threads["export"].add_argument("-o", "--output", metavar="F", help="without it: stdout")
    threads["export"].add_argument("--force", action="store_true", help="replace a file that is there already")
    threads["private"].add_argument("--off", action="store_true", help="learn from it again")

    rules = actions(
        command("rules", Lazy("rules"), "what answers should keep to: flags say whether one broke a rule", json=False),
        ("list", "all rules, by number"),
        ("add", "add one of your own"),
        ("edit", "say one better; flags given under the old text keep it"),
        ("disable", "offer it no more; what was flagged stays"),
        ("enable", "offer it again"),
    )
    rules["list"].add_argument("--all", action="store_true", help="also those disabled or replaced")
    rules["add"].add_argument("name", metavar="NAME", help="two or three words")
    rules["add"].add_argument("text", metavar="TEXT", help="one sentence: what an answer that keeps it does")
    for name in ("edit", "disable", "enable"):
        rules[name].add_argument("rule", metavar="RULE", help="its number, id or name")
    rules["edit"].add_argument("--name", metavar="NAME")
    rules["edit"].add_argument("--text", metavar="TEXT")


def _exchange(command: Callable[..., Parser]) -> None:
    export = command("export", Lazy("exchange", "run_export"), "write your preferences to a file or stdout")
    export.add_argument("format", choices=[*BOTH, LOSSLESS], metavar="FORMAT", help=", ".join([*BOTH, LOSSLESS]))
    export.add_argument("-o", "--output", metavar="F", help="without it: stdout; a name ending in .gz is compressed")
    export.add_argument("--force", action="store_true", help="replace a file that is there already")
    export.add_argument("--include", **INCLUDE)
    export.add_argument(
        "--rows",
        choices=["pairs", "unpaired", "demonstrations"],
        help="which examples, where a format has several (default: pairs)",
    )
    export.add_argument("--include-private", action="store_true", help="hone only: private threads too")

    imports = command("import", Lazy("exchange", "run_import"), "add preferences from a file; they teach when asked to")
    formats = [*BOTH, *READ_ONLY, LABELLED, LOSSLESS]
    imports.add_argument("format", nargs="?", choices=formats, metavar="FORMAT", help=", ".join(formats))
    imports.add_argument("file", nargs="?", metavar="F", help="JSON Lines or a JSON array; .gz is read too")
    imports.add_argument("--name", help="to refer to it as import:NAME (default: the file's name)")
    imports.add_argument("--strict", action="store_true", help="refuse the whole file if one record is bad")
    imports.add_argument("--undo", metavar="NAME", help="take an import back")
    imports.add_argument("--list", action="store_true", help="the imports there are")
    group = imports.add_argument_group("labelled", "texts with labels (CSV, TSV, JSON Lines) as preferences")
    group.add_argument("--text", metavar="COL", help="the column of the texts")
    group.add_argument("--label", metavar="COL", help="the column of the labels")
    group.add_argument("--prefer", action="append", metavar="VALUE", help="the label to prefer; several: best first")
    group.add_argument("--prompt", metavar="COL", help="what the texts answer; without it, all answer --instruction")
    group.add_argument("--instruction", metavar="TEXT", help="the prompt of all texts (default: Write a short text.)")


def _safety(command: Callable[..., Parser]) -> None:
    forget = command("forget", Lazy("forget"), "remove text for good: from the database, caches, checkpoints, backups")
    forget.add_argument("ids", nargs="+", metavar="ID", help="of a judgment, a message (and all below it) or a thread")
    forget.add_argument("--copies", action="store_true", help="also other messages with exactly the same text")
    forget.add_argument("-y", "--yes", action="store_true", help="do not ask")

    backup = command("backup", Lazy("backup"), "copy the database, while everything goes on")
    backup.add_argument("--to", metavar="F", help="a file of your choice (default: the home's backups folder)")
    backup.add_argument("--list", action="store_true", help="the backups there are")

    restore = command("restore", Lazy("backup", "restore"), "bring a backup back; what is there now is kept beside it")
    restore.add_argument("file", nargs="?", metavar="F", help="a backup, by file or by name (default: the newest)")
    restore.add_argument("-y", "--yes", action="store_true", help="do not ask")


class _Version(str):
    """Looks the version up only when it is printed."""

    def __mod__(self, _: object) -> str:
        from importlib.metadata import version

        return f"hone {version('hone-chat')}"

    def __contains__(self, key: object) -> bool:
        return True

    def __str__(self) -> str:
        return self % ()
