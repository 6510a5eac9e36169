"""`hone bench ui`: how quick the chat feels, measured from outside: the real `hone` on a pseudo-terminal.

At two sizes: from its start to the first paint; from a key to its echo, while three answers stream, alone and (not with
--quick) beside a training run; from Enter on a thread of 2 000 messages in the list to its last answer, and from a page
key to the turns that it brings. `hone --help` stands beside an empty Python.
"""

from __future__ import annotations

import os
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from chatapp.engine.base import EngineConfig, Sampling
from chatapp.engine.model_files import file_hash, resolve
from storage import paths
from storage.store import Store
from storage.threads import NewAnswer
from trainer import PASSIVE
from trainer.bench.loop import letters_a_word, record_rankings
from trainer.bench.prompts import PROMPTS
from trainer.bench.terminal import Terminal
from trainer.bench.yield_speed import training
from trainer.errors import TrainerError
from trainer.served import served

HONE = str(Path(sys.executable).with_name("hone"))
SIZES = ((80, 24), (140, 45))
QUESTION = "Tell me a long story about a lighthouse."
#: glyphs of one cell that no answer and no part of the screen holds; in turns, as an old one may be painted again
GLYPHS = "жшщъюяфдлбзцчэгп"
LAST = "The very last answer."
ERASE, ENTER, PAGE_UP, PAGE_DOWN, NEW, THREADS, DOWN = "\x7f", "\r", "\x1b[5~", "\x1b[6~", "\x0e", "\x14", "\x1b[B"


