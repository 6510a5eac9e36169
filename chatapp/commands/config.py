"""`hone config`: the settings, each with where it has its value from; their file, documented; where it lies.

JSON of `show`: file, there, settings [{name, value, source ("default", "file", "environment", "flag" or "chat": what
was chosen in the chat wins), where}]; keys is {id: keys}; amiss, a sentence for each key and theme that does not work.
`init` and `path`: file, there.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chatapp.clean import clean, one_line
from chatapp.cli import UserError
from chatapp.commands.common import print_json, say
from chatapp.config import PLACES, Places, Settings

_HEAD = f"""\
# The settings of Hone. They are as they stand here; take the # and the space off a line to change one.
# The environment wins over this file (HONE_ALTERNATIVES=4), and a flag over both (--alternatives 4).
# `hone config show` prints what is in force and where it comes from, `hone config path` where this file lies.
# Not set here: {"; ".join(f"{name} ({flag})" for name, flag in PLACES.items())}.
"""
_WIDTH = 36  #: columns of a setting in it, before what is said of it
_VALUE = 36  #: columns of a value that is shown


def run(arguments: argparse.Namespace) -> int:
    places = Places.find(vars(arguments), os.environ)
    file = places.config_file
    if arguments.action == "show":
        return _show(arguments)
    if arguments.action == "init":
        _write(file, arguments.force)
    if arguments.json:
        print_json({"file": str(file), "there": os.path.exists(file)})
    elif arguments.action == "init":
        say(f"{file} was written; every setting in it is explained, and none is changed yet")
    else:
        say(str(file))
    return 0


def document() -> str:
    """The text of a file that changes nothing."""
    defaults = Settings(Path(), Path(), Path())
    lines = [_HEAD]
    for name, doc in docs().items():
        if name == "keys":  # a table: it ends the file
            table = f"{'# [keys]':<{_WIDTH}}  # {doc}; nothing else stands below"
            lines += ["", table, '# "answers.correct" = "c"', ""]
        elif name not in PLACES:
            setting = f"# {name} = {_toml(getattr(defaults, name))}"
            lines.append(f"{setting:<{_WIDTH}}  # {doc.replace('None', _toml(None))}")
    return "\n".join(lines)


def docs() -> dict[str, str]:
    """Each setting's line of documentation: the comment beside its field, as the code has it."""
    return dict(re.findall(r"^    (\w+): .*?  #: (.*)$", inspect.getsource(Settings), re.M))


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'  # TOML has no word for it; read as such where a setting may be none
    if isinstance(value, tuple):
        return json.dumps([str(part) for part in value], ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _write(file: Path, force: bool) -> None:
    if not force and os.path.lexists(file):
        raise UserError(f"{file} is there already; `hone config init --force` puts a new one in its place")
    file = Path(os.path.realpath(file))  # a link to it stays one
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # beside it and renamed, so that there is never half a file
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".config", delete=False) as part:
            part.write(document().encode())
        try:
            os.replace(part.name, file)
        except OSError:
            os.unlink(part.name)
            raise
    except OSError as error:
        raise UserError(
            f"cannot write {file}: {error.strerror or error}. Mend the permissions, or choose a place with HONE_CONFIG."
        ) from error


def _show(arguments: argparse.Namespace) -> int:
    from chatapp.own_keys import amiss  # with Textual

    settings, sources = Settings.trace(vars(arguments))
    file = settings.config_file
    rows: list[dict[str, Any]] = []
    chosen = _chosen(settings.home)
    for name, (source, where) in sources.items():
        value = getattr(settings, name)
        if isinstance(value, tuple):
            value = [str(part) for part in value]
        elif isinstance(value, Path):
            value = str(value)
        if name in chosen:  # what the chat keeps wins over everything
            value, source, where = chosen[name], "chat", "chosen in the chat"
        rows.append({"name": name, "value": value, "source": source, "where": where})
    wrong = amiss(settings)
    if arguments.json:
        print_json({"file": str(file), "there": file.exists(), "settings": rows, "amiss": wrong})
        return 0
    for row in rows:
        where = row["where"].replace(f"{file}:", "line ") or "default"
        for name, value in _lines(row["name"], row["value"]):
            say(f"{name:<21} {value:<{_VALUE}} {clean(where)}")
    say(f"\nLines are those of {file}" if file.exists() else f"\nThere is no {file} yet: `hone config init` writes it")
    for line in wrong:
        say(f"WARN  {line}")
    return 0


def _chosen(home: Path) -> dict[str, str]:
    """What was chosen in the chat of this home, and outlives it."""
    from storage import health, paths

    names = {"theme": "theme", "alternatives.when": "alternatives_when"}
    database = paths.database(home)
    if not database.is_file():
        return {}
    try:
        with health.reading(database) as connection:
            rows = connection.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", list(names)).fetchall()
    except (sqlite3.Error, OSError):
        return {}  # `hone doctor` says what is wrong with it
    return {names[key]: str(value) for key, value in rows if value is not None}


def _lines(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """(name, value) of each line that a setting takes."""
    if isinstance(value, dict):
        yield from ((name, f"{one_line(id, 22)} = {one_line(keys, 11)}") for id, keys in value.items())
    elif isinstance(value, list):
        yield from ((name, _short(part)) for part in value)
    if value in ({}, []):
        yield name, "none"
    elif not isinstance(value, dict | list):
        yield name, "none" if value is None else _short(value if isinstance(value, str) else json.dumps(value))


def _short(text: str) -> str:
    """Its beginning; of a path, which says more there, its end."""
    home = os.path.expanduser("~") + os.sep
    if text.startswith(home):
        text = f"~{os.sep}{text.removeprefix(home)}"
    line = one_line(text, 1000)
    if os.sep in line[:2] and len(line) > _VALUE:
        return "…" + line[1 - _VALUE :]
    return one_line(line, _VALUE)
