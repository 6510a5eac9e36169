"""`hone adapters export`: a version for other programs.

JSON: version, id, format, path, files {name: bytes}, bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chatapp.clean import clean
from chatapp.cli import UserError
from chatapp.commands.common import choose_adapter, find_model, print_json, say
from chatapp.config import Settings
from chatapp.version_export import MODELFILE, Exported, default_target, prepare
from chatapp.view import Model
from storage.store import Store


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    found = find_model(settings)
    model = Model(found.hash, found.file.name, str(found.file.path))
    with Store.open(settings.home) as store:
        adapter = choose_adapter(store, found, arguments.adapter)
        if adapter is None:
            what = "no version is in use" if arguments.adapter == "live" else "base is the model itself, not a version"
            raise UserError(f"{what}: there is nothing to export; `hone adapters list` shows the versions")
        named = Path(arguments.output) if arguments.output else default_target(arguments.format, model, adapter)
        export = prepare(store, settings, model, adapter, arguments.format, named, arguments.force)
    shown = sys.stderr.isatty() and not arguments.json

    def progress(done: int, of: int) -> None:
        print(f"\rmerging: {done * 100 // of} %", end="" if done < of else "\n", file=sys.stderr, flush=True)

    _tell(export.write(progress if shown else None), arguments.json)
    return 0


def _tell(exported: Exported, as_json: bool) -> None:
    if as_json:
        names = ("version", "id", "format", "files", "bytes")
        print_json({name: getattr(exported, name) for name in names} | {"path": str(exported.path)})
    else:
        size = f"{exported.bytes / 1e6:.1f} MB"
        say(f"{exported.version} is in {exported.path} ({size}: {', '.join(exported.files)})")
        if MODELFILE in exported.files:
            say(f"in that folder: ollama create hone-{exported.version} -f {MODELFILE}")
    for note in exported.notes:
        print(clean(note), file=sys.stderr)
