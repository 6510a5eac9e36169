"""`hone bench storage`: what years of judgments cost, beside the usual way of doing the same, in one run.

Two temporary homes are made, one with 100 000 judgments on 300 000 messages, one empty; then a million imported pairs
are read, derived and written, each in a process of its own, whose memory is taken at its highest (what this process
had when it started them is the least that the system says).
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from chatapp.config import Settings
from storage import exporting, importing, search
from storage.assets import asset
from storage.formats import hone
from storage.formats.canonical import dumps
from storage.ids import new_id, now
from storage.store import Store

TURNS = 4  #: a thread


def measure(settings: Settings, quick: bool = False) -> dict[str, Any]:
    """Times in seconds, sizes in MB; `usual` is the other way, `ratio` how many times quicker ours is."""
    judgments, imported = (5_000, 20_000) if quick else (100_000, 1_000_000)
    with tempfile.TemporaryDirectory(prefix="hone-bench-") as folder:
        home, empty = Path(folder) / "full", Path(folder) / "empty"
        with Store.open(empty):
            pass
        with Store.open(home) as store:
            filling = _seconds(lambda: fill(store, judgments))
            result: dict[str, Any] = {
                "judgments": judgments,
                "messages": store.value("SELECT count(*) FROM messages"),
                "database_mb": _mb(store.path),
                "filling_s": filling,
                "derive": _derive(store),
                "export": _export(store, Path(folder)),
                "search": _search(home, empty),
                "open": _open(home, empty),
            }
        result["million"] = _million(Path(folder), imported)
    aims = {
        "derive <= 2 s": result["derive"]["ours_s"] <= 2,
        "export <= 10 s": max(v for k, v in result["export"].items() if k.endswith("_s")) <= 10,
        "import memory <= 500 MB": result["million"]["import_peak_mb"] <= 500,
        "derive memory <= 500 MB": result["million"]["derive_peak_mb"] <= 500,
    }
    return {**result, "aims": aims, "ok": quick or all(aims.values())}


def fill(store: Store, judgments: int, seed: int = 0) -> None:
    """Threads of four turns, each a prompt with two answers and a pick, as the chat would have stored them."""
    chance, words = random.Random(seed), _words()

    def text(low: int, high: int) -> str:
        return " ".join(chance.choices(words, k=chance.randint(low, high)))

    store.add_model("m" * 64, "bench", "llama", "t", "bench.gguf")
    done = 0
    while done < judgments:
        threads: list[tuple[Any, ...]] = []
        messages: list[tuple[Any, ...]] = []
        made: list[tuple[Any, ...]] = []
        said: list[tuple[Any, ...]] = []
        items: list[tuple[Any, ...]] = []
        for _ in range(min(250, (judgments - done + TURNS - 1) // TURNS)):
            thread, parent = new_id(), ""
            for _ in range(min(TURNS, judgments - done)):
                prompt, answers, judgment, batch = new_id(), (new_id(), new_id()), new_id(), new_id()
                messages.append((prompt, thread, parent or None, "user", text(5, 20), now()))
                for place, id in enumerate(answers):
                    messages.append((id, thread, prompt, "assistant", text(10, 60), now()))
                    made.append((id, batch, place, "m" * 64, "{}", place, "[]", 5, 0, "stop", now()))
                best = chance.randint(0, 1)
                said.append((judgment, prompt, "pick", "chat", now()))
                items += [(judgment, answers[best], 0), (judgment, answers[1 - best], 1)]
                parent = answers[best]
                done += 1
            threads.append((thread, messages[-3][4][:80], "chat", parent, now(), now()))
        made_by = (
            "message_id, batch_id, position, model_hash, sampling, seed, token_ids, prompt_tokens, answer_tokens, "
            "finish_reason, created_at"
        )
        with store.write() as db:
            for columns, rows in (
                ("threads(id, title, origin, tip_message_id, created_at, updated_at)", threads),
                ("messages(id, thread_id, parent_id, role, content, created_at)", messages),
                (f"generations({made_by})", made),
                ("judgments(id, prompt_message_id, kind, source, created_at)", said),
                ("judgment_items(judgment_id, message_id, rank)", items),
            ):
                marks = ", ".join("?" * len(rows[0]))
                db.conn.executemany(f"INSERT INTO {columns} VALUES ({marks})", rows)


def _words() -> list[str]:
    """Words as often as they occur in ordinary text."""
    lines = asset("ordinary.jsonl").read_text(encoding="utf-8").splitlines()
    return [word for line in lines for word in json.loads(line).get("text", "").split()]


def _derive(store: Store) -> dict[str, Any]:
    pairs = 0

    def ours() -> None:
        nonlocal pairs
        pairs = sum(1 for _ in store.judgments.pairs())

    def usual() -> None:
        """A query a turn, and a query a judgment: what an object mapper does."""
        for row in store.rows("SELECT DISTINCT prompt_message_id AS id FROM judgments LIMIT 2000"):
            for judgment in store.rows("SELECT * FROM judgments WHERE prompt_message_id = ?", [row["id"]]):
                items = store.rows("SELECT * FROM judgment_items WHERE judgment_id = ?", [judgment["id"]])
                [(a, b) for a in items for b in items if a["rank"] < b["rank"]]

    seconds = _best(ours)
    other = _best(usual) / min(2000, pairs) * pairs
    return {"pairs": pairs, "ours_s": seconds, "usual_s": other, "ratio": other / seconds}


def _export(store: Store, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for format in ("trl-preference", "sharegpt", "hh-rlhf", "openai-preference"):
        path = folder / f"{format}.jsonl"

        def write(format: str = format, path: Path = path) -> None:
            rows = exporting.rows(store, exporting.Export(format, "pairs"))
            with exporting.writing(path) as file:
                exporting.write_lines(file, (dumps(row) for row in rows))

        found[f"{format}_s"] = _seconds(write)
        found[f"{format}_mb"] = _mb(path)
    path = folder / "hone.jsonl"

    def whole() -> None:
        with exporting.writing(path) as file:
            exporting.write_lines(file, hone.export(store))

    found["hone_s"] = _seconds(whole)
    found["hone_mb"] = _mb(path)
    return found


def _search(home: Path, empty: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, folder in (("full", home), ("empty", empty)):
        with Store.open(folder) as store:
            for words in (["water", "people"], ["and"], ["zebra"]):
                found[f"{name}, {' '.join(words)}, ms"] = 1000 * _best(partial(search.search, store, words, 20))
    with Store.open(home) as store:
        like = "SELECT id FROM messages WHERE content LIKE '%zebra%' ORDER BY seq DESC LIMIT 20"
        found["usual (LIKE), zebra, ms"] = 1000 * _best(partial(store.rows, like))
    return found


def _open(home: Path, empty: Path) -> dict[str, Any]:
    """What the chat does before and after its first paint."""
    found: dict[str, Any] = {}
    for name, folder in (("full", home), ("empty", empty)):

        def open_(folder: Path = folder) -> None:
            with Store.open(folder):
                pass

        found[f"{name}, open, ms"] = 1000 * _best(open_)
        with Store.open(folder) as store:
            found[f"{name}, list of threads, ms"] = 1000 * _best(partial(store.threads.list, limit=200))
            found[f"{name}, judgments waiting, ms"] = 1000 * _best(partial(store.judgments.waiting, "m" * 64))
    return found


def _million(folder: Path, count: int) -> dict[str, Any]:
    """Import, derive and export in processes of their own: their highest memory is theirs alone."""
    path, home = folder / "million.jsonl", folder / "million"
    with open(path, "w", encoding="utf-8") as file:
        for row in _pairs(count):
            file.write(json.dumps(row) + "\n")
    found: dict[str, Any] = {"pairs": count, "file_mb": _mb(path)}
    for step in ("import", "derive", "export"):
        asked = [sys.executable, "-P", "-m", "trainer.bench.storage", step, str(home), str(path)]
        done = subprocess.run(asked, check=True, capture_output=True, text=True)
        found |= {f"{step}_{key}": value for key, value in json.loads(done.stdout).items()}
        if step == "import":
            found["database_mb"] = _mb(home / "hone.db")
    return found


def _pairs(count: int) -> Iterator[dict[str, str]]:
    chance, all = random.Random(1), _words()
    for i in range(count):
        words = chance.choices(all, k=50)
        yield {
            "prompt": f"{i} " + " ".join(words[:10]),
            "chosen": " ".join(words[10:30]),
            "rejected": " ".join(words[30:]),
        }


def _step(step: str, home: Path, path: Path) -> dict[str, Any]:
    started = time.perf_counter()
    with Store.open(home) as store:
        if step == "import":
            count = importing.import_file(store, path, "trl-preference", "million").added
        elif step == "derive":
            count = sum(1 for _ in store.judgments.pairs(["imports"]))
        else:
            rows = exporting.rows(store, exporting.Export("trl-preference", "pairs"), ["imports"])
            with exporting.writing(path.with_name("out.jsonl")) as file:
                count = exporting.write_lines(file, (dumps(row) for row in rows))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return {"count": count, "s": time.perf_counter() - started, "peak_mb": peak}


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _best(work: Callable[[], Any], times: int = 3) -> float:
    return min(_seconds(work) for _ in range(times))


def _mb(path: Path) -> float:
    return path.stat().st_size / 1e6


if __name__ == "__main__":
    print(json.dumps(_step(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
