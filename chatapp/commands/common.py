"""What several subcommands need: the model of these settings, its live adapter, lines of JSON."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from chatapp import trainer_process
from chatapp.cli import UserError
from chatapp.config import Settings
from chatapp.engine.base import EngineConfig, Message
from chatapp.engine.model_files import ModelFile, file_hash, read_metadata, resolve
from storage import paths
from storage.adapters import Adapter
from storage.errors import StorageError
from storage.formats.canonical import escape
from storage.store import Store

#: source of judgments from the shell, and origin of the threads that they and `hone ask` make
SHELL = "judge"


@dataclass(frozen=True, slots=True)
class Model:
    """The model file of these settings and the hash that adapters and generations refer to."""

    file: ModelFile
    hash: str


def find_model(settings: Settings) -> Model:
    file = resolve(settings.model, settings.cache_dir)
    return Model(file, file_hash(file.path, settings.cache_dir))


def register_model(store: Store, model: Model) -> None:
    """The row that generations and adapters refer to."""
    metadata = read_metadata(model.file.path)
    template = str(metadata.get("tokenizer.chat_template", ""))
    store.add_model(
        model.hash,
        str(metadata.get("general.name") or model.file.name),
        str(metadata.get("general.architecture", "")),
        hashlib.sha256(template.encode()).hexdigest(),
        str(model.file.path),
    )


def choose_adapter(store: Store, model: Model, name: str | None) -> Adapter | None:
    """A version by name; "live" or None is the one in use; "base" is none. Raises if it belongs to another model."""
    if name in (None, "live"):
        return store.adapters.live(model.hash)
    if name == "base":
        return None
    adapter = store.adapters.get(str(name), model.hash)
    if adapter.model_hash != model.hash:
        raise StorageError(
            f"{adapter.name} was trained for another model than {model.file.name}; choose it with --model"
        )
    return adapter


def engine_config(settings: Settings, model: Model, store: Store, adapter: Adapter | None) -> EngineConfig:
    """Raises StorageError where the adapter's files are gone."""
    if adapter is not None:
        store.adapters.need(adapter)
    return EngineConfig(
        model_path=model.file.path,
        context_size=settings.context_size,
        threads=settings.threads,
        gpu_layers=settings.gpu_layers,
        adapter_path=store.adapters.gguf(adapter) if adapter else None,
        lock_path=paths.generation_lock(store.home),
        log_path=paths.logs_dir(store.home) / "engine.log",
    )


def ask_trainer(settings: Settings, *arguments: str, given: Any = None) -> str:
    """What `python -m trainer` answers to a command that is over soon; given: JSON for its stdin.

    Raises UserError with its sentence where it refuses.
    """
    answer, error = call_trainer(settings, *arguments, given=given)
    if error is not None:
        raise UserError(error)
    return answer


def call_trainer(settings: Settings, *arguments: str, given: Any = None) -> tuple[str, str | None]:
    """As `ask_trainer`, with the sentence beside what was answered before it."""
    done = subprocess.run(
        trainer_process.command(settings, *arguments),
        input=json.dumps(given),
        capture_output=True,
        encoding="utf-8",
        errors="replace",  # of a library's own words
        env={**os.environ, **trainer_process.environment(settings), "PYTHONIOENCODING": "utf-8"},
    )
    if not done.returncode:
        return done.stdout, None
    # its own sentence stands last; before it libraries may have had their say
    before, own, said = done.stderr.rpartition("trainer: ")
    return done.stdout, said.strip() if own else before.strip() or f"the trainer ended with code {done.returncode}"


def read_lines(file: str | None, what: str) -> Iterator[tuple[int, Any]]:
    """(line number, parsed JSON) of a JSON Lines file, or of stdin. Raises UserError with the line's number."""
    name = file or "stdin"
    try:
        if file is None:
            if sys.stdin.isatty():
                raise UserError(f"no {what} given: name a file with --file, or pipe lines of JSON in")
            yield from _parse(sys.stdin, name)
        else:
            with open(Path(file).expanduser(), encoding="utf-8") as lines:
                yield from _parse(lines, name)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {name}: {error}") from error


def _parse(lines: IO[str], name: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "\\u" in line:  # the only way in for half of a surrogate pair, which no text can hold
                json.dumps(row, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            raise UserError(f"{name}, line {number}: not JSON: {error}") from error
        except UnicodeEncodeError as error:
            raise UserError(f"{name}, line {number}: a character was cut in two (half of a surrogate pair)") from error
        except RecursionError as error:
            raise UserError(f"{name}, line {number}: it is nested too deeply") from error
        yield number, row


def as_messages(prompt: Any, where: str = "") -> list[Message]:
    """A prompt given as a text or as a list of messages that ends with the user's. where: in a file.

    Raises UserError.
    """
    where = f"{where}: " if where else ""
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, list) or not prompt:
        raise UserError(f'{where}"prompt" must be a text or a list of messages')
    messages: list[Message] = []
    for message in prompt:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise UserError(f'{where}{str(message)[:60]!r} is no message; it needs "role" and a text "content"')
        if message.get("role") not in ("system", "user", "assistant"):
            raise UserError(f"{where}the role {message.get('role')!r} must be system, user or assistant")
        messages.append({"role": message["role"], "content": message["content"]})
    if messages[-1]["role"] != "user" or not messages[-1]["content"].strip():
        raise UserError(f"{where}the prompt must end with a message of the user that is not empty")
    return messages


def print_json(value: Any) -> None:
    """One line of JSON; what a terminal would obey is escaped, which JSON allows everywhere."""
    print(escape(json.dumps(value, ensure_ascii=False)), flush=True)


def say(text: str = "") -> None:
    """Print what others may have written; see `printable`."""
    print(printable(text), flush=True)


def printable(text: str) -> str:
    """Text that was written by others, safe to print: a pipe may well end at a terminal.

    Control characters but newline and tab become visible stand-ins; on a terminal all of `clean`.
    """
    from chatapp.clean import clean, obeyed

    return clean(text) if sys.stdout.isatty() else obeyed(text)
