"""`python -m trainer run|check|settings|eval|score|merge|simulate|bench`.

What the chat, the commands and `accelerate launch` start.

With --json, JSON alone goes to stdout. Errors are one sentence on stderr. Exit code 0: promoted (run), done (others);
1: failed; 3: the run was refused by its gate.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from chatapp.clean import clean
from storage.methods import METHODS
from trainer.bench import MODULES
from trainer.simulation.arguments import add_arguments

_STARTED = time.perf_counter()
FAILED, REFUSED = 1, 3


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    from chatapp.config import ConfigError, Settings
    from chatapp.engine.base import EngineError
    from storage.errors import StorageError
    from trainer.errors import TrainerError

    try:
        flags = {"home": arguments.home, "model": arguments.model}
        settings = Settings.load(flags)
        result: int = arguments.function(settings, arguments)
        return result
    except (ConfigError, EngineError, StorageError, TrainerError) as error:
        print(f"trainer: {clean(str(error))}", file=sys.stderr)
    except KeyboardInterrupt:
        print("trainer: interrupted; nothing was changed", file=sys.stderr)
    return FAILED


def _run(settings: Any, arguments: argparse.Namespace) -> int:
    from trainer.config import CONFIGS
    from trainer.launch import is_main, start_the_others
    from trainer.manners import step_aside
    from trainer.worker import work

    if (code := start_the_others("trainer", sys.argv[1:])) is not None:
        return code
    step_aside()
    overrides = dict(_override(text) for text in arguments.set)
    if arguments.run is None:
        CONFIGS[arguments.method].read(overrides)  # a wrong one is named before a run is queued
    outcome = work(
        settings.home,
        settings.cache_dir,
        settings.model,
        run_id=arguments.run,
        method=arguments.method,
        overrides=overrides,
        train_base=arguments.train_base,
        started=_STARTED,
    )
    if not is_main():  # of several processes the first speaks for all
        if outcome.error:
            print(f"trainer: one of several processes failed: {clean(outcome.error)}", file=sys.stderr)
        return 0 if outcome.state == "done" else FAILED
    if arguments.json:
        print(json.dumps(outcome.as_dict()))
    elif outcome.verdict:
        print(clean(outcome.verdict))
    if outcome.error:
        print(f"trainer: {clean(outcome.error)}", file=sys.stderr)
    return {"done": 0, "rejected": REFUSED}.get(outcome.state, FAILED)


def _check(settings: Any, arguments: argparse.Namespace) -> int:
    from trainer.config import CONFIGS

    CONFIGS[arguments.method].read(json.load(sys.stdin))
    return 0


def _settings(settings: Any, arguments: argparse.Namespace) -> int:
    from trainer.settings import lines, listing

    if arguments.json:
        print(json.dumps({"method": arguments.method, "settings": listing(arguments.method)}))
    else:
        print("\n".join(lines(arguments.method)))
    return 0


def _eval(settings: Any, arguments: argparse.Namespace) -> int:
    from chatapp.engine.model_files import resolve
    from storage.store import Store
    from trainer.evaluate import evaluate

    with Store.open(settings.home) as store:
        results = evaluate(
            store,
            resolve(settings.model, settings.cache_dir).path,
            settings.cache_dir,
            arguments.file,
            format=arguments.format,
            adapter=arguments.adapter,
            per_pair=arguments.per_pair,
            beta=arguments.beta,
            train_base=arguments.train_base,
            fp32=arguments.fp32,
        )
    for result in results:
        if arguments.json:
            print(json.dumps(result))
            continue
        print(
            f"{result['adapter']:>6}: orders {result['accuracy']:.1%} of {result['n']} pairs as in the file "
            f"(longer wins {result['longer_wins']:.1%}), log-loss {result['log_loss']:.3f}, "
            f"margin {result['margin']:+.3f}"
        )
        for pair in result.get("pairs", ()):
            print(
                "        " + "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in pair.items())
            )
        for row in result["skipped"]:
            print(f"        line {row['line']} was skipped: {clean(row['why'])}", file=sys.stderr)
    return 0


def _score(settings: Any, arguments: argparse.Namespace) -> int:
    from chatapp.engine.model_files import resolve
    from storage.store import Store
    from trainer.errors import TrainerError
    from trainer.score import open_scorer, sentence, serve
    from trainer.total import Weights

    gguf = resolve(settings.model, settings.cache_dir).path
    weights = Weights(settings.rules_weight, settings.length_weight)
    asked = json.load(sys.stdin) if not arguments.serve else None  # a long answer is no command-line argument
    with Store.open(settings.home) as store, open_scorer(store, gguf, settings.cache_dir, weights) as scorer:
        if arguments.serve:
            print(json.dumps({"ready": True}), flush=True)
            for line in serve(scorer, sys.stdin):
                print(line, flush=True)
            return 0
        for row in asked or ():
            try:
                scores = scorer.score(row["messages"], row["answers"], row.get("finished", True))
            except TrainerError as error:
                raise TrainerError(f"{row['where']}: {error}" if row.get("where") else str(error)) from error
            for found in scores:
                print(json.dumps(found) if arguments.json else clean(sentence(found)))
    return 0


def _merge(settings: Any, arguments: argparse.Namespace) -> int:
    import signal

    from chatapp.engine.model_files import file_hash, resolve
    from storage.store import Store
    from trainer.errors import TrainerError
    from trainer.manners import step_aside
    from trainer.merging import write

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cancelled: nothing half-written may stay
    step_aside()
    base = resolve(settings.model, settings.cache_dir).path
    target: Path = arguments.output.expanduser().absolute()
    shown = -1

    def progress(done: int, of: int) -> None:
        nonlocal shown
        if arguments.json and (percent := done * 100 // of) != shown:
            shown = percent
            print(json.dumps({"done": done, "of": of}), flush=True)

    with Store.open(settings.home) as store:
        hash = file_hash(base, settings.cache_dir)
        adapter = store.adapters.get(arguments.adapter, hash)
        if adapter.model_hash != hash:
            raise TrainerError(f"{adapter.name} was trained for another model than {base.name}; choose it with --model")
        size = write(store, adapter, base, target, force=arguments.force, progress=progress)
    report = {"version": adapter.name, "path": str(target), "bytes": size}
    print(json.dumps(report) if arguments.json else clean(f"{adapter.name} is merged into {target}"))
    return 0


def _bench(settings: Any, arguments: argparse.Namespace) -> int:
    from trainer import bench

    options = {name: getattr(arguments, name) for name in bench.OPTIONS if getattr(arguments, name)}
    result = bench.measure(arguments.name, settings, quick=arguments.quick, options=options)
    print(json.dumps(result, indent=None if arguments.json else 2))
    return 0 if result.get("ok", True) else FAILED


def _simulate(settings: Any, arguments: argparse.Namespace) -> int:
    from trainer.simulation.command import run

    return run(settings, arguments, dict(_override(text) for text in arguments.set))


def _override(text: str) -> tuple[str, Any]:
    """name=value; the value is read as JSON where it is JSON."""
    name, _, value = text.partition("=")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Learns from the judgments in a Hone home.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.add_argument("--home", help="the home folder (default: the user's)")
        sub.add_argument("--model", help="GGUF path, ollama:NAME or hf:owner/repo/file.gguf (default: the bundled one)")
        sub.add_argument("--json", action="store_true", help="report as JSON")
        sub.set_defaults(function=function)
        return sub

    run = command("run", _run, "train once: a queued run, or a new one")
    run.add_argument("--run", metavar="ID", help="the queued run to do")
    run.add_argument("--method", choices=METHODS, default="dpo", help="of a new run: how to learn (default: dpo)")
    run.add_argument(
        "--train-base", type=Path, metavar="DIR", help="the same model unquantised, as a Hugging Face folder"
    )
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of this run")
    checking = command(
        "check", _check, "whether settings, a JSON object on stdin, can be used; quick: nothing is loaded"
    )
    listing = command("settings", _settings, "what may be set for a run: names, defaults, ranges and meanings")
    for sub in (checking, listing):
        sub.add_argument("--method", choices=METHODS, default="dpo", help="of the run (default: dpo)")
    evaluation = command("eval", _eval, "how well the implicit reward orders the pairs of a preference file")
    evaluation.add_argument("file", type=Path)
    evaluation.add_argument("--format", default="trl-preference", help="of the file (default: trl-preference)")
    evaluation.add_argument("--adapter", default="live", help="ID, v3, base, live or all (default: live)")
    evaluation.add_argument("--per-pair", action="store_true", help="the log-probabilities of each pair too")
    evaluation.add_argument("--beta", type=float, default=0.1, help="scale of the implicit reward (default: 0.1)")
    evaluation.add_argument("--fp32", action="store_true", help="exact rather than quick")
    evaluation.add_argument("--train-base", type=Path, metavar="DIR")
    scoring = command(
        "score", _score, "the reward of answers; asked on stdin: a list of {messages, answers, finished, where}"
    )
    scoring.add_argument("--serve", action="store_true", help="stay, and answer a line of JSON for each line of JSON")
    merging = command("merge", _merge, "one GGUF of the model with a version merged in; --json: also how far it is")
    merging.add_argument("adapter", metavar="ID", help="v3, an id or its beginning")
    merging.add_argument("-o", "--output", type=Path, required=True, metavar="F.gguf")
    merging.add_argument("--force", action="store_true", help="in the place of a GGUF that is there")
    simulation = command("simulate", _simulate, "a scripted user with a known taste closes the whole loop")
    add_arguments(simulation)
    bench = command("bench", _bench, "a measurement on this machine, in a temporary home")
    bench.add_argument("name", choices=sorted(MODULES))
    bench.add_argument("--quick", action="store_true", help="a small version, to see that it works")
    bench.add_argument("--shape", choices=["1B", "8B", "tiny"], help="train: random weights of that size")
    bench.add_argument("--data", type=Path, metavar="DIR", help="people: the folder that holds the preference files")
    bench.add_argument("--out", type=Path, metavar="F.jsonl", help="people: keep each result there, and go on from it")
    bench.add_argument("--only", action="append", metavar="DATA:PAIRS:SIDE", help="people: this cell alone")
    bench.add_argument("--set", action="append", metavar="NAME=VALUE", help="people: a setting of Hone's runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
