"""`hone models`: what is already on the disk, what to give to --model for it, and whether it can learn here.

JSON: models [{spec (for --model; "none" is the bundled one), name, path, source, bytes, files, architecture,
quantisation, parameters, template, hash (null: not known without reading the whole file), current, versions (null where
the hash is), trainable ("yes", "no" or "unknown"), reason}], left_out [{path, why}].
"""

from __future__ import annotations

import argparse
import os
import shlex
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatapp.clean import clean
from chatapp.commands.common import print_json, say
from chatapp.config import Settings
from chatapp.engine.base import ModelFileError
from chatapp.engine.found_models import BUNDLED, FoundModel, LeftOut, find, named, trainable
from chatapp.engine.model_files import hub_file, resolve
from storage.store import Store

_WIDTH = 80
_NAME = 36  #: columns of what --model takes; a longer one has a line of its own


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    left: list[LeftOut] = []
    configured = _configured(settings, left)
    mine = named(settings.model, configured) if settings.model and configured else None
    models, more = find(settings.cache_dir, settings.model_dirs, mine)
    left += more
    current = _current(models, settings.model or BUNDLED, configured)
    with Store.open(settings.home) as store:
        rows = [_row(store, settings, model, model is current) for model in models]
    if arguments.json:
        print_json({"models": rows, "left_out": [{"path": str(x.path), "why": x.why} for x in left]})
        return 0
    _print(rows, left)
    return 0


def _configured(settings: Settings, left: list[LeftOut]) -> Path | None:
    """The file of the settings; nothing is fetched for it."""
    spec = settings.model or ""
    if spec.startswith("hf:"):
        owner, _, rest = spec.removeprefix("hf:").partition("/")
        repo, _, file = rest.partition("/")
        path = hub_file(f"{owner}/{repo}", file, settings.cache_dir) if file else None
        if path is None:
            left.append(LeftOut(Path(spec), "the model of the settings, not on this disk yet: `hone` downloads it"))
        return path
    try:
        return resolve(spec, settings.cache_dir).path
    except ModelFileError as error:
        if spec:  # what is wrong with the bundled one is said anyway
            left.append(LeftOut(Path(spec), f"the model of the settings: {error}"))
        return None


def _current(models: list[FoundModel], spec: str, path: Path | None) -> FoundModel | None:
    """The row of the model in use: by its name, else by its file."""
    same = [] if path is None else [m for m in models if os.path.realpath(m.path) == os.path.realpath(path)]
    by_name = [m for m in same if m.spec in (spec, f"{spec}:latest")]
    return next(iter([*by_name, *same]), None)


def _row(store: Store, settings: Settings, model: FoundModel, current: bool) -> dict[str, Any]:
    learns, reason = trainable(model, settings.cache_dir)
    versions = None
    if model.hash is not None:
        versions = store.value("SELECT count(*) FROM adapters WHERE model_hash = ?", [model.hash])
        if learns == "unknown" and (said := _refused(store, model.hash)):
            learns, reason = "no", said
    return {
        **asdict(model),
        "path": str(model.path),
        "current": current,
        "versions": versions,
        "trainable": learns,
        "reason": reason,
    }


def _refused(store: Store, model_hash: str) -> str | None:
    """What the trainer said of this file when it could not even read it."""
    said = store.value(
        "SELECT error FROM runs WHERE model_hash = ? AND state = 'failed' AND error LIKE '% cannot be trained: %' "
        "ORDER BY number DESC LIMIT 1",
        [model_hash],
    )
    return str(said).split(" cannot be trained: ", 1)[1] if said else None


# -- the table ---------------------------------------------------------------------------------------------------------


def _print(rows: list[dict[str, Any]], left: list[LeftOut]) -> None:
    if rows:
        print(_line(" ", "MODEL", "SIZE", "ARCH", "QUANT", "PARAMS", "LEARNS"))
    for row in rows:
        mark = "*" if row["current"] else " "
        name = f"{row['name']} (bundled)" if row["source"] == "bundled" else _typed(row["spec"])
        if len(name) > _NAME:
            say(f"{mark} {name}")
            mark, name = " ", ""
        figures = _bytes(row["bytes"]), row["architecture"], row["quantisation"], row["parameters"]
        say(_line(mark, name, *figures, {"unknown": "?"}.get(row["trainable"], row["trainable"])))
        for note in _notes(row):
            _wrapped(note, "    ")
    if left:
        print(f"\nleft out ({len(left)}):")
        for one in left:
            say(f"  {_typed(str(one.path))}")
            _wrapped(one.why, "    ")
    print()
    _wrapped("* is in use; --model takes what stands in the first column, and none for the bundled one.", "")
    if any(row["trainable"] == "unknown" for row in rows):
        _wrapped("?: not tried yet. The first `hone train --model MODEL` measures whether torch can learn it.", "")


def _line(mark: str, name: str, size: str, architecture: str, quantised: str, parameters: str, learns: str) -> str:
    cells = f"{_cell(architecture, 10)} {_cell(quantised, 7)} {_cell(parameters, 6)}"
    return f"{mark} {name:<{_NAME}} {size:>7}  {cells} {learns}"


def _cell(text: str, width: int) -> str:
    text = clean(text).replace("\n", " ")
    return f"{text:<{width}}" if len(text) <= width else text[: width - 1] + "…"


def _notes(row: dict[str, Any]) -> list[str]:
    notes = []
    if row["versions"]:
        notes.append(f"{row['versions']} version{'s' if row['versions'] != 1 else ''} learned from your judgments")
    if not row["template"]:
        notes.append("it has no chat template: a plain form of the chat is used")
    return [*notes, row["reason"]] if row["trainable"] == "no" else notes


def _typed(spec: str) -> str:
    """As it can be typed into a shell, on one line; the home folder is ~, which must stand outside quotes."""
    home = os.path.expanduser("~") + os.sep
    typed = f"~/{shlex.quote(spec.removeprefix(home))}" if spec.startswith(home) else shlex.quote(spec)
    return clean(typed).replace("\n", "␊")


def _wrapped(text: str, indent: str) -> None:
    for line in textwrap.wrap(clean(text), _WIDTH - 1, initial_indent=indent, subsequent_indent=indent) or [""]:
        say(line)


def _bytes(size: int) -> str:
    for limit, unit in ((1e9, "GB"), (1e6, "MB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}" if size < 10 * limit else f"{size / limit:.0f} {unit}"
    return f"{max(1, round(size / 1e3))} kB"
