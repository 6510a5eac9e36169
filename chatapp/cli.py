"""The `hone` command. Thin: it reads the command line and hands over; nothing heavy is imported before that."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

# exit codes
OK, FAILED, USAGE, REJECTED, INTERRUPTED = 0, 1, 2, 3, 130

_SETTINGS: list[tuple[str, type, str, str]] = [
    ("--home", str, "DIR", "folder of the database and the adapters (also HONE_HOME)"),
    ("--model", str, "MODEL", "GGUF path, ollama:NAME or hf:owner/repo/file.gguf (default: the bundled SmolLM2 135M)"),
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


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code: 0 only on success; errors are one sentence on stderr."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or OK)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the reader has gone (`hone ... | head`): keep Python from complaining again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if not expected(error):
            return crashed(error)
        print(f"hone: {error}", file=sys.stderr)
        return FAILED


def expected(error: Exception) -> bool:
    """Whether this is one of ours, whose text is meant for the user."""
    from chatapp.config import ConfigError
    from chatapp.engine.base import EngineError
    from storage.errors import StorageError

    return isinstance(error, ConfigError | EngineError | StorageError | UserError)


class UserError(Exception):
    """A command that cannot be carried out; the text says what, which value, and what to do next."""


def crashed(error: Exception) -> int:
    """A defect of ours: the traceback goes to a file, the user is told in a sentence."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="hone-", suffix=".log", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    print(f"hone: unexpected {type(error).__name__}: {error}. The details are in {file.name}", file=sys.stderr)
    return FAILED


def settings(arguments: argparse.Namespace) -> Any:
    from chatapp.config import Settings

    return Settings.load(vars(arguments))


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("settings (flags win over the environment, that over the file)")
    for flag, kind, metavar, text in _SETTINGS:
        group.add_argument(flag, type=kind, metavar=metavar, help=text)
    main = argparse.ArgumentParser(
        "hone", parents=[common], description="A chat with a model on your own machine that learns from your judgments."
    )
    main.add_argument("--version", action="version", version=_Version())
    main.set_defaults(run=_chat, plain=False)
    commands = main.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, parents=[common], help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    json: dict[str, Any] = {"action": "store_true", "help": "print JSON"}

    chat = command("chat", _chat, "open the chat")
    chat.add_argument("--plain", action="store_true", help="without a full-screen interface: screen readers, pipes")

    ask = command("ask", _ask, "print answers to a prompt, or to each prompt of a file")
    ask.add_argument("prompt", nargs="?", help="the prompt; without it and --file, it is read from stdin")
    ask.add_argument("--file", metavar="F.jsonl", help='lines of {"prompt": text or messages}')
    ask.add_argument("-n", type=int, metavar="N", help="answers to each prompt (default 1)")
    ask.add_argument("--adapter", metavar="ID", help="a version, base or live (default: live)")
    ask.add_argument("--no-save", action="store_true", help="do not keep the answers for `hone judge` to find")
    ask.add_argument("--json", **json)

    judge = command("judge", _judge, "record judgments, one JSON object a line")
    judge.add_argument("--file", metavar="F.jsonl", help="without it, they are read from stdin")
    judge.add_argument("--json", **json)

    train = command("train", _train, "learn from the judgments now, in the background")
    train.add_argument("--method", default="dpo", choices=["dpo"], help="how to learn (default dpo)")
    train.add_argument(
        "--include", action="append", default=[], metavar="SOURCE", help="also learn from imports, import:NAME or ai"
    )
    train.add_argument("--weight", type=float, metavar="W", help="total weight of what is included, of one's own")
    how = train.add_mutually_exclusive_group()
    how.add_argument("--wait", action="store_true", help="wait for the verdict")
    how.add_argument("--watch", action="store_true", help="stay, and learn whenever enough is new")
    train.add_argument("--json", **json)

    evaluate = command("eval", _eval, "how often the model prefers the better answer of a preference file")
    evaluate.add_argument("file", metavar="FILE", help="preferences, JSON lines")
    evaluate.add_argument("--format", default="trl-preference", choices=["trl-preference"])
    evaluate.add_argument("--adapter", metavar="ID", default="live", help="a version, base, live or all (default live)")
    evaluate.add_argument("--per-pair", action="store_true", help="also the log-probabilities of each pair")
    evaluate.add_argument("--json", **json)

    adapters = command("adapters", _adapters, "the versions that your judgments made")
    actions = adapters.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    for name, text in (
        ("list", "all versions, the live one marked"),
        ("show", "one version: its verdict and its figures"),
        ("use", "answer with this version (base: none) from now on"),
        ("rollback", "go back to the version before the live one"),
    ):
        action = actions.add_parser(name, parents=[common], help=text, description=text)
        if name in ("show", "use"):
            action.add_argument("adapter", metavar="ID", help="v3, an id or its beginning, or base")
        action.add_argument("--json", **json)

    runs = command("runs", _runs, "the training runs: what they learned from and what came of them")
    runs.add_argument("id", nargs="?", metavar="RUN", help="one run, by number or id")
    runs.add_argument("--cancel", action="store_true", help="end that run; nothing is changed")
    runs.add_argument("--json", **json)

    export = command("export", _export, "write your preferences to a file or stdout")
    export.add_argument("format", choices=["trl-preference"])
    export.add_argument("-o", "--output", metavar="F", help="without it: stdout; a name ending in .gz is compressed")
    export.add_argument("--include", action="append", default=[], metavar="SOURCE", help="imports, import:NAME or ai")
    export.add_argument("--json", **json)

    imports = command("import", _import, "add preferences from a file; they teach only when a run includes them")
    imports.add_argument("format", choices=["trl-preference"])
    imports.add_argument("file", metavar="F")
    imports.add_argument("--name", help="to refer to it as import:NAME (default: the file's name)")
    imports.add_argument("--strict", action="store_true", help="refuse the whole file if one line is bad")
    imports.add_argument("--json", **json)

    command("doctor", _doctor, "check the installation, the model and the data").add_argument("--json", **json)
    command("paths", _paths, "where everything lies").add_argument("--json", **json)
    return main


