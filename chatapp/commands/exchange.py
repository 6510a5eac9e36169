"""`hone export` and `hone import`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatapp.clean import clean
from chatapp.cli import UserError
from chatapp.commands.common import print_json, say
from chatapp.config import Settings
from chatapp.times import when
from storage import exporting, importing
from storage.formats import LABELLED, LOSSLESS
from storage.formats.canonical import dumps
from storage.formats.files import size
from storage.store import Store
from storage.wording import counted

#: what the lines of an export are
_ROWS = {"lines": "line", "pairs": "pair", "unpaired": "single example", "demonstrations": "demonstration"}
#: skipped records that are named one by one
_NAMED = 20


def run_export(settings: Settings, arguments: argparse.Namespace) -> int:
    format, output = arguments.format, arguments.output
    lossless = format == LOSSLESS
    if lossless and (arguments.rows or arguments.include):
        raise UserError("the format hone holds everything: --rows and --include belong to the other formats")
    if arguments.include_private and not lossless:
        raise UserError("private threads leave only in the format hone, never as training data: drop --include-private")
    kind = "lines" if lossless else exporting.choose(format, arguments.rows)
    export = exporting.Export(format, kind)
    with Store.open(settings.home) as store:
        if lossless:
            from storage.formats import hone

            lines = hone.export(store, arguments.include_private)
        else:
            lines = (dumps(row) for row in exporting.rows(store, export, tuple(arguments.include)))
        with _bar("exporting", kind, show=output is not None) as progress:
            lines = _counted(lines, progress)
            if output is None:
                count = exporting.write_lines(sys.stdout, lines)
                sys.stdout.flush()
            else:
                with exporting.writing(Path(output).expanduser(), arguments.force) as file:
                    count = exporting.write_lines(file, lines)
    if arguments.json and output is not None:
        report = {"format": format, "kind": kind, "rows": count, "file": str(Path(output).expanduser())}
        print_json({**report, "left_out": export.left_out, "reasons": [why for _, why in export.reasons]})
    else:
        print(f"{counted(count, _ROWS[kind])} exported", file=sys.stderr)
        for id, why in export.reasons[:_NAMED]:
            print(f"judgment {id[-8:]} left out: {clean(why)}", file=sys.stderr)
        if export.left_out > _NAMED:
            print(f"{export.left_out} left out in all", file=sys.stderr)
    return 0


def run_import(settings: Settings, arguments: argparse.Namespace) -> int:
    if arguments.list:
        return _list(settings, arguments)
    if arguments.undo is not None:
        return _undo(settings, arguments)
    if arguments.format is None or arguments.file is None:
        raise UserError("name a format and a file: hone import FORMAT F (`hone import --help` names the formats)")
    path = Path(arguments.file).expanduser()
    if not path.is_file():
        raise UserError(f"there is no file {arguments.file}")
    name = arguments.name or _named(path)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", name, re.ASCII):
        raise UserError(f"{name!r} cannot name an import; give --name with letters, digits, '.', '_' and '-'")
    with Store.open(settings.home) as store, _bar(f"importing {path.name}", "B", size(path)) as progress:
        try:
            summary = _import(store, arguments, path, name, progress)
        except KeyboardInterrupt:
            print(
                "\nstopped; nothing of it counts yet. The same command goes on, "
                f"`hone import --undo {name}` takes it back",
                file=sys.stderr,
            )
            raise
    if arguments.json:
        print_json(summary.as_json())
    else:
        _say(summary, arguments.format)
    return 0 if summary.added or summary.already or summary.forgotten else 1


def _import(
    store: Store, arguments: argparse.Namespace, path: Path, name: str, progress: Callable[[int], None]
) -> importing.Summary:
    if arguments.format == LOSSLESS:
        from storage.formats import hone_import

        return hone_import.import_file(store, path, name, strict=arguments.strict, progress=progress)
    if arguments.format != LABELLED:
        return importing.import_file(store, path, arguments.format, name, strict=arguments.strict, progress=progress)
    from storage import paths
    from storage.formats import labelled

    missing = [f"--{flag}" for flag in ("text", "label", "prefer") if not getattr(arguments, flag)]
    if missing:
        raise UserError(f"labelled data needs {', '.join(missing)}: which columns, and which label is the better one")
    columns: dict[str, Any] = {"text": arguments.text, "label": arguments.label, "prefer": arguments.prefer}
    if arguments.prompt:
        columns["prompt"] = arguments.prompt
    if arguments.instruction:
        columns["instruction"] = arguments.instruction
    folder = paths.cache_dir(store.home)
    turns = labelled.turns(path, **columns, strict=arguments.strict, progress=progress, folder=folder)
    return importing.take_in(store, turns, LABELLED, path.name, name)


def _say(summary: importing.Summary, format: str) -> None:
    for line, why in summary.skipped.reasons[:_NAMED]:
        print(f"line {line} skipped: {clean(why)}", file=sys.stderr)
    if summary.skipped.count > _NAMED:
        print(f"{summary.skipped.count} skipped in all; --json names more of them", file=sys.stderr)
    said = [f"{counted(summary.read, 'record')} read, {summary.added} added"]
    for count, words in (
        (summary.already, "there already"),
        (summary.forgotten, "not taken in: forgotten once"),
        (summary.skipped.count, "skipped"),
    ):
        if count:
            said.append(f"{count} {words}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(summary.kinds.items()))
    say("; ".join(said) + (f". Judgments: {kinds}" if kinds else ""))
    if summary.added and format != LOSSLESS:
        say(f"They teach only when asked: hone train --include import:{summary.name}")


def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store:
        rows = importing.imports(store)
    if arguments.json:
        print_json(rows)
    elif not rows:
        print("no imports; hone import FORMAT F adds one")
    else:
        for row in rows:
            time = when(row["completed_at"] or row["created_at"])
            say(f"{row['name']:<24} {row['state']:<9} {time}  {counted(row['records'], 'record'):>16}  {row['format']}")
    return 0


def _undo(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store, _bar("taking back", "rows") as progress:
        undone = importing.undo(store, arguments.undo, progress)
    if arguments.json:
        print_json(
            {
                "name": f"import:{undone.name}",
                "judgments": undone.judgments,
                "threads": undone.threads,
                "kept_threads": undone.kept_threads,
                "adapters": undone.adapters,
            }
        )
        return 0
    threads = counted(undone.threads, "thread")
    say(f"import:{undone.name} was taken back: {counted(undone.judgments, 'judgment')} in {threads}")
    if undone.kept_threads:
        stay = "1 thread stays" if undone.kept_threads == 1 else f"{undone.kept_threads} threads stay"
        print(f"{stay}, since you wrote or judged there")
    if undone.adapters:
        print(f"{', '.join(undone.adapters)} learned from it; the next `hone train` does without")
    return 0


def _named(path: Path) -> str:
    """reviews.jsonl.gz is called reviews."""
    return re.sub(r"(\.(jsonl?|ndjson|csv|tsv|txt|gz))+$", "", path.name, flags=re.IGNORECASE)


def _counted(lines: Iterator[str], progress: Callable[[int], None]) -> Iterator[str]:
    for line in lines:
        progress(1)
        yield line


@contextmanager
def _bar(what: str, unit: str, total: int = 0, show: bool = True) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, where that is a terminal and the work takes longer than a moment."""
    if not show or not sys.stderr.isatty():
        yield lambda _: None
        return
    from tqdm import tqdm

    scale = unit == "B"
    with tqdm(desc=clean(what), total=total or None, unit=unit, unit_scale=scale, delay=0.5, leave=False) as bar:
        yield bar.update
