"""Text into the clipboard, by each way that this terminal may have.

The terminal itself by OSC 52, which works over SSH too, and says nothing about whether it did; tmux, which by default
ignores OSC 52 from what runs in it but sends on what is loaded into its buffer with -w; GNU screen, which hands through
what is marked as meant for the terminal, piece by piece; and the platform's command.
Over SSH only a display that is set counts, as a forwarded one is: the clipboard of the far machine is no use.
"""

from __future__ import annotations

import asyncio
import base64
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chatapp.clean import obeyed

if TYPE_CHECKING:
    from textual.app import App

OSC52_LIMIT = 74_994  #: bytes; xterm takes 100 000 of base64, and many terminals took the limit over
PATIENCE = 2.0  #: seconds for a command
PIECE = 250  #: characters that GNU screen hands through at once; it has 768 bytes for such a string


async def copy(app: App[Any], text: str) -> str:
    """Copy text. Returns what is to be said if it may not have arrived, otherwise nothing."""
    # what a terminal obeys does not come back with a paste
    text = obeyed(text.replace("\r\n", "\n")).encode("utf-8", "replace").decode()
    app.copy_to_clipboard(text)
    ways = commands(os.environ)
    took = await asyncio.gather(*(_taken(way, text) for way in ways))
    if any(took):
        return ""
    failed = [way[0] for way in ways]
    size = len(text.encode())
    if size > OSC52_LIMIT:
        return (
            f"Sent to the terminal, but many drop more than {OSC52_LIMIT // 1000} kB, and this is {size // 1000} kB. "
            f"{_failed(failed) or 'Install wl-copy or xclip to be sure.'}"
        )
    return f"Sent to the terminal. {_failed(failed)} If nothing arrived: does it allow OSC 52?" if failed else ""


def through_screen(text: str, environ: Mapping[str, str]) -> str:
    """OSC 52 as GNU screen hands it through to its terminal; nothing where the chat does not run in it."""
    if not environ.get("STY") or environ.get("TMUX"):
        return ""
    sequence = f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\a"
    return "".join(f"\x1bP{sequence[at : at + PIECE]}\x1b\\" for at in range(0, len(sequence), PIECE))


def _failed(names: list[str]) -> str:
    return f"{' and '.join(names)} failed." if names else ""


def commands(environ: Mapping[str, str], system: str = sys.platform, release: str = "") -> list[list[str]]:
    """What takes a text into a clipboard that the user sees: the one of the platform, and tmux."""
    remote = bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))
    ways: list[list[str]] = []
    if system == "darwin" and not remote:
        ways.append(["pbcopy"])
    if "microsoft" in (release or platform.release()).lower() and not remote:
        ways.append(["clip.exe"])
    if environ.get("WAYLAND_DISPLAY"):
        ways.append(["wl-copy"])
    if environ.get("DISPLAY"):
        ways += [["xclip", "-selection", "clipboard"], ["xsel", "--clipboard", "--input"]]
    installed = [way for way in ways if shutil.which(way[0], path=environ.get("PATH"))][:1]
    # tmux too: a session that was attached again elsewhere has the display of where it began
    return [*installed, ["tmux", "load-buffer", "-w", "-"]] if environ.get("TMUX") else installed


async def _taken(command: list[str], text: str) -> bool:
    """Whether command took the text. It may go on in the background, as xclip does to serve the clipboard."""
    # clip.exe takes anything else for the code page of its console
    data = text.encode("utf-16" if command[0] == "clip.exe" else "utf-8")
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return False
    try:
        await asyncio.wait_for(process.communicate(data), PATIENCE)
    except (TimeoutError, OSError):
        if process.returncode is None:
            process.kill()
            await process.wait()
        return False
    return process.returncode == 0
