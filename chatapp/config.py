"""One frozen settings object: file < environment < flags. Checked when made; the error names field and value."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from chatapp.engine.base import MAX_CANDIDATES, Sampling

APP = "hone"


class ConfigError(ValueError):
    """A setting that cannot be used; the text says where it stands, its value, and what it must be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a user can set. In the file: `name = value`; in the environment: HONE_NAME."""

    home: Path  #: folder of hone.db, the adapters and the logs
    config_file: Path  #: the TOML file that these settings came from; need not exist
    cache_dir: Path  #: what can be made again from public files: dequantised models, self-test results
    model: str | None = None  #: GGUF path, ollama:NAME or hf:owner/repo/file.gguf; None: the bundled one
    system_prompt: str | None = None  #: of new threads
    alternatives: int = 3  #: answers to each prompt
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
    theme: str = "textual-dark"  #: of the full-screen chat

    def __post_init__(self) -> None:
        checks: list[tuple[str, bool, str]] = [
            ("alternatives", 1 <= self.alternatives <= MAX_CANDIDATES, f"from 1 to {MAX_CANDIDATES}"),
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
        import platformdirs  # not needed for --help

        environ = os.environ if environ is None else environ
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        home_text = given.pop("home", None) or environ.get("HONE_HOME")
        if home_text:
            home = Path(home_text).expanduser().absolute()
            config_file = home / "config.toml"  # a home that is carried about has its settings with it
        else:
            home = Path(platformdirs.user_data_dir(APP))
            config_file = Path(platformdirs.user_config_dir(APP)) / "config.toml"
        config_file = Path(environ.get("HONE_CONFIG", config_file)).expanduser()
        cache_dir = Path(environ.get("HONE_CACHE") or platformdirs.user_cache_dir(APP)).expanduser().absolute()

        types = get_type_hints(cls)
        names = [f.name for f in fields(cls) if f.name not in ("home", "config_file", "cache_dir")]
        values: dict[str, Any] = {}
        for name, value in _read(config_file).items():
            if name not in names:
                raise ConfigError(f"{config_file}: there is no setting {name!r}; there are {', '.join(names)}")
            values[name] = _convert(name, value, types[name], str(config_file))
        for name in names:
            if (text := environ.get(f"HONE_{name.upper()}")) is not None:
                values[name] = _convert(name, text, types[name], f"HONE_{name.upper()}")
        for name, value in given.items():
            if name in names:
                values[name] = _convert(name, value, types[name], f"--{name.replace('_', '-')}")
        return cls(home=home, config_file=config_file, cache_dir=cache_dir, **values)


def converted(name: str, text: str, where: str) -> Any:
    """What was typed for a setting, as its type. Raises ConfigError."""
    return _convert(name, text, get_type_hints(Settings)[name], where)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}  # a home that cannot be used is named when it is opened
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}. Mend the line or move the file away.") from error


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
