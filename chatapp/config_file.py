"""Reads the settings' file. Its errors name the file, the line, the setting, and the name that was probably meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TABLE = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$")
_NAME = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w\s.-])+?)\s*=""")


class ConfigError(ValueError):
    """A setting that cannot be used; the text says where it stands, its value, and what it must be."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file says; it need not exist."""

    path: Path
    text: str
    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Raises ConfigError."""
        import tomllib  # not needed for --help

        try:
            text = path.read_text(encoding="utf-8-sig")  # some editors of Windows begin a file with a mark
            return cls(path, text, tomllib.loads(text))
        except (FileNotFoundError, NotADirectoryError):
            return cls(path, "", {})  # a home that cannot be used is named when it is opened
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not TOML: {error}. Mend the line or move the file away.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error
        except RecursionError as error:
            raise ConfigError(f"{path} is nested too deeply. Mend it or move the file away.") from error

    def where(self, *names: str) -> str:
        """FILE:LINE of a setting, or of one inside a table."""
        line = line_of(self.text, ".".join(names))
        return f"{self.path}:{line}" if line else str(self.path)

    def unknown(self, name: str, known: Sequence[str]) -> ConfigError:
        return ConfigError(f"{self.where(name)}: there is no setting {name!r}; {meant(name, known)}")

    def keys(self, settings: Sequence[str]) -> dict[str, str]:
        """The table [keys], {id of an action: keys}. Which ids there are is for the chat to say. Raises ConfigError."""
        table = self.values["keys"]
        if not isinstance(table, dict):
            raise ConfigError(f"{self.where('keys')}: keys is {table!r}; it must be a table: [keys], and lines below")
        found = _flat(table)
        for id, keys in found.items():
            where = self.where("keys", id)
            if id in settings:  # ids of actions have a dot
                raise ConfigError(f"{where}: the setting {id} stands below [keys]; move its line above that")
            if not isinstance(keys, str) or not keys.strip():
                raise ConfigError(f'{where}: the key of {id!r} is {keys!r}; it must be a text such as "c" or "ctrl+j"')
        return found


def meant(name: str, known: Sequence[str]) -> str:
    """The name that was probably meant, or all."""
    import difflib

    near = difflib.get_close_matches(name.lower(), known, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def line_of(text: str, name: str) -> int | None:
    """The line, from 1, on which a name with dots is given its value, or else the table that it stands in.

    tomllib keeps no lines. This is no parser, but it knows tables, quoted names and texts of several lines.
    """
    table, within, inside = "", "", None
    for number, line in enumerate(text.splitlines(), 1):
        if within:
            within = "" if line.count(within) % 2 else within
            continue
        if header := _TABLE.match(line):
            table = f"{_plain(header[1])}."
            if name.startswith(table) or table == f"{name}.":
                inside = inside or number
        elif given := _NAME.match(line):
            full = table + _plain(given[1])
            if full == name:
                return number
            if name.startswith(f"{full}.") or full.startswith(f"{name}."):
                inside = inside or number
        said = re.sub(r"#[^\"']*$|^\s*#.*", "", line)  # a comment's quotes quote nothing
        within = next((quotes for quotes in ('"""', "'''") if said.count(quotes) % 2), "")
    return inside


def _plain(name: str) -> str:
    return re.sub(r"[\"'\s]", "", name)


def _flat(table: dict[str, Any], before: str = "") -> dict[str, Any]:
    """A name with dots that has no quotes is a table to TOML; here it is the name that it looks like."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return found