def measure(settings: Settings, *, quick: bool = False) -> dict[str, Any]:
    """Seconds and milliseconds; `aims` says which limits hold."""
    times, keys, turns = (3, 15, 200) if quick else (7, 100, 1000)
    with tempfile.TemporaryDirectory(prefix="hone-ui-") as folder:
        homes = Path(folder)
        environment = _environment(settings)
        result: dict[str, Any] = {
            "help_s": _command([HONE, "--help"], environment, times),
            "python_s": _command([sys.executable, "-c", "pass"], environment, times),
            "messages": 2 * turns,
        }
        long = homes / "long"
        with Store.open(long) as store:
            long_thread(store, turns)
        if not quick:
            _judged(settings, homes / "training")
        for size in SIZES:
            found: dict[str, Any] = {"first_paint_s": first_paint(homes, environment, size, min(times, 5))}
            states = ["streaming"] if quick else ["streaming", "training"]
            for state in states:
                home = homes / state
                with Store.open(home) if state == "training" else nullcontext() as store:
                    model_hash = file_hash(resolve(settings.model, settings.cache_dir).path, settings.cache_dir)
                    run = training(store, model_hash, settings.cache_dir) if store else nullcontext()
                    with run:
                        found[f"echo_{state}_ms"] = echo(_at(environment, home), size, keys)
            found |= thread(_at(environment, long), size, min(times, 5), keys // 3)
            result["x".join(map(str, size))] = found
    return result | _verdict(result, quick)


def _verdict(result: dict[str, Any], quick: bool) -> dict[str, Any]:
    sizes = [result["x".join(map(str, size))] for size in SIZES]
    echoes = [found[name]["p95"] for found in sizes for name in found if name.startswith("echo_")]
    aims = {
        "help <= 0.2 s": result["help_s"] <= 0.2,
        "first paint <= 0.5 s": max(found["first_paint_s"] for found in sizes) <= 0.5,
        "echo, p95 <= 50 ms": max(echoes) <= 50,
        "thread <= 1 s": max(found["thread_s"] for found in sizes) <= 1,
        "page, p95 <= 50 ms": max(found["page_ms"]["p95"] for found in sizes) <= 50,
    }
    return {"aims": aims, "ok": quick or all(aims.values())}


def _environment(settings: Settings) -> dict[str, str]:
    """The chat's, as it is when a person starts it; nothing that the trainer set for itself."""
    left = {*PASSIVE, "PYTHONDONTWRITEBYTECODE"}  # a program is not compiled at each start
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HONE_") and name not in left}
    for name in ("LINES", "COLUMNS"):
        kept.pop(name, None)
    return {
        **kept,
        **({"HONE_MODEL": settings.model} if settings.model else {}),
        "HONE_CACHE": str(settings.cache_dir),
        "HONE_AUTO_TRAIN": "false",
        "HONE_ALTERNATIVES": "3",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
    }


def _at(environment: dict[str, str], home: Path) -> dict[str, str]:
    return {**environment, "HONE_HOME": str(home)}


def _command(command: Sequence[str], environment: dict[str, str], times: int) -> float:
    def once() -> float:
        started = time.perf_counter()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    return statistics.median(once() for _ in range(times))


def first_paint(homes: Path, environment: dict[str, str], size: tuple[int, int], times: int) -> float:
    """From exec to the words in the empty prompt, each time in a home that is new."""

    def once() -> float:
        home = tempfile.mkdtemp(dir=homes)
        with Terminal([HONE], size, _at(environment, Path(home))) as terminal:
            return terminal.until("sk something") - terminal.started  # the A is beneath the cursor

    return statistics.median(once() for _ in range(times))


def echo(environment: dict[str, str], size: tuple[int, int], keys: int) -> dict[str, float]:
    """From a key in the prompt to its letter on the screen, while three answers grow."""
    database = Path(environment["HONE_HOME"]) / "hone.db"
    with Store.open(database.parent):
        pass  # what is stored can be counted from now on
    waits: list[float] = []
    with Terminal([HONE], size, environment) as terminal:
        terminal.until("sk something")
        before = _ask(terminal, database)
        if terminal.read(300, lambda: _answers(database) > before) is None:  # not measured: the model is loaded
            raise TrainerError(f"no answer was stored in {database} within 300 s; `hone doctor` says more")
        while len(waits) < keys:
            terminal.read(0.7)  # longer than the answers ignore keys
            before = _ask(terminal, database)
            waits += _echoes(terminal, keys - len(waits), database, before)
    return _spread(waits)


def _ask(terminal: Terminal, database: Path) -> int:
    """Ask for answers, and go on as soon as they grow. Returns how many were stored before."""
    terminal.keys(QUESTION)
    terminal.until("lighthouse.")
    before = _answers(database)
    terminal.keys(ENTER)
    terminal.until("Answering")
    terminal.keys(".")  # the prompt keeps the focus when the answers are there, as it is not empty
    terminal.read(0.5)
    return before


def _answers(database: Path) -> int:
    """How many are stored. Those of one question come together, when the last of them is complete."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM generations").fetchone()[0])


def _echoes(terminal: Terminal, keys: int, database: Path, before: int) -> list[float]:
    """Seconds to the echo of each key, as long as the answers grow. Raises TrainerError for a key that is lost."""
    waits: list[float] = []
    chance = random.Random(keys)
    while len(waits) < keys and _answers(database) == before:
        glyph = GLYPHS[len(waits) % len(GLYPHS)]
        pressed = terminal.keys(glyph)
        waits.append(terminal.until(glyph) - pressed)
        terminal.read(chance.uniform(0.05, 0.15))  # in no step with the frames
        terminal.keys(ERASE)
        terminal.read(chance.uniform(0.05, 0.15))
    return waits


def thread(environment: dict[str, str], size: tuple[int, int], times: int, pages: int) -> dict[str, Any]:
    """From Enter on a long thread in the list to its last answer; from a page key to turns that were not seen."""
    opened: list[float] = []
    with Terminal([HONE], size, environment) as terminal:
        terminal.until("sk something")
        for number in range(times):
            terminal.read(1)
            if number:
                terminal.keys(NEW)
                terminal.until("All of it stays")
            terminal.keys(THREADS)
            if size[0] >= 140:  # the list is there already: it goes, and comes with the focus
                terminal.read(0.3)
                terminal.keys(THREADS)
            terminal.until("A long thread")
            terminal.keys(DOWN)
            terminal.read(0.3)
            pressed = terminal.keys(ENTER)
            opened.append(terminal.until(LAST) - pressed)
        # fewer downwards: the last pages before the end bring no turn that was not there
        waits = [*_pages(terminal, PAGE_UP, -1, pages), *_pages(terminal, PAGE_DOWN, 1, pages // 2)]
        terminal.keys(NEW)  # the next start is to be as this one was
        terminal.until("All of it stays")
    return {"thread_s": statistics.median(opened), "page_ms": _spread(waits)}


def _pages(terminal: Terminal, key: str, way: int, count: int) -> list[float]:
    """Seconds from each page key to a turn further on: way is -1 upwards, 1 downwards."""
    waits: list[float] = []
    terminal.keys(key)  # not measured: it shows which turns are seen
    terminal.read(10, lambda: _numbers(terminal))
    terminal.read(1)
    for _ in range(count):
        edge = max(number * way for number in _numbers(terminal))

        def further(edge: int = edge) -> bool:
            return any(number * way > edge for number in _numbers(terminal))

        pressed = terminal.keys(key)
        seen = terminal.read(10, further)
        if seen is None:
            raise TrainerError(f"a page key brought no turn beyond number {abs(edge)} within 10 s")
        waits.append(seen - pressed)
        terminal.read(0.1)
    return waits


def _numbers(terminal: Terminal) -> list[int]:
    return [int(number) for number in re.findall(r"Question (\d+):", terminal.text)]


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = [1000 * s for s in sorted(seconds)]
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return {"p50": statistics.median(ordered), "p95": p95, "max": ordered[-1], "count": len(ordered)}


def long_thread(store: Store, turns: int) -> None:
    """A thread of turns with three answers each, one of them picked."""
    chance, words = random.Random(0), " ".join(PROMPTS).split()

    def text(low: int, high: int) -> str:
        return " ".join(chance.choices(words, k=chance.randint(low, high)))

    store.add_model("m" * 64, "bench", "llama", "t", "bench.gguf")
    with store.write():
        thread = store.threads.new("A long thread")
        parent = None
        for number in range(1, turns + 1):
            last = number == turns  # without a number: it stands beneath whatever is live
            asked = "And the last one?" if last else f"Question {number}: {text(2, 12)}"
            question = store.threads.add_message(thread.id, parent, "user", asked)
            texts = [LAST] * 3 if last else [text(20, 90) for _ in range(3)]
            new = [NewAnswer(t, place, "m" * 64, None, {}, place, [1], 5, "stop") for place, t in enumerate(texts)]
            answers = [message.id for message in store.threads.add_answers(thread.id, question.id, new)]
            parent = chance.choice(answers)
            store.judgments.pick(question.id, parent, answers)
        store.threads.set_tip(thread.id, parent)


def _judged(settings: Settings, home: Path) -> None:
    """A home with rankings to learn from."""
    gguf = resolve(settings.model, settings.cache_dir).path
    config = EngineConfig(gguf, context_size=4096, lock_path=paths.generation_lock(home))
    with Store.open(home) as store, served(config) as engine:
        answered = [
            (p, engine.generate([{"role": "user", "content": p}], 4, Sampling(max_tokens=64, seed=i * 16)))
            for i, p in enumerate(PROMPTS[:12])
        ]
        record_rankings(store, gguf, file_hash(gguf, settings.cache_dir), answered, letters_a_word)
