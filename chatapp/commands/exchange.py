"""`hone export` and `hone import`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

from chatapp.cli import UserError
from chatapp.commands.common import print_json
from chatapp.config import Settings
from storage.formats import trl_preference
from storage.store import Store


def run_export(settings: Settings, arguments: argparse.Namespace) -> int:
    with Store.open(settings.home) as store:
        rows = trl_preference.export(store, tuple(arguments.include))
        count = 0
        if arguments.output is None:
            for row in rows:
                print(json.dumps(row, ensure_ascii=False))
                count += 1
        else:
            path = Path(arguments.output).expanduser()
            # beside it and renamed, so that a failed export never leaves half a file under the name asked for
            part = path.with_name(f".{path.name}.{os.getpid()}{'.gz' if path.suffix == '.gz' else '.part'}")
            try:
                with trl_preference.open_text(part, "w") as file:
                    for row in rows:
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
                        count += 1
                os.replace(part, path)
            except OSError as error:
                raise UserError(f"cannot write {path}: {error.strerror or error}") from error
            finally:
                part.unlink(missing_ok=True)
            if arguments.json:
                print_json({"format": arguments.format, "rows": count, "file": str(path)})
    if not arguments.json or arguments.output is None:
        print(f"{count} pairs exported", file=sys.stderr)
    return 0


def run_import(settings: Settings, arguments: argparse.Namespace) -> int:
    path = Path(arguments.file).expanduser()
    if not path.is_file():
        raise UserError(f"there is no file {arguments.file}")
    name = arguments.name or path.name.split(".")[0]
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UserError(f"{name!r} cannot name an import; give --name with letters, digits, '.', '_' and '-'")
    with Store.open(settings.home) as store:
        summary = trl_preference.import_file(store, path, name, strict=arguments.strict)
    report = {"name": f"import:{name}", **summary.as_json()}
    if arguments.json:
        print_json(report)
    else:
        for line, why in (summary.skipped or [])[:20]:
            print(f"line {line} skipped: {why}", file=sys.stderr)
        print(
            f"{summary.added} pairs added as import:{name}, {summary.already} were there already, "
            f"{len(summary.skipped or [])} skipped. They teach only when asked: hone train --include import:{name}"
        )
    return 0 if summary.added or summary.already else 1
