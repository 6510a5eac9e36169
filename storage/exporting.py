"""Exports: the user's preferences as rows of other people's formats, in a stable order and constant memory.

Private, deleted and forgotten texts are left out; imported and AI judgments join only when asked for.
"""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from storage.errors import InvalidJudgment, RecordError, StorageError
from storage.formats import module
from storage.formats.files import REASONS

if TYPE_CHECKING:
    from storage.store import Store

#: what a row may be, with the function of a format that writes it
ROWS = {"pairs": "write_pair", "unpaired": "write_unpaired", "demonstrations": "write_demonstration"}


@dataclass(slots=True)
class Export:
    """The rows of one export; `written` and `skipped` are known at the end."""

    format: str
    kind: str
    written: int = 0
    left_out: int = 0  #: examples that the format cannot say
    #: judgment and reason of the first of them
    reasons: list[tuple[str, str]] = field(default_factory=list)


def choose(format: str, kind: str | None) -> str:
    """The kind of rows to write: the one asked for, or the first that the format has. Raises StorageError."""
    there = [name for name, function in ROWS.items() if hasattr(module(format), function)]
    if kind is None:
        return there[0]
    if kind not in there:
        raise InvalidJudgment(f"the format {format} has no {kind}; it has {', '.join(there)}")
    return kind


def rows(store: Store, export: Export, include: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a format of `formats.BOTH`."""
    write: Callable[..., dict[str, Any]] = getattr(module(export.format), ROWS[export.kind])
    for part in store.judgments.each_derived(include):
        examples: Sequence[Any] = getattr(part, export.kind)
        prompts = store.threads.conversations(example.prompt_id for example in examples)
        texts = store.threads.contents(id for example in examples for id in _answers(example))
        for example in examples:
            answers = [texts.get(id) for id in _answers(example)]
            if example.prompt_id not in prompts or None in answers:
                continue  # forgotten
            about: dict[str, Any] = {
                "judgment": example.judgment_id,
                "kind": getattr(example, "kind", "correction"),
                "source": example.source,
                "prompt": example.prompt_id,
                "weight": example.weight,
            }
            if export.kind == "pairs":
                about |= {"chosen": example.chosen_id, "rejected": example.rejected_id, "margin": float(example.margin)}
            else:
                about["completion"] = example.message_id
            if export.kind == "unpaired":
                answers.append(example.good)
            try:
                if export.kind == "pairs" and answers[0] == answers[1]:
                    raise RecordError("both answers are the same text, which no import takes for a preference")
                row = write(prompts[example.prompt_id], *answers, about)
            except RecordError as error:
                export.left_out += 1
                if len(export.reasons) < REASONS:
                    export.reasons.append((example.judgment_id, str(error)))
                continue
            export.written += 1
            yield row


def _answers(example: Any) -> tuple[str, ...]:
    if hasattr(example, "chosen_id"):
        return example.chosen_id, example.rejected_id
    return (example.message_id,)


@contextmanager
def writing(path: Path, force: bool = False) -> Iterator[IO[str]]:
    """A text file that appears whole or not at all, readable by its owner alone; gzip by suffix, with time 0.

    A link is followed. What is no file (a pipe, a device, the terminal) is written through, as the shell's > does. A
    file that is there already is replaced where force says so. Raises StorageError for what cannot be written.
    """
    try:
        # what /dev/stdout stands for may be a file, which the shell has opened and emptied already
        opened = str(path.parent) in ("/dev/fd", "/proc/self/fd") or str(path) in ("/dev/stdout", "/dev/stderr")
        if opened or (path.exists() and not (path.is_file() or path.is_dir())):
            with open(path, "wb") as file, _text(file, path) as text:
                yield text
            return
        target = Path(os.path.realpath(path))
        _refuse(path, target, force)
        # beside it and renamed, so that a failed export never leaves half a file under the name asked for
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            raw = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(raw, "wb") as file:
                with _text(file, path) as text:
                    yield text
                os.fsync(file.fileno())
            _refuse(path, target, force)  # another may have come meanwhile
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def _refuse(path: Path, target: Path, force: bool) -> None:
    if target.is_dir():
        raise StorageError(f"cannot write {path}: it is a folder; name a file in it")
    if target.exists() and not force:
        raise StorageError(f"there is a file {path} already: --force replaces it, or choose another name")


@contextmanager
def _text(file: IO[bytes], path: Path) -> Iterator[IO[str]]:
    """UTF-8 in gzip where the name says so; the file stays open."""
    with ExitStack() as stack:
        inner: Any = file
        if path.suffix == ".gz":
            inner = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0))
        text = io.TextIOWrapper(inner, encoding="utf-8", newline="\n")
        try:
            yield text
            text.flush()
        finally:
            text.detach()
    file.flush()


def write_lines(file: IO[str], lines: Iterable[str]) -> int:
    """Write each with its end; returns how many."""
    count = 0
    for line in lines:
        file.write(line + "\n")
        count += 1
    return count
