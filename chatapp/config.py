"""One frozen settings object: file < environment < flags. Checked when made; the error names field and value."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from chatapp.config_file import ConfigError, ConfigFile
from chatapp.engine.base import MAX_CANDIDATES, Sampling

__all__ = ["APP", "PLACES", "ConfigError", "Places", "Settings", "Source"]

APP = "hone"
#: settings that say where the file itself lies, and what sets them: none can stand in it
PLACES = {"home": "--home or HONE_HOME", "config_file": "HONE_CONFIG", "cache_dir": "HONE_CACHE"}


class Source(NamedTuple):
    """Where a setting has its value from."""

    kind: str  #: "default", "file", "environment" or "flag"
    where: str  #: FILE:LINE, the variable or the flag; "" of a default


class Places(NamedTuple):
    """What has to be known before the file can be read."""

    home: Path
    config_file: Path
    cache_dir: Path
    sources: dict[str, Source]

    @classmethod
    def find(cls, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Places:
        import platformdirs  # not needed for --help

        sources = dict.fromkeys(PLACES, Source("default", ""))
        home_text = flags.get("home") or environ.get("HONE_HOME")
        if home_text:
            home = Path(home_text).expanduser().absolute()
            config_file = home / "config.toml"  # a home that is carried about has its settings with it
            sources["home"] = Source("flag", "--home") if flags.get("home") else Source("environment", "HONE_HOME")
        else:
            home = Path(platformdirs.user_data_dir(APP))
            config_file = Path(platformdirs.user_config_dir(APP)) / "config.toml"
        cache_dir = Path(environ.get("HONE_CACHE") or platformdirs.user_cache_dir(APP)).expanduser().absolute()
        for name in ("config_file", "cache_dir"):
            if environ.get(PLACES[name]):
                sources[name] = Source("environment", PLACES[name])
        config_file = Path(environ.get("HONE_CONFIG") or config_file).expanduser().absolute()
        return cls(home, config_file, cache_dir, sources)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a user can set. In the file: `name = value`; in the environment: HONE_NAME."""

    home: Path  #: folder of hone.db, the adapters and the logs
    config_file: Path  #: the TOML file that these settings came from; need not exist
    cache_dir: Path  #: what can be made again from public files: dequantised models, self-test results
    model: str | None = None  #: GGUF path, ollama:NAME or hf:owner/repo/file.gguf; None: the bundled one
    system_prompt: str | None = None  #: of new threads
    alternatives: int = 3  #: answers to each prompt
    drawn: int = 0  #: answers drawn for each question, of which those that would teach most are shown; 0: no more
    alternatives_when: str = "always"  #: always, sometimes or never (then only Ctrl+R asks for them)
    alternatives_chance: float = 0.3  #: of a question to get alternatives, where that is sometimes
    alternatives_cooldown: int = 2  #: questions with one answer after each with alternatives, at least
    reward_picks: bool = False  #: the chat goes on from the one that the reward model likes best, where none was chosen
    temperature: float = 0.8  #: 0 is greedy
    top_p: float = 0.95  #: 1 is off
    min_p: float = 0.05  #: 0 is off
    repeat_penalty: float = 1.0  #: 1 is off
    max_tokens: int = 512  #: of one answer
    seed: int | None = None  #: None: a fresh one each time
    context_size: int = 4096  #: tokens, the prompt and all alternatives together
    threads: int | None = None  #: CPU threads of the engine; None: all cores
    gpu_layers: int = -1  #: -1: all that the build can offload; 0: none
    auto_train: bool = True  #: learn in the background when enough judgments wait
    train_after: int = 16  #: new judgments that start a run
    idle_seconds: float = 5.0  #: without a key press, before a run starts by itself
    rules_weight: float = 1.0  #: of the rules beside the preferences, in the reward of an answer
    length_weight: float = 0.0  #: taken off an answer's reward for each standard deviation that it is longer
    theme: str = "hone-dark"  #: of the full-screen chat
    model_dirs: tuple[Path, ...] = ()  #: folders with models of your own, for `hone models`
    keys: Mapping[str, str] = field(default_factory=dict)  #: other keys for what the chat can do, by the action's id

    def __post_init__(self) -> None:
        checks: list[tuple[str, bool, str]] = [
            ("alternatives", 1 <= self.alternatives <= MAX_CANDIDATES, f"from 1 to {MAX_CANDIDATES}"),
            ("drawn", 0 <= self.drawn <= MAX_CANDIDATES, f"from 0 to {MAX_CANDIDATES}"),
            (
                "alternatives_when",
                self.alternatives_when in ("always", "sometimes", "never"),
                "always, sometimes or never",
            ),
            ("alternatives_chance", 0 <= self.alternatives_chance <= 1, "from 0 to 1"),
            ("alternatives_cooldown", 0 <= self.alternatives_cooldown <= 1000, "from 0 to 1000"),
            ("context_size", 256 <= self.context_size <= 1_048_576, "from 256 to 1048576"),
            ("threads", self.threads is None or 1 <= self.threads <= 512, "from 1 to 512"),
            ("gpu_layers", self.gpu_layers >= -1, "-1 (all) or more"),
            ("train_after", self.train_after >= 1, "at least 1"),
            ("rules_weight", 0 <= self.rules_weight <= 100, "from 0 to 100"),
            ("length_weight", -100 <= self.length_weight <= 100, "from -100 to 100"),
            ("idle_seconds", self.idle_seconds >= 0, "at least 0"),
        ]
        for name, ok, wanted in checks:
            if not ok:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be {wanted}")
        try:
            _ = self.sampling
        except ValueError as error:
            raise ConfigError(str(error)) from error

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.min_p, self.repeat_penalty, self.max_tokens, self.seed)

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """From the file, the environment and flags (None in flags: not given). Raises ConfigError."""
        return cls.trace(flags, environ)[0]

    @classmethod
    def trace(
        cls, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
    ) -> tuple[Settings, dict[str, Source]]:
        """As `load`, and where each setting has its value from."""
        environ = os.environ if environ is None else environ
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        places = Places.find(given, environ)
        types = {name: kind for name, kind in get_type_hints(cls).items() if name not in PLACES}
        values: dict[str, Any] = {}
        sources = places.sources | dict.fromkeys(types, Source("default", ""))

        file = ConfigFile.read(places.config_file)
        for name, value in file.values.items():
            where = file.where(name)
            if name in PLACES:
                raise ConfigError(f"{where}: {name} cannot be set in the file; it is set with {PLACES[name]}")
            if name not in types:
                raise file.unknown(name, list(types))
            if name == "keys":
                values[name] = file.keys(list(types))
            elif name == "model_dirs":
                values[name] = _folders(value, where, file.path.parent)
            else:
                values[name] = _convert(name, value, types[name], where)
            sources[name] = Source("file", where)
        for variable in environ:
            if slip := meant_variable(variable, types):
                raise ConfigError(f"{variable}: there is no such setting; did you mean {slip}?")
        for name in types:
            variable = f"HONE_{name.upper()}"
            if name == "keys" or (text := environ.get(variable)) is None:
                continue
            if name == "model_dirs":
                values[name] = _folders([part for part in text.split(os.pathsep) if part], variable, Path.cwd())
            else:
                values[name] = _convert(name, text, types[name], variable)
            sources[name] = Source("environment", variable)
        for name, value in given.items():
            if name in types:
                flag = f"--{name.replace('_', '-')}"
                values[name] = _convert(name, value, types[name], flag)
                sources[name] = Source("flag", flag)
        try:
            return cls(places.home, places.config_file, places.cache_dir, **values), sources
        except ConfigError as error:
            # it begins with the name of the field
            where = sources.get(str(error).partition(" is ")[0], Source("default", "")).where
            raise ConfigError(f"{where}: {error}" if where else str(error)) from error


