"""A text in the user's own editor, which takes the terminal over for that time.

The chat stands still meanwhile, as a terminal has one owner; what the engine sends waits.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Any

from textual.app import SuspendNotSupported

from chatapp.clean import one_line

if TYPE_CHECKING:
    from textual.app import App

FALLBACKS = ("nano", "vim", "vi")
WAIT = "An editor in a window of its own has to be told to wait, as in: EDITOR='code --wait'"


def editor(environ: Mapping[str, str] = os.environ) -> tuple[list[str], str]:
    """The command of $VISUAL, of $EDITOR or of an editor that is installed, and where it is from. Empty: none."""
    for name in ("VISUAL", "EDITOR"):
        if value := environ.get(name, "").strip():
            try:
                return shlex.split(value), f"${name}"
            except ValueError:  # a quote that does not end
                return [value], f"${name}"
    for name in FALLBACKS:
        if shutil.which(name):
            return [name], "this machine"
    return [], ""


def edited(app: App[Any], text: str) -> tuple[str | None, str]:
    """The text as the editor left it, or None where the old one stays; and what is to be said of it."""
    command, source = editor()
    if not command:
        return None, "There is no editor here. Set $EDITOR to the one that you use."
    name = one_line(Path(command[0]).name, 30)
    begun = monotonic()
    try:
        failed, changed = _through(app, command, text)
    except SuspendNotSupported:
        return None, "This terminal cannot be handed over to an editor. The text stays as it was."
    except UnicodeDecodeError:
        return None, f"What {name} saved is not UTF-8. The text stays as it was."
    except OSError as error:
        return (
            None,
            f"The text cannot be handed over to {name} and back: {error.strerror or error}. It stays as it was.",
        )
    if failed:
        return None, f"The editor {name}, from {source}, {failed}. The text stays as it was."
    if not text.endswith("\n"):
        changed = changed.removesuffix("\n")  # editors end a file with one
    if changed == text:
        quick = f" {WAIT}" if monotonic() - begun < 1 else ""
        return None, f"Nothing was changed in {name}.{quick}"
    if not changed.strip():
        return None, f"What {name} saved is empty. The text stays as it was."
    return changed, f"The text is as {name} saved it."


def _through(app: App[Any], command: list[str], text: str) -> tuple[str, str]:
    """What went wrong with the editor, and the text as it left it. Raises OSError for a disk that cannot hold it."""
    # with what the editor leaves beside the file
    with TemporaryDirectory(prefix="hone-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "text.md")
        path.touch(0o600)
        path.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        with app.suspend():
            failed = _run([*command, str(path)])
        return failed, path.read_text(encoding="utf-8") if path.exists() or not failed else text


def _run(command: list[str]) -> str:
    """What went wrong. Raises nothing: the app would stay suspended."""
    try:
        # Ctrl+C in an editor is for the editor; a handler, unlike SIG_IGN, is not handed down to it
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            code = subprocess.run(command, check=False).returncode
        finally:
            signal.signal(signal.SIGINT, before)
    except (OSError, ValueError) as error:
        return f"cannot be started ({getattr(error, 'strerror', None) or error})"
    return f"ended with the code {code}" if code else ""
