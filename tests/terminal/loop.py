"""The whole loop from the shell, on the real model, with nothing but `hone` and files of JSON lines.

    python tests/terminal/loop.py [--home DIR] [--prompts 40] [--seed 1000]

For 40 prompts `hone ask -n 4 --json`; each set of answers is ranked by a rule (fewest letters a word is best) and
recorded with `hone judge`; `hone train --wait --json`; then, on 40 other prompts, answers of the live version meet
answers of the base by the same rule, ties counting half. Prints one JSON object; exits 1 unless the live version wins
80 % and neutral text got at most 1 % less likely. `hone simulate` measures the same and more without the shell. Takes a
quarter of an hour on two cores; not collected by pytest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from trainer.simulation.prompts import drawn
from trainer.users import letters_a_word

HONE = str(Path(sys.executable).with_name("hone"))


def hone(*arguments: object, ok: tuple[int, ...] = (0,)) -> list[Any]:
    """The JSON lines that a command prints."""
    done = subprocess.run([HONE, *map(str, arguments), "--json"], capture_output=True, text=True)
    if done.returncode not in ok:
        sys.exit(f"hone {arguments[0]} ended with {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(folder: Path, home: Path, prompts: list[str], n: int, seed: int, adapter: str) -> list[Any]:
    file = write(folder / "prompts.jsonl", [{"prompt": prompt} for prompt in prompts])
    return hone(
        "ask", "--file", file, "-n", n, "--max-tokens", 256, "--temperature", 0.8, "--seed", seed,
        "--adapter", adapter, "--home", home,
    )  # fmt: skip


def rank(answer: Any) -> Any:
    groups: dict[float, list[int]] = {}
    for index, candidate in enumerate(answer["candidates"]):
        groups.setdefault(letters_a_word(candidate["text"]), []).append(index)
    return {
        "prompt": answer["prompt"],
        "responses": [c["text"] for c in answer["candidates"]],
        "ranking": [groups[score] for score in sorted(groups)],
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1000, help="another seed, other answers")
    arguments = parser.parse_args()
    seconds: dict[str, float] = {}

    def timed(name: str, started: float) -> float:
        seconds[name] = round(time.perf_counter() - started, 1)
        return time.perf_counter()

    with tempfile.TemporaryDirectory(prefix="hone-loop-") as temporary:
        folder = Path(temporary)
        home, count = arguments.home or folder / "home", arguments.prompts
        clock = time.perf_counter()
        file = (arguments.home or folder) / "judged.jsonl"
        if not file.exists():  # a home that has them: another try at learning from the same judgments
            answers = ask(folder, home, drawn("pool", 0)[:count], 4, arguments.seed, "base")
            clock = timed("ask", clock)
            write(file, [rank(a) for a in answers])
        judged = hone("judge", "--file", file, "--home", home)[0]
        clock = timed("judge", clock)
        run = hone("train", "--wait", "--home", home, ok=(0, 1, 3))[0]
        clock = timed("train", clock)
        print(json.dumps({"judged": judged, "run": run}), file=sys.stderr, flush=True)
        unseen = drawn("test", 0)[:40]
        live = ask(folder, home, unseen, 2, arguments.seed + 50_000, "live")
        base = ask(folder, home, unseen, 2, arguments.seed + 90_000, "base")
        timed("compare", clock)

    scores = [
        0.5 if a == b else float(a < b)
        for mine, theirs in zip(live, base, strict=True)
        for a in (letters_a_word(c["text"]) for c in mine["candidates"])
        for b in (letters_a_word(c["text"]) for c in theirs["candidates"])
    ]
    rate = sum(scores) / len(scores)
    rise = run["metrics"].get("neutral.rise", 1.0)
    passed = run["state"] == "done" and rate >= 0.8 and rise <= 0.01
    lengths = {
        name: sum(c["tokens"] for row in rows for c in row["candidates"]) / (2 * len(rows))
        for name, rows in (("live", live), ("base", base))
    }
    print(
        json.dumps(
            {
                "passed": passed,
                "win_rate": rate,
                "comparisons": len(scores),
                "neutral_rise": rise,
                "kl": run["metrics"].get("neutral.kl"),
                "judgments": judged["judgments"],
                "pairs": judged["pairs"],
                "state": run["state"],
                "verdict": run["verdict"],
                "tokens": lengths,
                "seconds": seconds,
                "train_seconds": run["seconds"],
            },
            indent=2,
        )
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