def variables(names: Iterable[str]) -> list[str]:
    """What the environment may say: of these settings, and where things lie."""
    return ["HONE_HOME", "HONE_CONFIG", "HONE_CACHE", *(f"HONE_{name.upper()}" for name in names if name != "keys")]


def meant_variable(name: str, names: Iterable[str]) -> str | None:
    """The variable that one with a slip of the pen was meant to be. Others that begin with HONE_ may be the user's."""
    known = variables(names)
    if not name.startswith("HONE_") or name in known:
        return None
    import difflib

    return next(iter(difflib.get_close_matches(name, known, 1, 0.85)), None)


def converted(name: str, text: str, where: str) -> Any:
    """What was typed for a setting, as its type. Raises ConfigError."""
    return _convert(name, text, get_type_hints(Settings)[name], where)


def _folders(value: Any, where: str, base: Path) -> tuple[Path, ...]:
    """Folders as they were written; those that begin nowhere begin at base."""
    if not isinstance(value, list) or not all(isinstance(part, str) and part.strip() for part in value):
        raise ConfigError(f'{where}: model_dirs is {value!r}; it must be a list of paths, such as ["~/models"]')
    return tuple(base / os.path.expanduser(part) for part in value)


def _convert(name: str, value: Any, wanted: Any, where: str) -> Any:
    """value as the type of the field; a text from the environment is read, a wrong type is named."""
    options = [t for t in (get_args(wanted) if get_origin(wanted) else (wanted,)) if t is not type(None)]
    kind = options[0]
    optional = len(options) < len(get_args(wanted) or (wanted,))
    try:
        if optional and isinstance(value, str) and value.strip().lower() in ("", "none"):
            return None
        if kind is bool:
            if isinstance(value, bool):
                return value
            return {
                "1": True,
                "true": True,
                "yes": True,
                "on": True,
                "0": False,
                "false": False,
                "no": False,
                "off": False,
            }[str(value).strip().lower()]
        if kind in (int, float) and isinstance(value, bool):
            raise ValueError
        if kind is int and isinstance(value, float):
            raise ValueError
        if kind is str and not isinstance(value, str):
            raise ValueError
        return kind(value)
    except (ValueError, KeyError, TypeError):
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
        raise ConfigError(f"{where}: {name} is {value!r}; it must be {words}") from None
