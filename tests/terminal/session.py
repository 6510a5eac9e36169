"""The chat as a person meets it: the real `hone`, the real model, a real terminal (tmux), at two sizes.

    python tests/terminal/session.py [FOLDER FOR SCREENSHOTS]

For each size: a question, three alternatives stream, `2` picks (the row is looked up in SQLite), `e` corrects (three
pairs), `u` takes it back; then kill -9 in mid-answer and a second start that says so. Prints PASS or FAIL lines, and
exits 1 on a FAIL. Screenshots are SVG. Not collected by pytest: it needs tmux
and half a minute.
"""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

HONE = Path(sys.executable).with_name("hone")
QUESTION = "How can I wake up early?"
failed: list[str] = []


class Broken(Exception):
    """A check failed."""


def check(name: str, ok: object) -> None:
    print(f"{'PASS' if ok else 'FAIL'} {name}", flush=True)
    if not ok:
        failed.append(name)
        raise Broken(name)  # what follows would only wait for it


class Terminal:
    """One tmux session of its own server."""

    def __init__(self, width: int, height: int, home: Path) -> None:
        self.home = home
        self.width = width
        self.socket = f"hone-test-{os.getpid()}-{width}"
        environment = {**os.environ, "HONE_HOME": str(home), "HONE_AUTO_TRAIN": "false", "HONE_MAX_TOKENS": "160"}
        environment["TERM"] = "xterm-256color"
        environment["COLORTERM"] = "truecolor"
        environment.pop("TMUX", None)
        self._environment = environment
        self._tmux("-f", os.devnull, "new-session", "-d", "-x", str(width), "-y", str(height), f"{HONE}; sleep 600")
        self._tmux("set", "-g", "escape-time", "0")

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-u", "-L", self.socket, *arguments], env=self._environment, capture_output=True, text=True
        ).stdout

    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def until(self, condition: Callable[[str], object], seconds: float = 60) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition(self.text()):
                return True
            time.sleep(0.05)
        return False

    def restart(self) -> None:
        self._tmux("respawn-pane", "-k", f"{HONE}; sleep 600")

    def pid(self) -> int:
        """Of hone, below the pane's shell."""
        shell = self._tmux("display-message", "-p", "#{pane_pid}").strip()
        return int(subprocess.run(["pgrep", "-P", shell], capture_output=True, text=True).stdout.split()[0])

    def save(self, folder: Path, name: str) -> None:
        """The terminal as SVG."""
        text = Text.from_ansi(self._tmux("capture-pane", "-p", "-e", "-N"))
        console = Console(
            width=self.width, record=True, file=io.StringIO(), color_system="truecolor", legacy_windows=False
        )
        console.print(text, soft_wrap=True)
        console.save_svg(str(folder / f"{name}.svg"), title="hone")

    def close(self) -> None:
        self._tmux("kill-server")

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(f"file:{self.home / 'hone.db'}?mode=ro", uri=True) as db:
            return db.execute(sql).fetchall()


def session(width: int, height: int, folder: Path) -> None:
    size = f"{width}x{height}"
    with tempfile.TemporaryDirectory(prefix="hone-terminal-") as temporary:
        terminal = Terminal(width, height, Path(temporary) / "home")
        try:
            start = time.monotonic()
            terminal.until(lambda text: "Ask something" in text)
            print(f"     {size}: first paint seen after {time.monotonic() - start:.2f} s")
            check(f"{size} says what to do", terminal.until(lambda text: "answers in three ways" in text, 20))
            terminal.save(folder, f"{size}-1-empty")
            terminal.type(QUESTION)
            terminal.keys("Enter")
            check(f"{size} streams", terminal.until(lambda text: "Answering" in text and "tokens" not in text, 90))
            check(f"{size} the answers are done", terminal.until(lambda text: "1-9" in text, 120))
            asked = terminal.rows("SELECT content FROM messages WHERE role = 'user'")
            check(f"{size} the question is stored to the last letter", asked == [(QUESTION,)])
            rows = terminal.rows("SELECT position, finish_reason FROM generations ORDER BY position")
            check(f"{size} three alternatives are stored", [row[0] for row in rows] == [0, 1, 2])
            terminal.save(folder, f"{size}-2-answers")
            time.sleep(0.6)  # the guard against early keys, which is what a person waits too
            terminal.keys("2")
            check(f"{size} 2 picks, and it says so", terminal.until(lambda text: "B > A, C: 2 pairs" in text, 10))
            picked = terminal.rows(
                "SELECT g.position FROM judgments j JOIN judgment_items i ON i.judgment_id = j.id "
                "JOIN generations g ON g.message_id = i.message_id WHERE j.kind = 'pick' AND i.rank = 0"
            )
            check(f"{size} the pick is in SQLite", picked == [(1,)])
            terminal.save(folder, f"{size}-3-picked")
            terminal.keys("e")
            check(f"{size} e opens the editor", terminal.until(lambda text: "Ctrl+S saves" in text, 10))
            terminal.type(" Go to bed early.")
            terminal.keys("C-s")
            said = terminal.until(lambda text: "correction > A, B, C: 3 pairs" in text, 10)
            check(f"{size} the correction gives three pairs", said)
            live = "SELECT kind FROM judgments WHERE retracted_at IS NULL ORDER BY seq"
            check(f"{size} pick and correction are live", terminal.rows(live) == [("pick",), ("correction",)])
            terminal.save(folder, f"{size}-4-corrected")
            terminal.keys("u")
            check(f"{size} u takes it back", terminal.until(lambda text: "Taken back: correction" in text, 10))
            check(f"{size} only the pick is live", terminal.rows(live) == [("pick",)])
            terminal.keys("i")
            terminal.type("Tell me a long story about a lighthouse.")
            terminal.keys("Enter")
            check(f"{size} a second turn streams", terminal.until(lambda text: "Answering" in text, 30))
            time.sleep(0.3)
            os.kill(terminal.pid(), 9)
            terminal.restart()
            told = terminal.until(lambda text: "ended before an answer was complete" in " ".join(text.split()), 30)
            check(f"{size} after kill -9 in mid-answer the next start says so", told)
            check(f"{size} nothing judged is lost", terminal.rows(live) == [("pick",)])
            terminal.save(folder, f"{size}-5-after-kill")
            terminal.keys("C-r")
            check(f"{size} Ctrl+R asks again", terminal.until(lambda text: "1-9" in text, 120))
            terminal.keys("C-q")
            ended = terminal.until(lambda text: "F1" not in text, 10)
            check(f"{size} Ctrl+Q quits", ended)
        except Broken:
            print(terminal.text())
            raise
        finally:
            terminal.close()


def main() -> int:
    if shutil.which("tmux") is None:
        print("tmux is needed: apt-get install tmux")
        return 1
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="hone-screens-"))
    folder.mkdir(parents=True, exist_ok=True)
    for width, height in ((140, 45), (80, 24)):
        try:
            session(width, height, folder)
        except Broken:
            pass
    print(f"screenshots are in {folder}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