class _Version(str):
    """Looks the version up only when it is printed."""

    def __mod__(self, _: object) -> str:
        from importlib.metadata import version

        return f"hone {version('hone-chat')}"

    def __contains__(self, key: object) -> bool:
        return True

    def __str__(self) -> str:
        return self % ()


def _chat(arguments: argparse.Namespace) -> int:
    if arguments.plain:
        from chatapp.plain import run_plain

        return int(run_plain(settings(arguments), sys.stdin, sys.stdout))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("the chat needs a terminal; `hone chat --plain` works with pipes, `hone ask` in scripts")
    from chatapp.app import run_chat

    return int(run_chat(settings(arguments)))


def _ask(arguments: argparse.Namespace) -> int:
    from chatapp.commands.ask import run

    return run(settings(arguments), arguments)


def _judge(arguments: argparse.Namespace) -> int:
    from chatapp.commands.judge import run

    return run(settings(arguments), arguments)


def _train(arguments: argparse.Namespace) -> int:
    from chatapp.commands.train import run

    return run(settings(arguments), arguments)


def _eval(arguments: argparse.Namespace) -> int:
    from chatapp.commands.train import evaluate

    return evaluate(settings(arguments), arguments)


def _runs(arguments: argparse.Namespace) -> int:
    from chatapp.commands.train import runs

    return runs(settings(arguments), arguments)


def _adapters(arguments: argparse.Namespace) -> int:
    from chatapp.commands.adapters import run

    return run(settings(arguments), arguments)


def _export(arguments: argparse.Namespace) -> int:
    from chatapp.commands.exchange import run_export

    return run_export(settings(arguments), arguments)


def _import(arguments: argparse.Namespace) -> int:
    from chatapp.commands.exchange import run_import

    return run_import(settings(arguments), arguments)


def _doctor(arguments: argparse.Namespace) -> int:
    from chatapp.commands.doctor import run

    return run(settings(arguments), arguments)


def _paths(arguments: argparse.Namespace) -> int:
    from chatapp.commands.doctor import paths

    return paths(settings(arguments), arguments)


if __name__ == "__main__":
    sys.exit(main())
